"""Saves checkpoints beside the rounds: the next round trains while the last one's model goes to disk.

Laws:
- One save at a time, in order of rounds. A disk slower than the rounds skips checkpoints, it never holds up a round.
- A save that failed is told, and the next round's is tried: a full disk costs checkpoints, not the node.
- What a crash loses is no more than a model that the ledger can do without: the newest own update is durable there
  before it is sent.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import Executor
from typing import Protocol

from torch import Tensor

from node.errors import StoreError
from node.learning.learner import TrainState


class Checkpoints(Protocol):
    """Where a node keeps its model between rounds."""

    def save(self, round: int, params: Tensor, state: TrainState | None, accuracy: float | None = None) -> None:
        """Keep what is needed to start `round`, durably. Called in the executor."""


class Keeper:
    """Saves in the background, or inline without an executor.

    Args:
        checkpoints: where.
        executor: where the saving runs; None: inline.
        ended: told after each save: None, or why it failed.
    """

    def __init__(
        self, checkpoints: Checkpoints, executor: Executor | None, ended: Callable[[StoreError | None], None]
    ) -> None:
        self._checkpoints = checkpoints
        self._executor = executor
        self._ended = ended
        self._next: tuple[int, Tensor, TrainState | None, float | None] | None = None
        self._saving: asyncio.Task[None] | None = None

    def keep(self, round: int, params: Tensor, state: TrainState | None, accuracy: float | None = None) -> None:
        """Save soon; the tensors must not change any more."""
        if self._executor is None:
            try:
                self._checkpoints.save(round, params, state, accuracy)
            except StoreError as error:
                self._ended(error)
            else:
                self._ended(None)
            return
        self._next = round, params, state, accuracy
        if self._saving is not None and self._saving.done():
            self._saving.result()
            self._saving = None
        if self._saving is None:
            self._saving = asyncio.get_running_loop().create_task(self._save(self._executor), name="keeper")

    async def close(self) -> None:
        """Wait until the newest is saved; more may be kept after."""
        if self._saving is not None:
            await self._saving

    async def _save(self, executor: Executor) -> None:
        while self._next is not None:
            due, self._next = self._next, None
            try:
                await asyncio.get_running_loop().run_in_executor(executor, self._checkpoints.save, *due)
            except StoreError as error:
                self._ended(error)
            else:
                self._ended(None)
