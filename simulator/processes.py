"""Cells in worker processes: started afresh (no fork of a process with threads), one torch thread each.

Law: a worker holds one cell at a time; what it says arrives record by record, and its silence means that it is dead.
"""

from __future__ import annotations

import multiprocessing
import signal
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from multiprocessing.context import SpawnProcess

import torch

from simulator.cells import Cell
from simulator.sweep import CellLost, Finished, News, Restarted

ATTEMPTS = 2


@dataclass(slots=True, eq=False)
class _Worker:
    process: SpawnProcess
    wire: Connection
    position: int


@dataclass(frozen=True, slots=True)
class Processes:
    """A pool of worker processes; implements simulator.sweep.Pool."""

    workers: int

    def run(self, cells: Sequence[Cell]) -> Iterator[tuple[int, News]]:
        """See `Pool.run`.

        Raises:
            CellLost: a cell raised, or lost its worker twice.
        """
        waiting = deque((position, 1) for position in range(len(cells)))
        attempts = dict(waiting)
        live: dict[Connection, _Worker] = {}
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
                            raise CellLost(f"{_name(cells[position])}: its worker was lost twice") from None
                        waiting.append((position, attempts[position] + 1))
                        yield position, Restarted()
                        continue
                    if isinstance(news, str):
                        raise CellLost(f"{_name(cells[position])}: {news}")
                    yield position, news
                    if isinstance(news, Finished):
                        if waiting:
                            following, attempt = waiting.popleft()
                            worker.position, attempts[following] = following, attempt
                            wire.send(cells[following])
                        else:
                            _bury(live.pop(wire))
        finally:
            for worker in live.values():
                worker.process.terminate()
                _bury(worker)


def _start(position: int, cell: Cell) -> _Worker:
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=_work, args=(theirs,), daemon=True)
    process.start()
    theirs.close()
    ours.send(cell)
    return _Worker(process, ours, position)


def _bury(worker: _Worker) -> None:
    worker.wire.close()
    worker.process.join()
    worker.process.close()


def _name(cell: Cell) -> str:
    return f"{cell.scenario.name}, rule {cell.rule}, seed {cell.seed}"


def _work(wire: Connection) -> None:
    """The life of a worker: cells in, records out, until the other side hangs up."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the parent, which ends us
    torch.set_num_threads(1)
    while True:
        try:
            cell = wire.recv()
        except EOFError:
            return
        try:
            for record in cell.run():
                wire.send(record)
            wire.send(Finished())
        except Exception as error:
            wire.send(f"{type(error).__name__}: {error}")
