"""What the windows of an input add up to."""

from typing import Any

import pytest

from emolabel.errors import Status
from emolabel.labels import EMOTIONS
from emolabel.pipeline.messages import InputFacts
from emolabel.pipeline.tally import InputTally


def row(status: str, error: str | None = None, **scores: float) -> dict[str, Any]:
    columns: dict[str, Any] = {"status": status, "error": error, "dominant_emotion": None, "valence": None}
    columns |= dict.fromkeys(EMOTIONS)
    if scores:
        columns |= {emotion: scores.get(emotion, 0.0) for emotion in EMOTIONS}
        columns["dominant_emotion"] = max(scores, key=lambda emotion: scores[emotion])
    return columns


def total(rows: list[dict[str, Any]], damage: str | None = None) -> dict[str, Any]:
    tally = InputTally()
    for index, one in enumerate(rows):
        tally.add(index, [one], seconds=0.5)
    return tally.row(InputFacts("id", "a.mp4", 1, n_windows=len(rows), damage=damage))


OK = row("ok", happy=0.75, sad=0.25)
BLIND = row("no_face", "no face in 48 frames", sad=1.0)
DEAF = row("no_audio", "no audio track", happy=1.0)
NOTHING = row("no_signal", "no face in 48 frames; no audio track")
TIMEOUT = row("timeout", "decoding passed its deadline of 60 s")


@pytest.mark.parametrize(
    ("rows", "status", "n_labelled"),
    [
        ([OK, OK], "ok", 2),
        ([OK, BLIND, NOTHING], "ok", 2),
        ([BLIND, BLIND], "no_face", 2),
        ([DEAF, NOTHING], "no_audio", 1),
        ([NOTHING, NOTHING], "no_signal", 0),
        ([OK, TIMEOUT], "partial", 1),
        ([TIMEOUT, TIMEOUT], "timeout", 0),
        ([row("partial", "2 of 48 wanted frames could not be decoded")], "partial", 0),
    ],
)
def test_status_of_an_input(rows: list[dict[str, Any]], status: str, n_labelled: int) -> None:
    got = total(rows)
    assert (got["status"], got["n_labelled"]) == (status, n_labelled)
    assert (got["error"] is None) == (status == "ok")


def test_damage_of_the_container_makes_the_input_partial() -> None:
    got = total([OK], damage="cut short: 2.4 s of 10 s")
    assert (got["status"], got["error"]) == ("partial", "cut short: 2.4 s of 10 s")


def test_dominant_emotion_is_that_of_the_mean_over_windows() -> None:
    got = total([OK, OK, BLIND])  # happy 0.75 + 0.75, sad 0.25 + 0.25 + 1
    assert (got["dominant_emotion"], got["emotion_score"]) == ("happy", pytest.approx(0.5))
    assert total([NOTHING]).get("dominant_emotion") is None


def test_a_window_with_several_faces_counts_once() -> None:
    tally = InputTally()
    tally.add(0, [OK, row("partial", "x", sad=1.0)])
    assert tally.windows == {0: Status.PARTIAL}
    assert tally.row(InputFacts("id", "a.mp4", 1, n_windows=1))["n_labelled"] == 1


def test_the_reason_is_that_of_the_status_in_any_order() -> None:
    crashed = row("crashed", "the decoder crashed")
    for rows in ([BLIND, BLIND, BLIND, TIMEOUT], [TIMEOUT, BLIND, BLIND, BLIND]):
        assert "1 of 4 windows are incomplete: decoding passed its deadline" in str(total(rows)["error"])
    assert total([TIMEOUT, crashed])["status"] == total([crashed, TIMEOUT])["status"]


def test_a_crowd_in_one_window_does_not_outvote_the_others() -> None:
    tally = InputTally()
    tally.add(0, [row("ok", happy=1.0)] * 5)
    for index in (1, 2):
        tally.add(index, [row("ok", sad=1.0)])
    assert tally.row(InputFacts("id", "a.mp4", 1, n_windows=3))["dominant_emotion"] == "sad"
