"""Inputs and output in an object store: a real S3 server on loopback."""

import os
from collections.abc import Iterator
from pathlib import Path

import boto3
import duckdb
import numpy as np
import pytest
from moto.server import ThreadedMotoServer

import emolabel
from emolabel.errors import MediaError, OutputError, SourceError, Status
from emolabel.pipeline.files import LocalFiles
from emolabel.pipeline.lease import ObjectLease
from emolabel.pipeline.locations import locate
from emolabel.pipeline.sources import list_inputs
from tests.pipeline.compare import labels_of

SECRET = "do-not-show-this"


@pytest.fixture(scope="module")
def bucket(clips: Path) -> Iterator[str]:
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0)
    server.start()
    host, port = server.get_host_and_port()
    before = dict(os.environ)
    os.environ |= {
        "AWS_ENDPOINT_URL": f"http://{host}:{port}",
        "AWS_ACCESS_KEY_ID": "key",
        "AWS_SECRET_ACCESS_KEY": SECRET,
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_EC2_METADATA_DISABLED": "true",
    }
    s3 = boto3.client("s3")
    s3.create_bucket(Bucket="archive")
    for name in ("no_sound.mp4", "two_faces.mp4", "broken.mp4"):
        s3.upload_file(str(clips / name), "archive", f"videos/{name}")
    s3.upload_file(str(clips / "no_sound.mp4"), "archive", "videos/odd/a b+c %41#?é.mp4")
    yield "s3://archive"
    server.stop()
    os.environ.clear()
    os.environ |= before


def test_folders_globs_and_odd_names_are_listed_and_opened_again(bucket: str) -> None:
    listing = list_inputs([f"{bucket}/videos"])
    assert len(listing.sources) == 4
    assert len(list_inputs([f"{bucket}/videos/*.mp4"]).sources) == 3
    assert len(list_inputs([f"{bucket}/videos/**/*.mp4"]).sources) == 4
    files = LocalFiles()
    sizes = {source.uri: Path(files.path(source)).stat().st_size for source in listing.sources}
    assert sizes == {source.uri: source.size_bytes for source in listing.sources}
    files.close()


def test_what_is_not_there_is_said(bucket: str) -> None:
    (source,) = list_inputs([f"{bucket}/videos/gone.mp4"]).sources
    assert source.status is Status.MISSING
    with pytest.raises(SourceError, match="cannot list s3://nosuchbucket"):
        list_inputs(["s3://nosuchbucket/videos/*"])


def test_an_object_replaced_meanwhile_is_not_mixed_up(bucket: str, clips: Path) -> None:
    s3 = boto3.client("s3")
    s3.upload_file(str(clips / "broken.mp4"), "archive", "other/a.mp4")
    (source,) = list_inputs([f"{bucket}/other/a.mp4"]).sources
    s3.upload_file(str(clips / "no_sound.mp4"), "archive", "other/a.mp4")
    with pytest.raises(MediaError, match="replaced while the job was running"):
        LocalFiles().path(source)
    s3.delete_object(Bucket="archive", Key="other/a.mp4")
    with pytest.raises(MediaError, match="no such file any more"):
        LocalFiles().path(source)


def test_one_job_at_a_time_and_a_dead_one_is_replaced(bucket: str) -> None:
    store = locate(f"{bucket}/lease/.lock").filesystem
    first, second, third = (ObjectLease(store, "archive/lease/.lock", "s3://here", beat_s=0.4) for _ in range(3))
    with first.held():
        with pytest.raises(OutputError, match="another job is writing to s3://here"), second.held():
            pass
        first.check()
    with second.held():  # left in order: no waiting for signs of life
        second._stop.set()  # it dies
        with third.held():
            second._stop.clear()
            second._keep()  # and wakes up again
            with pytest.raises(OutputError, match="another job has taken over s3://here"):
                second.check()
            third.check()


@pytest.mark.ray
@pytest.mark.slow
def test_from_s3_to_s3_as_from_disk_to_disk(
    bucket: str, quickest: str, clips: Path, tmp_path: Path, ray_here: None
) -> None:
    uris = [f"{bucket}/videos/{name}" for name in ("no_sound.mp4", "two_faces.mp4", "broken.mp4")]
    emolabel.annotate(uris[:1], f"{bucket}/out", model=quickest)
    progress = emolabel.annotate(uris, f"{bucket}/out", model=quickest)
    assert (progress.n_done_before, progress.n_finished) == (1, 2)
    copy = tmp_path / "out"
    s3 = boto3.client("s3")
    for entry in s3.list_objects_v2(Bucket="archive", Prefix="out/")["Contents"]:
        if not entry["Key"].endswith("/"):
            target = tmp_path / entry["Key"]
            target.parent.mkdir(parents=True, exist_ok=True)
            s3.download_file("archive", entry["Key"], str(target))
    rows = emolabel.read_inputs(str(copy)).to_json() + emolabel.read_labels(str(copy)).to_json()
    assert SECRET not in rows + (copy / "run.json").read_text()
    assert duckdb.sql(f"select count(*) from '{copy}/labels/*.parquet'").fetchall() == [(len(labels_of(copy)),)]
    local = tmp_path / "local"
    emolabel.annotate([clips / name for name in ("no_sound.mp4", "two_faces.mp4", "broken.mp4")], local, model=quickest)
    remote_rows, local_rows = (
        labels_of(out)
        .assign(name=lambda rows: rows["input"].map(os.path.basename))
        .sort_values(["name", "window_index"])
        for out in (copy, local)
    )
    assert remote_rows["name"].tolist() == local_rows["name"].tolist()
    numeric = remote_rows.select_dtypes("number").columns
    np.testing.assert_allclose(remote_rows[numeric], local_rows[numeric], atol=1e-5, rtol=0)
