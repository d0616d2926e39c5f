"""A real S3 server on loopback, with a door in front that refuses requests."""

import os
import random
import shutil
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import boto3  # type: ignore[import-untyped]  # it has no types
from moto.moto_server.werkzeug_app import DomainDispatcherApplication, create_backend_app
from werkzeug.serving import WSGIRequestHandler, make_server

BUCKET = "archive"
SECRET = "do-not-show-this"
_ANSWERS = {"404": "404 Not Found", "500": "500 Internal Server Error", "503": "503 Slow Down"}


@dataclass
class Door:
    """What stands before the S3 server: lets requests through, or not."""

    app: Callable[..., Iterable[bytes]]
    request: str = ""
    """The kind that is hindered: PUT, GET, HEAD or LIST; empty: none."""
    key: str = ""
    """Only paths with this in them."""
    share: float = 1.0
    answer: str = "500"
    """`404`, `500`, `503`, `drop` (no answer), `cut` (half of the body), `late` (done, but answered with 500)."""
    armed_by: str = ""
    """A kind of request that must have come for the key, before anything is hindered."""
    n_hindered: int = 0
    """Requests so far."""

    def __post_init__(self) -> None:
        self._chance, self._lock = random.Random(7), threading.Lock()

    def open(self) -> None:
        """Let everything through."""
        with self._lock:
            self.request, self.key, self.share, self.answer, self.armed_by = "", "", 1.0, "500", ""

    def __call__(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        if not self._hinders(environ):
            return self.app(environ, start_response)
        if self.answer == "drop":
            raise ConnectionAbortedError
        if self.answer == "cut":
            body = b"".join(self.app(environ, start_response))
            return [body[: len(body) // 2]]
        if self.answer == "late":
            b"".join(self.app(environ, lambda *_: None))
        else:
            environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
        start_response(_ANSWERS.get(self.answer, _ANSWERS["500"]), [("Content-Length", "0")])
        return [b""]

    def _hinders(self, environ: dict[str, Any]) -> bool:
        method = environ["REQUEST_METHOD"]
        kind = "LIST" if method == "GET" and "list-type" in environ["QUERY_STRING"] else method
        kind = "PUT" if kind == "POST" else kind
        with self._lock:
            if self.key not in environ["PATH_INFO"]:
                return False
            if self.armed_by:
                self.armed_by = "" if kind == self.armed_by else self.armed_by
                return False
            hinders = kind == self.request and self._chance.random() < self.share
            self.n_hindered += hinders
            return hinders


@contextmanager
def object_store() -> Iterator[Door]:
    """The server with an empty bucket; this process and all that it starts take it for the real one."""
    door = Door(DomainDispatcherApplication(create_backend_app))
    server = make_server("127.0.0.1", 0, door, threaded=True, request_handler=_Silent)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    before = dict(os.environ)
    os.environ |= {
        "AWS_ENDPOINT_URL": f"http://127.0.0.1:{server.server_port}",
        "AWS_ACCESS_KEY_ID": "key",
        "AWS_SECRET_ACCESS_KEY": SECRET,
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_EC2_METADATA_DISABLED": "true",
    }
    try:
        boto3.client("s3").create_bucket(Bucket=BUCKET)
        yield door
    finally:
        os.environ.clear()
        os.environ |= before
        server.shutdown()
        thread.join()


class _Silent(WSGIRequestHandler):
    """No line for every request."""

    def log(self, type: str, message: str, *args: Any) -> None:
        """Nothing."""


def upload(folder: Path, prefix: str) -> None:
    """Put the files of a folder under a prefix of the bucket."""
    s3 = boto3.client("s3")
    for path in sorted(folder.iterdir()):
        s3.upload_file(str(path), BUCKET, f"{prefix}/{path.name}")


def download(prefix: str, folder: Path) -> None:
    """Make `folder` hold what lies under a prefix, and nothing else."""
    s3 = boto3.client("s3")
    shutil.rmtree(folder, ignore_errors=True)
    for entry in s3.list_objects_v2(Bucket=BUCKET, Prefix=f"{prefix}/").get("Contents", []):
        if not entry["Key"].endswith("/"):
            target = folder / entry["Key"].removeprefix(f"{prefix}/")
            target.parent.mkdir(parents=True, exist_ok=True)
            s3.download_file(BUCKET, entry["Key"], str(target))
