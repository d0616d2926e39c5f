"""Against torchvision's own."""

import torch
from hypothesis import given
from hypothesis import strategies as st
from torchvision.ops import batched_nms as reference

from emolabel.faces.nms import apart, batched_nms


@given(st.integers(0, 2**32 - 1), st.integers(0, 400), st.sampled_from([0.3, 0.5, 0.7]))
def test_the_same_boxes_in_the_same_order(seed: int, n: int, max_iou: float) -> None:
    random = torch.Generator().manual_seed(seed)
    corner = 100 * torch.rand(n, 2, generator=random)
    corner -= 20  # boxes may lie in part outside of their frame
    boxes = torch.cat([corner, corner + 1 + 40 * torch.rand(n, 2, generator=random)], dim=1)
    scores, owner = torch.rand(n, generator=random), torch.randint(0, 4, (n,), generator=random)
    assert batched_nms(boxes, scores, owner, max_iou).tolist() == reference(boxes, scores, owner, max_iou).tolist()


@given(st.integers(0, 2**32 - 1), st.integers(0, 200))
def test_boxes_set_apart_give_the_same(seed: int, n: int) -> None:
    """As on GPUs, where one call serves all frames."""
    random = torch.Generator().manual_seed(seed)
    corner = 100 * torch.rand(n, 2, generator=random) - 20
    boxes = torch.cat([corner, corner + 1 + 40 * torch.rand(n, 2, generator=random)], dim=1)
    scores, owner = torch.rand(n, generator=random), torch.randint(0, 4, (n,), generator=random)
    at_once = batched_nms(apart(boxes, owner), scores, torch.zeros_like(owner), 0.5)
    assert at_once.tolist() == batched_nms(boxes, scores, owner, 0.5).tolist()
