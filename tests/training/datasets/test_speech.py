"""RAVDESS, EMO-DB and CREMA-D: real folders where they are, and small ones in the other forms."""

import csv
from collections import Counter
from pathlib import Path

import pytest

from emolabel.errors import TrainingError
from tests.training.datasets.conftest import Make
from training.datasets.cremad import read_cremad
from training.datasets.emodb import read_emodb
from training.datasets.manifest import DataSet
from training.datasets.ravdess import read_ravdess


def labels(dataset: DataSet) -> dict[str, str]:
    return {Path(sample.uri).stem: sample.label for sample in dataset.samples}


def test_real_ravdess(shared_ravdess: Path) -> None:
    """From the README of the set: 20 actors; neutral 4 each, the others 8 each, calm dropped."""
    dataset = read_ravdess(shared_ravdess)
    counts = Counter((sample.subject, sample.label) for sample in dataset.samples)
    for actor in range(1, 21):
        assert counts.pop((f"ravdess-{actor:02d}", "neutral")) == 4
    assert len(counts) == 20 * 6
    assert set(counts.values()) == {8}
    assert Counter(dropped.reason for dropped in dataset.dropped) == {"label: calm": 160}
    assert all(Path(sample.uri).is_file() and sample.split == "" for sample in dataset.samples)


def test_real_ravdess_with_calm_as_neutral(shared_ravdess: Path) -> None:
    dataset = read_ravdess(shared_ravdess, calm_as_neutral=True)
    assert len(dataset.samples) == 1200
    assert Counter(sample.label for sample in dataset.samples)["neutral"] == 80 + 160
    assert dataset.dropped == ()


def test_real_emodb_agrees_with_its_table(shared_emodb: Path) -> None:
    dataset = read_emodb(shared_emodb)
    ours = {"anger": "angry", "disgust": "disgust", "fear": "fear", "happiness": "happy", "sadness": "sad"}
    with (shared_emodb / "labels.csv").open(newline="") as stream:
        rows = {Path(row["file"]).stem: row for row in csv.DictReader(stream)}
    found = {Path(sample.uri).stem: (sample.label, sample.subject) for sample in dataset.samples}
    assert found == {
        stem: (ours.get(row["emotion"], row["emotion"]), f"emodb-{row['speaker']}")
        for stem, row in rows.items()
        if row["emotion"] != "boredom"
    }
    assert len(found) == 350
    assert Counter(dropped.reason for dropped in dataset.dropped) == {"label: boredom": 58}


def test_ravdess_as_distributed(tmp_path: Path, make: Make) -> None:
    """Archives side by side: choose one form of each take; song only when asked."""
    for folder, name in [
        ("Video_Speech_Actor_01/Actor_01", "01-01-05-01-01-01-01.mp4"),
        ("Video_Speech_Actor_01/Actor_01", "02-01-05-01-01-01-01.mp4"),
        ("Audio_Speech_Actors_01-24/Actor_01", "03-01-05-01-01-01-01.wav"),
        ("Audio_Song_Actors_01-24/Actor_01", "03-02-06-01-01-01-01.wav"),
        ("Audio_Speech_Actors_01-24/Actor_24", "03-01-08-02-02-02-24.wav"),
    ]:
        make(f"{folder}/{name}")
    with pytest.raises(TrainingError, match="same takes as audio and audio-video and video: choose one"):
        read_ravdess(tmp_path)
    audio = read_ravdess(tmp_path, modality="audio")
    assert labels(audio) == {"03-01-05-01-01-01-01": "angry", "03-01-08-02-02-02-24": "surprise"}
    assert [sample.subject for sample in audio.samples] == ["ravdess-01", "ravdess-24"]
    reasons = Counter(dropped.reason for dropped in audio.dropped)
    assert reasons == {"the same take as audio-video": 1, "the same take as video": 1, "song": 1}
    assert labels(read_ravdess(tmp_path, modality="audio-video")) == {"01-01-05-01-01-01-01": "angry"}
    assert labels(read_ravdess(tmp_path, modality="audio", song=True))["03-02-06-01-01-01-01"] == "fear"
    with pytest.raises(TrainingError, match="holds no video files, but audio"):
        read_ravdess(tmp_path / "Audio_Song_Actors_01-24", modality="video")


def test_ravdess_refuses_what_does_not_fit(tmp_path: Path, make: Make) -> None:
    with pytest.raises(TrainingError, match="absent is not there"):
        read_ravdess(tmp_path / "absent")
    with pytest.raises(TrainingError, match=r"nothing found in .*: expected RAVDESS files such as Actor_01"):
        read_ravdess(tmp_path)
    stray = make("Actor_01/holiday.wav")
    with pytest.raises(TrainingError, match=r"Actor_01/holiday\.wav: 'holiday' is no name of RAVDESS"):
        read_ravdess(tmp_path)
    stray.rename(stray.with_name("03-01-05-01-01-01-02.wav"))
    with pytest.raises(TrainingError, match="the name says actor 02, the folder Actor_01"):
        read_ravdess(tmp_path)


def test_a_table_of_labels_has_to_agree_with_the_files(tmp_path: Path, make: Make) -> None:
    make("wav/03a01Fa.wav")
    table = tmp_path / "labels.csv"
    table.write_text("file,emotion\nwav/03a01Fa.wav,happiness\n")
    assert labels(read_emodb(tmp_path)) == {"03a01Fa": "happy"}
    table.write_text("file,emotion\nwav/03a01Fa.wav,sadness\n")
    with pytest.raises(TrainingError, match=r"calls 03a01Fa\.wav 'sadness', its name says 'happiness'"):
        read_emodb(tmp_path)
    table.write_text("file,emotion\nwav/03a01Fa.wav,happiness\nwav/03a01Wa.wav,anger\n")
    with pytest.raises(TrainingError, match=r"lists 1 files that are not there: wav/03a01Wa\.wav"):
        read_emodb(tmp_path)
    table.write_text("path,emotion\n")
    with pytest.raises(TrainingError, match="has no column file; it has: path, emotion"):
        read_emodb(tmp_path)


def test_emodb_as_distributed(tmp_path: Path, make: Make) -> None:
    for name in ("wav/16b10Lb.wav", "wav/16b10Wb.wav", "wav/._16b10Wb.wav", "lablaut/16b10Wb.lablaut"):
        make(name)
    dataset = read_emodb(tmp_path)
    assert labels(dataset) == {"16b10Wb": "angry"}
    assert [Path(dropped.uri).stem for dropped in dataset.dropped] == ["16b10Lb"]
    make("wav/notes.wav")
    with pytest.raises(TrainingError, match="'notes' is no name of EMO-DB"):
        read_emodb(tmp_path)


def test_cremad_as_distributed(tmp_path: Path, make: Make) -> None:
    for stem in ("1001_DFA_ANG_XX", "1040_ITH_SAD_X", "1064_IEO_DIS_MD"):
        make(f"AudioWAV/{stem}.wav")
        make(f"VideoFlash/{stem}.flv")
    with pytest.raises(TrainingError, match="same clips as flv and wav: choose one with --suffix"):
        read_cremad(tmp_path)
    for dataset in (read_cremad(tmp_path, "wav"), read_cremad(tmp_path, ".FLV"), read_cremad(tmp_path / "AudioWAV")):
        assert labels(dataset) == {"1001_DFA_ANG_XX": "angry", "1040_ITH_SAD_X": "sad"}
        assert [sample.subject for sample in dataset.samples] == ["cremad-1001", "cremad-1040"]
        assert [(Path(gone.uri).stem, gone.reason) for gone in dataset.dropped] == [
            ("1064_IEO_DIS_MD", "known to be faulty")
        ]


def test_cremad_refuses_what_does_not_fit(tmp_path: Path, make: Make) -> None:
    with pytest.raises(TrainingError, match="expected CREMA-D files such as AudioWAV"):
        read_cremad(tmp_path)
    make("AudioWAV/1001_DFA_SUR_XX.wav")
    with pytest.raises(TrainingError, match="'1001_DFA_SUR_XX' is no name of CREMA-D"):
        read_cremad(tmp_path)
    pointer = tmp_path / "AudioWAV" / "1001_DFA_SAD_XX.wav"
    pointer.write_bytes(b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n")
    with pytest.raises(TrainingError, match=r"1 files are pointers of git-lfs, not media .*1001_DFA_SAD_XX\.wav"):
        read_cremad(tmp_path)
