"""How a cluster is divided."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from emolabel.errors import ConfigError
from emolabel.pipeline.cluster import ClusterSize, share_cluster


@given(
    cpus=st.integers(1, 512),
    gpus=st.integers(0, 16),
    workers=st.none() | st.integers(1, 600),
    device=st.sampled_from(["cpu", "cuda"]),
    detector_device=st.sampled_from(["cpu", "cuda"]),
)
def test_all_actors_fit_together(cpus: int, gpus: int, workers: int | None, device: str, detector_device: str) -> None:
    if "cuda" in (device, detector_device) and not gpus:
        return
    shares = share_cluster(ClusterSize(cpus, gpus), workers, device, detector_device)
    used_gpus = shares.n_decode * shares.decode_gpus + shares.n_predict * shares.predict_gpus
    assert used_gpus <= gpus + 1e-9
    if workers is None and (device == "cpu" or cpus >= 2 * gpus):
        plan, decode = shares.n_plan * shares.plan_cpus, shares.n_decode * shares.decode_cpus
        assert plan + decode + shares.n_predict * shares.predict_cpus <= cpus + 1e-9
    assert shares.n_decode == (workers or cpus)


def test_a_cluster_that_will_grow() -> None:
    shares = share_cluster(ClusterSize(0, 0), 8, "cuda", "cpu")
    assert (shares.n_decode, shares.n_predict, shares.predict_gpus) == (8, 1, 1.0)


def test_workers_of_a_cluster_that_grows_do_not_crowd_the_nodes_it_has() -> None:
    grows, stays = (share_cluster(ClusterSize(2, 0, may_grow), 8, "cpu", "cpu") for may_grow in (True, False))
    assert (grows.decode_cpus, stays.decode_cpus, stays.n_predict) == (0.9, 0.225, 0)
    with_gpus = share_cluster(ClusterSize(2, 0, True), 8, "cuda", "cpu", gpus=3)
    assert (with_gpus.n_predict, with_gpus.predict_gpus, with_gpus.decode_cpus) == (3, 1.0, 0.8)


@pytest.mark.parametrize(
    ("size", "workers", "device", "detector_device", "fills"),
    [
        (ClusterSize(2, 0), None, "cpu", "cpu", True),
        (ClusterSize(2, 0), 2, "cpu", "cpu", True),
        (ClusterSize(2, 0), 1, "cpu", "cpu", False),
        (ClusterSize(2, 0), 3, "cpu", "cpu", False),
        (ClusterSize(2, 0, may_grow=True), 2, "cpu", "cpu", False),
        (ClusterSize(2, 1), None, "cuda", "cpu", False),
        (ClusterSize(2, 1), None, "cpu", "cuda", False),
    ],
)
def test_workers_have_a_core_each_where_no_cpu_is_left(
    size: ClusterSize, workers: int | None, device: str, detector_device: str, fills: bool
) -> None:
    assert share_cluster(size, workers, device, detector_device).fills_cores is fills


@pytest.mark.parametrize(
    ("size", "workers", "device", "message"),
    [
        (ClusterSize(4, 0), None, "cuda", "a GPU was asked for, but the cluster has none now: give --gpus"),
        (ClusterSize(0, 0), None, "cpu", "no CPU for work at this moment: give --workers"),
        (ClusterSize(4, 0), 0, "cpu", "--workers must be at least 1"),
    ],
)
def test_what_cannot_be_divided(size: ClusterSize, workers: int | None, device: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        share_cluster(size, workers, device, "cpu")
