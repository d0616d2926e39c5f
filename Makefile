# Every target prepares what it needs: on a fresh machine with Python 3.11 or 3.12, `make demo` and `make test` just work.
PYTHON ?= $(shell command -v python3.11 || command -v python3)
BIN := .venv/bin
READY := .venv/.ready

.PHONY: demo test test-slurm test-cluster train-smoke train-default lint bench chaos lock clean

demo: $(READY)  ## make a few clips, label them, show the labels
	$(BIN)/emolabel demo --folder demo-out

test: lint  ## everything but the benchmarks, the long forms of faults and clusters, and SLURM
	$(BIN)/pytest -n 2 --dist loadfile --no-loadscope-reorder -m "not slurm and not cluster"

test-cluster: $(READY)  ## several nodes, an autoscaler, S3: what takes too long for `make test`
	$(BIN)/pytest -m cluster --timeout 600

test-slurm: $(READY)  ## the batch scripts on a SLURM of two nodes, which it installs (on Debian, as root) and starts
	sh tests/slurm/install.sh
	$(BIN)/pytest -m slurm --timeout 1800

train-smoke: $(READY)  ## the whole training procedure on a few hundred composite clips
	PATH="$(CURDIR)/$(BIN):$$PATH" sh training/smoke.sh ../shared/labelled smoke-out

train-default: $(READY)  ## the default model from its data sets: hours on a CPU, and resumed where it was interrupted
	PATH="$(CURDIR)/$(BIN):$$PATH" sh training/default.sh ../shared/labelled default-out

lint: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

bench: $(READY)  ## side-by-side timings; prints a table
	$(BIN)/python -m bench

chaos: $(READY)  ## kills, storage faults and hostile files: shows that nothing is lost, doubled or different
	$(BIN)/python -m chaos

# Installed exactly as tested: every version comes from constraints.txt.
$(READY): pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'
	touch $@

lock:  ## write constraints.txt anew, from the newest versions that pyproject.toml allows
	rm -rf .venv-lock
	$(PYTHON) -m venv .venv-lock
	.venv-lock/bin/python -m pip install --quiet -e '.[dev]'
	.venv-lock/bin/python -m pip freeze --exclude-editable > constraints.txt
	rm -rf .venv-lock

clean:
	rm -rf .venv .venv-lock demo-out build *.egg-info .mypy_cache .ruff_cache .pytest_cache
