"""Accept, ignore or reject a verified header, by what is remembered of its author and by our round. Pure.

Laws, in order:
- An author with a proof against it: rejected.
- (author, sequence) once, for ever: the same header again is a duplicate, another one is equivocation.
- Only the newest `chain` headers of an author are remembered; a sequence below all of a full memory is a replay.
- Headers may arrive in any order within that memory (it is the gap buffer), and every order ends in one state:
  links to the remembered predecessor and successor must fit, and rounds grow with sequences, whichever comes first.
- Round window: below local - W is stale, above local + ahead is early; neither is remembered.
Ignored means nobody is to blame; rejected means the author signed something that an honest node never signs.
`against` is the
remembered entry that the header contradicts: the two together are a proof.

Source: sliding anti-replay window of RFC 4303 (3.4.3), over a hash chain.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from itertools import pairwise

from gossip.chain.ledger import Entry, Ledger, Proof
from gossip.protocol.errors import Drop
from gossip.protocol.limits import Limits
from gossip.protocol.messages import NO_DIGEST, UpdateHeader
from identity.keys import PeerId


class Verdict(Enum):
    """What to do with a header."""

    ACCEPT = "accept"
    IGNORE = "ignore"
    REJECT = "reject"


@dataclass(frozen=True, slots=True)
class Judgement:
    """A verdict, why (None when accepted), and the entry that contradicts the header, if one does."""

    verdict: Verdict
    reason: Drop | None = None
    against: Entry | None = None


ACCEPTED = Judgement(Verdict.ACCEPT)


def judge(header: UpdateHeader, digest: bytes, recent: Sequence[Entry], round: int, limits: Limits) -> Judgement:
    """Judge one header whose signature holds.

    Args:
        header: what the author signed; `digest` is its name.
        recent: what is remembered of this author, ascending by sequence.
        round: our own round.
        limits: `chain`, `window` and `ahead` are used.
    """
    for entry in recent:
        clash = _clash(header, digest, entry)
        if clash is not None:
            return clash
    if header.sequence == 1 and header.previous != NO_DIGEST:
        return Judgement(Verdict.REJECT, Drop.BROKEN_CHAIN)
    if len(recent) >= limits.chain and header.sequence < recent[0].sequence:
        return Judgement(Verdict.IGNORE, Drop.REPLAY)
    if header.round < round - limits.window:
        return Judgement(Verdict.IGNORE, Drop.STALE)
    if header.round > round + limits.ahead:
        return Judgement(Verdict.IGNORE, Drop.EARLY)
    return ACCEPTED


def entry_of(header: UpdateHeader, digest: bytes, envelope: bytes) -> Entry:
    """The entry that a ledger keeps of a header."""
    return Entry(header.author, header.sequence, header.round, digest, header.previous, envelope)


class Chains:
    """What is remembered of other authors: a bounded memory in front of the ledger."""

    def __init__(self, ledger: Ledger, limits: Limits) -> None:
        """Remember through `ledger`."""
        self._ledger = ledger
        self._limits = limits
        self._recent: OrderedDict[PeerId, tuple[Entry, ...]] = OrderedDict()

    def recent(self, author: PeerId) -> tuple[Entry, ...]:
        """The newest `Limits.chain` entries of an author, ascending."""
        known = self._recent.get(author)
        if known is None:
            known = tuple(self._ledger.recent(author))[-self._limits.chain :]
            if known:
                self._keep(author, known)
        return known

    def judge(self, header: UpdateHeader, digest: bytes, round: int) -> Judgement:
        """`judge` with what is remembered of the header's author."""
        if self._ledger.proof(header.author) is not None:
            return Judgement(Verdict.REJECT, Drop.CONVICTED)
        return judge(header, digest, self.recent(header.author), round, self._limits)

    def accept(self, entry: Entry) -> None:
        """Remember an accepted header, here and in the ledger."""
        known = (*self.recent(entry.author), entry)
        ordered = tuple(sorted(known, key=lambda one: one.sequence))
        self._ledger.remember(entry)  # first: what the disk refuses was not accepted
        self._keep(entry.author, ordered[-self._limits.chain :])

    def convict(self, first: Entry, second: Entry) -> Proof:
        """Keep the proof that an author contradicted itself."""
        proof = Proof(first.author, first.envelope, second.envelope)
        self._ledger.convict(proof)
        return proof

    def validate(self) -> None:
        """Assert the invariants: bounded, ascending, each sequence once, rounds growing, links whole."""
        assert len(self._recent) <= self._limits.authors
        for author, entries in self._recent.items():
            assert 0 < len(entries) <= self._limits.chain
            for before, after in pairwise(entries):
                assert before.author == after.author == author
                assert before.sequence < after.sequence
                assert before.round < after.round
                assert after.sequence > before.sequence + 1 or after.previous == before.digest

    def _keep(self, author: PeerId, entries: tuple[Entry, ...]) -> None:
        self._recent[author] = entries
        self._recent.move_to_end(author)
        if len(self._recent) > self._limits.authors:
            self._recent.popitem(last=False)


def _clash(header: UpdateHeader, digest: bytes, entry: Entry) -> Judgement | None:
    """What one remembered entry says against a header."""
    if entry.sequence == header.sequence:
        if entry.digest == digest:
            return Judgement(Verdict.IGNORE, Drop.REPLAY)
        return Judgement(Verdict.REJECT, Drop.EQUIVOCATION, entry)
    older, newer = entry.sequence < header.sequence, entry.sequence > header.sequence
    broken = (entry.sequence + 1 == header.sequence and header.previous != entry.digest) or (
        header.sequence + 1 == entry.sequence and entry.previous != digest
    )
    if broken:
        return Judgement(Verdict.REJECT, Drop.BROKEN_CHAIN, entry)
    if (older and entry.round >= header.round) or (newer and entry.round <= header.round):
        return Judgement(Verdict.REJECT, Drop.ROUND_ORDER, entry)
    return None
