"""`config.json` of a bundle: what the weights are, and everything they need to be used right."""

import json
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from emolabel.errors import BundleError
from emolabel.labels import EMOTIONS
from emolabel.models.strict import from_plain, to_plain
from emolabel.models.weights import WeightsDtype

FORMAT_VERSION: Final = 1
MAX_CONFIG_BYTES: Final = 2**20
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")


@dataclass(frozen=True)
class BundleConfig:
    """The content of `config.json`."""

    name: str
    architecture: str
    """A name in the registry."""
    config: dict[str, Any]
    """Settings of that architecture, with the input spec: crop sizes, margins, sampling, rates, normalisation."""
    trained: dict[str, bool]
    """Each part of the model: whether its weights were trained, or are random."""
    weights_dtype: WeightsDtype = "float32"
    """How parameters lie in the file; they are float32 in memory either way. Buffers keep their own types."""
    labels: tuple[str, ...] = EMOTIONS
    """The meaning of the model's outputs, in order."""
    provenance: dict[str, Any] = field(default_factory=dict)
    """Where the weights come from: data, seeds, source files and their SHA-256. Free form."""
    metrics: dict[str, Any] = field(default_factory=dict)
    """What was measured, on which data. Free form."""
    licence: dict[str, Any] = field(default_factory=dict)
    """Terms of the weights and of the data behind them. Free form."""
    format_version: int = FORMAT_VERSION

    def __post_init__(self) -> None:
        if not _NAME.fullmatch(self.name):
            raise ValueError(f"a name has 1-100 letters, digits, dots, dashes and underscores, got {self.name!r:.120}")
        if self.labels != EMOTIONS:
            # Permuting outputs would be possible, but a bundle with other labels is more likely a mistake.
            raise ValueError(f"labels must be {', '.join(EMOTIONS)} in this order, got {', '.join(self.labels)}")

    def to_json(self) -> bytes:
        """The file's bytes; the same values give the same bytes."""
        text = json.dumps(to_plain(self), indent=2, sort_keys=True, ensure_ascii=False, allow_nan=False)
        return f"{text}\n".encode()


def read_config(path: Path) -> BundleConfig:
    """Reads and checks a `config.json`.

    Raises:
        BundleError: it is absent, too big, no JSON, of a newer format, or does not hold what it should.
    """
    return parse_config(_bytes(path), str(path))


def parse_config(content: bytes, where: str) -> BundleConfig:
    """Checks the bytes of a `config.json`; see `read_config`."""
    try:
        data = json.loads(content, parse_constant=_refuse_constant)
    except (ValueError, RecursionError) as error:
        raise BundleError(f"{where}: not valid JSON: {error}") from error
    if not isinstance(data, dict) or "format_version" not in data:
        raise BundleError(f"{where}: not a bundle of emolabel: 'format_version' is missing")
    version = data["format_version"]
    if type(version) is not int or version < 1:
        raise BundleError(f"{where}: 'format_version' must be a positive integer, got {version!r:.80}")
    if version > FORMAT_VERSION:
        raise BundleError(
            f"{where}: the bundle has format {version}, this emolabel reads up to {FORMAT_VERSION}; update emolabel"
        )
    try:
        return from_plain(BundleConfig, data, where)
    except ValueError as error:
        raise BundleError(str(error)) from error


def _bytes(path: Path) -> bytes:
    if not path.is_file():
        raise BundleError(f"{path}: no such file")
    size = path.stat().st_size
    if size > MAX_CONFIG_BYTES:
        raise BundleError(f"{path}: {size:,} bytes are too many for a config; the limit is {MAX_CONFIG_BYTES:,}")
    try:
        return path.read_bytes()
    except OSError as error:
        raise BundleError(f"{path}: cannot be read: {error}") from error


def _refuse_constant(name: str) -> float:
    raise ValueError(f"{name} is no JSON number")
