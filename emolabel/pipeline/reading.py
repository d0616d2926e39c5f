"""Reading an output folder."""

from pathlib import Path

import pandas as pd
import pyarrow as pa

from emolabel import schema
from emolabel.errors import OutputError
from emolabel.pipeline.output import OutputFolder


def read_labels(out: str | Path) -> pd.DataFrame:
    """All label rows of an output folder, a row per window and face; columns as in `schema.LABELS`.

    Raises:
        OutputError: the folder has no labels, or cannot be read.
    """
    return _read(out, "labels", schema.LABELS)


def read_inputs(out: str | Path) -> pd.DataFrame:
    """All rows of `inputs`: one per input, with its status.

    Raises:
        OutputError: the folder is not an output, or cannot be read.
    """
    return _read(out, "inputs", schema.INPUTS)


def _read(out: str | Path, kind: str, columns: pa.Schema) -> pd.DataFrame:
    folder = OutputFolder(str(out))
    if folder.read_run() is None:
        raise OutputError(f"{folder.shown} is not an output of emolabel: it has no run.json")
    frame: pd.DataFrame = folder.read(kind).to_pandas()
    return frame
