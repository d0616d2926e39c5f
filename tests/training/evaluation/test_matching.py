"""Which label belongs to which clip; nothing is dropped in silence."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from emolabel.errors import EmolabelError, TrainingError
from emolabel.labels import EMOTIONS
from tests.training.evaluation.label_files import Row, sure_of, write_output, write_rows, write_truth
from training.evaluation.labels import read_labels
from training.evaluation.matching import Clips, match_clips
from training.evaluation.truth import place, read_truth, truth_of_labels


def match(labels: Path, truth: Path | None, split: str | None = None) -> Clips:
    read = read_labels([str(labels)])
    return match_clips(read, truth_of_labels(read) if truth is None else read_truth(str(truth)), split)


def labels_given(clips: Clips, modality: str = "fused") -> list[str | None]:
    given = clips.scores[modality]
    return [None if np.isnan(row).any() else EMOTIONS[row.argmax()] for row in given]


def lost(clips: Clips) -> list[tuple[str, str, str | None]]:
    return [(row.kind, Path(row.input).name, row.status) for row in clips.unmatched.itertuples()]


def test_a_clip_is_the_mean_over_its_windows_and_a_window_over_its_faces(tmp_path: Path) -> None:
    rows = [
        Row("/v/a.mp4", sure_of("happy", 0.8), face=sure_of("happy", 0.8), window=0, face_id=0),
        Row("/v/a.mp4", sure_of("sad", 0.4), face=sure_of("sad", 0.4), window=0, face_id=1),
        Row("/v/a.mp4", sure_of("sad", 0.7), window=1, face_id=-1),
        Row("/v/a.mp4", None, window=2, face_id=-1, status="no_signal"),
    ]
    clips = match(
        write_output(tmp_path / "out", rows), write_truth(tmp_path / "t.csv", [{"uri": "/v/a.mp4", "label": "sad"}])
    )
    first = (np.array(sure_of("happy", 0.8)) + sure_of("sad", 0.4)) / 2
    np.testing.assert_allclose(clips.scores["fused"], [(first + sure_of("sad", 0.7)) / 2], atol=1e-7)
    # The face branch speaks for the windows with a face alone.
    np.testing.assert_allclose(clips.scores["face"], [first], atol=1e-7)
    assert "motion" not in clips.scores
    assert clips.truth.tolist() == [EMOTIONS.index("sad")]


def test_relative_uris_start_at_the_manifest(tmp_path: Path) -> None:
    rows = [Row(str(tmp_path / "v" / "a.mp4"), "happy")]
    truth = write_truth(tmp_path / "lists" / "t.csv", [{"uri": "../v/a.mp4", "label": "happy"}])
    clips = match(write_output(tmp_path / "out", rows), truth)
    assert labels_given(clips) == ["happy"]
    assert clips.notes == ()


def test_everything_that_has_no_counterpart_is_listed(tmp_path: Path) -> None:
    rows = [
        Row("/v/good.mp4", "happy"),
        Row("/v/dark.mp4", None, status="no_signal", error="neither a face nor sound"),
        Row("/v/unknown.mp4", "sad"),
    ]
    failed = [
        {"video_id": "b", "input": "/v/broken.mp4", "status": "unreadable", "error": "moov atom not found"},
        {"video_id": "n", "input": "/v/notes.txt", "status": "skipped", "error": "not a media file by its name"},
    ]
    names = ("good.mp4", "dark.mp4", "broken.mp4", "never.mp4")
    truth = write_truth(tmp_path / "t.csv", [{"uri": f"/v/{name}", "label": "happy"} for name in names])
    clips = match(write_output(tmp_path / "out", rows, failed), truth)
    assert len(clips) == 4
    assert labels_given(clips) == ["happy", None, None, None]
    assert sorted(lost(clips)) == [
        ("no scores", "broken.mp4", "unreadable"),
        ("no scores", "dark.mp4", "no_signal"),
        ("no truth", "notes.txt", "skipped"),
        ("no truth", "unknown.mp4", "ok"),
        ("not labelled", "never.mp4", "not labelled"),
    ]
    errors = dict(zip(clips.unmatched["input"], clips.unmatched["error"], strict=True))
    assert errors["/v/broken.mp4"] == "moov atom not found"
    assert errors["/v/dark.mp4"] == "neither a face nor sound"


def test_windows_belong_to_the_stretch_that_their_middle_lies_in(tmp_path: Path) -> None:
    said = ("happy", "sad", "fear", "angry")
    rows = [Row("/v/a.mp4", name, window=i, start_s=5.0 * i, end_s=5.0 * i + 5) for i, name in enumerate(said)]
    stretches = [
        {"uri": "/v/a.mp4", "label": "happy", "start_s": "", "end_s": 7},
        {"uri": "/v/a.mp4", "label": "sad", "start_s": 7, "end_s": 12},
        {"uri": "/v/a.mp4", "label": "angry", "start_s": 17, "end_s": ""},
        {"uri": "/v/a.mp4", "label": "fear", "start_s": 14, "end_s": 15},
    ]
    clips = match(write_output(tmp_path / "out", rows), write_truth(tmp_path / "t.csv", stretches))
    assert labels_given(clips) == ["happy", "sad", "angry", None]
    assert clips.notes == ("1 windows lie outside the stretches that the truth names, and were left out.",)
    assert clips.unmatched[["kind", "start_s", "end_s", "error"]].to_numpy().tolist() == [
        ["no scores", 14.0, 15.0, "no window has its middle in the stretch"]
    ]


def test_a_collection_that_was_moved_is_matched_by_unique_names(tmp_path: Path) -> None:
    rows = [Row(f"/cluster/{name}", "happy") for name in ("a.mp4", "x/b.mp4", "x/c.mp4", "y/c.mp4", "d.mp4")]
    names = ("a.mp4", "z/b.mp4", "c.mp4", "1/d.mp4", "2/d.mp4")
    truth = write_truth(tmp_path / "t.csv", [{"uri": name, "label": "happy"} for name in names])
    clips = match(write_output(tmp_path / "out", rows), truth)
    # c.mp4 stands twice among the labels, d.mp4 twice in the truth.
    assert labels_given(clips) == ["happy", "happy", None, None, None]
    assert len(clips.notes) == 1
    assert "2 names are unique on both sides, of 5 files in the truth and 5 labelled" in clips.notes[0]


def test_names_count_for_nothing_where_places_match(tmp_path: Path) -> None:
    """x/a.mp4 was not labelled, y/a.mp4 was: it is another file."""
    rows = [Row("/v/b.mp4", "sad"), Row("/v/y/a.mp4", "happy")]
    truth = write_truth(
        tmp_path / "t.csv", [{"uri": "/v/x/a.mp4", "label": "happy"}, {"uri": "/v/b.mp4", "label": "sad"}]
    )
    clips = match(write_output(tmp_path / "out", rows), truth)
    assert labels_given(clips) == [None, "sad"]
    assert sorted(lost(clips)) == [("no truth", "a.mp4", "ok"), ("not labelled", "a.mp4", "not labelled")]


def test_a_truth_that_rides_along_counts_failed_inputs_too(tmp_path: Path) -> None:
    rows = [
        Row("/v/a.mp4", "happy", window=0, riding={"label": "happy", "subject": 3, "fold": 0}),
        Row("/v/a.mp4", "sad", window=1, riding={"label": "happy", "subject": 3, "fold": 0}),
        Row("/v/b.mp4", "fear", riding={"label": "sad", "subject": None, "fold": 1}),
        Row("/v/c.mp4", "fear", riding={"label": None, "subject": 4, "fold": 1}),
    ]
    failed = {"video_id": "d", "input": "/v/d.mp4", "status": "unreadable", "label": "angry", "subject": 4, "fold": 1}
    clips = match(write_output(tmp_path / "out", rows, [failed]), None)
    assert [EMOTIONS[i] for i in clips.truth] == ["happy", "sad", "angry"]
    assert clips.groups.to_dict("list") == {"fold": ["0", "1", "1"], "subject": ["3", "", "4"]}
    assert sorted(lost(clips)) == [("no scores", "d.mp4", "unreadable"), ("no truth", "c.mp4", "ok")]


def test_the_truth_outranks_what_rides_along_and_folds_still_ride(tmp_path: Path) -> None:
    rows = [Row("/v/a.mp4", "happy", riding={"label": "sad", "fold": 2, "subject": "old"})]
    truth = write_truth(tmp_path / "t.csv", [{"uri": "/v/a.mp4", "label": "happy", "subject": "new"}])
    clips = match(write_rows(tmp_path / "predictions.parquet", rows), truth)
    assert [EMOTIONS[i] for i in clips.truth] == ["happy"]
    assert clips.groups.to_dict("list") == {"fold": ["2"], "subject": ["new"]}


def test_subjects_of_several_sets_are_not_mixed_up(tmp_path: Path) -> None:
    truth = [
        {"uri": f"/v/{i}.mp4", "label": "happy", "subject": subject, "dataset": name}
        for i, (subject, name) in enumerate([("1", "afew"), ("1", "emodb"), ("", "fer")])
    ]
    rows = [Row(row["uri"], "happy") for row in truth]
    clips = match(write_output(tmp_path / "out", rows), write_truth(tmp_path / "t.csv", truth))
    assert clips.groups["subject"].tolist() == ["afew/1", "emodb/1", ""]


def test_one_split_alone(tmp_path: Path) -> None:
    splits = ("train", "validation", "validation")
    truth = write_truth(
        tmp_path / "t.csv",
        [{"uri": f"/v/{i}.mp4", "label": EMOTIONS[i], "split": split} for i, split in enumerate(splits)],
    )
    rows = [Row("/v/0.mp4", "angry"), Row("/v/1.mp4", "fear")]
    out = write_output(tmp_path / "out", rows)
    clips = match(out, truth, "validation")
    assert clips.truth.tolist() == [1, 2]
    assert labels_given(clips) == ["fear", None]
    # The training clip has a truth: it is not listed as a stranger.
    assert lost(clips) == [("not labelled", "2.mp4", "not labelled")]
    with pytest.raises(TrainingError, match="no clip is of the split 'test'; there are: 'train', 'validation'"):
        match(out, truth, "test")


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("/v/a.mp4", "file:///v/a.mp4"),
        ("/v/a.mp4", "/v/x/../a.mp4"),
        ("s3://bucket/a b.mp4", "s3://bucket/a%20b.mp4"),
        ("s3://bucket/a.mp4", "s3://key:secret@bucket/a.mp4"),
        ("s3://***@bucket/a.mp4?***", "s3://key:secret@bucket/a.mp4?endpoint_override=localhost:9000"),
    ],
)
def test_ways_to_write_one_place(one: str, other: str) -> None:
    assert place(one) == place(other)


@pytest.mark.parametrize(
    ("truth", "message"),
    [
        ([{"uri": "/v/a.mp4", "emotion": "happy"}], "no column 'label'; it has: emotion"),
        ([{"label": "happy"}], "no column 'uri'"),
        ([{"uri": "/v/a.mp4", "label": "joy"}], "labels that are none of ours in 1 rows: 'joy'; expected: angry, "),
        ([{"uri": "/v/a.mp4", "label": "happy"}] * 2, "names a clip more than once: '/v/a.mp4'"),
        ([{"uri": "/w/b.mp4", "label": "happy"}], "have no clip in common: /w/b.mp4 is one of the 1 in the truth"),
        ([{"uri": "/v/dark.mp4", "label": "happy"}], r"none of the 1 clips has scores \(no_signal: 1\)"),
    ],
)
def test_a_truth_that_is_of_no_use(tmp_path: Path, truth: list[dict[str, Any]], message: str) -> None:
    out = write_output(tmp_path / "out", [Row("/v/a.mp4", "happy"), Row("/v/dark.mp4", None, status="no_signal")])
    with pytest.raises(EmolabelError, match=message):
        match(out, write_truth(tmp_path / "t.csv", truth))


def test_files_that_are_no_labels(tmp_path: Path) -> None:
    for content, message in ((b"PAR1 and then nothing", "cannot read"), (b"", "cannot read")):
        (tmp_path / "x.parquet").write_bytes(content)
        with pytest.raises(TrainingError, match=message):
            read_labels([str(tmp_path / "x.parquet")])
    with pytest.raises(TrainingError, match="there is nothing"):
        read_labels([str(tmp_path / "absent")])
    with pytest.raises(TrainingError, match=r"expected labels/\*.parquet"):
        read_labels([str(tmp_path)])


def test_a_folder_without_scores_is_named_with_what_it_lacks(tmp_path: Path) -> None:
    import pyarrow.parquet as pq

    path = write_rows(tmp_path / "labels" / "part-0.parquet", [Row("/v/a.mp4")])
    pq.write_table(pq.read_table(path).drop_columns(["angry", "sad"]), path)
    with pytest.raises(TrainingError, match="has no column angry, sad; it has: video_id"):
        read_labels([str(tmp_path)])


def test_labels_of_two_models_are_not_averaged(tmp_path: Path) -> None:
    parts = [str(write_output(tmp_path / name, [Row("/v/a.mp4", "happy")])) for name in ("one", "two")]
    with pytest.raises(TrainingError, match="1 windows were given twice"):
        read_labels(parts)


def test_two_versions_of_a_file_are_not_averaged(tmp_path: Path) -> None:
    rows = [Row("/v/a.mp4", "happy", video_id="old"), Row("/v/a.mp4", "sad", video_id="new")]
    truth = write_truth(tmp_path / "t.csv", [{"uri": "/v/a.mp4", "label": "happy"}])
    with pytest.raises(TrainingError, match="1 files of the truth were labelled more than once"):
        match(write_output(tmp_path / "out", rows), truth)


@pytest.mark.parametrize(
    ("riding", "message"),
    [
        ([{}, {}], "no column 'label': say where the truth is with --truth"),
        ([{"label": None}, {"label": None}], "column 'label' of the labels is empty"),
        ([{"label": "happy"}, {"label": "sad"}], "more than one truth in the labels: '/v/a.mp4'"),
        ([{"label": "joy"}, {"label": "joy"}], "the labels' own truth has labels that are none of ours"),
    ],
)
def test_a_riding_truth_that_is_of_no_use(tmp_path: Path, riding: list[dict[str, Any]], message: str) -> None:
    rows = [Row("/v/a.mp4", "happy", window=i, riding=extra) for i, extra in enumerate(riding)]
    with pytest.raises(TrainingError, match=message):
        match(write_rows(tmp_path / "p.parquet", rows), None)
