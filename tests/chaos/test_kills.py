"""One process of each kind is killed with SIGKILL on a cluster of three nodes; nothing is lost, doubled or changed."""

from pathlib import Path

import pytest

from chaos.kills import Victim, run_mixed

pytestmark = [pytest.mark.chaos, pytest.mark.ray, pytest.mark.slow]


def test_one_kill_of_each_kind(tmp_path: Path) -> None:
    # The supervisor first: its job is one that was submitted. The driver last but one: something is written by then.
    order = [
        Victim.SUPERVISOR,
        Victim.PLAN,
        Victim.CHILD,
        Victim.DECODE,
        Victim.PREDICT,
        Victim.NODE,
        Victim.DRIVER,
        Victim.IDLE,
    ]
    toll = run_mixed(order, n_files=60, seed=3, folder=tmp_path)
    assert toll.injected == len(order)
    assert toll.clean, toll
    assert toll.wasted == 0, toll
