"""What becomes of a sealed header: known, forged, admitted, wanted, verified. Value in, event out; no I/O, no clock.

Laws:
- Order of checks: known digest, signature, header, network, author, the author's bucket, schema and length,
  admission, `wants`; only then is the payload asked for. The author's bucket comes after the signature, so that
  nobody can empty it in another's name.
- An update is delivered once. When another peer shows it too, only that fact is told (`UpdateHeard`).
- A header that is not wanted leaves no trace but its counter; so does one that is stale or early, except that the
  newest early one of each author is judged again when our round grows.
- A header of our own is for `gossip.chain.own_chain` to judge.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field

from gossip.chain.admission import Chains, Verdict, entry_of
from gossip.chain.ledger import Entry, Ledger
from gossip.fetcher import Wanted
from gossip.protocol.codec import UPDATE, decode_header, payload_bytes, schema_digest
from gossip.protocol.errors import Drop, LocalFault, RemoteFault
from gossip.protocol.events import Equivocated, GossipEvent, PeerAhead, UpdateHeard, UpdateVerified
from gossip.protocol.limits import Limits
from gossip.protocol.messages import DTYPES, NO_DIGEST, HeaderRequest, Relay, Schema, Update, UpdateHeader
from gossip.protocol.rates import Bucket
from identity.envelope import digest_of, open_envelope, split
from identity.errors import ForgedEnvelope
from identity.keys import PeerId

Wants = Callable[[UpdateHeader, PeerId, int], bool]
"""(header, via, distance) -> whether the node wants this payload; asked before it is fetched; must not wait."""


@dataclass(frozen=True, slots=True)
class Home:
    """What every header must agree with."""

    peer: PeerId
    network: bytes
    schema: bytes
    payload_bytes: int


def home_of(peer: PeerId, network: bytes, schema: Schema, limits: Limits) -> Home:
    """A node's home.

    Raises:
        LocalFault: the network id or the schema is unusable, or payloads exceed `limits.payload`.
    """
    if len(network) != len(NO_DIGEST):
        raise LocalFault(f"a network id has {len(NO_DIGEST)} bytes, not {len(network)}")
    wrong = sorted({tensor.dtype for tensor in schema.tensors} - set(DTYPES))
    if wrong:
        raise LocalFault(f"a payload has f4, f2 and i1 only, not {', '.join(wrong)}")
    if schema.nbytes > limits.payload:
        raise LocalFault(f"payloads of {schema.nbytes} bytes exceed the limit of {limits.payload}")
    return Home(peer, network, schema_digest(schema), payload_bytes(schema))


@dataclass(slots=True, eq=False)
class _Known:
    """An update whose header was admitted: who showed it (`Limits.vias` at most), and how far its payload is."""

    wanted: Wanted
    vias: set[PeerId] = field(default_factory=set)
    state: str = "idle"  # idle | fetching | verified | bad


class Intake:
    """Headers of others, and all that is known of them."""

    def __init__(
        self,
        home: Home,
        ledger: Ledger,
        limits: Limits,
        wants: Wants,
        on_event: Callable[[GossipEvent], None],
        fetch: Callable[[Wanted], None],
        request: Callable[[PeerId, HeaderRequest], None],
        own: Callable[[Entry, PeerId], None],
        round: int = 0,
        reopen: int | None = None,
    ) -> None:
        """An intake that knows what the ledger knows.

        Args:
            home: whose intake it is.
            ledger: what survives restarts.
            limits: what peers may use.
            wants: decides, before a payload is fetched.
            on_event: is told what happened.
            fetch: begins to fetch a payload; its end comes back through `fetched` or `not_fetched`.
            request: asks a peer for headers that are missing in its chain.
            own: takes headers of our own key, and who showed them.
            round: our round.
            reopen: see `gossip.service`.
        """
        self.chains = Chains(ledger, limits)
        self._home = home
        self._ledger = ledger
        self._limits = limits
        self._wants = wants
        self._on_event = on_event
        self._begin = fetch
        self._request = request
        self._take_own = own
        self.round = round
        self._reopen = reopen
        self._buckets: OrderedDict[PeerId, Bucket] = OrderedDict()
        self._known: OrderedDict[bytes, _Known] = OrderedDict()
        self._early: OrderedDict[PeerId, tuple[PeerId, int, bytes]] = OrderedDict()

    def take(self, envelope: bytes, via: PeerId, distance: int, now: float) -> None:
        """Take a sealed header that `via` showed.

        Args:
            envelope: the sealed header.
            via: who showed it: its author when `distance` is 1.
            distance: 1, or what a relayer claimed plus one.
            now: monotonic seconds, for the author's bucket.

        Raises:
            RemoteFault: dropped, with the reason.
        """
        body = split(envelope).body
        if len(body) > self._limits.header:
            raise RemoteFault(Drop.OVERSIZE, f"a header of {len(body)} bytes")
        digest = digest_of(UPDATE, body)
        known = self._known.get(digest)
        if known is not None:
            self._hear_again(known, via, distance)
            return
        header, entry = self._open(envelope, digest)
        if distance == 1 and header.author != via:
            raise RemoteFault(Drop.WRONG_AUTHOR, "an announce of somebody else's header")
        if header.author == self._home.peer:
            self._take_own(entry, via)
            return
        if not self._bucket(header.author, now).take(now):
            raise RemoteFault(Drop.AUTHOR_RATE)
        if header.schema != self._home.schema:
            raise RemoteFault(Drop.SCHEMA)
        if header.payload_length != self._home.payload_bytes:
            raise RemoteFault(Drop.LENGTH)
        self._admit(header, entry, via, distance)

    def take_early(self) -> list[tuple[PeerId, int, bytes]]:
        """Give back, once, the (via, distance, envelope) that were early: to be taken again."""
        waiting, self._early = self._early, OrderedDict()
        return list(waiting.values())

    def fetched(self, wanted: Wanted, update: Update) -> None:
        """A payload came and passed every check.

        Raises:
            RemoteFault: CONVICTED, when its author contradicted itself while the payload was on its way.
        """
        known = self._known.get(wanted.digest)
        guilty = self._ledger.proof(wanted.header.author) is not None
        if known is not None:
            known.state = "bad" if guilty else "verified"
        if guilty:
            raise RemoteFault(Drop.CONVICTED)
        (via, distance), *others = wanted.holders
        self._on_event(UpdateVerified(update, via, distance))
        for other, hops in others:
            self._on_event(UpdateHeard(wanted.header, wanted.digest, other, hops))

    def not_fetched(self, wanted: Wanted, fault: RemoteFault) -> None:
        """Nobody gave the payload, or the author signed a bad one."""
        known = self._known.get(wanted.digest)
        if known is None:
            return
        if fault.reason in (Drop.UNAVAILABLE, Drop.UNREACHABLE):
            known.state = "idle"  # the next peer that shows it, old or new, may have it
            known.vias.clear()
        else:
            known.state = "bad"  # signed by its author: no holder can have a better one

    def relayable(self, author: PeerId, first: int, last: int) -> list[Relay]:
        """Headers `first` to `last`, or 0 to 0 the newest, of another author whose payloads passed through here."""
        found = []
        for entry in self.chains.recent(author):
            known = self._known.get(entry.digest)
            if (first <= entry.sequence <= last or not first) and known is not None and known.state == "verified":
                nearest = min(hops for _, hops in known.wanted.holders)
                found.append(Relay(nearest, entry.envelope))
        return found if first else found[-1:]

    def validate(self) -> None:
        """Assert the invariants: every table within its bound, chains whole."""
        assert len(self._known) <= self._limits.heard
        assert len(self._early) <= self._limits.early
        assert len(self._buckets) <= self._limits.authors
        self.chains.validate()

    def _open(self, envelope: bytes, digest: bytes) -> tuple[UpdateHeader, Entry]:
        try:
            opened = open_envelope(envelope, UPDATE)
        except ForgedEnvelope as error:
            raise RemoteFault(Drop.BAD_SIGNATURE, str(error)) from None
        header = decode_header(opened.body, self._limits)
        if header.network != self._home.network:
            raise RemoteFault(Drop.WRONG_NETWORK)
        if header.author != opened.author:
            raise RemoteFault(Drop.WRONG_AUTHOR, "signed by another key than the author's")
        return header, entry_of(header, digest, envelope)

    def _hear_again(self, known: _Known, via: PeerId, distance: int) -> None:
        """A known header: from the same peer a duplicate, from another one more holder."""
        wanted = known.wanted
        if distance == 1 and wanted.header.author != via:
            raise RemoteFault(Drop.WRONG_AUTHOR, "an announce of somebody else's header")
        if known.state == "bad" or via in known.vias:
            raise RemoteFault(Drop.DUPLICATE)
        if known.state == "idle":
            if not self._wants(wanted.header, via, distance):
                raise RemoteFault(Drop.UNWANTED)
            self._fetch(known, via, distance)
            return
        if len(known.vias) >= self._limits.vias:
            raise RemoteFault(Drop.DUPLICATE, "enough peers have shown it")
        known.vias.add(via)
        if known.state == "verified":
            self._on_event(UpdateHeard(wanted.header, wanted.digest, via, distance))
        else:
            wanted.holders.append((via, distance))

    def _admit(self, header: UpdateHeader, entry: Entry, via: PeerId, distance: int) -> None:
        judgement = self.chains.judge(header, entry.digest, self.round)
        reopened = judgement.reason is Drop.REPLAY and self._reopens(entry)
        if judgement.reason is not None and not reopened:
            if judgement.reason is Drop.EARLY:
                self._keep_early(entry, via, distance)
                if distance == 1:
                    self._on_event(PeerAhead(via, header.round))
            if judgement.verdict is Verdict.REJECT and judgement.against is not None:
                proof = self.chains.convict(judgement.against, entry)
                self._on_event(Equivocated(proof.author, proof.first, proof.second))
            raise RemoteFault(judgement.reason)
        if not self._wants(header, via, distance):
            raise RemoteFault(Drop.UNWANTED)
        before = self.chains.recent(entry.author)
        if not reopened:
            self.chains.accept(entry)
        known = _Known(Wanted(header, entry.envelope, entry.digest))
        self._known[entry.digest] = known
        if len(self._known) > self._limits.heard:
            self._known.popitem(last=False)
        self._fetch(known, via, distance)
        if distance == 1 and before and entry.sequence > before[-1].sequence + 1:
            last = entry.sequence - 1
            first = max(before[-1].sequence + 1, entry.sequence - self._limits.headers_in_request)
            self._request(via, HeaderRequest(entry.author, first, last))

    def _fetch(self, known: _Known, via: PeerId, distance: int) -> None:
        known.vias.add(via)
        known.state = "fetching"
        known.wanted.holders = [(via, distance)]
        self._begin(known.wanted)

    def _reopens(self, entry: Entry) -> bool:
        """Whether a restarted node may be given again what its ledger, but not its memory, knows."""
        if self._reopen is None or entry.round < self._reopen or entry.digest in self._known:
            return False
        return any(known.digest == entry.digest for known in self.chains.recent(entry.author))

    def _keep_early(self, entry: Entry, via: PeerId, distance: int) -> None:
        self._early[entry.author] = (via, distance, entry.envelope)
        self._early.move_to_end(entry.author)
        if len(self._early) > self._limits.early:
            self._early.popitem(last=False)

    def _bucket(self, author: PeerId, now: float) -> Bucket:
        bucket = self._buckets.get(author)
        if bucket is None:
            bucket = Bucket.full(self._limits.author_rate, self._limits.author_burst, now)
            self._buckets[author] = bucket
            if len(self._buckets) > self._limits.authors:
                self._buckets.popitem(last=False)
        return bucket
