"""Relayed histories of all nodes at once: node.trust.history, choice for choice, on arrays of row numbers.

Laws:
- What a node holds after a round, and what it relays, is what `node.trust.history.History` holds and chooses.
- A held record is a row number, a distance and the set of neighbours that sent it (a bit a neighbour): never a copy
  of a model.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from node.draws import Purpose, uniforms
from node.trust.history import DECAY, FARTHEST
from simulator.fast.rows import Rows
from simulator.fast.workers import Workers

Ints = NDArray[np.int64]

_DRAWS = 1 << 17  # draws at a time: below it threads wait for the interpreter lock, above it arrays leave the cache


class Histories:
    """Relayed records of H honest nodes.

    Attributes:
        rows: (H, k) int64 row numbers held, -1 past the end; by author's peer id.
        relays: (H,) relays that each node sent to honest neighbours in the last round.
        lacking: (H,) of these, the ones whose payload the receiver had to fetch.
    """

    def __init__(
        self,
        neighbours: tuple[tuple[int, ...], ...],
        honest: int,
        addresses: NDArray[np.uint64],
        order: NDArray[np.int64],
        seed: int,
        authors: int,
        age: int,
        workers: Workers,
    ) -> None:
        self._honest = honest
        self._seed = seed
        self._limit = authors
        self._age = age
        self._workers = workers
        self._addresses = addresses
        self._rank = np.empty(len(order), dtype=np.int64)  # place of each vertex in order of peer id
        self._rank[order] = np.arange(len(order))
        self._order = order
        width = max((len(beside) for beside in neighbours[:honest]), default=0)
        self._beside = np.full((honest, width), -1, dtype=np.int64)
        for vertex, beside in enumerate(neighbours[:honest]):
            self._beside[vertex, : len(beside)] = beside
        self._words = max(1, -(-width // 63))
        # place of node among the neighbours of its j-th neighbour: the bit of "came from node" at that neighbour
        self._bit = np.full((honest, width), -1, dtype=np.int64)
        for vertex in range(honest):
            for place, other in enumerate(neighbours[vertex]):
                if other < honest:
                    self._bit[vertex, place] = neighbours[other].index(vertex)
        self._direct = np.sort(
            np.concatenate([v * len(order) + np.array(neighbours[v], dtype=np.int64) for v in range(honest)])
            if honest
            else np.zeros(0, np.int64)
        )
        self.rows: Ints = np.full((honest, 0), -1, dtype=np.int64)
        self._distance: Ints = np.zeros((honest, 0), dtype=np.int64)
        self._senders: Ints = np.zeros((honest, 0, self._words), dtype=np.int64)
        self.relays: Ints = np.zeros(honest, dtype=np.int64)
        self.lacking: Ints = np.zeros(honest, dtype=np.int64)
        empty = np.zeros(0, dtype=np.int64)
        self._sent = (empty, empty, empty, empty)  # receiver, row, distance, bit of the sender

    def settle(self, rows: Rows, round: int) -> None:
        """At the close of a round: merge what was relayed in the last one, drop what is old, and trim."""
        receiver, sent, distance, bit = self._sent
        node, place = np.nonzero(self.rows >= 0)
        held = self.rows[node, place]
        all_node = np.concatenate([node, receiver])
        all_row = np.concatenate([held, sent])
        all_distance = np.concatenate([self._distance[node, place], distance])
        senders = np.zeros((len(all_row), self._words), dtype=np.int64)
        senders[: len(held)] = self._senders[node, place]
        arrived = np.arange(len(held), len(all_row))
        senders[arrived, bit // 63] = np.int64(1) << (bit % 63)
        author = rows.author[all_row].astype(np.int64)
        round_ = rows.round[all_row].astype(np.int64)
        live = round_ >= round - self._age
        if not live.all():
            all_node, all_row, all_distance = all_node[live], all_row[live], all_distance[live]
            senders, author, round_ = senders[live], author[live], round_[live]
        if len(all_row) == 0:
            self._store(all_node, all_row, all_distance, senders, round_)
            return
        # newest record of each (node, author), of equal ones the least distance and all senders
        key = all_node * len(self._rank) + self._rank[author]
        # of one (node, author, round) there is one row, so the order of equal keys does not matter; what was held is in
        # order already, which a stable sort makes use of
        order = np.argsort(key * (self._age + 2) + (round - round_), kind="stable")
        key, round_ = key[order], round_[order]
        first = np.flatnonzero(np.concatenate([[True], key[1:] != key[:-1]]))
        group = np.cumsum(np.concatenate([[0], (key[1:] != key[:-1]).astype(np.int64)]))
        newest = round_ == round_[first][group]
        chosen, group = order[newest], group[newest]
        start = np.flatnonzero(np.concatenate([[True], group[1:] != group[:-1]]))
        nearest = np.minimum.reduceat(all_distance[chosen], start)
        merged = np.bitwise_or.reduceat(senders[chosen], start, axis=0)
        kept = chosen[start]
        self._store(all_node[kept], all_row[kept], nearest, merged, round_[first])

    def _store(self, node: Ints, row: Ints, distance: Ints, senders: Ints, round_: Ints) -> None:
        # entries come by (node, peer id of author); keep the `authors` newest, then nearest, then of least id
        counts = np.bincount(node, minlength=self._honest)
        if len(counts) and counts.max() > self._limit:
            order = np.lexsort((np.arange(len(node)), distance, -round_, node))
            begin = np.concatenate([[0], np.cumsum(counts)])[:-1]
            place = np.arange(len(node)) - begin[node[order]]
            chosen = np.sort(order[place < self._limit])
            node, row, distance, senders = node[chosen], row[chosen], distance[chosen], senders[chosen]
            counts = np.bincount(node, minlength=self._honest)
        width = int(counts.max()) if len(counts) else 0
        begin = np.concatenate([[0], np.cumsum(counts)])[:-1]
        place = np.arange(len(node)) - begin[node]
        self.rows = np.full((self._honest, width), -1, dtype=np.int64)
        self._distance = np.zeros((self._honest, width), dtype=np.int64)
        self._senders = np.zeros((self._honest, width, self._words), dtype=np.int64)
        self.rows[node, place] = row
        self._distance[node, place] = distance
        self._senders[node, place] = senders

    def relay(self, rows: Rows, direct: Ints, round: int) -> None:
        """Draw what every node relays to each neighbour; it counts at the close of the next round.

        Args:
            rows: the table.
            direct: (H, n) rows of neighbours' models of this round in order of `neighbours`, -1 absent.
            round: number of this round.
        """
        candidates = np.concatenate([direct, self.rows], axis=1)
        distance = np.concatenate([np.ones_like(direct), self._distance], axis=1)
        receivers = self._beside
        best = np.full(receivers.shape, -1, dtype=np.int64)
        useful = np.zeros(receivers.shape, dtype=bool)
        self.lacking = np.zeros(self._honest, dtype=np.int64)

        def work(lo: int, hi: int) -> None:
            best[lo:hi] = self._drawn(slice(lo, hi), rows, candidates[lo:hi], distance[lo:hi], round)
            node, spots = np.nonzero(best[lo:hi] >= 0)
            node += lo
            receiver, row = receivers[node, spots], candidates[node, best[node, spots]]
            author = rows.author[row]
            # a relay of what its author or a direct neighbour says itself is ignored
            key = receiver * len(self._rank) + author
            spot = np.minimum(np.searchsorted(self._direct, key), max(len(self._direct) - 1, 0))
            heeded = (author != receiver) & (self._direct[spot] != key)
            node, spots, receiver, row = node[heeded], spots[heeded], receiver[heeded], row[heeded]
            useful[node, spots] = True
            # the payload travels where the receiver wants the record and does not hold it
            lacking = ~(self.rows[receiver] == row[:, None]).any(axis=1)
            self.lacking[lo:hi] = np.bincount(node[lacking] - lo, minlength=hi - lo)

        most = max(1, _DRAWS // max(1, receivers.shape[1] * candidates.shape[1]))
        self._workers.over(self._honest if best.shape[1] else 0, work, most=most)
        self.relays = (best >= 0).sum(axis=1)
        node, spots = np.nonzero(useful)
        choice = best[node, spots]
        claimed = np.minimum(distance[node, choice] + 1, FARTHEST)
        self._sent = (receivers[node, spots], candidates[node, choice], claimed, self._bit[node, spots])

    def _drawn(self, nodes: slice, rows: Rows, candidates: Ints, distance: Ints, round: int) -> Ints:
        """Place of the candidate that each of these nodes relays to each neighbour, (n, width); -1 none."""
        beside = self._beside[nodes]
        width = beside.shape[1]
        there = candidates >= 0
        author = np.where(there, rows.author[candidates], 0)
        to = np.maximum(beside, 0)
        open_ = there[:, None] & (author[:, None] != to[:, :, None])
        place = np.arange(width)
        sent = self._senders[nodes][:, :, place // 63] >> (place % 63) & 1
        open_[:, :, width:] &= sent.transpose(0, 2, 1) == 0
        open_ &= ((beside >= 0) & (beside < self._honest))[:, :, None]
        own = self._addresses[nodes.start : nodes.stop, None, None]
        draws = uniforms(
            self._seed, Purpose.RELAY, own, round, self._addresses[to][:, :, None], self._addresses[author][:, None]
        )
        race = -np.log(draws)
        race /= np.exp(-DECAY * (distance - 1.0))[:, None]
        race[~open_] = np.inf
        winner = np.argmin(race, axis=2)
        found = np.take_along_axis(open_, winner[:, :, None], axis=2)[:, :, 0]
        return np.where(found, winner, -1)

    def expire(self, rows: Rows, round: int) -> None:
        """Forget what will be too old in this round, so that its rows can be filled again before the round begins."""
        old = (self.rows >= 0) & (rows.round[self.rows] < round - self._age)
        self.rows = np.where(old, -1, self.rows)
        young = rows.round[self._sent[1]] >= round - self._age
        receiver, row, distance, bit = self._sent
        self._sent = receiver[young], row[young], distance[young], bit[young]

    def live(self) -> Ints:
        """Rows that some node holds or is about to hold, in no order, some of them more than once."""
        return np.concatenate([self.rows[self.rows >= 0], self._sent[1]])
