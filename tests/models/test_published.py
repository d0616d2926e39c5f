"""Imports of published weights: files with the same keys and shapes as the real ones, and files that mean harm."""

import hashlib
import pickle
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
import safetensors.torch
import timm
import torch
from facenet_pytorch import InceptionResnetV1
from torch import Tensor, nn

from emolabel.errors import BundleError
from emolabel.models.blocks.c3d import C3dTrunk
from emolabel.models.blocks.init import reset_parameters
from emolabel.models.blocks.normalise import FIXED, RAW, WHITEN, PixelNorm
from emolabel.models.bundle import load_bundle
from emolabel.models.published import Published, import_published
from emolabel.models.safe_load import load_array, load_array_tree, load_state_dict

State = dict[str, Tensor]
SOUND_LAYERS = {1: (1, 16, 64), 2: (16, 32, 32), 3: (32, 64, 16), 4: (64, 128, 8), 5: (128, 256, 4)}


def hollow(*shape: int) -> Tensor:
    """A tensor of any shape that takes no room in a file."""
    return torch.zeros(1).expand(*shape)


class Bomb:
    """Leaves a mark where it is unpickled."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.mark,)


@pytest.fixture(scope="module")
def facenet() -> InceptionResnetV1:
    network = InceptionResnetV1(pretrained=None)
    reset_parameters(network, 5)
    return network.eval()


@pytest.fixture(scope="module")
def facenet_file(facenet: InceptionResnetV1, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("facenet") / "20180402-114759-vggface2.pt"
    torch.save({**facenet.state_dict(), "logits.weight": hollow(8631, 512), "logits.bias": hollow(8631)}, path)
    return path


@pytest.fixture(scope="module")
def c3d_state() -> State:
    trunk = C3dTrunk()
    reset_parameters(trunk, 6)
    dropped = {"fc6": (4096, 8192), "fc7": (4096, 4096), "fc8": (487, 4096)}
    dense = {
        f"{name}.{kind}": hollow(*shape[: 2 if kind == "weight" else 1])
        for name, shape in dropped.items()
        for kind in ("weight", "bias")
    }
    return {**trunk.state_dict(), **dense}


@pytest.fixture(scope="module")
def sound_arrays() -> dict[str, dict[str, np.ndarray[Any, np.dtype[np.float32]]]]:
    """The layout of `sound8.npy`: kernels are (k, 1, in, out)."""
    random = np.random.default_rng(8)
    tree = {}
    for i, (n_in, n_out, kernel) in SOUND_LAYERS.items():
        tree[f"conv{i}"] = {
            "weights": random.normal(0, 0.05, (kernel, 1, n_in, n_out)).astype(np.float32),
            "biases": random.normal(0, 0.1, n_out).astype(np.float32),
            "gamma": random.uniform(0.5, 1.5, n_out).astype(np.float32),
            "beta": random.normal(0, 0.1, n_out).astype(np.float32),
            "mean": random.normal(0, 0.1, n_out).astype(np.float32),
            "var": random.uniform(0.5, 1.5, n_out).astype(np.float32),
        }
    tree["conv8"] = {"weights": np.zeros((8, 1, 4, 4), np.float32), "biases": np.zeros(4, np.float32)}
    return tree


class SoundNet2d(nn.Module):
    """SoundNet as its PyTorch ports write it: two-dimensional, padded by half a kernel."""

    def __init__(self) -> None:
        super().__init__()
        for i, (n_in, n_out, kernel) in SOUND_LAYERS.items():
            self.add_module(f"conv{i}", nn.Conv2d(n_in, n_out, (kernel, 1), (2, 1), (kernel // 2, 0)))
            self.add_module(f"batchnorm{i}", nn.BatchNorm2d(n_out))

    def forward(self, sound: Tensor) -> Tensor:
        """(N, n) to (N, 128, 23): the first four layers."""
        x = sound[:, None, :, None]
        for i in (1, 2, 3, 4):
            x = torch.relu(self.get_submodule(f"batchnorm{i}")(self.get_submodule(f"conv{i}")(x)))
            if i <= 2:
                x = nn.functional.max_pool2d(x, (8, 1))
        return x[..., 0]


@pytest.fixture(scope="module")
def soundnet(sound_arrays: dict[str, dict[str, Any]]) -> SoundNet2d:
    network = SoundNet2d()
    names = {"gamma": "weight", "beta": "bias", "mean": "running_mean", "var": "running_var"}
    state = {}
    for i in SOUND_LAYERS:
        layer = {key: torch.from_numpy(value) for key, value in sound_arrays[f"conv{i}"].items()}
        state[f"conv{i}.weight"] = layer["weights"].permute(3, 2, 0, 1)
        state[f"conv{i}.bias"] = layer["biases"]
        state.update({f"batchnorm{i}.{ours}": layer[theirs] for theirs, ours in names.items()})
    network.load_state_dict(state, strict=False)
    return network.eval()


class TestFace:
    def test_vggface2(self, facenet: InceptionResnetV1, facenet_file: Path, tmp_path: Path) -> None:
        import_published(tmp_path / "b", face=Published(facenet_file))
        bundle = load_bundle(tmp_path / "b")
        seen: list[Tensor] = []
        hook = facenet.repeat_3.register_forward_hook(lambda _m, _i, out: seen.append(out))
        crops = torch.randint(0, 256, (1, 160, 160, 3), dtype=torch.uint8)
        with torch.inference_mode():
            facenet((crops.movedim(3, 1).float() - 127.5) / 128)
            ours = bundle.model.get_submodule("branches.face.trunk")(
                bundle.model.get_submodule("branches.face.normalise")(crops)
            )
        hook.remove()
        torch.testing.assert_close(ours, seen[0])
        assert bundle.model.config.face.normalisation == FIXED
        assert bundle.model.config.motion is bundle.model.config.audio is None
        assert not bundle.trained
        assert bundle.name == "untrained-pini2017"
        assert {part for part, trained in bundle.config.trained.items() if trained} == {"face.trunk"}
        file = bundle.config.provenance["files"]["face"]
        assert file["sha256"] == hashlib.sha256(facenet_file.read_bytes()).hexdigest()
        assert file["sha256_checked"] is False
        assert file["layout"] == "facenet-pytorch vggface2"
        assert file["dropped"] == ["block8", "last_linear", "last_bn", "logits"]

    def test_a_name_of_its_own_stays_loud(self, facenet_file: Path, tmp_path: Path) -> None:
        published = Published(facenet_file, normalisation=WHITEN)
        bundle = import_published(tmp_path / "b", face=published, name="mine")
        assert bundle.name == "untrained-mine"
        assert bundle.model.config.face.normalisation == WHITEN

    def test_timm(self, tmp_path: Path) -> None:
        whole = timm.create_model("test_resnet", pretrained=False).eval()
        safetensors.torch.save_file(whole.state_dict(), tmp_path / "model.safetensors")
        bundle = import_published(
            tmp_path / "b", face=Published(tmp_path / "model.safetensors"), face_backbone="timm:test_resnet", face_px=96
        )
        crops = torch.randint(0, 256, (1, 96, 96, 3), dtype=torch.uint8)
        pixels = (crops.movedim(3, 1) / 255 - 0.5) / 0.5
        with torch.inference_mode():
            expected = nn.functional.adaptive_avg_pool2d(whole.forward_features(pixels), 3)
            branch = bundle.model.get_submodule("branches.face")
            ours = branch.get_submodule("trunk")(branch.get_submodule("normalise")(crops))
        torch.testing.assert_close(ours, expected, atol=1e-5, rtol=1e-4)

    def test_files_of_something_else(self, tmp_path: Path, c3d_state: State) -> None:
        torch.save(c3d_state, tmp_path / "c3d.pickle")
        with pytest.raises(
            BundleError, match=r"do not fit the model: \d+ missing: conv2d_1a.*unexpected: conv1\.weight"
        ):
            import_published(tmp_path / "b", face=Published(tmp_path / "c3d.pickle"))
        assert not (tmp_path / "b").exists()


class TestMotion:
    def test_the_port_of_the_papers_lab(self, c3d_state: State, tmp_path: Path) -> None:
        torch.save(c3d_state, tmp_path / "c3d.pickle", _use_new_zipfile_serialization=False)  # as old as the real one
        bundle = import_published(tmp_path / "b", motion=Published(tmp_path / "c3d.pickle"))
        trunk = bundle.model.get_submodule("branches.motion.trunk").state_dict()
        assert all(torch.equal(value, c3d_state[key]) for key, value in trunk.items())
        assert bundle.model.config.motion.normalisation == RAW
        assert bundle.config.provenance["files"]["motion"]["dropped"] == ["fc6", "fc7", "fc8"]

    def test_mmaction2_has_other_names_and_a_mean(self, c3d_state: State, tmp_path: Path) -> None:
        names = {"conv1": "conv1a", "conv2": "conv2a"}
        renamed = {}
        for key, value in c3d_state.items():
            layer, kind = key.split(".")
            renamed[f"{names.get(layer, layer)}.conv.{kind}" if layer.startswith("conv") else key] = value
        torch.save({"state_dict": renamed, "meta": {}}, tmp_path / "c3d.pth")
        bundle = import_published(tmp_path / "b", motion=Published(tmp_path / "c3d.pth"))
        trunk = bundle.model.get_submodule("branches.motion.trunk").state_dict()
        assert all(torch.equal(value, c3d_state[key]) for key, value in trunk.items())
        assert bundle.model.config.motion.normalisation == PixelNorm(mean=(104, 117, 128))

    def test_a_mean_cube_is_cropped_as_caffe_does_and_travels(self, c3d_state: State, tmp_path: Path) -> None:
        torch.save(c3d_state, tmp_path / "c3d.pickle")
        cube = np.random.default_rng(0).uniform(0, 255, (1, 3, 16, 128, 171)).astype(np.float32)
        np.save(tmp_path / "mean.npy", cube)
        motion = Published(tmp_path / "c3d.pickle")
        import_published(tmp_path / "b", motion=motion, motion_mean_cube=tmp_path / "mean.npy")
        bundle = load_bundle(tmp_path / "b")
        norm = bundle.model.config.motion.normalisation
        assert (norm.channels, norm.mean_cube) == ("BGR", True)
        travelled = bundle.model.get_buffer("branches.motion.normalise.mean_cube")
        np.testing.assert_array_equal(travelled, cube[0, :, :, 8:120, 29:141])

    @pytest.mark.parametrize(
        ("shape", "normalisation", "message"),
        [((3, 16, 100, 100), None, "expected .* got"), ((3, 16, 112, 112), RAW, "belong together")],
    )
    def test_cubes_that_do_not_fit(
        self, c3d_state: State, tmp_path: Path, shape: tuple[int, ...], normalisation: PixelNorm | None, message: str
    ) -> None:
        torch.save(c3d_state, tmp_path / "c3d.pickle")
        np.save(tmp_path / "mean.npy", np.zeros(shape, np.float32))
        motion = Published(tmp_path / "c3d.pickle", normalisation=normalisation)
        with pytest.raises(BundleError, match=message):
            import_published(tmp_path / "b", motion=motion, motion_mean_cube=tmp_path / "mean.npy")


class Python2Pickler(pickle._Pickler):  # type: ignore[misc] # the pure Python one: its dispatch table can be changed
    """Writes bytes as Python 2 wrote its strings, and array names as numpy 1 did."""

    def save_bytes(self, value: bytes) -> None:
        self.write(pickle.BINSTRING + len(value).to_bytes(4, "little") + value)
        self.memoize(value)

    dispatch: ClassVar = {**pickle._Pickler.dispatch, bytes: save_bytes}


class TestAudio:
    @pytest.fixture
    def save(self, tmp_path: Path) -> Callable[[object], Path]:
        def write(tree: object) -> Path:
            path = tmp_path / "sound8.npy"
            np.save(path, np.array(tree, dtype=object), allow_pickle=True)
            return path

        return write

    def test_the_tensorflow_port(
        self, sound_arrays: dict[str, Any], soundnet: SoundNet2d, save: Callable[[object], Path], tmp_path: Path
    ) -> None:
        bundle = import_published(tmp_path / "b", audio=Published(save(sound_arrays)), audio_padding="original")
        self._same_features(bundle.model, soundnet)
        file = bundle.config.provenance["files"]["audio"]
        assert file["layout"] == "SoundNet-tensorflow soundnet-8"
        assert file["dropped"] == ["conv5", "conv8"]

    def test_a_file_of_python_2(self, sound_arrays: dict[str, Any], soundnet: SoundNet2d, tmp_path: Path) -> None:
        path = tmp_path / "sound8.npy"
        with path.open("wb") as file:
            np.lib.format.write_array_header_1_0(file, {"descr": "|O", "fortran_order": False, "shape": ()})
            Python2Pickler(file, protocol=2).dump(np.array(sound_arrays, dtype=object))
        path.write_bytes(path.read_bytes().replace(b"numpy._core.multiarray", b"numpy.core.multiarray"))
        bundle = import_published(tmp_path / "b", audio=Published(path), audio_padding="original")
        self._same_features(bundle.model, soundnet)

    @pytest.mark.parametrize("port", ["keunhong", "smallflyingpig"])
    def test_the_pytorch_ports(self, soundnet: SoundNet2d, tmp_path: Path, port: str) -> None:
        state = soundnet.state_dict()
        if port == "smallflyingpig":
            state = {
                key.replace("batchnorm", "conv").replace(".", ".1." if key.startswith("batchnorm") else ".0."): value
                for key, value in state.items()
            }
            state["conv8.0.weight"] = hollow(1000, 1024, 8, 1)
        else:
            state["conv8_objs.weight"] = hollow(1000, 1024, 8, 1)
        torch.save(state, tmp_path / "sound8.pth")
        bundle = import_published(tmp_path / "b", audio=Published(tmp_path / "sound8.pth"), audio_padding="original")
        self._same_features(bundle.model, soundnet)

    def _same_features(self, model: nn.Module, soundnet: SoundNet2d) -> None:
        sound = torch.rand(2, 22_050, generator=torch.Generator().manual_seed(0)) * 2 - 1
        branch = model.get_submodule("branches.audio")
        with torch.inference_mode():
            ours = branch.get_submodule("trunk")(branch.get_submodule("normalise")(sound))
            theirs = soundnet(sound * 256)
        assert theirs.shape == (2, 128, 23)
        torch.testing.assert_close(ours, theirs, atol=1e-3, rtol=1e-4)

    @pytest.mark.parametrize(
        ("change", "message"),
        [
            (lambda t: t.pop("conv3"), r"missing: conv3\.weight"),
            (lambda t: t["conv2"].pop("var"), r"1 missing: bn2\.running_var"),
            (lambda t: t["conv2"].update(scale=t["conv2"]["var"]), r"1 unexpected: conv2\.scale"),
            (lambda t: t.update(conv9={"weights": t["conv5"]["biases"]}), r"1 unexpected: conv9\.weight"),
            (lambda t: t["conv1"].update(biases=np.zeros(15, np.float32)), r"conv1\.bias is 15, expected 16"),
            (lambda t: t["conv1"].update(biases=np.zeros(16, np.int64)), "expected an array of floats"),
            (lambda t: t["conv1"].update(biases=[0.0] * 16), "expected an array, got list"),
            (lambda t: t.update(conv1=1), "expected a dict of dicts"),
        ],
    )
    def test_trees_that_do_not_fit(
        self,
        sound_arrays: dict[str, Any],
        save: Callable[[object], Path],
        tmp_path: Path,
        change: Callable[[dict[str, Any]], object],
        message: str,
    ) -> None:
        tree = {name: dict(layer) for name, layer in sound_arrays.items()}
        change(tree)
        with pytest.raises(BundleError, match=message):
            import_published(tmp_path / "b", audio=Published(save(tree)))


class TestSha256:
    def test_what_the_user_expects_is_checked(self, facenet_file: Path, tmp_path: Path) -> None:
        digest = hashlib.sha256(facenet_file.read_bytes()).hexdigest()
        bundle = import_published(tmp_path / "b", face=Published(facenet_file, sha256=digest.upper()))
        assert bundle.config.provenance["files"]["face"]["sha256_checked"] is True
        with pytest.raises(BundleError, match=f"SHA-256 is {digest}, expected 0000"):
            import_published(tmp_path / "c", face=Published(facenet_file, sha256="0" * 64))

    def test_what_the_name_says_is_checked(self, tmp_path: Path) -> None:
        torch.save({"x": torch.zeros(1)}, tmp_path / "soundnet8-8f784005.pth")
        with pytest.raises(BundleError, match=r"the file's name says 8f784005\.\.\."):
            import_published(tmp_path / "b", audio=Published(tmp_path / "soundnet8-8f784005.pth"))


class TestHarm:
    @pytest.fixture
    def mark(self, tmp_path: Path) -> Path:
        return tmp_path / "mark"

    @pytest.mark.filterwarnings("ignore:Detected pickle protocol:UserWarning")
    def test_a_pickle_bomb_for_torch(self, tmp_path: Path, mark: Path) -> None:
        for name, zipped in (("new.pt", True), ("old.pt", False)):
            torch.save({"conv1.weight": Bomb(mark)}, tmp_path / name, _use_new_zipfile_serialization=zipped)
            with pytest.raises(BundleError, match="more than tensors, so it was not opened"):
                load_state_dict(tmp_path / name)
        (tmp_path / "plain.pickle").write_bytes(pickle.dumps(Bomb(mark)))
        with pytest.raises(BundleError, match="more than tensors, so it was not opened"):
            load_state_dict(tmp_path / "plain.pickle")
        assert not mark.exists()
        torch.load(tmp_path / "new.pt", weights_only=False)
        assert mark.exists(), "the bomb is a dud"

    @pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
    def test_a_pickle_bomb_for_numpy(self, tmp_path: Path, mark: Path, protocol: int) -> None:
        path = tmp_path / "sound8.npy"
        with path.open("wb") as file:
            np.lib.format.write_array_header_1_0(file, {"descr": "|O", "fortran_order": False, "shape": ()})
            pickle.dump(np.array({"conv1": {"weights": Bomb(mark)}}, dtype=object), file, protocol=protocol)
        with pytest.raises(BundleError, match=r"the file asks for \S+; only arrays are taken"):
            load_array_tree(path)
        assert not mark.exists()
        np.load(path, allow_pickle=True)
        assert mark.exists(), "the bomb is a dud"

    @pytest.mark.parametrize(
        ("payload", "message"),
        [
            (b"cos\nsystem\n(S'true'\ntR.", "asks for os.system"),
            (b"cbuiltins\neval\n(S'1'\ntR.", "asks for builtins.eval"),
            (b"cnumpy.core.multiarray\nscalar\n.", r"asks for numpy\.core\.multiarray\.scalar"),
            (b"cnumpy\nndarray\n(dS'_make'\nNsb.", "refused"),  # set state on what stands for a class
            (b"cnumpy\nndarray\n}(NS'_make'\nNd\x86b.", "refused"),
            (b"\x80\x02}r\xff\xff\xff\x7f.", "counts to 2147483647"),
            (b"\x80\x02\x82\x01.", "uses EXT1"),
            (b"Pid\n.", "refused"),
            (b"\x80\x02}.", "expected an array, got dict"),
            (b"\x80\x02", "refused, or damaged"),
            (b"", "refused, or damaged"),
        ],
    )
    def test_hostile_pickles(self, tmp_path: Path, payload: bytes, message: str) -> None:
        path = tmp_path / "sound8.npy"
        with path.open("wb") as file:
            np.lib.format.write_array_header_1_0(file, {"descr": "|O", "fortran_order": False, "shape": ()})
            file.write(payload)
        with pytest.raises(BundleError, match=message):
            load_array_tree(path)

    def test_an_array_that_claims_more_than_it_holds(self, tmp_path: Path) -> None:
        path = tmp_path / "sound8.npy"
        tree = {"conv1": {"biases": np.arange(16, dtype=np.float32)}}
        np.save(path, np.array(tree, dtype=object), allow_pickle=True)
        content = path.read_bytes()
        assert content.count(b"K\x10\x85") == 1  # the shape: (16,)
        path.write_bytes(content.replace(b"K\x10\x85", b"K\x7f\x85"))
        with pytest.raises(BundleError, match=r"expected \(127,\) values, got 64 bytes"):
            load_array_tree(path)

    def test_plain_arrays_where_a_tree_belongs_and_the_reverse(self, tmp_path: Path) -> None:
        np.save(tmp_path / "plain.npy", np.zeros(3))
        with pytest.raises(BundleError, match="expected a single object"):
            load_array_tree(tmp_path / "plain.npy")
        np.save(tmp_path / "tree.npy", np.array({}, dtype=object), allow_pickle=True)
        with pytest.raises(BundleError, match="refused, or damaged"):
            load_array(tmp_path / "tree.npy")

    def test_a_zip_bomb(self, tmp_path: Path) -> None:
        with zipfile.ZipFile(tmp_path / "bomb.pt", "w", zipfile.ZIP_DEFLATED) as archive:
            archive.writestr("archive/data/0", b"\0" * 10_000_000)
        with pytest.raises(BundleError, match="a compressed archive; torch writes none"):
            load_state_dict(tmp_path / "bomb.pt")

    @pytest.mark.parametrize("content", [[1, 2], {"epoch": 3}, {"state_dict": {}}, torch.zeros(2), {1: torch.zeros(1)}])
    def test_files_without_named_tensors(self, tmp_path: Path, content: object) -> None:
        torch.save(content, tmp_path / "x.pt")
        with pytest.raises(BundleError, match="expected named tensors"):
            load_state_dict(tmp_path / "x.pt")

    def test_a_whole_pickled_model_is_refused(self, tmp_path: Path) -> None:
        torch.save(nn.Linear(2, 2), tmp_path / "model.pt")
        with pytest.raises(BundleError, match="more than tensors, so it was not opened"):
            load_state_dict(tmp_path / "model.pt")


class TestArguments:
    def test_nothing_to_import(self, tmp_path: Path) -> None:
        with pytest.raises(BundleError, match="nothing to import"):
            import_published(tmp_path / "b")

    def test_a_file_that_is_not_there(self, tmp_path: Path) -> None:
        with pytest.raises(BundleError, match="no such file"):
            import_published(tmp_path / "b", audio=Published(tmp_path / "sound8.npy"))

    def test_an_unknown_backbone(self, facenet_file: Path, tmp_path: Path) -> None:
        with pytest.raises(BundleError, match="unknown face backbone"):
            import_published(tmp_path / "b", face=Published(facenet_file), face_backbone="timm:no_such_model")
