"""File names that carry labels: reading is the inverse of writing, and nothing else is read."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from emolabel.errors import TrainingError
from emolabel.labels import EMOTIONS
from training.datasets import afew, any_manifest, cremad, emodb, enterface05, fer2013, fer2013_unpack, ravdess
from training.datasets.cremad import Clip
from training.datasets.emodb import Utterance
from training.datasets.ravdess import Take


def numbers(last: int) -> st.SearchStrategy[str]:
    return st.integers(1, last).map(lambda number: f"{number:02d}")


TAKES = st.builds(Take, numbers(3), numbers(2), numbers(8), numbers(2), numbers(2), numbers(2), numbers(24))
UTTERANCES = st.builds(
    Utterance,
    st.integers(0, 99).map(lambda number: f"{number:02d}"),
    st.from_regex(r"[ab][0-9]{2}", fullmatch=True),
    st.sampled_from(sorted(emodb.EMOTION_CODES)),
    st.sampled_from("abcdefg"),
)
CLIPS = st.builds(
    Clip,
    st.integers(1001, 1091).map(str),
    st.from_regex(r"[A-Z]{3}", fullmatch=True),
    st.sampled_from(sorted(cremad.LABELS)),
    st.sampled_from(["LO", "MD", "HI", "XX", "X"]),
)


@given(name=TAKES | UTTERANCES | CLIPS)
def test_a_name_that_was_written_is_read(name: Take | Utterance | Clip) -> None:
    assert type(name).parse(str(name)) == name


@given(text=st.text(max_size=25) | st.from_regex(r"[0-9a-zA-Z_-]{7,20}", fullmatch=True))
def test_what_is_read_is_written_back(text: str) -> None:
    for kind in (Take, Utterance, Clip):
        try:
            assert str(kind.parse(text)) == text
        except TrainingError as error:
            assert repr(text) in str(error)  # noqa: PT017 - most texts are no names


@pytest.mark.parametrize(
    ("kind", "stem"),
    [
        (Take, "03-01-09-01-01-01-01"),  # emotion
        (Take, "03-01-01-01-01-01-25"),  # actor
        (Take, "04-01-01-01-01-01-01"),  # modality
        (Take, "3-1-1-1-1-1-1"),
        (Take, "03-01-01-01-01-01-01-copy"),
        (Utterance, "03a01Xa"),
        (Utterance, "03c01Fa"),
        (Clip, "1001_DFA_SUR_XX"),
        (Clip, "1001_DFA_ANG_YY"),
    ],
)
def test_other_names_are_refused(kind: type[Take] | type[Utterance] | type[Clip], stem: str) -> None:
    with pytest.raises(TrainingError, match=stem):
        kind.parse(stem)


def test_label_maps_are_those_of_the_papers() -> None:
    """Written out once more, from the papers and not from the code."""
    assert dict(afew.LABELS) == {
        "Angry": "angry", "Disgust": "disgust", "Fear": "fear", "Happy": "happy",
        "Neutral": "neutral", "Sad": "sad", "Surprise": "surprise",
    }  # fmt: skip
    assert [fer2013_unpack.EMOTION_CODES[code] for code in "0123456"] == [
        "angry", "disgust", "fear", "happy", "sad", "surprise", "neutral",
    ]  # fmt: skip
    by_code = {code: ravdess.LABELS.get(name) for code, name in ravdess.EMOTION_CODES.items()}
    assert by_code == {
        "01": "neutral", "02": None, "03": "happy", "04": "sad",
        "05": "angry", "06": "fear", "07": "disgust", "08": "surprise",
    }  # fmt: skip
    by_letter = {code: emodb.LABELS.get(name) for code, name in emodb.EMOTION_CODES.items()}
    assert by_letter == {
        "W": "angry", "L": None, "E": "disgust", "A": "fear", "F": "happy", "T": "sad", "N": "neutral",
    }  # fmt: skip
    assert dict(cremad.LABELS) == {
        "ANG": "angry", "DIS": "disgust", "FEA": "fear", "HAP": "happy", "NEU": "neutral", "SAD": "sad",
    }  # fmt: skip
    assert dict(enterface05.LABELS) == {
        "anger": "angry", "disgust": "disgust", "fear": "fear",
        "happiness": "happy", "sadness": "sad", "surprise": "surprise",
    }  # fmt: skip


def test_every_map_leads_to_the_seven() -> None:
    for labels in (module.LABELS for module in (afew, any_manifest, cremad, emodb, enterface05, fer2013, ravdess)):
        assert set(labels.values()) <= set(EMOTIONS)
    for dropped in ("contempt", "calm", "boredom"):
        assert dropped not in any_manifest.LABELS
