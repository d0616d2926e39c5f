"""Calibration and combination of branches, against values computed by hand."""

import math
from collections.abc import Callable

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from emolabel.models.combine import BranchDecision, Pool, Rule, clip_log_probabilities, combine

POOLS: tuple[Pool, ...] = ("logits", "probabilities")
RULES: tuple[Rule, ...] = ("mean", "log_mean")
FACE = torch.tensor([[0.4, 0.1, 0.1, 0.1, 0.1, 0.1, 0.1]])
AUDIO = torch.tensor([[0.1, 0.4, 0.1, 0.1, 0.1, 0.1, 0.1]])
FIRST = torch.tensor([0])


def frames(*first_class: float) -> Tensor:
    """(1, K, 7) logits that are 0 but for the first class."""
    logits = torch.zeros(1, len(first_class), 7)
    logits[0, :, 0] = torch.tensor(first_class)
    return logits


def pooled(logits: Tensor, decision: BranchDecision, pool: Pool, present: Tensor | None = None) -> Tensor:
    there = torch.ones(logits.shape[:2], dtype=torch.bool) if present is None else present
    return clip_log_probabilities(logits, there, decision, pool).exp()


def combined(rule: Rule, face: float, audio: float) -> Tensor:
    branches = {"face": FACE.log(), "audio": AUDIO.log()}
    return combine(branches, {"face": FIRST, "audio": FIRST}, {"face": face, "audio": audio}, 1, rule)[0].exp()


class TestOneBranch:
    def test_mean_of_logits_then_temperature(self) -> None:
        # mean 1, over T = 2: e^0.5 / (e^0.5 + 6)
        out = pooled(frames(2, 0), BranchDecision(temperature=2), "logits")
        torch.testing.assert_close(out[0], torch.tensor([0.215555] + 6 * [0.130741]), atol=1e-6, rtol=0)

    def test_mean_of_softmaxes_at_a_temperature(self) -> None:
        # (e / (e + 6) + 1 / 7) / 2
        out = pooled(frames(2, 0), BranchDecision(temperature=2), "probabilities")
        torch.testing.assert_close(out[0], torch.tensor([0.227324] + 6 * [0.128779]), atol=1e-6, rtol=0)

    def test_a_bias_is_added_after_the_division(self) -> None:
        bias = (0.0, math.log(6.0), 0.0, 0.0, 0.0, 0.0, 0.0)
        for pool in POOLS:
            out = pooled(frames(2), BranchDecision(temperature=2, bias=bias), pool)
            e = math.e
            torch.testing.assert_close(out[0, :3], torch.tensor([e, 6, 1]) / (e + 11), atol=1e-6, rtol=0)

    @pytest.mark.parametrize("pool", POOLS)
    def test_absent_places_do_not_count(self, pool: Pool) -> None:
        present = torch.tensor([[True, True, False]])
        decision = BranchDecision(temperature=0.5)
        out = pooled(frames(2, 0, 9), decision, pool, present)
        torch.testing.assert_close(out, pooled(frames(2, 0), decision, pool))

    @pytest.mark.parametrize("pool", POOLS)
    def test_gradients_pass_absent_places_by(self, pool: Pool) -> None:
        logits = frames(2, 0, 9).requires_grad_()
        clip_log_probabilities(logits, torch.tensor([[True, True, False]]), BranchDecision(), pool)[0, 0].backward()
        assert logits.grad is not None
        assert logits.grad[0, 2].abs().max() == 0
        assert torch.isfinite(logits.grad).all()
        assert logits.grad[0, :2].abs().min() > 0

    @settings(max_examples=50, deadline=None)
    @given(
        seed=st.integers(0, 2**32 - 1),
        temperature=st.floats(1e-3, 1e3),
        pool=st.sampled_from(POOLS),
        scale=st.floats(0.1, 100),
    )
    def test_probabilities_are_probabilities(self, seed: int, temperature: float, pool: Pool, scale: float) -> None:
        logits = torch.randn(2, 5, 7, generator=torch.Generator().manual_seed(seed)) * scale
        out = clip_log_probabilities(
            logits, torch.ones(2, 5, dtype=torch.bool), BranchDecision(temperature=temperature), pool
        ).softmax(dim=1)
        assert torch.isfinite(out).all()
        torch.testing.assert_close(out.sum(dim=1), torch.ones(2))


class TestSeveralBranches:
    def test_weighted_arithmetic_mean(self) -> None:
        torch.testing.assert_close(combined("mean", 3, 1), torch.tensor([0.325, 0.175] + 5 * [0.1]))

    def test_weighted_geometric_mean(self) -> None:
        # 0.4^0.75 0.1^0.25, 0.4^0.25 0.1^0.75, 0.1; over their sum 0.924264
        out = combined("log_mean", 3, 1)
        torch.testing.assert_close(out, torch.tensor([0.306019, 0.153009] + 5 * [0.108194]), atol=1e-6, rtol=0)

    def test_a_temperature_of_a_half_squares_what_several_say(self) -> None:
        branches = {"face": FACE.log().repeat(2, 1), "audio": AUDIO.log()}
        rows = {"face": torch.tensor([0, 1]), "audio": torch.tensor([1])}
        alone, both = combine(branches, rows, {"face": 3.0, "audio": 1.0}, 2, "mean", temperature=0.5).exp()
        torch.testing.assert_close(alone, FACE[0])
        squared = torch.tensor([0.325, 0.175] + 5 * [0.1]) ** 2
        torch.testing.assert_close(both, squared / squared.sum())

    @pytest.mark.parametrize("rule", RULES)
    def test_weights_are_relative(self, rule: Rule) -> None:
        torch.testing.assert_close(combined(rule, 3, 1), combined(rule, 0.3, 0.1))

    @pytest.mark.parametrize("rule", RULES)
    def test_a_weight_of_zero_has_no_say(self, rule: Rule) -> None:
        torch.testing.assert_close(combined(rule, 2, 0), FACE[0])

    @pytest.mark.parametrize("rule", RULES)
    def test_each_clip_with_what_it_has(self, rule: Rule) -> None:
        branches = {"face": FACE.log().repeat(2, 1), "audio": AUDIO.log().repeat(2, 1)}
        rows = {"face": torch.tensor([0, 3]), "audio": torch.tensor([1, 3])}
        out = combine(branches, rows, {"face": 3.0, "audio": 1.0}, 4, rule).exp()
        torch.testing.assert_close(out[:2], torch.cat([FACE, AUDIO]))
        torch.testing.assert_close(out[2], torch.full((7,), 1 / 7))
        torch.testing.assert_close(out[3], combined(rule, 3, 1))

    @pytest.mark.parametrize("rule", RULES)
    def test_a_branch_of_weight_zero_that_is_alone_is_asked(self, rule: Rule) -> None:
        out = combine({"audio": AUDIO.log()}, {"audio": FIRST}, {"face": 1.0, "audio": 0.0}, 2, rule).exp()
        torch.testing.assert_close(out, torch.cat([AUDIO, torch.full((1, 7), 1 / 7)]))

    def test_no_branch_at_all(self) -> None:
        torch.testing.assert_close(combine({}, {}, {}, 2, "mean").exp(), torch.full((2, 7), 1 / 7))

    @pytest.mark.parametrize("rule", RULES)
    def test_branches_that_are_sure_and_disagree(self, rule: Rule) -> None:
        """In float32 both would be certain, and their product 0 everywhere."""
        one, other = torch.zeros(1, 7), torch.zeros(1, 7)
        one[0, 0] = other[0, 1] = 500
        branches = {"face": one.log_softmax(dim=1), "audio": other.log_softmax(dim=1)}
        rows = {"face": FIRST, "audio": FIRST}
        out = combine(branches, rows, {"face": 1.0, "audio": 1.0}, 1, rule)[0].exp()
        torch.testing.assert_close(out, torch.tensor([0.5, 0.5, 0, 0, 0, 0, 0]))

    @settings(max_examples=50, deadline=None)
    @given(
        seed=st.integers(0, 2**32 - 1),
        weights=st.tuples(*[st.sampled_from([0, 0.5, 1, 7])] * 3).filter(any),
        rule=st.sampled_from(RULES),
    )
    def test_sums_to_one_and_lies_between(self, seed: int, weights: tuple[float, ...], rule: Rule) -> None:
        names = ("face", "motion", "audio")
        logits = torch.randn(3, 4, 7, generator=torch.Generator().manual_seed(seed)) * 3
        branches = {name: each.log_softmax(dim=1) for name, each in zip(names, logits, strict=True)}
        rows = dict.fromkeys(names, torch.arange(4))
        out = combine(branches, rows, dict(zip(names, weights, strict=True)), 4, rule).exp()
        torch.testing.assert_close(out.sum(dim=1), torch.ones(4))
        if rule == "mean":
            stacked = torch.stack(list(branches.values())).exp()
            assert (out <= stacked.amax(dim=0) + 1e-6).all()
            assert (out >= stacked.amin(dim=0) - 1e-6).all()
        expected = np.average(
            [branches[name].exp().numpy() if rule == "mean" else branches[name].numpy() for name in names],
            axis=0,
            weights=weights,
        )
        if rule == "log_mean":
            expected = np.exp(expected) / np.exp(expected).sum(axis=1, keepdims=True)
        np.testing.assert_allclose(out, expected, atol=1e-6)


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: BranchDecision(temperature=0), "a temperature must lie in 0.001-1000, got 0"),
        (lambda: BranchDecision(temperature=-1), "a temperature must lie in"),
        (lambda: BranchDecision(temperature=math.nan), "a temperature must lie in"),
        (lambda: BranchDecision(weight=-0.1), "a weight must lie in 0-1e\\+06, got -0.1"),
        (lambda: BranchDecision(bias=(1.0,) * 6), "a bias has 7 values, one per class, got 6"),
        (lambda: BranchDecision(bias=(math.inf,) * 7), "a bias must lie in"),
    ],
)
def test_nonsense_is_refused(build: Callable[[], object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        build()
