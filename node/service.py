"""Runs one node: turns each effect of the core into one await, and its result into the next event.

Laws:
- No behaviour here: whoever wants to add an `if` about rounds, peers or relays adds it to `node.core`.
- Training and rules run in the executor that is passed in (threads in a daemon, None = inline in virtual time).
- Time is `clock()` and the running loop's timers, nothing else.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Executor
from typing import Protocol

from torch import Tensor

from aggregation.evidence import Probe, Rule
from gossip.messages import UpdateHeader
from gossip.service import GossipEvent, GossipService
from identity.keys import PeerId
from node.learning.data import Dataset, Shard
from node.learning.learner import Learner
from node.policy import RoundPolicy
from node.record import RoundView

Wants = Callable[[UpdateHeader, PeerId, int], bool]
OnEvent = Callable[[GossipEvent], None]
MakeGossip = Callable[[Wants, OnEvent], GossipService]


class Checkpoints(Protocol):
    """Where a node keeps its model between rounds."""

    def save(self, round: int, params: Tensor) -> None:
        """Keep params, ready to start `round`, durably."""


class NodeService:
    """One node, live or in a simulated world.

    Args:
        identity: own peer id.
        policy: rounds, pace, deadlines.
        learner: the task, as functions of flat params.
        data: training data (shared between nodes of one process).
        shard: which rows are this node's.
        rule: what to believe.
        initial: (d,) float32 params to start from (own).
        common: (d,) float32 the network's common initial model, or None (histories `update` need it).
        gossip: makes the gossip service when given the two callbacks.
        seed: of batch order and relay draws; the same on all nodes of a network.
        probe: what models do on own data, or None when the rule needs none.
        classes: classes this node trains, for the header's mask (None: all).
        first_round: the round to start with.
        published: (d,) own update of `first_round` that is in the ledger already, or None (a restart).
        executor: where training and rules run; None: inline.
        clock: monotonic seconds; None: the running loop's time.
        observe: called once a round with the record and the models.
        evaluate: (round, params) -> accuracy, or None to leave a round out; runs in the executor.
        checkpoints: where params are kept between rounds, or None.
    """

    def __init__(
        self,
        *,
        identity: PeerId,
        policy: RoundPolicy,
        learner: Learner,
        data: Dataset,
        shard: Shard,
        rule: Rule,
        initial: Tensor,
        gossip: MakeGossip,
        seed: int,
        common: Tensor | None = None,
        probe: Probe | None = None,
        classes: frozenset[int] | None = None,
        first_round: int = 0,
        published: Tensor | None = None,
        executor: Executor | None = None,
        clock: Callable[[], float] | None = None,
        observe: Callable[[RoundView], None] | None = None,
        evaluate: Callable[[int, Tensor], float | None] | None = None,
        checkpoints: Checkpoints | None = None,
    ) -> None: ...

    async def run(self) -> None:
        """Play rounds until the policy's last one is done or `stop` is called; closes the gossip service on the way out."""

    def stop(self) -> None:
        """Ask the node to stop: it says goodbye, and `run` returns."""
