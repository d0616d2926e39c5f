"""Bundles from the hub, against a real HTTP server that answers like it, and against none."""

import hashlib
import json
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from emolabel.errors import BundleError
from emolabel.models.bundle import load_bundle, save_bundle
from emolabel.models.hub import fetch
from emolabel.models.pini2017 import Pini2017

COMMIT = "0123456789abcdef0123456789abcdef01234567"


class Hub(ThreadingHTTPServer):
    """The endpoints that a snapshot download asks: the repository, and its files."""

    def __init__(self, files: dict[str, bytes]) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.files = files
        self.asked: list[str] = []

    @property
    def endpoint(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


class Handler(BaseHTTPRequestHandler):
    server: Hub

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_GET(self) -> None:
        path = self.path.partition("?")[0]
        self.server.asked.append(path)
        siblings = [{"rfilename": name, "size": len(content)} for name, content in self.server.files.items()]
        if path in ("/api/models/lab/voices/revision/main", f"/api/models/lab/voices/revision/{COMMIT}"):
            self._reply(json.dumps({"id": "lab/voices", "sha": COMMIT, "siblings": siblings}).encode())
        elif path.startswith("/api/models/lab/voices/tree/"):
            tree = [
                {"type": "file", "path": name, "size": len(content), "oid": hashlib.sha1(content).hexdigest()}
                for name, content in self.server.files.items()
            ]
            self._reply(json.dumps(tree).encode())
        elif path.startswith(f"/lab/voices/resolve/{COMMIT}/"):
            self._reply(self.server.files[path.rpartition("/")[2]])
        else:
            self._reply(b"{}", status=404, code="RepoNotFound")

    def _reply(self, content: bytes, status: int = 200, code: str = "") -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(content)))
        self.send_header("ETag", f'"{hashlib.sha1(content).hexdigest()}"')
        self.send_header("X-Repo-Commit", COMMIT)
        if code:
            self.send_header("X-Error-Code", code)
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(content)

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture
def hub(audio_model: Pini2017, tmp_path: Path) -> Iterator[Hub]:
    save_bundle(audio_model, tmp_path / "b", name="voices", trained=dict.fromkeys(audio_model.parts(), True))
    files = {path.name: path.read_bytes() for path in (tmp_path / "b").iterdir()}
    server = Hub({**files, "pytorch_model.bin": b"a pickle", "README.md": b"words"})
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server
    server.shutdown()
    server.server_close()


SCRIPT = """
import sys
from emolabel.errors import BundleError
from emolabel.models.bundle import load_bundle
for name in sys.argv[1:]:
    try:
        bundle = load_bundle(name)
        print("loaded", bundle.name, bundle.sha256)
    except BundleError as error:
        print("refused", error)
"""


def ask(endpoint: str, home: Path, *names: str) -> list[str]:
    """Loads bundles in a fresh process: the hub's client reads its environment only once."""
    environment = {
        "PATH": "/usr/bin:/bin",
        "HOME": str(home),
        "HF_HOME": str(home),
        "HF_ENDPOINT": endpoint,
        "HF_HUB_DISABLE_XET": "1",
        "HF_HUB_DISABLE_TELEMETRY": "1",
        "HF_HUB_DISABLE_PROGRESS_BARS": "1",
        "NO_PROXY": "127.0.0.1",
    }
    result = subprocess.run(
        [sys.executable, "-c", SCRIPT, *names],
        env=environment,
        cwd=Path(__file__).resolve().parents[2],
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    return result.stdout.splitlines()


def test_a_bundle_by_its_hub_id(hub: Hub, tmp_path: Path) -> None:
    sha256 = load_bundle(tmp_path / "b").sha256
    home = tmp_path / "home"
    by_name, by_revision, unknown = ask(hub.endpoint, home, "lab/voices", f"lab/voices@{COMMIT}", "lab/nothing")
    assert by_name == by_revision == f"loaded voices {sha256}"
    assert unknown.startswith("refused lab/nothing: no such folder here and no such repository on the hub")
    fetched = {path.rpartition("/")[2] for path in hub.asked if "/resolve/" in path}
    assert fetched == {"config.json", "model.safetensors"}


def test_a_repository_that_is_no_bundle_costs_no_weights(hub: Hub, tmp_path: Path) -> None:
    hub.files["config.json"] = b'{"model_type": "bert"}'
    (line,) = ask(hub.endpoint, tmp_path / "home", "lab/voices")
    assert line.startswith("refused")
    assert "not a bundle of emolabel" in line
    assert not any("model.safetensors" in path for path in hub.asked)


def test_a_hub_that_cannot_be_reached(tmp_path: Path) -> None:
    (line,) = ask("http://127.0.0.1:9", tmp_path / "home", "lab/voices")
    assert line.startswith("refused lab/voices: no such folder here, and the Hugging Face hub gave no such bundle:")


@pytest.mark.parametrize("hub_id", ["voices", "a/b/c", "lab/voices@", "../voices", "lab/voices@x y"])
def test_malformed_ids(hub_id: str) -> None:
    with pytest.raises(BundleError, match="is no hub id"):
        fetch(hub_id, "config.json")
