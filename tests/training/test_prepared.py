"""Prepared folders are read clip by clip, in any order, as they were written."""

import numpy as np
import pyarrow.parquet as pq
import pytest

from emolabel.errors import TrainingError
from emolabel.pipeline.clips import clip_of
from emolabel.sampling import AudioSampling, FrameSampling, InputSpec, SliceSampling
from tests.training.conftest import FACE_PX, RATE_HZ, MakeSet
from training.prepared import PreparedSet

SPEC = InputSpec(FrameSampling(3, FACE_PX), SliceSampling(2), AudioSampling(RATE_HZ, 30.0))


def test_clips_come_back_as_they_were_stored(make_set: MakeSet) -> None:
    folder = make_set(n=9, motion=True)
    prepared = PreparedSet(folder)
    stored = {}
    for file in (folder / "labels").glob("*.parquet"):
        stored |= {row["video_id"]: row for row in pq.read_table(file).to_pylist()}
    assert len(prepared) == len(stored) == 9
    for number in (8, 0, 4, 0):
        sample, clip = prepared.samples[number], prepared.clip(number, SPEC)
        expected = clip_of(stored[sample.sample_id])
        for name in ("face", "motion"):
            assert np.array_equal(getattr(clip, name).crops, getattr(expected, name).crops)
            assert np.array_equal(getattr(clip, name).index, getattr(expected, name).index)
        assert np.array_equal(clip.audio, expected.audio)
        assert sample.label == number % 7
        assert (sample.subject, sample.split) == (f"s{number // 7 % 7}", None)


def test_a_model_hears_the_middle_of_what_is_stored(make_set: MakeSet) -> None:
    prepared = PreparedSet(make_set(n=4, seconds=2.5))
    sound = prepared.sound(1)
    assert sound is not None
    assert len(sound) == 2.5 * RATE_HZ
    heard = prepared.clip(1, InputSpec(audio=AudioSampling(RATE_HZ, 1.0))).audio
    assert np.array_equal(heard, sound[int(0.75 * RATE_HZ) : int(1.75 * RATE_HZ)])


def test_what_is_missing_is_none(make_set: MakeSet) -> None:
    prepared = PreparedSet(make_set(n=4, without=("face", "motion")))
    assert prepared.crops(0, "face") is None
    assert prepared.clip(0, SPEC).audio is not None
    assert [(s.has_face, s.has_motion, s.has_audio) for s in prepared.samples[:1]] == [(False, False, True)]


def test_samples_with_nothing_in_them_are_counted_by_status(make_set: MakeSet) -> None:
    folder = make_set(n=4)
    file = folder / "labels" / "part-1.parquet"
    rows = pq.read_table(file)
    table = rows.to_pylist()
    table[0] |= {"face": None, "motion": None, "audio": None, "status": "unreadable"}
    table[1] |= {"label": None}
    pq.write_table(rows.from_pylist(table, schema=rows.schema), file)
    prepared = PreparedSet(folder)
    assert len(prepared) == 2
    assert prepared.unusable == {"unreadable": 1, "no label": 1}


def test_new_rows_are_seen(make_set: MakeSet) -> None:
    folder = make_set(n=4)
    assert len(PreparedSet(folder)) == 4
    file = folder / "labels" / "part-1.parquet"
    pq.write_table(pq.read_table(file).slice(0, 1), file)
    assert len(PreparedSet(folder)) == 3
    assert len(list((folder / "cache").iterdir())) == 1


def test_errors_name_what_is_wrong(make_set: MakeSet, tmp_path) -> None:
    with pytest.raises(TrainingError, match="no prepared data set"):
        PreparedSet(tmp_path)
    folder = make_set(n=4)
    for file in (folder / "labels").glob("*.parquet"):
        table = pq.read_table(file)
        pq.write_table(table.drop_columns(["face"]), file)
    with pytest.raises(TrainingError, match="no column 'face'"):
        PreparedSet(folder)
    other = make_set("other", n=4)
    file = other / "labels" / "part-0.parquet"
    table = pq.read_table(file)
    rows = table.to_pylist()
    rows[0]["label"] = "contempt"
    pq.write_table(table.from_pylist(rows, schema=table.schema), file)
    with pytest.raises(TrainingError, match="unknown label 'contempt'"):
        PreparedSet(other)
