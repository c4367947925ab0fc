"""Torch's own generator under a seed, for what can draw from nothing else: fresh weights, dropout."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

import torch

_TURN = threading.RLock()


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Draws inside come from this seed; the generator is left as it was.

    The generator belongs to the process, so threads take turns: inside, nobody else draws.
    """
    with _TURN, torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed % 2**63)
        yield
