"""Sleeper: honest for a number of rounds, then any other attack."""

from __future__ import annotations

from simulator.attacks.attack import AttackSpec, Knowledge, Stage, TimeStage


def sleeper(wake: int = 20) -> TimeStage:
    """Until round `wake` each Sybil trains on the clean share in an order of its own and sends the result.

    Raises:
        ValueError: a negative round.
    """
    if wake < 0:
        raise ValueError(f"sleeper wakes in round {wake}; rounds begin at 0")
    return TimeStage(wake)


SLEEPER = AttackSpec(
    name="sleeper", stage=Stage.TIME, knowledge=frozenset({Knowledge.SHARD}), build=sleeper, parameters={"wake": 20}
)
