"""The gossip of one node: frame -> open -> decode -> admit -> event; publish; relay; fetch what is wanted.

Laws:
- Order of checks on a frame: size, the peer's bucket, arity, then as in `gossip.intake`; strangers pay into one more.
- Nothing that a peer does raises out of here: every drop is counted by its reason and told as `Dropped`. What fails on
  our side meanwhile is told as `Broken`; only a disk that is full for now costs no more than what came.
- What is signed is durable in the ledger before its first byte leaves; nothing is signed twice for one round.
"""

from __future__ import annotations

import asyncio
import secrets
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from functools import partial

import numpy as np

from gossip.chain.hearing import Hearing
from gossip.chain.ledger import Entry, Ledger
from gossip.chain.own_chain import OwnChain
from gossip.company import Company
from gossip.fetcher import Fetcher, Wanted
from gossip.intake import Home, Intake, Wants
from gossip.lobby import Invitations, Lobby
from gossip.patience import Patience
from gossip.protocol.codec import (
    MAX_DISTANCE,
    RECORD,
    decode_frame,
    decode_header,
    digest_payload,
    encode_frame,
    encode_record,
    payload_bytes,
    schema_digest,
)
from gossip.protocol.errors import DiskFault, Drop, LocalFault, RemoteFault
from gossip.protocol.events import (
    Broken,
    Dropped,
    Equivocated,
    GossipEvent,
    PeerJoined,
    PeerLeft,
    PeerNamed,
    PeerRedeemed,
)
from gossip.protocol.handshake import Greeting, Handshake, Party
from gossip.protocol.limits import Limits
from gossip.protocol.messages import (
    DTYPES,
    NO_DIGEST,
    Announce,
    Buffer,
    Frame,
    Goodbye,
    HeaderRequest,
    PeerRecord,
    Peers,
    Redeem,
    Relay,
    Schema,
    Update,
)
from gossip.reach.book import AddressBook
from gossip.reach.dialer import Dialer
from gossip.reach.vantage import Vantage
from gossip.transport.blobs import BlobStore
from gossip.transport.contract import Transport
from identity.envelope import seal, split
from identity.keys import PeerId, SigningKey


class GossipService:
    """Signed gossip over any transport. All methods belong to one event loop.

    `on_event` is called on that loop, in the order of what happened, and must not wait.
    """

    def __init__(
        self,
        key: SigningKey,
        network: bytes,
        schema: Schema,
        transport: Transport,
        ledger: Ledger,
        *,
        wants: Wants,
        on_event: Callable[[GossipEvent], None],
        generator: np.random.Generator,
        executor: Executor,
        limits: Limits = Limits(),
        bootstrap: Sequence[str] = (),
        allow: frozenset[PeerId] | None = None,
        known: Callable[[PeerId], bool] = lambda peer: True,
        nonce: Callable[[], bytes] | None = None,
        round: int = 0,
        reopen: int | None = None,
        recall: frozenset[PeerId] = frozenset(),
        serves: Callable[[PeerId], bool] | None = None,
        invitations: Invitations | None = None,
    ) -> None:
        """Nothing happens before `start`.

        Args:
            key: our identity.
            network: 32-byte id of the network; frames of any other are dropped.
            schema: what every payload looks like.
            transport: moves the bytes.
            ledger: what survives restarts.
            wants: decides, before a payload is fetched.
            on_event: is told everything.
            generator: draws jitter.
            executor: hashes and checks large payloads (`gossip.transport.executors.InlineExecutor` under virtual time).
            limits: what peers may use.
            bootstrap: addresses to dial and keep dialled: "host:port" or "<peer id>@host:port".
            allow: peers that may connect; None means everybody.
            known: who is no stranger; known peers have shares of their own, strangers together share one. Default:
                everybody is known.
            nonce: 32 fresh bytes for each handshake; default `secrets`.
            round: the node's round, see `advance`.
            reopen: a restarted node's first unfinished round: what the ledger knows of this round or a later one,
                but the node lost with its memory, is delivered once more. None: replays are refused for ever.
            recall: peers that knew us before a restart: before anything new is signed each of them has `limits.recall`
                seconds to come and tell what it knows of our key.
            serves: whether a peer is given payloads; None: everybody who is connected.
            invitations: what is kept of invitations, given and held; None: none are.

        Raises:
            LocalFault: the network id or the schema is unusable, or payloads exceed `limits.payload`.
            BadPeerId: a bootstrap address names no peer.
        """
        _check(network, schema, limits)
        self.counters: Counter[Drop] = Counter()
        self._key = key
        self._network = network
        self._schema_digest = schema_digest(schema)
        self._transport = transport
        self._ledger = ledger
        self._on_event = on_event
        self._limits = limits
        self._company = Company(known)
        self._patience = Patience(limits)
        self._serves = serves
        self._lobby = Lobby(allow, invitations, limits)
        self._nonce = nonce or partial(secrets.token_bytes, 32)
        self._closed = False
        self._publishing = asyncio.Lock()
        self._hearing = Hearing(recall, limits)
        self._own = OwnChain(key, network, schema, ledger, executor, limits)
        self._blobs = BlobStore(limits.blobs)
        self._book = AddressBook(key.peer, network, limits)
        self._vantage = Vantage()
        self._unreachable: set[PeerId] = set()  # joined, but nobody answers where they say they serve payloads
        self._fetcher = Fetcher(
            transport,
            schema,
            limits,
            generator,
            executor,
            self._fetched,
            self._not_fetched,
            self._not_given,
            self._company.known,
            self._company.group,
            round,
        )
        home = Home(key.peer, network, self._schema_digest, payload_bytes(schema))
        self._intake = Intake(
            home, ledger, limits, wants, self._happened, self._fetcher.want, self._send, self._own_shown, round, reopen
        )
        self._dialer = Dialer(
            transport,
            self._book,
            bootstrap,
            generator,
            limits,
            lambda peer: self._lobby.allows(peer) and not self._refuses(peer),
            lambda fault, address: self._drop(fault.reason, None, address),
            self._named,
        )
        self._dialling: asyncio.Task[None] | None = None
        self._leaving: set[asyncio.Task[None]] = set()

    # what the node calls

    async def start(self) -> None:
        """Listen, load the own head for re-sending, and begin to dial the bootstrap addresses (in the background).

        Raises:
            LocalFault: the transport cannot listen.
        """
        head = self._ledger.head()
        payload = self._ledger.payload(head.sequence) if head else None
        if payload is not None:
            self._blobs.put(digest_payload(payload), payload, pin=True)
        await self._transport.start(self)
        self._dialling = asyncio.get_running_loop().create_task(self._dialer.run())

    async def close(self) -> None:
        """Say goodbye, flush, stop every task. Safe to call twice."""
        if self._closed:
            return
        self._closed = True
        self._lobby.close()
        await self._fetcher.close()
        if self._dialling is not None:
            self._dialling.cancel()
            await asyncio.gather(self._dialling, *self._leaving, return_exceptions=True)
        for peer in self._transport.connected():
            self._transport.send(peer, encode_frame(Goodbye("closing")))
        await self._transport.close()

    @property
    def address(self) -> str:
        """Where others can dial us, known after `start`; ":port" if only they know the host."""
        return self._vantage.state(self._transport.address)

    def peers(self) -> tuple[PeerId, ...]:
        """Connected peers, ordered by id."""
        return tuple(peer for peer in self._transport.connected() if not self._lobby.waits(peer))

    def acquaint(self, known: frozenset[PeerId], distrusted: frozenset[PeerId]) -> None:
        """Tell what the operator says of peers: where an allow-list is set the known are on it; the distrusted go."""
        for peer in sorted(self._lobby.acquainted(known, distrusted)):
            self._dismiss(peer, "it is distrusted here")
        self._company.refresh()
        self._dialer.wake()

    def advance(self, round: int) -> None:
        """Tell the node's round: moves the window; headers that were early are judged again."""
        self._intake.round = round
        self._company.refresh()
        self._fetcher.advance(round)
        for via, distance, envelope in self._intake.take_early():
            self._guard(via, partial(self._take_header, envelope, via, distance))

    async def publish(self, round: int, vector: Buffer, base: bytes = NO_DIGEST, classes: bytes = b"") -> Update:
        """Sign and send an update. The header is durable in the ledger before the first byte leaves.

        Before the first signature after a start peers are heard out (`gossip.chain.hearing`): they show the newest
        header that they know of us (`HeadAhead`). If there was one, we listen on for another process that signs with
        our key (`Limits.rival`, `KeyElsewhere`).

        A round that is already the ledger's newest is sent again, never signed again: what is returned is the
        stored update, whatever `vector` is now.

        Args:
            round: grows with every publish.
            vector: d little-endian float32, flat, in schema order.
            base: SHA-256 of the model that was trained from.
            classes: bit mask of the classes trained on.

        Raises:
            DiskFault: the disk refuses for now; nothing was signed.
            LocalFault: wrong length, not finite, a round below the ledger's newest, or a stored round whose payload
                is lost.
        """
        async with self._publishing:
            await self._hear_out(round)
            update = await self._own.update(round, vector, base, classes)
            self._blobs.put(update.header.payload_digest, update.payload, pin=True)
            frame = encode_frame(Announce(update.envelope))
            for peer in self.peers():
                self._transport.send(peer, frame, replaces=self._key.peer)
            return update

    async def relay(self, to: PeerId, update: Update, distance: int) -> bool:
        """Forward somebody's update untouched; `distance` is our own distance to its author (clamped to 1 .. 16).

        False if `to` is not connected.
        """
        self._blobs.put(update.header.payload_digest, update.payload)
        claimed = min(max(distance, 1), MAX_DISTANCE)
        frame = encode_frame(Relay(claimed, update.envelope))
        return self._transport.send(to, frame, replaces=b"relay" + update.header.author)

    # what the transport calls

    def handshake(self, dialled: bool, expect: PeerId | None = None) -> Handshake:
        """See `Receiver.handshake`."""
        try:
            head = self._ledger.head()
        except LocalFault as fault:
            self._on_event(Broken(fault))
            raise RemoteFault(Drop.REFUSED, "our own disk fails") from fault
        greeting = Greeting(
            network=self._network,
            schema=self._schema_digest,
            address=self._transport.address,
            sequence=head.sequence if head else 0,
            round=self._intake.round,
            allow=self._lobby.allow(dialled),
            distrusted=self._lobby.distrusted,
            refuse=self._refuses,
        )
        return Handshake(self._key, greeting, self._nonce(), dialled, expect, self._limits)

    def joined(self, party: Party) -> None:
        """See `Receiver.joined`: tell the node; show our head, addresses, and the peer its own head if it lost it."""
        if self._lobby.enter(party, self._uninvited):
            self._guard(party.peer, partial(self._welcome, party))
        elif party.peer in self._company:  # its older link was let in
            self._gone(party.peer, "it is not on the allow-list any more")

    def left(self, peer: PeerId, reason: str) -> None:
        """See `Receiver.left`."""
        if not self._lobby.left(peer):
            self._gone(peer, reason)

    def _gone(self, peer: PeerId, reason: str) -> None:
        self._company.left(peer)
        self._vantage.left(peer)
        self._unreachable.discard(peer)
        self._hearing.left(peer)
        self._on_event(PeerLeft(peer, reason))
        self._dialer.wake()

    def frame(self, peer: PeerId, data: bytes) -> float:
        """See `Receiver.frame`."""
        if self._lobby.waits(peer):
            if self._lobby.knocks(peer) and not self._closed:
                self._knock(peer, data)
            return self._owes(peer, 1, _now())
        if peer not in self._company or self._closed:
            return 0.0
        now = _now()
        if self._patience.refuses(peer, now):
            return self._limits.refusal  # it is on its way out
        if not self._patience.take(peer, now):
            self._blame(Drop.PEER_RATE, peer)
            return self._patience.pause(peer, now)
        try:
            message = decode_frame(data, self._limits)
        except RemoteFault as fault:
            self._blame(fault.reason, peer)
            return self._owes(peer, 1, now)
        price = _price(message)
        if price > 1 and not self._patience.take(peer, now, price - 1):
            self._blame(Drop.PEER_RATE, peer)
        else:
            self._guard(peer, partial(self._take_message, peer, message, now), self._blame)
        return self._owes(peer, price, now)

    def known(self, peer: PeerId) -> bool:
        """See `Receiver.known`."""
        return self._company.known(peer)

    def blob(self, digest: bytes, peer: PeerId) -> Buffer | None:
        """See `Receiver.blob`."""
        if self._serves is not None and not self._serves(peer):
            return None
        return self._blobs.get(digest)

    def dropped(self, reason: Drop, peer: PeerId | None) -> None:
        """See `Receiver.dropped`."""
        if peer is None:
            self._drop(reason, None)
        else:
            self._blame(reason, peer)

    # frames

    def _welcome(self, party: Party) -> None:
        hello = party.hello
        self._company.joined(party)
        self._vantage.joined(party.peer, party.here)
        group = self._company.group(party.peer)
        self._on_event(PeerJoined(party.peer, hello.round, hello.sequence, hello.address, group, party.dialled))
        proof = self._lobby.proof(party.peer)
        if proof is not None:  # the first: where an allow-list is set, nothing else is heard before it
            self._send(party.peer, proof)
        head = self._ledger.head()
        if head is not None and self._ledger.payload(head.sequence) is not None:
            self._send(party.peer, Announce(head.envelope))
        self._show_proof(party.peer)
        known = self._intake.chains.recent(party.peer)
        if known and known[-1].sequence > hello.sequence:
            self._send(party.peer, Relay(1, known[-1].envelope))
        self._send(party.peer, Peers(self._records(party.peer, head)))  # the last: it has seen all that we know
        self._hearing.joined(party.peer)
        self._dialer.wake()

    def _guard(
        self, peer: PeerId, take: Callable[[], object], drop: Callable[[Drop, PeerId], None] | None = None
    ) -> None:
        try:
            take()
        except RemoteFault as fault:
            (drop or self._drop)(fault.reason, peer)
        except DiskFault:
            self._drop(Drop.DISK, peer)
        except LocalFault as fault:
            self._on_event(Broken(fault))

    def _take_message(self, peer: PeerId, message: Frame, now: float) -> None:
        match message:
            case Announce(envelope):
                self._take_header(envelope, peer, 1)
            case Relay(claimed, envelope):
                self._take_header(envelope, peer, min(claimed + 1, MAX_DISTANCE))
            case Peers(envelopes):
                self._hearing.told(peer)
                self._take_records(envelopes, peer, now)
            case HeaderRequest(author, first, last):
                self._answer(peer, author, first, last)
            case Redeem(proof):
                self._redeem(peer, proof)
            case Goodbye():
                self._dismiss(peer, "said goodbye")

    def _take_records(self, envelopes: Sequence[bytes], peer: PeerId, now: float) -> None:
        """Addresses that a peer tells, not often."""
        if not self._patience.tells(peer, now):
            raise RemoteFault(Drop.PEER_RATE, "addresses are told at a join")
        for envelope in envelopes:
            try:
                self._book.learn(envelope, peer, self._company.seen(peer))
            except RemoteFault as fault:
                self._blame(fault.reason, peer)
        self._dialer.wake()

    def _redeem(self, peer: PeerId, proof: bytes) -> None:
        answer = self._lobby.redeem(peer, proof)
        if answer is not None:
            self._send(peer, answer)
        self._on_event(PeerRedeemed(peer, answer is not None))

    def _knock(self, peer: PeerId, data: bytes) -> None:
        """The first frame of somebody that the allow-list does not name: it redeems an invitation, or the link ends."""
        try:
            message = decode_frame(data, self._limits)
            if not isinstance(message, Redeem):
                raise RemoteFault(Drop.NOT_ALLOWED)
            answer = self._lobby.redeem(peer, message.proof)
        except RemoteFault as fault:
            self._drop(fault.reason, None)
            self._dismiss(peer, "it is not on the allow-list")
            return
        if answer is None:  # it answers what was never asked
            self._uninvited(peer)
            return
        self._send(peer, answer)
        self._guard(peer, partial(self._welcome, self._lobby.admit(peer)))
        self._on_event(PeerRedeemed(peer, True))

    def _uninvited(self, peer: PeerId) -> None:
        self._drop(Drop.NOT_ALLOWED, None)
        self._dismiss(peer, "it is not on the allow-list")

    def _answer(self, peer: PeerId, author: PeerId, first: int, last: int) -> None:
        """Show the headers that a peer lacks: our own, or others' whose payloads we could serve."""
        if author == self._key.peer:
            for entry in self._ledger.own(first, last):
                header = decode_header(split(entry.envelope).body, self._limits)
                if header.schema == self._schema_digest:  # a chain may have begun with another model
                    self._send(peer, Announce(entry.envelope))
            return
        for relay in self._intake.relayable(author, first, last):
            self._send(peer, relay)

    def _take_header(self, envelope: bytes, via: PeerId, distance: int) -> None:
        self._intake.take(envelope, via, distance, _now())

    def _own_shown(self, entry: Entry, via: PeerId) -> None:
        """A header signed with our own key came in."""
        told = self._own.recognise(entry, via)
        for event in told:
            self._on_event(event)
        if any(isinstance(event, Equivocated) for event in told):
            raise RemoteFault(Drop.EQUIVOCATION, "somebody else signs with our key")

    def _happened(self, event: GossipEvent) -> None:
        self._on_event(event)
        if isinstance(event, Equivocated):
            self._show_proof(event.author)

    def _show_proof(self, peer: PeerId) -> None:
        """Show a peer the two headers for which we refuse it: it may not know that somebody else has its key."""
        proof = self._ledger.proof(peer)
        if proof is not None:
            for envelope in (proof.first, proof.second):
                self._send(peer, Relay(1, envelope))

    # payloads

    def _fetched(self, wanted: Wanted, update: Update) -> None:
        self._blobs.put(wanted.header.payload_digest, update.payload)
        self._guard(wanted.holders[0][0], partial(self._intake.fetched, wanted, update))

    def _not_fetched(self, wanted: Wanted, fault: RemoteFault) -> None:
        self._intake.not_fetched(wanted, fault)
        holder = wanted.holders[0][0]
        hidden = fault.reason is Drop.UNAVAILABLE and holder in self._unreachable  # it withholds nothing
        self._drop(Drop.UNREACHABLE if hidden else fault.reason, holder)

    def _not_given(self, reason: Drop, holder: PeerId) -> None:
        """One try to fetch from a holder failed."""
        if reason is Drop.UNREACHABLE:
            self._unreachable.add(holder)
        else:
            self._unreachable.discard(holder)
        self._drop(reason, holder)

    # small things

    def _named(self, peer: PeerId, address: str) -> None:
        self._on_event(PeerNamed(peer, address))
        self._company.refresh()

    async def _hear_out(self, round: int) -> None:
        """Before a signature: let those who know our key tell what they know."""
        head = self._ledger.head()
        if head is not None and round <= head.round:
            return  # nothing new would be signed
        await self._hearing.recall()
        if self._ledger.head() is None:
            await self._hearing.settle()
        if self._own.listens:
            await asyncio.sleep(self._limits.rival)
            self._own.listens = False

    def _send(self, peer: PeerId, frame: Frame) -> None:
        self._transport.send(peer, encode_frame(frame))

    def _drop(self, reason: Drop, peer: PeerId | None, address: str = "") -> None:
        self.counters[reason] += 1
        self._on_event(Dropped(reason, peer, address))

    def _records(self, to: PeerId, head: Entry | None) -> tuple[bytes, ...]:
        mine = PeerRecord(self._network, self._key.peer, self.address, head.sequence if head else 0)
        others = self._book.envelopes(to, self._limits.peers_in_frame - 1)
        return (seal(self._key, RECORD, encode_record(mine)), *others)

    # misconduct

    def _owes(self, peer: PeerId, tokens: int, now: float) -> float:
        """Seconds until what a peer used of all strangers' budget is paid; nothing for a known one."""
        return 0.0 if self.known(peer) else self._patience.share(tokens, now)

    def _refuses(self, peer: PeerId) -> bool:
        return self._patience.refuses(peer, _now())

    def _blame(self, reason: Drop, peer: PeerId) -> None:
        """Drop what a peer itself sent; let it go when that was once too often."""
        self._drop(reason, peer)
        if self._patience.tires(peer, reason, _now()):
            self._dismiss(peer, "it misbehaved", 0.0 if self.known(peer) else self._limits.refusal)

    def _dismiss(self, peer: PeerId, reason: str, refuse: float = 0.0) -> None:
        task = asyncio.get_running_loop().create_task(self._transport.drop(peer, reason, refuse))
        self._leaving.add(task)
        task.add_done_callback(self._leaving.discard)


def _price(message: Frame) -> int:
    """Tokens that a frame costs: one for each signature that is looked at, or header that is shown for it."""
    match message:
        case Peers(envelopes):
            return max(1, len(envelopes))
        case HeaderRequest(_, first, last):
            return last - first + 1
        case Announce() | Relay() | Goodbye() | Redeem():
            return 1


def _now() -> float:
    return asyncio.get_running_loop().time()


def _check(network: bytes, schema: Schema, limits: Limits) -> None:
    if len(network) != len(NO_DIGEST):
        raise LocalFault(f"a network id has 32 bytes, not {len(network)}")
    wrong = sorted({tensor.dtype for tensor in schema.tensors} - set(DTYPES))
    if wrong:
        raise LocalFault(f"a payload has f4, f2 and i1 only, not {', '.join(wrong)}")
    if schema.nbytes > limits.payload:
        raise LocalFault(f"payloads of {schema.nbytes} bytes exceed the limit of {limits.payload}")
