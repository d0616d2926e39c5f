"""`jobs/prepare.py`: the annotation pipeline up to its model; what a model would see and hear is stored instead."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

from emolabel.config import DecodeLimits, FaceSettings, PreparedFaces, Settings, WindowPolicy
from emolabel.errors import ConfigError, OutputError
from emolabel.models.strict import from_plain
from emolabel.pipeline.annotate import Job, Progress, RunOptions, carry_out
from emolabel.pipeline.output import OutputFolder
from emolabel.sampling import InputSpec


@dataclass(frozen=True)
class PrepareSettings:
    """What is prepared."""

    spec: InputSpec
    """What the models that are to be trained look at. Of the sound more is stored: see `max_audio_s`."""
    faces: PreparedFaces = "detect"
    """`whole`: nothing is searched for, each frame is a face (FER-2013)."""
    max_audio_s: float = 30.0
    """Of a longer input the middle of its sound is stored."""
    limits: DecodeLimits = field(default_factory=DecodeLimits)

    def __post_init__(self) -> None:
        _require(self.faces in ("detect", "whole"), f"--faces takes 'detect' or 'whole', got {self.faces!r}")
        _require(self.max_audio_s > 0, f"the longest sound must be positive, got {self.max_audio_s} s")
        spec = self.spec
        _require(spec != InputSpec(), "nothing to prepare: neither faces nor motion nor sound")
        for branch in (spec.face, spec.motion):
            if branch is not None:
                _require(branch.count >= 1, f"a clip needs at least one frame or slice, got {branch.count}")
                _require(branch.crop_px >= 1, f"a crop needs at least one pixel, got {branch.crop_px}")
                _require(0 <= branch.margin < 1, f"the margin must lie in [0, 1), got {branch.margin}")
        _require(spec.audio is None or spec.audio.sample_rate_hz >= 1, "the sample rate must be positive")

    def stored_spec(self) -> InputSpec:
        """What is stored of each input."""
        audio = self.spec.audio
        return replace(self.spec, audio=None if audio is None else replace(audio, seconds=self.max_audio_s))


def prepare_inputs(
    inputs: Sequence[str],
    out: str,
    settings: PrepareSettings,
    options: RunOptions,
    on_progress: Callable[[Progress], None] = lambda progress: None,
) -> Progress:
    """Store face crops and sound of every input in `out`: one row for each, with the columns of `schema.PREPARED`.

    Each file, or each stretch of one that a manifest names, is one window. Running it again with the same arguments
    finishes what is missing and repeats nothing.

    Args:
        inputs: see `sources.list_inputs`.
        out: folder or URI.
        options: `device` and `batch_size` are not used.
        on_progress: called after each input.

    Raises:
        EmolabelError: nothing could be started, or the job ended early. A file that fails is a row, not an error.
    """
    faces = FaceSettings(mode="whole" if settings.faces == "whole" else "biggest")
    whole_clips = Settings(windows=WindowPolicy(length_s=None), faces=faces, limits=settings.limits)
    job = Job(settings.stored_spec(), whole_clips, bundle=None)
    return carry_out(inputs, out, job, replace(options, device="cpu"), on_progress)


def read_spec(out: str) -> InputSpec:
    """What was stored in a prepared folder.

    Raises:
        OutputError: it is none, or cannot be read.
    """
    folder = OutputFolder(out)
    run = folder.read_run()
    spec = None if run is None else run.get("fingerprint", {}).get("spec")
    if spec is None:
        raise OutputError(f"{folder.shown} is not a prepared folder: it has no run.json with a spec")
    try:
        return from_plain(InputSpec, spec, "spec")
    except ValueError as error:
        raise OutputError(f"{folder.shown}/run.json is damaged: {error}") from error


def _require(condition: bool, message: str) -> None:
    if not condition:
        raise ConfigError(message)
