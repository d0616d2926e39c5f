"""What can go wrong: the closed set of statuses that rows carry, and the exceptions behind them."""

from enum import Enum


class Status(str, Enum):
    """State of a label row or of an input. A closed set: readers may rely on it."""

    OK = "ok"
    NO_FACE = "no_face"
    """Labelled without a face (audio alone)."""
    NO_AUDIO = "no_audio"
    """Labelled without sound (picture alone); also when the sound is digital silence."""
    NO_VIDEO = "no_video"
    """The input has sound but no picture; labelled from audio alone."""
    NO_SIGNAL = "no_signal"
    """Neither a face nor sound: nothing to label, scores are null."""
    PARTIAL = "partial"
    """Some of it could not be decoded; labelled from the rest, where there is anything to label in it."""
    SKIPPED = "skipped"
    """Found in a folder, but not a media file by its name."""
    MISSING = "missing"
    """Not there, or gone before it could be read."""
    DENIED = "denied"
    """There, but we may not read it."""
    CHANGED = "changed"
    """Replaced while the job was running; the next run takes the new content."""
    UNAVAILABLE = "unavailable"
    """The storage did not answer, or this machine had no room for a copy. `--retry-failed` tries it again."""
    UNREADABLE = "unreadable"
    """Not a media file, or damaged beyond use."""
    UNSUPPORTED = "unsupported"
    """A media file that is not taken: unknown codec, playlist, absurd size."""
    TIMEOUT = "timeout"
    """Decoding passed its deadline and was stopped."""
    CRASHED = "crashed"
    """The decoder crashed on it."""
    OUT_OF_MEMORY = "out_of_memory"
    """Decoding passed its memory limit and was stopped."""
    FAILED = "failed"
    """An error of ours, not of the file. Please report it."""

    def __str__(self) -> str:
        return self.value

    @property
    def failure(self) -> bool:
        """Whether `--strict` counts it: the input, or a part of it, could not be read."""
        return self in _FAILURES


_FAILURES = frozenset(
    {
        Status.PARTIAL,
        Status.MISSING,
        Status.DENIED,
        Status.CHANGED,
        Status.UNAVAILABLE,
        Status.UNREADABLE,
        Status.UNSUPPORTED,
        Status.TIMEOUT,
        Status.CRASHED,
        Status.OUT_OF_MEMORY,
        Status.FAILED,
    }
)


class EmolabelError(Exception):
    """Base of all our errors. Its text is written for the user and shown without a traceback."""


class ConfigError(EmolabelError):
    """A setting that makes no sense, or two that contradict each other."""


class SourceError(EmolabelError):
    """An input argument that cannot be listed: a manifest without `uri`, a bucket that does not answer."""


class OutputError(EmolabelError):
    """The output folder cannot be used: other settings, another job, not writable."""


class BundleError(EmolabelError):
    """A model bundle, or published weights, that cannot be used."""


class TrainingError(EmolabelError):
    """Labelled data, or a training run, that cannot be used."""


class MediaError(EmolabelError):
    """One media file, or a part of it, that cannot be decoded. Becomes a row, never ends a job."""

    def __init__(self, status: Status, reason: str) -> None:
        super().__init__(f"{status}: {reason}")
        self.status = status
        self.reason = reason

    def __reduce__(self) -> tuple[type["MediaError"], tuple[Status, str]]:
        return MediaError, (self.status, self.reason)  # exceptions cross process borders by pickling


CONTAINED = (
    ArithmeticError,
    AssertionError,
    AttributeError,
    LookupError,
    MemoryError,
    OSError,
    RuntimeError,
    TypeError,
    ValueError,
)
"""What a mistake of ours, or trouble of the machine, raises. It may cost a window, never a job of days."""


def contained(error: Exception) -> MediaError:
    """One of `CONTAINED` as the failure that a row tells of.

    Raises:
        Exception: the same error, where the process cannot go on: a GPU context that failed once fails for ever.
    """
    if breaks_process(error):
        raise error
    return MediaError(Status.FAILED, f"internal error, please report it: {type(error).__name__}: {error}")


def breaks_process(error: Exception) -> bool:
    """Whether nothing that this process tries on its GPU will work any more."""
    return "CUDA error" in str(error)
