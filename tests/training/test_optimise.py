"""Schedule and moving average of the weights."""

from itertools import pairwise

import pytest
from torch import nn

from training.optimise import Trainer
from training.settings import StageSettings


def test_a_one_cycle_schedule_rises_falls_and_stays_at_its_end() -> None:
    settings = StageSettings(1, learning_rate=1.0, batch_size=1, optimiser="sgd", schedule="one_cycle")
    network = nn.Linear(1, 1)
    trainer = Trainer(network, settings, n_steps=20)
    rates = []
    for _ in range(30):
        rates.append(trainer.state()["optimiser"]["param_groups"][0]["lr"])
        trainer.step(network.weight.sum())
    assert rates[:3] == pytest.approx([0.04, 0.52, 1.0])  # at its highest after 15 % of 20
    assert all(later < earlier for earlier, later in pairwise(rates[2:20]))
    assert rates[19:] == pytest.approx([4e-6] * 11)  # a 25th to begin with, and a 10,000th of that at the end


def test_the_moving_average_is_what_is_kept() -> None:
    settings = StageSettings(1, learning_rate=1.0, batch_size=1, optimiser="sgd", average=0.5)
    network = nn.Linear(1, 1, bias=False)
    trainer = Trainer(network, settings, n_steps=3)
    after = []
    for _ in range(3):
        trainer.step(network.weight.sum())
        after.append(float(network.weight.detach()))
    average = after[0]  # the first one is taken as it is
    for weight in after[1:]:
        average = 0.5 * average + 0.5 * weight
    with trainer.kept():
        assert float(network.weight.detach()) == pytest.approx(average)
    assert float(network.weight.detach()) == after[-1]
    trainer.keep()
    assert float(network.weight.detach()) == pytest.approx(average)
