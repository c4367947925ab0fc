"""No attack on data: the adversary trains on its share as it is; alone, it is one honest node under S names."""

from __future__ import annotations

from simulator.attacks.attack import AttackSpec, DataStage, Flip, Knowledge, Stage


def build(first: int = 0, second: int = 1) -> DataStage:
    """Leave the share alone; success is still counted as a flip of two classes, to compare with."""
    return DataStage(poison=None, measure=Flip(first, second))


NONE = AttackSpec(
    name="none",
    stage=Stage.DATA,
    knowledge=frozenset({Knowledge.SHARD}),
    build=build,
    parameters={"first": 0, "second": 1},
)
