"""`python -m benchmarks.vouches`: milliseconds that statements cost a node: ranking, a flood, sums, and random walks.

Rows, for 1 000, 10 000, the store's bound and 100 000 statements (each peer vouches for eight others and they for it):
- `rank_<n>_ms`: one `standing_of`, all of it; `power_<n>_ms`: its 64 power steps alone.
- `walks_<n>_ms`: 5 000 random walks with restart from oneself instead of the steps: at P = .02 they are off by .002.
- `settle_<n>_ms`: a round in which one statement has changed.
- `flood_settle_ms`: a round after 10 000 statements by free keys; `flood_admit_us`: one of these; `verify_us`: its
  signature, which comes first.
- `sums_ms`: the sums at the store's bound after a change in each sixteenth.

Source: fingerprints of random walks with restart (Fogaras, Racz, "Towards scaling fully personalized PageRank", 2004;
PowerWalk, CIKM 2016).
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from functools import partial

import numpy as np

from benchmarks.timing import best
from gossip.protocol.limits import Limits
from gossip.vouching import Pair, Statement
from identity.envelope import open_envelope, seal
from identity.keys import PeerId, SigningKey
from node.trust.statements import Statements
from node.trust.vouches import RESTART, Ints, Masses, standing_of, walk

SIZES = (1_000, 10_000, Limits().vouches, 100_000)
FRIENDS = 8
WALKS = 5_000
FREE = 10_000


def run() -> dict[str, float]:
    """All rows."""
    rows: dict[str, float] = {}
    for size in SIZES:
        pairs = graph(size)
        me = min(pairs)[0]
        numbers = {peer: place for place, peer in enumerate(sorted({issuer for issuer, _ in pairs}))}
        links = np.array([(numbers[a], numbers[b]) for a, b in pairs if a < b], dtype=np.int64)
        source, count = np.array([numbers[me]]), len(numbers)
        rows[f"rank_{size}_ms"] = 1e3 * best(partial(standing_of, pairs, me))
        rows[f"power_{size}_ms"] = 1e3 * best(partial(walk, links, count, source))
        rows[f"walks_{size}_ms"] = 1e3 * best(partial(walks, links, count, numbers[me]))
        if size <= Limits().vouches:
            rows[f"settle_{size}_ms"] = 1e3 * best(changing(holding(pairs, me), me))
    held = holding(graph(SIZES[2]), me := min(graph(SIZES[2]))[0])
    rows["sums_ms"] = 1e3 * best(lambda: summed(held))
    free = [statement(peer(10**6 + number), peer(2 * 10**6 + number)) for number in range(FREE)]
    rows["flood_admit_us"] = 1e6 * best(lambda: told(held, free)) / FREE
    rows["flood_settle_ms"] = 1e3 * best(lambda: held.settle(1))
    envelope = seal(SigningKey(bytes(32)), "vouch", bytes(110))
    rows["verify_us"] = 1e6 * best(lambda: [open_envelope(envelope, "vouch") for _ in range(100)]) / 100
    assert held.standing
    assert me in {each.issuer for each in held}
    return rows


def peer(number: int) -> PeerId:
    """Somebody."""
    return PeerId(hashlib.sha256(number.to_bytes(8, "big")).digest())


def statement(issuer: PeerId, subject: PeerId, sequence: int = 1) -> Statement:
    """Unsigned: what holds statements is given those that were verified."""
    body = issuer + subject + sequence.to_bytes(8, "big")
    return Statement(issuer, subject, sequence, Limits().term, hashlib.sha256(body).digest(), body)


def graph(size: int) -> list[Pair]:
    """So many statements, mutual, eight a peer: a ring of four neighbours, of which a tenth lead anywhere."""
    generator, count = np.random.default_rng(1), size // FRIENDS
    pairs: set[Pair] = set()
    peers = [peer(number) for number in range(count)]
    for one in range(count):
        for step in range(1, FRIENDS // 2 + 1):
            other = int(generator.integers(count)) if generator.random() < 0.1 else (one + step) % count
            if other != one:
                pairs |= {(peers[one], peers[other]), (peers[other], peers[one])}
    return sorted(pairs)


def holding(pairs: list[Pair], me: PeerId) -> Statements:
    """A store that holds these."""
    held = Statements(me, held=[statement(*pair) for pair in pairs])
    held.settle(0)
    return held


def changing(held: Statements, me: PeerId) -> Callable[[], None]:
    """A round in which somebody of whom oneself knows has come or gone."""
    turn = 1

    def settle() -> None:
        nonlocal turn
        turn += 1
        held.admit(statement(me, peer(5 * 10**6 + turn % 40), turn), 0)
        held.changed.clear()
        held.settle(0)

    return settle


def told(held: Statements, statements: list[Statement]) -> None:
    """All that is not known yet."""
    for each in statements:
        if not held.knows(each.digest):
            held.admit(each, 0)


def summed(held: Statements) -> None:
    """All sums anew."""
    held._sums = [None] * len(held._sums)
    held.sums()


def walks(links: Ints, count: int, source: int) -> Masses:
    """Where 5 000 walkers are, who go home with probability a at each step: (n,) share of their time."""
    generator = np.random.default_rng(2)
    ends = np.concatenate([links, links[:, ::-1]])
    ends = ends[np.argsort(ends[:, 0], kind="stable")]
    degrees = np.bincount(ends[:, 0], minlength=count)
    starts = np.concatenate([[0], np.cumsum(degrees)[:-1]])
    at, seen = np.full(WALKS, source), np.zeros(count)
    while len(at):
        seen += np.bincount(at, minlength=count)
        at = at[generator.random(len(at)) >= RESTART]
        step = (generator.random(len(at)) * degrees[at]).astype(np.int64)
        at = ends[starts[at] + step, 1]
    return seen * RESTART / WALKS


if __name__ == "__main__":
    for row, number in run().items():
        print(f"{row:32} {number:.4g}")
