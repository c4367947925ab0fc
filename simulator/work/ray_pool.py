"""Cells on Ray (an optional extra): on this machine, or on a cluster that somebody else started.

Laws:
- The same records as anywhere else: a cell is a function of its inputs.
- Ray unpickles what it is sent and trusts all who reach it: what starts here listens on loopback only, shows no
  dashboard and reports to nobody; a cluster's address is for a network where everybody is trusted.
- Ray is imported when the first cell runs, and retries nothing by itself: the sweep's law counts attempts.
"""

from __future__ import annotations

import importlib
import os
import socket
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from types import ModuleType
from typing import Any

import torch

from simulator.work.cells import Cell, Failed, News, Restarted, said
from simulator.work.nursery import cores
from simulator.work.pool import LOST_TWICE, Losses, PoolError

ATTEMPTS = 2
LOCAL = "local"
_STORE = 128 * 2**20  # bytes of shared memory; records are small, and Ray takes a third of the machine if not told
_PATIENCE = 5.0  # seconds until a cluster must have answered

_QUIET = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_enable_metrics_collection": "0",
    "RAY_DEDUP_LOGS": "0",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",  # its newer default; without a choice it warns
}
_ALONE = {"RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0"}
"""What makes Ray listen on loopback only, on Linux too: a loopback address given to `init` becomes a public one."""


@dataclass(frozen=True, slots=True)
class RayPool:
    """A pool over Ray; implements simulator.work.sweep.Pool.

    Attributes:
        address: `local` starts Ray here and stops it afterwards; else "HOST:PORT" of a running cluster whose machines
            have this very version of hedgerow installed.
        workers: cells at once, for `local`; None = one a core.
    """

    address: str = LOCAL
    workers: int | None = None

    def run(self, cells: Sequence[Cell]) -> Iterator[tuple[int, News]]:
        """See `Pool.run`.

        Raises:
            PoolError: Ray is not installed, or not there.
            ScenarioError: a cell cannot be run as asked.
            CellLost: a cell raised, or lost its worker twice; after all others are finished.
        """
        if not cells:
            return
        with _session(self.address, self.workers) as ray:
            work = ray.remote(num_cpus=1, max_retries=0, num_returns="streaming")(_work)
            attempts = dict.fromkeys(range(len(cells)), 1)
            losses = Losses()
            live = {work.remote(cell): position for position, cell in enumerate(cells)}
            try:
                while live:
                    for stream in ray.wait(list(live), num_returns=1)[0]:
                        position = live[stream]
                        try:
                            news = ray.get(next(stream))
                        except StopIteration:
                            del live[stream]
                            continue
                        except ray.exceptions.RayError:
                            del live[stream]
                            if attempts[position] >= ATTEMPTS:
                                losses.note(cells[position], LOST_TWICE)
                                continue
                            attempts[position] += 1
                            live[work.remote(cells[position])] = position
                            news = Restarted()
                        if isinstance(news, Failed):
                            losses.note(cells[position], news)
                        else:
                            yield position, news
            finally:
                for stream in live:
                    ray.cancel(stream, force=True)
            losses.settle()


@contextmanager
def _session(address: str, workers: int | None) -> Iterator[Any]:
    """Ray, connected; gone afterwards."""
    if address != LOCAL:
        _reach(address)
    ray = _ray(_QUIET | _ALONE if address == LOCAL else _QUIET)
    if address == LOCAL:
        where = {
            "address": LOCAL,
            "num_cpus": workers or cores(),
            "object_store_memory": _STORE,
            "include_dashboard": False,
        }
    else:
        where = {"address": address}
    try:
        ray.init(**where, log_to_driver=False, configure_logging=False, logging_level="error")
    except (ray.exceptions.RayError, OSError, RuntimeError, ValueError) as error:
        raise PoolError(f"Ray at '{address}': {str(error).strip().splitlines()[0]}") from None
    try:
        yield ray
    finally:
        ray.shutdown()


def _reach(address: str) -> None:
    """Look whether anybody answers: Ray itself asks for minutes."""
    host, _, port = address.rpartition(":")
    if not (host and port.isdigit()) or "/" in host:
        raise PoolError(f"Ray's address is local or HOST:PORT of a running cluster, not '{address}'")
    try:
        socket.create_connection((host, int(port)), _PATIENCE).close()
    except (OSError, OverflowError) as error:
        raise PoolError(f"nobody answers at Ray's address {address}: {error}") from None


def _ray(settings: Mapping[str, str]) -> ModuleType:
    for name, value in settings.items():
        os.environ.setdefault(name, value)
    try:
        return importlib.import_module("ray")
    except ImportError:
        raise PoolError("Ray is not installed: pip install hedgerow[ray]") from None


def _work(cell: Cell) -> Iterator[News | Failed]:
    torch.set_num_threads(1)
    yield from said(cell)
