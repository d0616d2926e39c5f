import os
import sys
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import av
import numpy as np
import pytest

from chaos.cases import Case, Clip, Lures
from chaos.containers import parts_of, with_part_replaced
from chaos.hostile import Report, run_hostile, seed_clips, table_of
from chaos.lures import Watch, make_secrets
from chaos.mutate import MUTATIONS, make_cases
from chaos.trial import LIMITS, ClockedMedia, Outcome
from emolabel.errors import MediaError, Status

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="inotify, FIFOs and sparse files as Linux has them")

FAST = replace(LIMITS, open_timeout_s=2, reply_timeout_s=2)
BAITED = Lures((Path("/s/a.txt"), Path("/s/a.png"), Path("/s/a.ts"), Path("/s/a.mp4")), "http://127.0.0.1:9")


@pytest.fixture(scope="module")
def clips(tmp_path_factory: pytest.TempPathFactory) -> list[Clip]:
    return seed_clips(tmp_path_factory.mktemp("seeds"))


@pytest.fixture(scope="module")
def report() -> Report:
    """Every special, and some 150 mutated clips."""
    return run_hostile(510, seed=1, limits=FAST)


@pytest.fixture
def watched(tmp_path: Path) -> Iterator[tuple[Watch, Lures]]:
    secrets = make_secrets(tmp_path / "secrets")
    watch = Watch(secrets)
    yield watch, Lures(secrets, watch.url)
    watch.close()


def statuses(report: Report, kind: str) -> set[str]:
    return {status for outcome in report.outcomes if outcome.kind == kind for status in outcome.statuses}


def test_every_promise_is_kept(report: Report) -> None:
    assert (report.hangs, report.crashes, report.connections, report.foreign_reads) == (0, 0, 0, 0)
    assert report.complaints == []
    assert report.sound


def test_every_sort_was_tried(report: Report) -> None:
    tried = [outcome.kind for outcome in report.outcomes]
    assert all(tried.count(kind) >= 10 for kind in MUTATIONS)
    for kind, at_least in (("playlists", 200), ("bombs", 20), ("sparse giants", 5), ("no regular files", 10)):
        assert tried.count(kind) >= at_least
    assert all(outcome.statuses for outcome in report.outcomes)


def test_what_is_no_media_is_never_taken_for_media(report: Report) -> None:
    refused = {Status.UNREADABLE, Status.UNSUPPORTED, Status.TIMEOUT}  # the last on a busy machine: 2 s are short
    assert statuses(report, "playlists") >= refused - {Status.TIMEOUT}
    assert statuses(report, "playlists") <= refused
    assert statuses(report, "archives, programs") <= refused
    assert statuses(report, "no regular files") <= refused


def test_a_hostile_name_does_no_harm_to_a_sound_clip(report: Report) -> None:
    seen = statuses(report, "names")
    assert seen
    assert not any(Status(status).failure for status in seen - {Status.TIMEOUT})


def test_memory_stays_under_its_limit(report: Report) -> None:
    most_mb = max(outcome.child_mb for outcome in report.outcomes)
    assert 20 < most_mb <= FAST.memory_mb


def test_the_table_has_a_row_per_kind_and_a_sum(report: Report) -> None:
    table = table_of(report)
    assert table.row_count == len({outcome.kind for outcome in report.outcomes}) + 1


def test_one_broken_promise_is_enough() -> None:
    kept = Report((Outcome("k", "n", ("ok",)),), connections=0, foreign_reads=0, seconds=1.0)
    assert kept.sound
    hung, crashed, wrong = (Outcome("k", "n", hung=True), Outcome("k", "n", crashed=True), Outcome("k", "n"))
    broken = [
        replace(kept, connections=1),
        replace(kept, foreign_reads=1),
        *(replace(kept, outcomes=(bad,)) for bad in (hung, crashed, replace(wrong, complaints=("no row",)))),
    ]
    assert not any(report.sound for report in broken)


def test_a_late_answer_is_noted(tmp_path: Path) -> None:
    with ClockedMedia(FAST) as media:
        with pytest.raises(MediaError):
            media.probe(str(tmp_path / "nowhere.mp4"))
        assert media.slowest_s > 0
        media.limits = replace(FAST, open_timeout_s=1e-6)
        with pytest.raises(MediaError):
            media.probe(str(tmp_path / "nowhere.mp4"))
        assert 0 < media.latest_s <= media.slowest_s


def test_who_follows_a_playlist_is_seen(watched: tuple[Watch, Lures], tmp_path: Path) -> None:
    """FFmpeg without our confinement walks into the lures, so that zero visitors mean something."""
    watch, lures = watched
    playlist = tmp_path / "a.m3u8"
    careless = {"protocol_whitelist": "file,http,tcp", "allowed_extensions": "ALL", "rw_timeout": "300000"}
    playlists = [case for case in make_cases([mp4_of(seed_clips(tmp_path))], lures, 0, 0) if case.kind == "playlists"]
    assert (watch.opened(), watch.connected()) == (0, 0)
    opened = connected = 0
    for case in [case for case in playlists if case.name.endswith(".m3u8")]:
        case.make(playlist)
        with suppress(av.error.FFmpegError, OSError), av.open(str(playlist), options=careless):
            pass
        opened, connected = opened + watch.opened(), connected + watch.connected()
    assert opened > 0
    assert connected > 0


def test_a_watch_sees_a_file_by_any_name(watched: tuple[Watch, Lures], tmp_path: Path) -> None:
    watch, lures = watched
    os.link(lures.secret(".ts"), tmp_path / "other.name")
    assert watch.opened() == 0
    (tmp_path / "other.name").read_bytes()
    assert watch.opened() > 0
    assert watch.opened() == 0


def test_the_same_seed_makes_the_same_files(clips: list[Clip], tmp_path: Path) -> None:
    def made(seed: int) -> list[bytes]:
        path = tmp_path / "case"
        contents = []
        for case in mutated(clips, seed):
            case.make(path)
            contents.append(path.read_bytes())
        return contents

    first = made(3)
    assert len(first) == 30
    assert made(3) == first
    assert made(4) != first


def mutated(clips: list[Clip], seed: int) -> list[Case]:
    n_specials = len(make_cases(clips, BAITED, 0, seed))
    return make_cases(clips, BAITED, n_specials + 30, seed)[n_specials:]


@pytest.mark.parametrize("kind", MUTATIONS)
def test_a_mutation_breaks_clips_of_all_containers(kind: str, clips: list[Clip]) -> None:
    for clip in {clip.suffix: clip for clip in clips}.values():
        tries = [MUTATIONS[kind](clip.content, clips[0].content, np.random.default_rng(k)) for k in range(5)]
        assert any(broken != clip.content for broken in tries), clip.suffix


def test_parts_are_found_in_parents() -> None:
    inner = b"\0\0\0\x0cmdiaXXXX"[:4] + b"stsz" + b"XXXX"
    trak = (8 + len(inner)).to_bytes(4, "big") + b"trak" + inner
    moov = (8 + len(trak)).to_bytes(4, "big") + b"moov" + trak
    content = b"\0\0\0\x0cftypisom" + moov
    assert [(part.name, part.at, part.body, part.end) for part in parts_of(content)] == [
        ("ftyp", 0, 8, 12),
        ("moov", 12, 20, 40),
        ("trak", 20, 28, 40),
        ("stsz", 28, 36, 40),
    ]
    doubled = with_part_replaced(content, parts_of(content)[3], inner * 2)
    assert [(part.name, part.at, part.end) for part in parts_of(doubled)] == [
        ("ftyp", 0, 12),
        ("moov", 12, 52),
        ("trak", 20, 52),
        ("stsz", 28, 40),
        ("stsz", 40, 52),
    ]


def test_a_real_clip_is_taken_apart_without_a_rest(clips: list[Clip]) -> None:
    content = mp4_of(clips).content
    parts = parts_of(content)
    assert {"moov", "trak", "stbl", "stsz", "tkhd", "dref"} <= {part.name for part in parts}
    top = [part for part in parts if not any(p.body <= part.at and part.end <= p.end for p in parts if p != part)]
    assert [part.end for part in top] == [part.at for part in top[1:]] + [len(content)]


def mp4_of(clips: list[Clip]) -> Clip:
    return next(
        clip for clip in clips if clip.suffix == ".mp4" and any(p.name == "stbl" for p in parts_of(clip.content))
    )
