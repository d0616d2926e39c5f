"""The Python interface: what the command line does, as functions."""

from collections.abc import Callable, Collection, Sequence
from pathlib import Path

from emolabel.config import DEFAULT_MODEL, FaceSettings, FacesMode, Precision, Settings, WindowPolicy
from emolabel.errors import Status
from emolabel.pipeline.annotate import Progress, RunOptions, annotate_inputs
from emolabel.pipeline.local import Annotator, load_model
from emolabel.pipeline.reading import read_inputs, read_labels
from emolabel.pipeline.shard import Shard

__all__ = ["Annotator", "Progress", "annotate", "load_model", "read_inputs", "read_labels"]


def annotate(
    inputs: str | Path | Sequence[str | Path],
    out: str | Path,
    *,
    model: str = DEFAULT_MODEL,
    window: float | None = 5.0,
    stride: float | None = None,
    faces: FacesMode = "biggest",
    detect_every: int = FaceSettings.detect_every,
    precision: Precision = "float32",
    device: str = "auto",
    detector_device: str = "cpu",
    batch_size: int = 16,
    workers: int | None = None,
    gpus: int | None = None,
    address: str | None = None,
    limit: int | None = None,
    shard: str = "1/1",
    overwrite: bool = False,
    retry: Collection[Status] = (),
    on_progress: Callable[[Progress], None] = lambda progress: None,
) -> Progress:
    """Label videos on Ray and write Parquet to `out`; the same call again finishes what is missing.

    Args:
        inputs: files, folders, globs, manifests with a `uri` column, or URIs.
        out: folder or URI.
        model: built-in name, folder, or Hugging Face hub id of a bundle.
        window: seconds per window; None: one window per input.
        stride: seconds from window to window; None: the window's length.
        faces: the biggest face of each frame, or a row for every face.
        detect_every: search every n-th frame for faces, and follow them in between; 1: search all.
        precision: of the part of the model that looks at pictures; `bfloat16` is quicker where processors or GPUs
            have it, and changes scores a little.
        device: of the model: `auto`, `cpu` or `cuda`.
        detector_device: of the face detector: `cpu` or `cuda`.
        batch_size: windows that go through a GPU's model at a time.
        workers: that decode and, without a GPU, run the model; None: one for each CPU of the cluster.
        gpus: models on GPUs, one on each; None: all GPUs of the cluster.
        address: of the Ray cluster; None: `RAY_ADDRESS`, the session that is already open, or an embedded local Ray.
        limit: take at most this many inputs.
        shard: `K/N`: the K-th of N parts, for N jobs that share a collection, each with an output of its own.
        overwrite: start the output folder afresh.
        retry: statuses of failures in earlier runs that are tried again.
        on_progress: called after each window.

    Returns:
        Counts by status, with reasons and examples.

    Raises:
        EmolabelError: nothing could be started, or the job ended early. A file that fails is a row, not an error.
    """
    arguments = [inputs] if isinstance(inputs, (str, Path)) else inputs
    settings = Settings(
        windows=WindowPolicy(length_s=window, stride_s=stride),
        faces=FaceSettings(mode=faces, detect_every=detect_every),
        precision=precision,
    )
    options = RunOptions(
        device=device,
        detector_device=detector_device,
        batch_size=batch_size,
        workers=workers,
        gpus=gpus,
        address=address,
        limit=limit,
        shard=Shard.parse(shard),
        overwrite=overwrite,
        retry=frozenset(retry),
    )
    return annotate_inputs([str(argument) for argument in arguments], str(out), model, settings, options, on_progress)
