"""Randomness has an address: every draw is a pure function of (seed, purpose, address words).

Laws:
- No draw depends on a draw made before it, so the order of nodes, the number of workers and the engine cannot change
  a result.
- `bits` is vectorised: a thousand nodes' draws are one call, and equal a thousand calls for one node each.

Source: counter-based generation as in Salmon et al., "Parallel random numbers: as easy as 1, 2, 3" (SC 2011); the
mixing step is SplitMix64 (Steele, Lea, Flood, OOPSLA 2014), absorbed word by word; long streams are NumPy's Philox4x64.
"""

from __future__ import annotations

from enum import IntEnum

import numpy as np
from numpy.typing import ArrayLike, NDArray

_GOLDEN = np.uint64(0x9E3779B97F4A7C15)
_M1 = np.uint64(0xBF58476D1CE4E5B9)
_M2 = np.uint64(0x94D049BB133111EB)
_S30, _S27, _S31, _S11 = np.uint64(30), np.uint64(27), np.uint64(31), np.uint64(11)


class Purpose(IntEnum):
    """What a draw is for. Numbers are part of every recorded result: append, never renumber."""

    PARTITION = 1
    INITIAL = 2
    BATCHES = 3
    RELAY = 4
    TOPOLOGY = 5
    HOLD_OUT = 6
    PROBE = 7
    ATTACK = 8
    NETWORK = 9
    KEYS = 10
    EVALUATION = 11
    JITTER = 12
    PLACEMENT = 13
    PRETRAINING = 14
    PRIORITY = 15
    STRANGERS = 16
    ACQUAINTANCE = 17
    FAR = 18


def address(peer: bytes) -> int:
    """The uint64 address of a peer in draws: the first eight bytes of its id, big-endian."""
    return int.from_bytes(peer[:8], "big")


def bits(seed: int, purpose: Purpose, *words: ArrayLike) -> NDArray[np.uint64]:
    """Sixty-four random bits for each address.

    Args:
        seed: any integer; taken modulo 2**64.
        purpose: what the draw is for.
        words: integers or integer arrays (non-negative, below 2**64), broadcast against each other.

    Returns:
        uint64 array of the words' broadcast shape (0-d for plain integers).
    """
    with np.errstate(over="ignore"):
        state = _mix(np.asarray(seed % 2**64, dtype=np.uint64) + _GOLDEN)
        state = _mix((state ^ np.uint64(int(purpose))) + _GOLDEN)
        for word in words:
            state = _mix((state ^ _words(word)) + _GOLDEN)
    return np.asarray(state, dtype=np.uint64)


def uniforms(seed: int, purpose: Purpose, *words: ArrayLike) -> NDArray[np.float64]:
    """Uniform float64 in the open interval (0, 1), one for each address; arguments as in `bits`."""
    top = (bits(seed, purpose, *words) >> _S11).astype(np.float64)
    return np.asarray((top + 0.5) * 2.0**-53, dtype=np.float64)


def generator(seed: int, purpose: Purpose, node: int = 0, round: int = 0) -> np.random.Generator:
    """A NumPy generator whose whole stream belongs to (seed, purpose, node, round)."""
    key = np.array([seed % 2**64, int(purpose)], dtype=np.uint64)
    counter = np.array([0, 0, node % 2**64, round % 2**64], dtype=np.uint64)
    return np.random.Generator(np.random.Philox(key=key, counter=counter))


def orders(
    seed: int, nodes: ArrayLike, round: int, epoch: int, size: int, sizes: NDArray[np.int64] | None = None
) -> NDArray[np.int64]:
    """Order in which each node visits its `size` samples in one local epoch.

    Args:
        seed: the run's seed.
        nodes: (n,) uint64 addresses of nodes.
        round: round number.
        epoch: local epoch within the round.
        size: samples of each of these nodes.
        sizes: (n,) samples of each where they differ, at most `size`.

    Returns:
        (n, size) int64; each row is a permutation of 0 .. size - 1, and begins with one of 0 .. sizes[n] - 1.
    """
    who = _words(nodes).reshape(-1, 1)
    keys = bits(seed, Purpose.BATCHES, who, round, epoch, np.arange(size, dtype=np.uint64))
    keys = keys.reshape(len(who), size)
    if sizes is not None:
        keys[np.arange(size) >= sizes[:, None]] = np.iinfo(np.uint64).max
    return np.argsort(keys, axis=1, kind="stable")


def _words(word: ArrayLike) -> NDArray[np.uint64]:
    return np.asarray(word % 2**64 if isinstance(word, int) else word).astype(np.uint64)


def _mix(state: NDArray[np.uint64]) -> NDArray[np.uint64]:
    state = (state ^ (state >> _S30)) * _M1
    state = (state ^ (state >> _S27)) * _M2
    return np.asarray(state ^ (state >> _S31), dtype=np.uint64)
