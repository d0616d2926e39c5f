"""The same stages in one process, without Ray: for one clip, a notebook, a quick look."""

import copy
from collections.abc import Iterator
from types import TracebackType

import pandas as pd
import pyarrow as pa
import torch

from emolabel import schema
from emolabel.config import DEFAULT_MODEL, Settings
from emolabel.errors import MediaError, SourceError
from emolabel.faces.detect import build_detector
from emolabel.media.isolate import IsolatedMedia
from emolabel.models.bundle import LoadedBundle, load_bundle
from emolabel.models.layout import make_quick
from emolabel.pipeline.decode import DecodeTools, decode_chunk
from emolabel.pipeline.files import LocalFiles
from emolabel.pipeline.locations import locate
from emolabel.pipeline.messages import Chunk, Source, WindowResult
from emolabel.pipeline.plan import plan_source
from emolabel.pipeline.predict import predict_windows
from emolabel.pipeline.sources import list_inputs
from emolabel.pipeline.stamp import RunStamp
from emolabel.version import __version__


class Annotator:
    """A loaded model with the decoder and the face detector that go with it.

    >>> with load_model() as model:            # doctest: +SKIP
    ...     rows = model.annotate("clip.mp4")
    """

    def __init__(self, bundle: LoadedBundle, settings: Settings, device: str, detector_device: str) -> None:
        """Args:
        bundle: on any device; it stays as it is.
        """
        self.bundle = bundle
        self._model = copy.deepcopy(bundle.model).to(device)
        make_quick(self._model, settings.precision)
        self._settings = settings
        self._tools = DecodeTools(
            files=LocalFiles(),
            media=IsolatedMedia(settings.limits),
            detector=build_detector(settings.faces, detector_device),
            spec=bundle.model.input_spec,
            settings=settings,
            stamp=RunStamp(bundle.name, bundle.sha256, __version__, run_id="local"),
        )

    def annotate(self, uri: str) -> pd.DataFrame:
        """Labels of one file: a row per window and face, columns as in `schema.LABELS`.

        Raises:
            MediaError: the file cannot be read at all.
            SourceError: this is a folder or a manifest, or there is no such place.
        """
        sources = list_inputs([uri]).sources
        if len(sources) != 1 or sources[0].uri != locate(uri).uri:
            raise SourceError(f"{uri} is not one file: `emolabel.annotate` takes folders, globs and manifests")
        tables = [schema.LABELS.empty_table()]
        for chunk in self.plan(sources[0]):
            if chunk.facts.status is not None:
                raise MediaError(chunk.facts.status, chunk.facts.error or "")
            tables += [result.labels for result in self.label(chunk)]
        frame: pd.DataFrame = pa.concat_tables(tables).to_pandas()
        return frame

    def plan(self, source: Source) -> Iterator[Chunk]:
        """The chunks of one input."""
        return plan_source(source, self._tools.files, self._tools.media, self._settings)

    def decode(self, chunk: Chunk) -> Iterator[WindowResult]:
        """The windows of one chunk, with what the model would see and hear of them."""
        return decode_chunk(chunk, self._tools)

    def label(self, chunk: Chunk) -> Iterator[WindowResult]:
        """The labelled windows of one chunk."""
        for result in self.decode(chunk):
            yield from predict_windows([result], self._model, batch_size=1)

    def close(self) -> None:
        """End the decoding child and remove scratch files."""
        self._tools.media.close()
        self._tools.files.close()

    def __enter__(self) -> "Annotator":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def load_model(
    model: str = DEFAULT_MODEL,
    *,
    settings: Settings | None = None,
    device: str | None = None,
    detector_device: str = "cpu",
) -> Annotator:
    """Load a bundle to label single clips without Ray.

    Args:
        model: name, folder or hub id of a bundle.
        device: of the model; None: a GPU where there is one.

    Raises:
        BundleError: no such bundle, or it cannot be used.
    """
    device = device or ("cuda" if torch.cuda.is_available() else "cpu")
    return Annotator(load_bundle(model), settings or Settings(), device, detector_device)
