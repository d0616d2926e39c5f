"""Trained bundles that come with the package, in `emolabel/weights/<name>/`."""

from pathlib import Path
from typing import Final

SHIPPED: Final = Path(__file__).resolve().parents[1] / "weights"


def shipped_names() -> tuple[str, ...]:
    """Their names, sorted."""
    if not SHIPPED.is_dir():
        return ()
    return tuple(sorted(config.parent.name for config in SHIPPED.glob("*/config.json")))


def shipped_bundle(name: str) -> Path | None:
    """The folder of the shipped bundle with this name; None where there is none."""
    return SHIPPED / name if name in shipped_names() else None
