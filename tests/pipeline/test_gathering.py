"""Scored windows wait for each other on a worker, so that few things come to the driver; none gets lost on the way."""

from collections.abc import Iterator
from typing import Any

import pytest

from emolabel.pipeline import build
from emolabel.pipeline.build import DecodeStage
from emolabel.pipeline.messages import Chunk, InputFacts, Source, WindowResult
from emolabel.pipeline.parcels import chunk_parcels, results_of
from emolabel.types import Window


class Clock:
    """Each window takes so long."""

    def __init__(self, step_s: float) -> None:
        self.now_s, self.step_s = 0.0, step_s

    def monotonic(self) -> float:
        return self.now_s

    def decode(self, chunk: Chunk, _: object) -> Iterator[WindowResult]:
        for window in chunk.windows:
            self.now_s += self.step_s
            yield WindowResult(chunk.facts, window.index)


class Stage(DecodeStage):
    """Without a decoder and a model."""

    def __init__(self, clock: Clock, gathers: bool) -> None:
        self._decode: Any = clock.decode
        self.scored: list[int] = []
        self._scorer: Any = self.score
        self._tools: Any = None
        self._gathers, self._gather_s = gathers, 0.0

    def score(self, results: list[WindowResult]) -> list[WindowResult]:
        self.scored.append(len(results))
        return results


def chunk(name: str, n_windows: int, seconds: float = 5.0) -> Chunk:
    windows = tuple(Window(i, i * seconds, (i + 1) * seconds) for i in range(n_windows))
    return Chunk(Source(name, name, name), InputFacts(name, name, 1, n_windows=n_windows), windows)


@pytest.mark.parametrize(
    ("step_s", "gathers", "sizes"),
    [
        (0.1, True, [4, 9]),  # the first few at once
        (0.3, True, [4, 8, 1]),
        (1.0, True, [4, 4, 4, 1]),
        (0.1, False, [4, 4, 4, 1]),
    ],
)
def test_windows_of_one_chunk(monkeypatch: pytest.MonkeyPatch, step_s: float, gathers: bool, sizes: list[int]) -> None:
    clock = Clock(step_s)
    monkeypatch.setattr(build, "time", clock)
    stage = Stage(clock, gathers)
    (parcel,) = chunk_parcels([chunk("film", 13)], None)
    sent = [[result.window_index for result in results_of(one)] for one in stage(parcel)]
    assert [len(some) for some in sent] == sizes
    assert [index for some in sent for index in some] == list(range(13))


def test_windows_of_many_small_inputs(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock(0.1)
    monkeypatch.setattr(build, "time", clock)
    stage = Stage(clock, gathers=True)
    parcels = list(chunk_parcels([chunk(f"word {i}", 1, 1.0) for i in range(50)], 20.0))
    assert len(parcels) == 3
    sent = [result.facts.video_id for parcel in parcels for one in stage(parcel) for result in results_of(one)]
    assert sent == [f"word {i}" for i in range(50)]
    assert max(stage.scored) == 4


def test_the_model_gets_many_pictures_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock(0.01)
    monkeypatch.setattr(build, "time", clock)
    stage = Stage(clock, gathers=True)
    (parcel,) = chunk_parcels([chunk(f"picture {i}", 1, 0.04) for i in range(30)], 2.0)
    assert [len(results_of(one)) for one in stage(parcel)] == [30]
    assert stage.scored == [30]
