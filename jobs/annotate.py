"""`ray job submit --working-dir . -- python jobs/annotate.py INPUT... -o OUT`: the same as `emolabel annotate`."""

import typer

from emolabel.cli import annotate, run_app

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
app.command()(annotate)

if __name__ == "__main__":
    run_app(app)
