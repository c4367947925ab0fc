"""Cells in worker processes: forked from a process that has only imported, one torch thread each.

Laws:
- A worker holds one cell at a time; what it says arrives news by news, and its silence means that it is dead.
- Workers end when the parent ends them or hangs up.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from typing import TYPE_CHECKING

import torch

from simulator.work.cells import Cell, Failed, Finished, News, Restarted, said
from simulator.work.nursery import open_nursery
from simulator.work.pool import LOST_TWICE, Losses, PoolError

if TYPE_CHECKING:
    from multiprocessing.context import ForkServerProcess

ATTEMPTS = 2


@dataclass(slots=True, eq=False)
class _Worker:
    process: ForkServerProcess
    wire: Connection
    position: int


@dataclass(frozen=True, slots=True)
class Processes:
    """A pool of worker processes; implements simulator.work.sweep.Pool."""

    workers: int

    def run(self, cells: Sequence[Cell]) -> Iterator[tuple[int, News]]:
        """See `Pool.run`.

        Raises:
            ScenarioError: a cell cannot be run as asked.
            PoolError: no worker can be started.
            CellLost: a cell raised, or lost its worker twice; after all others are finished.
        """
        waiting = deque((position, 1) for position in range(len(cells)))
        attempts = dict(waiting)
        live: dict[Connection, _Worker] = {}
        losses = Losses()
        try:
            while waiting or live:
                while waiting and len(live) < self.workers:
                    position, attempts[position] = waiting.popleft()
                    worker = _start(position, cells[position])
                    live[worker.wire] = worker
                for wire in wait(list(live)):
                    assert isinstance(wire, Connection)
                    worker = live[wire]
                    position = worker.position
                    try:
                        news = wire.recv()
                    except (EOFError, OSError):
                        _bury(live.pop(wire))
                        if attempts[position] >= ATTEMPTS:
                            losses.note(cells[position], LOST_TWICE)
                            continue
                        waiting.append((position, attempts[position] + 1))
                        yield position, Restarted()
                        continue
                    if isinstance(news, Failed):
                        losses.note(cells[position], news)
                    if isinstance(news, Failed | Finished):
                        if waiting:
                            worker.position, attempts[worker.position] = waiting.popleft()
                            _give(wire, cells[worker.position])
                        else:
                            _bury(live.pop(wire))
                    if not isinstance(news, Failed):
                        yield position, news
        finally:
            for worker in live.values():
                worker.process.terminate()
            for worker in live.values():
                _bury(worker)
        losses.settle()


def _start(position: int, cell: Cell) -> _Worker:
    context = open_nursery()
    ours, theirs = context.Pipe()
    process = context.Process(target=_work, args=(theirs,), daemon=True)
    try:
        process.start()
    except (EOFError, OSError) as error:
        why = str(error) or "the process that forks them ended"
        raise PoolError(f"no worker process can be started: {why}") from None
    theirs.close()
    _give(ours, cell)
    return _Worker(process, ours, position)


def _give(wire: Connection, cell: Cell) -> None:
    with suppress(OSError):  # it is dead already: the next read says so, and the cell gets another worker
        wire.send(cell)


def _bury(worker: _Worker) -> None:
    worker.wire.close()
    worker.process.join()
    worker.process.close()


def _work(wire: Connection) -> None:
    """The life of a worker: cells in, news out, until the other side hangs up."""
    torch.set_num_threads(1)
    while True:
        try:
            cell = wire.recv()
        except EOFError:
            return
        for each in said(cell):
            try:
                wire.send(each)
            except BrokenPipeError:
                return
