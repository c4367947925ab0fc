"""The last good model of a node: which it is, when accuracy fell below it, and the way back to it.

Which model is the last good one: a round's level is the lower of its accuracy and of the median of the latest `SMOOTH`
measured ones, so one lucky round is not good, nor is one that has just fallen. The model of the highest level is kept;
once it is `WINDOW` rounds old, the next one that has not fallen takes its place. Accuracy has fallen where it is `FALL`
below that of the last good model; what is kept does not change then.

Laws:
- One file, besides the checkpoints; whole or not at all.
- Going back changes the model only: chain, key and round go on, optimizer moments begin anew.
"""

from __future__ import annotations

import asyncio
from collections import deque
from concurrent.futures import Executor
from statistics import median
from typing import Protocol

from torch import Tensor

from gossip.protocol.errors import DiskFault
from identity.keys import short
from node.alarms import Alarms
from node.errors import StoreError
from node.learning.learner import TrainState
from node.store.checkpoint import Checkpoint, CheckpointFolder
from node.store.keeper import Keeper
from node.store.record import NodeRecord
from node.watch import Name, listed

SMOOTH = 5  # measured accuracies whose median counts
LEAST = 3  # of them that there must be
WINDOW = 64  # rounds after which the last good model is replaced by one that is nearly as good
FALL = 0.2  # of accuracy: as much as the last line lets a round lose
NO_GOOD = "there is no model to go back to: none was good for long enough yet"


class Wishes(Protocol):
    """What an operator asks of a running node."""

    def wished(self, name: str) -> bool:
        """Whether this is asked for and not answered yet."""

    def answer(self, name: str, words: str) -> None:
        """It is done; what there is to say of it."""


class Recent:
    """Accuracies of the latest rounds, and how good the best of them is.

    Attributes:
        best: (round, accuracy) of the last good model, or None.

    Args:
        best: of an earlier run.
    """

    def __init__(self, best: tuple[int, float] | None = None) -> None:
        self.best = best
        self._latest: deque[float] = deque(maxlen=SMOOTH)

    def note(self, round: int, accuracy: float) -> float | None:
        """A round was measured: its level if its model is the last good one now, else None."""
        self._latest.append(accuracy)
        if len(self._latest) < LEAST:
            return None
        level = min(accuracy, median(self._latest))
        if self.best is not None and level <= self.best[1]:
            old = round - self.best[0] >= WINDOW
            if not old or self.fallen(accuracy):
                return None
        self.best = round, level
        return level

    def fallen(self, accuracy: float) -> bool:
        """Whether this is much less than the last good model reached."""
        return self.best is not None and accuracy < self.best[1] - FALL


class Fallback:
    """Keeps the last good model of a running node, and takes the node back to it when that is asked for.

    Attributes:
        recent: which model it is.

    Args:
        folder: where it is kept.
        wishes: what is asked for.
        executor: where it is saved; None: inline.
        alarms: told when accuracy fell, and when the model cannot be saved.
        home: the node's folder, as it is typed.
        name: what a peer is called.
    """

    def __init__(
        self,
        folder: CheckpointFolder,
        wishes: Wishes,
        executor: Executor | None,
        alarms: Alarms,
        home: str = "DIR",
        name: Name = short,
    ) -> None:
        kept = folder.load()
        known = None if kept is None or kept.accuracy is None else (kept.round, kept.accuracy)
        self.recent = Recent(known)
        self._folder = folder
        self._wishes = wishes
        self._executor = executor
        self._alarms = alarms
        self._home = home
        self._name = name
        self._keeper = Keeper(folder, executor, self._saved)

    @property
    def fell(self) -> str | None:
        """What there is to say where accuracy fell; None: it did not."""
        return self._alarms.sentence("fell")

    def note(self, record: NodeRecord, params: Tensor, state: TrainState | None) -> None:
        """A round is over, with this model: keep it if it is good, say so if accuracy fell."""
        accuracy = record.right if record.accuracy is None else record.accuracy
        if accuracy is None:
            return
        level = self.recent.note(record.round, accuracy)
        if level is not None:
            buffers = {} if state is None else state.buffers
            self._keeper.keep(record.round, params, TrainState(buffers=buffers), level)
        best = self.recent.best
        if best is None or not self.recent.fallen(accuracy):
            self._alarms.clear("fell", f"accuracy is {percent(accuracy)} again")
        elif self.fell is None:
            heard = listed([peer.peer for peer in record.neighbours if peer.weight > 0], self._name)
            self._alarms.ring(
                "fell",
                f"accuracy fell from {percent(best[1])} to {percent(accuracy)} in round {record.round}: "
                f"{'these were heard: ' + heard if heard != 'anybody' else 'nobody was heard'}; "
                f"back to the model of round {best[0]}: hedgerow rollback {self._home}",
            )

    async def asked(self) -> Checkpoint | None:
        """The model to go back to, if that is asked for and there is one."""
        try:
            if not self._wishes.wished("rollback"):
                return None
        except DiskFault:
            return None  # asked again in the next round
        await self._keeper.close()
        if self._executor is None:
            kept = self._folder.load()
        else:
            kept = await asyncio.get_running_loop().run_in_executor(self._executor, self._folder.load)
        if kept is None:
            self._answer(NO_GOOD)
        return kept

    def done(self, kept: Checkpoint, round: int) -> None:
        """The node goes on from it in this round; durably."""
        self._answer(went_back(kept, round))

    async def close(self) -> None:
        """Wait until the newest is saved."""
        await self._keeper.close()

    def _answer(self, words: str) -> None:
        try:
            self._wishes.answer("rollback", words)
        except DiskFault:
            return  # done once more in the next round
        self._alarms.say(words)

    def _saved(self, fault: StoreError | None) -> None:
        if fault is None:
            self._alarms.clear("good", "the last good model is kept again")
        else:
            self._alarms.ring("good", f"{fault}; the last good model is not kept, rounds go on")


def went_back(kept: Checkpoint, round: int) -> str:
    """What was done, in words."""
    # a rule compares neighbours as they are seen from the own model: its distance is what they have in common
    then = "" if kept.accuracy is None else f", accuracy then {percent(kept.accuracy)}"
    return (
        f"goes on in round {round} from the model of round {kept.round}{then}; the optimizer begins anew. Seen from "
        "there honest neighbours are alike: until the node has caught up some may be called duplicate"
    )


def percent(share: float) -> str:
    """A share for people."""
    return f"{100 * share:.0f} %"
