"""Who made a row."""

from dataclasses import dataclass


@dataclass(frozen=True)
class RunStamp:
    """What every row says of the run that made it."""

    model: str
    model_sha256: str
    emolabel_version: str
    run_id: str
