"""Checkpoints of a fold: how far it is, and everything needed to go on from there."""

import os
import pickle
import uuid
from pathlib import Path
from typing import Any

import torch

from emolabel.errors import TrainingError


def save_checkpoint(path: Path, state: dict[str, Any]) -> None:
    """Replace the checkpoint in one step: a process that dies while it writes leaves the one before."""
    draft = path.with_name(f".{path.name}.{uuid.uuid4().hex}")
    try:
        torch.save(state, draft)
        with draft.open("rb") as file:
            os.fsync(file.fileno())
        os.replace(draft, path)
    except (OSError, RuntimeError) as error:  # torch raises the latter for a full disk
        raise TrainingError(f"cannot write the checkpoint {path}: {error}") from error
    finally:
        draft.unlink(missing_ok=True)


def load_checkpoint(path: Path) -> dict[str, Any] | None:
    """The checkpoint, or None where there is none. Tensors and plain values only: nothing is unpickled.

    Raises:
        TrainingError: it cannot be read.
    """
    if not path.exists():
        return None
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except (OSError, RuntimeError, ValueError, EOFError, pickle.UnpicklingError) as error:
        raise TrainingError(
            f"cannot read the checkpoint {path}: {error}. Remove it to start this fold afresh"
        ) from error
    if not isinstance(state, dict):
        raise TrainingError(f"{path} is no checkpoint of a fold. Remove it to start this fold afresh")
    return state
