"""What gossip needs remembered across restarts: own headers, others' heads, and proofs of guilt.

Laws:
- `append` returns only when the entry is durable (SQLite: synchronous=FULL): what is signed is durable before it
  leaves.
- Own entries are kept for ever and form a chain; nothing is ever signed twice for one sequence or one round.
- What `remember` was told of an author at its highest sequence is never forgotten; of each author at least the
  newest `Limits.chain` entries are kept.
- All methods are called on the event loop's thread, one at a time, and must be short.

`MemoryLedger` is the one for simulations and tests; `node.store.folder` has the one on disk.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from gossip.protocol.messages import Buffer
from identity.keys import PeerId


@dataclass(frozen=True, slots=True)
class Entry:
    """One sealed header and the facts of it that are looked up."""

    author: PeerId
    sequence: int
    round: int
    digest: bytes
    previous: bytes
    envelope: bytes


@dataclass(frozen=True, slots=True)
class Proof:
    """Two sealed headers by one author that contradict each other: anyone can check them."""

    author: PeerId
    first: bytes
    second: bytes


class Ledger(Protocol):
    """Durable memory of one node."""

    def append(self, entry: Entry, payload: Buffer) -> None:
        """Add an own entry with its payload, durable on return. At least the newest payload must be kept."""
        ...

    def adopt(self, entry: Entry) -> None:
        """Add an own entry that came from a peer (a backup lost it), without payload; durable on return."""
        ...

    def head(self) -> Entry | None:
        """The own entry with the highest sequence."""
        ...

    def own(self, first: int, last: int) -> Sequence[Entry]:
        """Own entries with first <= sequence <= last, ascending; missing ones are left out."""
        ...

    def payload(self, sequence: int) -> bytes | None:
        """The payload of an own entry, if it is still kept."""
        ...

    def remember(self, entry: Entry) -> None:
        """Note that another author's header was admitted."""
        ...

    def recent(self, author: PeerId) -> Sequence[Entry]:
        """An author's newest entries (all, or at least `Limits.chain`), ascending; empty if never seen."""
        ...

    def convict(self, proof: Proof) -> None:
        """Keep a proof of guilt for ever; the first proof against an author stays."""
        ...

    def proof(self, author: PeerId) -> Proof | None:
        """The proof against an author, if there is one."""
        ...


class MemoryLedger:
    """A ledger that lasts as long as the object."""

    def __init__(self, keep: int = 16) -> None:
        """Remember `keep` newest entries of each other author."""
        self._keep = keep
        self._own: dict[int, Entry] = {}
        self._payload: tuple[int, bytes] | None = None
        self._recent: dict[PeerId, list[Entry]] = {}
        self._proofs: dict[PeerId, Proof] = {}

    def append(self, entry: Entry, payload: Buffer) -> None:
        """See `Ledger.append`."""
        self._own[entry.sequence] = entry
        self._payload = (entry.sequence, payload if isinstance(payload, bytes) else bytes(payload))

    def adopt(self, entry: Entry) -> None:
        """See `Ledger.adopt`."""
        self._own[entry.sequence] = entry

    def head(self) -> Entry | None:
        """See `Ledger.head`."""
        return self._own[max(self._own)] if self._own else None

    def own(self, first: int, last: int) -> Sequence[Entry]:
        """See `Ledger.own`."""
        return [self._own[sequence] for sequence in range(first, last + 1) if sequence in self._own]

    def payload(self, sequence: int) -> bytes | None:
        """See `Ledger.payload`."""
        return self._payload[1] if self._payload and self._payload[0] == sequence else None

    def remember(self, entry: Entry) -> None:
        """See `Ledger.remember`."""
        kept = [other for other in self._recent.get(entry.author, []) if other.sequence != entry.sequence]
        kept.append(entry)
        kept.sort(key=lambda other: other.sequence)
        self._recent[entry.author] = kept[-self._keep :]

    def recent(self, author: PeerId) -> Sequence[Entry]:
        """See `Ledger.recent`."""
        return tuple(self._recent.get(author, ()))

    def convict(self, proof: Proof) -> None:
        """See `Ledger.convict`."""
        self._proofs.setdefault(proof.author, proof)

    def proof(self, author: PeerId) -> Proof | None:
        """See `Ledger.proof`."""
        return self._proofs.get(author)
