"""Batch after batch through a model: on a GPU, the next one is put together and sent while the model computes."""

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import torch

from emolabel.models.base import EmotionModel
from emolabel.types import ClipInputs, Prediction


def predict_batches(
    model: EmotionModel, batches: Sequence[Sequence[ClipInputs]], ahead: bool | None = None
) -> Iterator[Prediction]:
    """What `model.predict` says of the clips of each batch, in their order.

    Args:
        ahead: the next batch is prepared meanwhile, which takes memory for two; None: where the model is on a GPU.

    Raises:
        ValueError, RuntimeError: those of `EmotionModel.predict`.
    """
    on_gpu = model.device.type == "cuda"
    if not (on_gpu if ahead is None else ahead) or len(batches) < 2:
        for clips in batches:
            yield from model.predict(clips)
        return
    # A stream of its own: in that of the model, what is sent would wait for what is computed.
    stream = torch.cuda.Stream(model.device) if on_gpu else None  # type: ignore[no-untyped-call]
    with ThreadPoolExecutor(1) as loader:
        coming = loader.submit(_collate, model, batches[0], stream)
        for following in (*batches[1:], None):
            batch = coming.result()
            if following is not None:
                coming = loader.submit(_collate, model, following, stream)
            # Its answer is on the CPU: nothing computes with a batch any more when its memory is given back.
            yield from model.predict_collated(batch)


def _collate(model: EmotionModel, clips: Sequence[ClipInputs], stream: torch.cuda.Stream | None) -> Any:
    if stream is None:
        return model.collate(clips)
    with torch.cuda.stream(stream):
        batch = model.collate(clips)
        stream.synchronize()  # the model's own stream knows nothing of this one
    return batch
