"""What hostile files are made of, and what one is."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Clip:
    """A sound clip that mutations start from."""

    suffix: str
    content: bytes


@dataclass(frozen=True)
class Lures:
    """What hostile files point at: whoever follows them is seen."""

    secrets: tuple[Path, ...]
    """Local files: a text, a picture, clips."""
    url: str
    """A server on the loopback interface."""

    def secret(self, suffix: str) -> Path:
        return next(path for path in self.secrets if path.suffix == suffix)


@dataclass(frozen=True)
class Case:
    """One hostile input."""

    kind: str
    name: str
    """File name; may hold bytes that are no UTF-8, as Python's surrogate escapes."""
    make: Callable[[Path], object]
    """Writes it to a path in a folder of its own."""
