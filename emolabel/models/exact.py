"""Arithmetic that gives the same labels for any batch size."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch


@contextmanager
def exact_float32() -> Iterator[None]:
    """Full float32 in convolutions on CUDA, and the same algorithm every time.

    PyTorch lets cuDNN round to TF32 (10 bits) by default, and choose algorithms by batch size: labels would then
    differ in the third digit between runs. Matrix products are full float32 by default.
    https://docs.pytorch.org/docs/stable/notes/cuda.html
    """
    with torch.backends.cudnn.flags(
        enabled=torch.backends.cudnn.enabled, benchmark=False, deterministic=True, allow_tf32=False
    ):
        yield
