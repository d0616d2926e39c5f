"""Every network can learn one batch by heart, and gradients reach what is trained and nothing else."""

from concurrent.futures import ThreadPoolExecutor
from threading import Barrier, local

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from emolabel.labels import N_EMOTIONS
from emolabel.models.pini2017 import (
    AudioConfig,
    FaceConfig,
    FusionConfig,
    MotionConfig,
    Pini2017,
    Pini2017Config,
)
from emolabel.models.pini2017.branches import Branch
from emolabel.sampling import AudioSampling, FrameSampling, SliceSampling
from emolabel.types import UInt8Array
from tests.training.conftest import FACE_PX, RATE_HZ, MakeSet
from training import trunk_cache
from training.branch_stage import BranchStage
from training.folds import Split
from training.fusion_stage import FusionStage
from training.prepared import PreparedSet
from training.settings import AugmentSettings, SoundSettings, StageSettings
from training.trunk_cache import TrunkOutputs, views_of
from training.views import Listening, Views

# Dropout keeps all: what is asked is whether the network can learn, not whether it generalises.
FACE = FaceConfig("compact", FrameSampling(3, FACE_PX), keep=1.0)
MOTION = MotionConfig(SliceSampling(2), keep=1.0)
AUDIO = AudioConfig(AudioSampling(RATE_HZ, 1.0), keep=1.0)
STILL = AugmentSettings(flip=0, zoom=1, shift=0)
CONFIGS = {
    "face": Pini2017Config(FACE, None, None),
    "motion": Pini2017Config(None, MOTION, None),
    "audio": Pini2017Config(None, None, AUDIO),
    "log_mel": Pini2017Config(None, None, AudioConfig(AudioSampling(16_000, 1.0), gain=1.0, trunk="log_mel", keep=1.0)),
}


@pytest.fixture(autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)


def model_of(config: Pini2017Config) -> Pini2017:
    model = Pini2017(config)
    model.reset_parameters(seed=3)
    return model


@pytest.mark.parametrize("name", CONFIGS)
def test_a_branch_learns_one_batch_by_heart(name: str, make_set: MakeSet) -> None:
    model = model_of(CONFIGS[name])
    modality = "audio" if name == "log_mel" else name
    prepared = {"set": PreparedSet(make_set(n=7, motion=name == "motion"))}
    branch = model.branches[modality]
    assert isinstance(branch, Branch)
    branch.freeze(False)
    trunk_learns = name in ("face", "log_mel")  # SoundNet and C3D as in the paper: frozen, here with random weights
    branch.trunk.freeze(not trunk_learns)
    audio = model.config.audio
    sound = None if audio is None else Listening(RATE_HZ, audio.piece_samples, SoundSettings())
    views = Views(prepared, {"set": range(7)}, modality, sound)
    random = np.random.default_rng(0)
    inputs, labels = views.batch(sorted(views.drawn(1, False, random), key=lambda view: view.sample), random)
    assert labels.tolist() == list(range(N_EMOTIONS))
    branch.train()
    if not trunk_learns:  # its outputs do not change: the forward pass of C3D takes seconds
        with torch.no_grad():
            inputs = branch.trunk(branch.normalise(inputs))
    optimiser = torch.optim.Adam([p for p in branch.parameters() if p.requires_grad], lr=3e-3)
    losses = []
    for _ in range(60):
        features = branch.features(inputs) if trunk_learns else branch.head(inputs)
        loss = F.cross_entropy(branch.classifier(features), labels)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(float(loss.detach()))
    assert losses[0] > 1
    assert losses[-1] < 0.02


def test_the_fusion_learns_one_batch_by_heart(make_set: MakeSet) -> None:
    model = model_of(Pini2017Config(FACE, None, AUDIO, FusionConfig(clusters=2, keep=1.0)))
    prepared = PreparedSet(make_set(n=14))
    settings = StageSettings(epochs=80, learning_rate=3e-3, batch_size=14)
    stage = FusionStage(model, settings, prepared, Split(tuple(range(14)), ()), seed=0, caches={})
    losses = [stage.train_epoch(epoch)[0] for epoch in range(80)]
    assert losses[0] > 1
    assert losses[-1] < 0.02


@pytest.mark.parametrize("train_trunk", [False, True])
def test_phase_1_reaches_every_trained_and_no_frozen_parameter(train_trunk: bool, make_set: MakeSet) -> None:
    model = model_of(Pini2017Config(FACE, None, AUDIO))
    prepared = {"set": PreparedSet(make_set(n=14))}
    for name in ("face", "audio"):
        before = {key: value.clone() for key, value in model.state_dict().items()}
        settings = StageSettings(
            epochs=1, learning_rate=1e-2, batch_size=7, train_trunk=train_trunk, views_per_clip=1, augment=STILL
        )
        stage = BranchStage(model, name, settings, prepared, {"set": range(14)}, seed=0, caches={})
        stage.train_epoch(0)
        stage.finish()
        learnt = [f"branches.{name}.head.", f"branches.{name}.classifier."]
        learnt += [f"branches.{name}.trunk."] if train_trunk else []
        _assert_only_these_moved(model, before, tuple(learnt))


def test_phase_2_reaches_the_fusion_alone(make_set: MakeSet) -> None:
    model = model_of(Pini2017Config(FACE, None, AUDIO, FusionConfig(clusters=2)))
    for branch in model.branches.values():
        assert isinstance(branch, Branch)
        branch.freeze()
    prepared = PreparedSet(make_set(n=14))
    settings = StageSettings(epochs=1, learning_rate=1e-2, batch_size=7)
    stage = FusionStage(model, settings, prepared, Split(tuple(range(14)), ()), seed=0, caches={})
    before = {key: value.clone() for key, value in model.state_dict().items()}
    stage.train_epoch(0)
    _assert_only_these_moved(model, before, ("fusion.",))


def test_frozen_statistics_and_dropout_stay_as_they_are(make_set: MakeSet) -> None:
    model = model_of(Pini2017Config(FACE, None, AUDIO))
    settings = StageSettings(epochs=1, learning_rate=1e-3, batch_size=7, views_per_clip=1)
    stage = BranchStage(
        model, "face", settings, {"set": PreparedSet(make_set(n=7))}, {"set": range(7)}, seed=0, caches={}
    )
    stage.train_epoch(0)
    branch = model.branches["face"]
    assert isinstance(branch, Branch)
    assert not any(module.training for module in branch.trunk.modules())
    assert any(module.training for module in branch.head.modules() if isinstance(module, nn.Dropout))


def _assert_only_these_moved(model: Pini2017, before: dict[str, torch.Tensor], learnt: tuple[str, ...]) -> None:
    parameters = dict(model.named_parameters())
    for key, value in model.state_dict().items():
        moved = not torch.equal(value, before[key])
        if key.startswith(learnt):
            assert moved or key not in parameters, f"{key} was to learn"
        else:
            assert not moved, f"{key} was frozen"


def test_folds_share_the_work_of_trunk_outputs(make_set: MakeSet, monkeypatch: pytest.MonkeyPatch) -> None:
    branch = model_of(Pini2017Config(FACE, None, None)).branches["face"]
    assert isinstance(branch, Branch)
    prepared = PreparedSet(make_set(n=80))
    computed: list[int] = []
    both_began, this_thread = Barrier(2), local()

    def seen(prepared: PreparedSet, number: int, modality: str) -> UInt8Array:
        if not hasattr(this_thread, "began"):
            this_thread.began = both_began.wait(timeout=60)  # nobody ends before the other has begun
        computed.append(number)
        return views_of(prepared, number, modality)

    monkeypatch.setattr(trunk_cache, "views_of", seen)
    with ThreadPoolExecutor(2) as pool:
        one, other = pool.map(lambda _: TrunkOutputs(branch, prepared, "face"), range(2))
    assert sorted(computed) == list(range(80))
    assert all(torch.equal(one.of(number), other.of(number)) for number in range(80))
    assert len(list(prepared.cache_folder.glob("*.npy"))) == 1


def test_trunk_outputs_are_those_of_the_trunk_and_computed_once(make_set: MakeSet) -> None:
    model = model_of(Pini2017Config(FACE, None, None))
    branch = model.branches["face"]
    assert isinstance(branch, Branch)
    prepared = PreparedSet(make_set(n=9))
    outputs = TrunkOutputs(branch, prepared, "face")
    (file,) = prepared.cache_folder.glob("*.npy")
    written = file.stat().st_mtime_ns
    for number in (0, 8, 3):
        with torch.inference_mode():
            expected = branch.trunk(branch.normalise(torch.from_numpy(views_of(prepared, number, "face"))))
        assert torch.allclose(outputs.of(number), expected, rtol=2e-3, atol=2e-3)
        assert torch.equal(outputs.of(number, 1), outputs.of(number)[1])
    TrunkOutputs(branch, prepared, "face")
    assert file.stat().st_mtime_ns == written
    model.reset_parameters(seed=4)
    TrunkOutputs(branch, prepared, "face")
    assert len(list(prepared.cache_folder.glob("*.npy"))) == 2
