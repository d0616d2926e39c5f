"""What tests of several packages share: clips, bundles, an object store, a Ray in this process.

Tests that need real media skip, and say so, where those are absent.
"""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from chaos.store import Door, object_store
from emolabel.demo import make_demo_clips
from emolabel.models.bundle import save_bundle
from emolabel.models.pini2017 import FaceConfig, MotionConfig, Pini2017, Pini2017Config
from emolabel.sampling import FrameSampling, SliceSampling

os.environ["RAY_USAGE_STATS_ENABLED"] = "0"

SHARED = Path(__file__).resolve().parents[2] / "shared"


@pytest.fixture(scope="session")
def shared_videos() -> Path:
    folder = SHARED / "media" / "videos"
    if not folder.is_dir():
        pytest.skip(f"real videos are absent: no {folder}")
    return folder


@pytest.fixture(scope="session")
def clips(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The demo's clips: six videos and a broken one. They stay as they are."""
    folder = tmp_path_factory.mktemp("demo") / "clips"
    make_demo_clips(folder)
    return folder


@pytest.fixture(scope="session")
def store() -> Iterator[Door]:
    """An object store on loopback, the one of this process and of `ray_here`; the door in front of it is open."""
    with object_store() as door:
        yield door


@pytest.fixture(scope="session")
def ray_here(store: Door) -> Iterator[None]:
    """A Ray of two CPUs in this process, which runs then use instead of starting their own."""
    import ray

    ray.init(
        address="local",
        num_cpus=2,
        include_dashboard=False,
        log_to_driver=False,
        logging_level="error",
        _node_ip_address="127.0.0.1",
    )
    yield
    ray.shutdown()


@pytest.fixture(scope="session")
def quick(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A bundle with all three branches that costs little: a small face backbone, eight frames, one slice."""
    face = FaceConfig(backbone="timm:mobilenetv3_small_050", sampling=FrameSampling(count=8, crop_px=64))
    return _save(Pini2017Config(face=face, motion=MotionConfig(sampling=SliceSampling(count=1))), tmp_path_factory)


@pytest.fixture(scope="session")
def quickest(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A bundle with the face and audio branches that looks at two frames."""
    face = FaceConfig(backbone="timm:mobilenetv3_small_050", sampling=FrameSampling(count=2, crop_px=64))
    return _save(Pini2017Config(face=face, motion=None), tmp_path_factory)


@pytest.fixture(scope="session")
def attentive(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A bundle that looks at as many frames as the default one, with a small face backbone."""
    face = FaceConfig(backbone="timm:mobilenetv3_small_050", sampling=FrameSampling(count=48, crop_px=64))
    return _save(Pini2017Config(face=face, motion=None), tmp_path_factory)


def _save(config: Pini2017Config, tmp_path_factory: pytest.TempPathFactory) -> str:
    model = Pini2017(config)
    model.reset_parameters(seed=1)
    folder = tmp_path_factory.mktemp("bundle") / "quick"
    save_bundle(model.eval(), folder, name="quick", trained=dict.fromkeys(model.parts(), False))
    return str(folder)
