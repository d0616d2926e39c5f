"""A GPU context that has failed once fails for ever; here its errors are played, with their text."""

import os
from pathlib import Path
from typing import Any

import pytest

from emolabel.errors import contained
from emolabel.pipeline.devices import process_ends_with_its_device

ILLEGAL = "CUDA error: an illegal memory access was encountered"


class Stage:
    """Meets one error in its life; `marker` tells whether that was in an earlier one."""

    def work(self, marker: Path, text: str) -> int:
        with process_ends_with_its_device():
            if not marker.exists():
                marker.touch()
                try:
                    raise RuntimeError(text)
                except RuntimeError as error:
                    raise contained(error) from error
        return os.getpid()

    def pid(self) -> int:
        return os.getpid()


@pytest.fixture
def stage(ray_here: None) -> Any:
    import ray

    return ray.remote(Stage).options(max_restarts=-1, max_task_retries=1, num_cpus=0.1).remote()


@pytest.mark.ray
def test_a_worker_whose_gpu_failed_is_replaced_and_its_batch_done(stage: Any, tmp_path: Path) -> None:
    import ray

    before = ray.get(stage.pid.remote())
    after = ray.get(stage.work.remote(tmp_path / "marker", ILLEGAL))
    assert after != before
    assert ray.get(stage.pid.remote()) == after


@pytest.mark.ray
def test_other_errors_leave_the_worker_alone(stage: Any, tmp_path: Path) -> None:
    import ray

    before = ray.get(stage.pid.remote())
    with pytest.raises(ray.exceptions.RayTaskError, match="CUDA out of memory"):
        ray.get(stage.work.remote(tmp_path / "marker", "CUDA out of memory"))
    assert ray.get(stage.pid.remote()) == before
