"""Inputs and output in an object store: a real S3 server on loopback."""

from dataclasses import replace
from pathlib import Path

import boto3
import duckdb
import numpy as np
import pytest

import emolabel
from chaos.store import BUCKET, SECRET, Door, download
from emolabel.config import DecodeLimits, FaceSettings, Settings, WindowPolicy
from emolabel.errors import MediaError, OutputError, SourceError, Status
from emolabel.faces.detect import build_detector
from emolabel.media.isolate import IsolatedMedia
from emolabel.pipeline.decode import DecodeTools, decode_chunk
from emolabel.pipeline.files import LocalFiles
from emolabel.pipeline.lease import ObjectLease
from emolabel.pipeline.locations import locate
from emolabel.pipeline.messages import Chunk, WindowResult
from emolabel.pipeline.plan import plan_source
from emolabel.pipeline.sources import list_inputs
from emolabel.pipeline.stamp import RunStamp
from emolabel.sampling import AudioSampling, FrameSampling, InputSpec
from tests.media.media_files import tone, write_sound
from tests.pipeline.compare import labels_of

FILM_SPEC = InputSpec(face=FrameSampling(count=4), audio=AudioSampling(seconds=1.0))
FILM_SETTINGS = Settings(windows=WindowPolicy(length_s=4.0), faces=FaceSettings(mode="whole"), chunk_s=8.0)


@pytest.fixture(scope="module")
def bucket(clips: Path, store: Door) -> str:
    s3 = boto3.client("s3")
    for name in ("no_sound.mp4", "two_faces.mp4", "broken.mp4"):
        s3.upload_file(str(clips / name), BUCKET, f"some/{name}")
    s3.upload_file(str(clips / "no_sound.mp4"), BUCKET, "some/odd/a b+c %41#?é.mp4")
    return f"s3://{BUCKET}"


def test_folders_globs_and_odd_names_are_listed_and_opened_again(bucket: str) -> None:
    listing = list_inputs([f"{bucket}/some"])
    assert len(listing.sources) == 4
    assert len(list_inputs([f"{bucket}/some/*.mp4"]).sources) == 3
    assert len(list_inputs([f"{bucket}/some/**/*.mp4"]).sources) == 4
    files = LocalFiles()
    sizes = {source.uri: Path(files.path(source)).stat().st_size for source in listing.sources}
    assert sizes == {source.uri: source.size_bytes for source in listing.sources}
    files.close()


def test_many_folders_are_listed_at_once_and_alike(bucket: str, monkeypatch: pytest.MonkeyPatch) -> None:
    one_by_one = list(list_inputs([bucket]).sources)
    monkeypatch.setattr("emolabel.pipeline.sources._FOLDERS_ONE_BY_ONE", 0)
    at_once = list(list_inputs([bucket]).sources)
    assert len(one_by_one) >= 4
    assert one_by_one == at_once


def test_a_folder_that_holds_itself_is_listed_once(bucket: str, clips: Path) -> None:
    boto3.client("s3").upload_file(str(clips / "broken.mp4"), BUCKET, "twice//a.mp4")
    listing = list_inputs([f"{bucket}/twice"])
    assert listing.n_duplicates == 0
    assert len(listing.sources) == 1


def test_what_is_not_there_is_said(bucket: str) -> None:
    (source,) = list_inputs([f"{bucket}/some/gone.mp4"]).sources
    assert source.status is Status.MISSING
    with pytest.raises(SourceError, match="cannot list s3://nosuchbucket"):
        list_inputs(["s3://nosuchbucket/some/*"])


def test_an_object_replaced_meanwhile_is_not_mixed_up(bucket: str, clips: Path) -> None:
    s3 = boto3.client("s3")
    s3.upload_file(str(clips / "broken.mp4"), BUCKET, "other/a.mp4")
    (source,) = list_inputs([f"{bucket}/other/a.mp4"]).sources
    s3.upload_file(str(clips / "no_sound.mp4"), BUCKET, "other/a.mp4")
    with pytest.raises(MediaError, match="replaced while the job was running"):
        LocalFiles().path(source)
    s3.delete_object(Bucket=BUCKET, Key="other/a.mp4")
    with pytest.raises(MediaError, match="no such file any more"):
        LocalFiles().path(source)


def test_one_job_at_a_time_and_a_dead_one_is_replaced(bucket: str) -> None:
    store = locate(f"{bucket}/lease/.lock").filesystem
    first, second, third = (ObjectLease(store, f"{BUCKET}/lease/.lock", "s3://here", beat_s=0.4) for _ in range(3))
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


def test_of_a_long_film_only_the_bytes_that_are_needed_are_fetched(store: Door, tmp_path: Path) -> None:
    film = write_sound(tmp_path / "film.mp4", tone(40.0), codec="aac", with_video_s=40.0, grain=50)
    boto3.client("s3").upload_file(str(film), BUCKET, "films/film.mp4")
    with IsolatedMedia(DecodeLimits()) as media:
        (there,), (here,) = (list_inputs([at]).sources for at in (f"s3://{BUCKET}/films/film.mp4", str(film)))
        planner, worker = LocalFiles(head_bytes=100_000), LocalFiles(head_bytes=100_000)
        remote = list(plan_source(there, planner, media, FILM_SETTINGS))
        local = list(plan_source(here, planner, media, FILM_SETTINGS))
        assert [chunk.windows for chunk in remote] == [chunk.windows for chunk in local]
        assert all(chunk.ranges for chunk in remote)
        assert 0.05 < _held(planner.outline(there)) < 0.1  # the planner never had more
        chunk = Chunk.from_table(remote[-1].to_table())
        detector, stamp = build_detector(FILM_SETTINGS.faces), RunStamp("none", "", "", "r")
        tools = DecodeTools(worker, media, detector, FILM_SPEC, FILM_SETTINGS, stamp)
        last = list(decode_chunk(chunk, tools))
        assert 0.25 < _held(worker.path(there, ())) < 0.4
        _assert_same_windows(last, list(decode_chunk(local[-1], tools)))
        # What the plan asked for is not enough: the rest is fetched, and the labels are the same.
        _assert_same_windows(list(decode_chunk(replace(chunk, ranges=()), _fresh(tools))), last)


def _held(path: str | None) -> float:
    """The share of a copy that is no hole."""
    assert path is not None
    content = Path(path).read_bytes()
    blocks = [content[at : at + 512] for at in range(0, len(content), 512)]
    return sum(any(block) for block in blocks) / len(blocks)


def _fresh(tools: DecodeTools) -> DecodeTools:
    return replace(tools, files=LocalFiles(head_bytes=100_000))


def _assert_same_windows(ours: list[WindowResult], theirs: list[WindowResult]) -> None:
    assert len(ours) == len(theirs) > 0
    for one, other in zip(ours, theirs, strict=True):
        columns = set(one.labels.column_names) - {"video_id", "input"}
        assert one.labels.select(sorted(columns)).equals(other.labels.select(sorted(columns)))
        assert one.labels["status"].to_pylist() == ["ok"]
        for a, b in zip(one.clips, other.clips, strict=True):
            assert a.face is not None
            assert b.face is not None
            np.testing.assert_array_equal(a.face.crops, b.face.crops)
            np.testing.assert_array_equal(a.audio, b.audio)


@pytest.mark.ray
@pytest.mark.slow
def test_from_s3_to_s3_as_from_disk_without_ray(
    bucket: str, quickest: str, clips: Path, tmp_path: Path, ray_here: None
) -> None:
    names = ("no_sound.mp4", "two_faces.mp4", "broken.mp4")
    uris = [f"{bucket}/some/{name}" for name in names]
    emolabel.annotate(uris[2:], f"{bucket}/out", model=quickest, workers=1)
    progress = emolabel.annotate(uris, f"{bucket}/out", model=quickest, workers=1)
    assert (progress.n_done_before, progress.n_finished) == (1, 2)
    copy = tmp_path / "out"
    download("out", copy)
    inputs, labels = emolabel.read_inputs(copy), labels_of(copy)
    assert dict(zip(inputs["input"], inputs["status"], strict=True)) == dict(
        zip(uris, ("no_audio", "ok", "unreadable"), strict=True)
    )
    assert SECRET not in inputs.to_json() + labels.to_json() + (copy / "run.json").read_text()
    assert duckdb.sql(f"select count(*) from '{copy}/labels/*.parquet'").fetchall() == [(len(labels),)]
    with emolabel.load_model(quickest, device="cpu") as model:
        for uri, name in zip(uris[:2], names[:2], strict=True):
            remote, local = labels[labels["input"] == uri], model.annotate(str(clips / name))
            assert remote["window_index"].tolist() == local["window_index"].tolist()
            numeric = local.select_dtypes("number").columns
            np.testing.assert_allclose(remote[numeric], local[numeric], atol=1e-5, rtol=0)
