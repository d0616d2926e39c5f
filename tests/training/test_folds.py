"""No subject is learnt from and measured on."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from emolabel.errors import TrainingError
from training.folds import split_samples
from training.prepared import Sample
from training.settings import FoldSettings


def sample(number: int, subject: str | None, split: str | None = None) -> Sample:
    return Sample(f"id{number}", f"{number}.mp4", 0.0, 1.0, number % 2, subject, split, None, True, False, True)


def samples_of(subjects: list[int], splits: list[str]) -> list[Sample]:
    return [sample(n, f"s{s}", split) for n, (s, split) in enumerate(zip(subjects, splits, strict=True))]


@settings(max_examples=50)
@given(
    st.lists(st.tuples(st.integers(0, 11), st.sampled_from(["train", "validation"])), min_size=20, max_size=60),
    st.integers(2, 5),
    st.integers(0, 99),
)
def test_group_folds_part_subjects_and_cover_all(pairs: list[tuple[int, str]], count: int, seed: int) -> None:
    samples = samples_of(*(list(each) for each in zip(*pairs, strict=True)))
    if len({s.subject for s in samples}) < count:
        return
    folds = [split_samples(samples, FoldSettings(count, "all"), fold, seed) for fold in range(count)]
    assert sorted(n for fold in folds for n in fold.held_out) == list(range(len(samples)))
    for fold in folds:
        assert sorted(fold.learnt + fold.held_out) == list(range(len(samples)))
        assert not {samples[n].subject for n in fold.learnt} & {samples[n].subject for n in fold.held_out}


def test_the_papers_folds_cut_the_validation_split_and_learn_from_all_of_the_training_split() -> None:
    """AFEW: 773 clips to learn from in each fold, and four fifths of 383 (paper, 4.1)."""
    samples = [sample(n, f"t{n % 90}", "train") for n in range(773)]
    samples += [sample(773 + n, f"v{n % 60}", "validation") for n in range(383)]
    folds = [split_samples(samples, FoldSettings(5, "validation"), fold, 2017) for fold in range(5)]
    assert sum(len(fold.held_out) for fold in folds) == 383
    for fold in folds:
        assert set(range(773)) <= set(fold.learnt)
        assert len(fold.learnt) + len(fold.held_out) == 1156
        assert 60 <= len(fold.held_out) <= 95
        people = {samples[n].subject for n in fold.held_out}
        assert not people & {samples[n].subject for n in fold.learnt}


def test_without_folds_the_validation_split_is_held_out() -> None:
    samples = [sample(0, None, "train"), sample(1, None, "validation"), sample(2, None, None)]
    split = split_samples(samples, FoldSettings(), None, 0)
    assert (split.learnt, split.held_out) == ((0, 2), (1,))
    split = split_samples(samples, FoldSettings(of="all"), None, 0)
    assert (split.learnt, split.held_out) == ((0, 1, 2), ())


def test_unknown_subjects_count_for_themselves() -> None:
    samples = [sample(n, None) for n in range(10)]
    folds = [split_samples(samples, FoldSettings(5, "all"), fold, 0) for fold in range(5)]
    assert sorted(n for fold in folds for n in fold.held_out) == list(range(10))


def test_errors() -> None:
    people = [sample(n, f"s{n % 2}") for n in range(10)]
    with pytest.raises(TrainingError, match="3 folds need as many subjects, the data has 2"):
        split_samples(people, FoldSettings(3, "all"), 0, 0)
    with pytest.raises(TrainingError, match="no sample of the primary set is in it"):
        split_samples(people, FoldSettings(2), 0, 0)
    with pytest.raises(TrainingError, match="no class has 7 samples"):
        split_samples([sample(n, f"s{n}") for n in range(10)], FoldSettings(7, "all"), 0, 0)
    with pytest.raises(TrainingError, match="numbered from 0 to 1, got 2"):
        split_samples(people, FoldSettings(2, "all"), 2, 0)
