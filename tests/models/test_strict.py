"""Dataclasses from JSON values: what fits comes back the same, what does not is named."""

from dataclasses import dataclass, field
from typing import Any, Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from emolabel.models.strict import from_plain, to_plain


@dataclass(frozen=True)
class Inner:
    size: int = 3
    pair: tuple[float, float] = (0.0, 1.0)

    def __post_init__(self) -> None:
        if self.size < 0:
            raise ValueError(f"size must not be negative, got {self.size}")


@dataclass(frozen=True)
class Outer:
    name: str
    kind: Literal["a", "b"] = "a"
    inner: Inner | None = field(default_factory=Inner)
    ratio: float = 0.5
    on: bool = False
    words: tuple[str, ...] = ()
    free: dict[str, Any] = field(default_factory=dict)


@given(
    st.builds(
        Outer,
        name=st.text(),
        kind=st.sampled_from(["a", "b"]),
        inner=st.none() | st.builds(Inner, size=st.integers(0, 99), pair=st.tuples(st.floats(0, 1), st.floats(0, 1))),
        ratio=st.floats(allow_nan=False, allow_infinity=False),
        on=st.booleans(),
        words=st.lists(st.text()).map(tuple),
        free=st.dictionaries(st.text(), st.integers() | st.lists(st.text())),
    )
)
def test_there_and_back(value: Outer) -> None:
    assert from_plain(Outer, to_plain(value), "x") == value


def test_what_is_left_out_takes_its_default() -> None:
    assert from_plain(Outer, {"name": "n", "ratio": 2}, "x") == Outer("n", ratio=2.0)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ([], "x: expected an object, got list"),
        ({}, "x: 'name' is missing"),
        ({"name": "n", "sise": 1}, "x: unknown key 'sise'; known are name, kind"),
        ({"name": 3}, "x.name: expected str, got int 3"),
        ({"name": "n", "kind": "c"}, "x.kind: expected one of 'a', 'b', got 'c'"),
        ({"name": "n", "on": 1}, "x.on: expected bool, got int 1"),
        ({"name": "n", "ratio": True}, "x.ratio: expected float, got bool True"),
        ({"name": "n", "ratio": float("inf")}, "x.ratio: expected a finite number"),
        ({"name": "n", "ratio": 10**400}, "x.ratio: expected a finite number"),
        ({"name": "n", "inner": {"size": True}}, "x.inner.size: expected int, got bool True"),
        ({"name": "n", "inner": {"size": -1}}, "x.inner: size must not be negative, got -1"),
        ({"name": "n", "inner": {"pair": [1]}}, "x.inner.pair: expected 2 values, got list"),
        ({"name": "n", "inner": {"pair": [1, "2"]}}, r"x.inner.pair\[1\]: expected float, got str '2'"),
        ({"name": "n", "words": ["a", 1]}, r"x.words\[1\]: expected str, got int 1"),
        ({"name": "n", "free": [1]}, "x.free: expected an object, got list"),
    ],
)
def test_what_does_not_fit_is_named(data: object, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        from_plain(Outer, data, "x")
