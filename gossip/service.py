"""The gossip of one node: frame -> open -> decode -> admit -> event; publish; relay; fetch what is wanted.

Laws:
- Order of checks on a frame: size, then as in `gossip.reception`, then as in `gossip.intake`.
- What is signed is durable in the ledger before its first byte leaves; nothing is signed twice for one round.
"""

from __future__ import annotations

import asyncio
import secrets
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Executor
from functools import partial

import numpy as np

from gossip.chain.hearing import Hearing
from gossip.chain.ledger import Entry, Ledger
from gossip.chain.own_chain import OwnChain
from gossip.company import Company
from gossip.deliveries import Deliveries
from gossip.dispatch import Dispatch
from gossip.doorstep import Doorstep
from gossip.exhibits import Exhibits
from gossip.fetcher import Fetcher
from gossip.intake import Intake, Wants, home_of
from gossip.lobby import Invitations, Lobby
from gossip.protocol.codec import MAX_DISTANCE, digest_payload, encode_frame
from gossip.protocol.errors import Drop, LocalFault, RemoteFault
from gossip.protocol.events import Broken, Equivocated, GossipEvent, PeerAdopted, PeerJoined, PeerLeft, PeerNamed
from gossip.protocol.handshake import Greeting, Handshake, Party
from gossip.protocol.limits import Limits
from gossip.protocol.messages import NO_DIGEST, Announce, Buffer, Frame, Goodbye, HeaderRequest, Relay, Schema, Update
from gossip.reach.book import AddressBook
from gossip.reach.dialer import Dialer
from gossip.reach.distant import Distant
from gossip.reach.trickle import Trickle
from gossip.reach.vantage import Vantage
from gossip.reception import Reception, clock
from gossip.transport.blobs import BlobStore
from gossip.transport.contract import Transport
from gossip.vouching import Grapevine, Vouching
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
        vouching: Vouching | None = None,
        addresses: Mapping[PeerId, str] | None = None,
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
            vouching: what is held of statements about who knows whom; None: none are.
            addresses: of peers that may be wanted from afar (`reach`) and tell no address of theirs.

        Raises:
            LocalFault: the network id or the schema is unusable, or payloads exceed `limits.payload`.
            BadPeerId: a bootstrap address names no peer.
        """
        self._key = key
        self._home = home = home_of(key.peer, network, schema, limits)
        self._transport = transport
        self._ledger = ledger
        self._on_event = on_event
        self._limits = limits
        self._company = Company(known)
        self._reception = Reception(self._company, transport, limits, on_event)
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
        self._deliveries = Deliveries(self._blobs, self._reception)
        self._fetcher = Fetcher(
            transport,
            schema,
            limits,
            generator,
            executor,
            self._deliveries.fetched,
            self._deliveries.not_fetched,
            self._deliveries.not_given,
            self._company.known,
            self._company.group,
            round,
        )
        self._intake = Intake(
            home, ledger, limits, wants, self._happened, self._fetcher.want, self._send, self._own_shown, round, reopen
        )
        self._deliveries.intake = self._intake
        self._pool: frozenset[PeerId] = frozenset()
        self._dialer = Dialer(
            transport,
            self._book,
            bootstrap,
            generator,
            limits,
            self._may_dial,
            self._not_dialled,
            self._named,
            lambda: self._pool,
            lambda: self._distant.dialled,
            self._adopt,
        )
        self._distant = Distant(
            transport,
            self._book,
            addresses or {},
            generator,
            limits,
            self._may_dial,
            self._not_dialled,
            self._reception.dismiss,
        )
        self._trickle = Trickle(self.peers, self._book, limits, self._send)
        self._exhibits = Exhibits(key, home, ledger, self._intake, self._book, lambda: self.address, self._send, limits)
        self._doorstep = Doorstep(self._lobby, self._reception, limits, self._send, on_event, self._let_in)
        self._grapevine = Grapevine(
            vouching, network, limits, self.peers, self._lobby.allows, self._send, self._reception.blame
        )
        self._dispatch = Dispatch(
            self._reception,
            self._company,
            self._hearing,
            self._intake,
            self._exhibits,
            self._doorstep,
            self._book,
            self._grapevine,
            self._look_again,
        )
        self._dialling: list[asyncio.Task[None]] = []

    # what the node calls

    @property
    def counters(self) -> Counter[Drop]:
        """What was dropped, by reason."""
        return self._reception.counters

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
        loop = asyncio.get_running_loop()
        tasks = (self._dialer.run(), self._distant.run(), self._trickle.run())
        self._dialling = [loop.create_task(task) for task in tasks]

    async def close(self) -> None:
        """Say goodbye, flush, stop every task. Safe to call twice."""
        if self._closed:
            return
        self._closed = True
        self._lobby.close()
        await self._fetcher.close()
        for task in self._dialling:
            task.cancel()
        await asyncio.gather(*self._dialling, return_exceptions=True)
        await self._reception.close()
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
            self._reception.dismiss(peer, "it is distrusted here")
        self._company.refresh()
        self._look_again()

    def vouched(self, near: frozenset[PeerId], pool: frozenset[PeerId]) -> None:
        """Tell who has standing: where they are is remembered and told first.

        Args:
            near: known wherever they are neighbours, by name or by vouches.
            pool: may be heard from afar; who of these dials us, and is not near, may do so for what we say from afar,
                and counts for no degree.
        """
        self._pool = pool - near
        self._book.favoured = near | pool
        self._company.refresh()
        self._look_again()

    def reach(self, peers: frozenset[PeerId]) -> None:
        """Have these peers linked, beside the target degree, and of those that were linked for this no others."""
        self._distant.want(peers)

    def ask(self, author: PeerId, to: PeerId) -> None:
        """Ask a peer for the newest header that it holds of an author; what comes is offered to `wants` like any."""
        self._send(to, HeaderRequest(author, 0, 0))

    def advance(self, round: int) -> None:
        """Tell the node's round: moves the window; headers that were early are judged again."""
        self._intake.round = round
        self._company.refresh()
        self._fetcher.advance(round)
        self._grapevine.advance(round, clock())
        for via, distance, envelope in self._intake.take_early():
            self._reception.guard(via, partial(self._intake.take, envelope, via, distance, clock()))

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
            await self._hearing.out(round, self._ledger, self._own)
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
            network=self._home.network,
            schema=self._home.schema,
            address=self._transport.address,
            sequence=head.sequence if head else 0,
            round=self._intake.round,
            allow=self._lobby.allow(dialled),
            distrusted=self._lobby.distrusted,
            refuse=self._reception.refuses,
        )
        return Handshake(self._key, greeting, self._nonce(), dialled, expect, self._limits)

    def joined(self, party: Party) -> None:
        """See `Receiver.joined`: tell the node; show our head, addresses, and the peer its own head if it lost it."""
        if self._lobby.enter(party, self._doorstep.uninvited):
            self._let_in(party)
        elif party.peer in self._company:  # its older link was let in
            self._gone(party.peer, "it is not on the allow-list any more")

    def left(self, peer: PeerId, reason: str) -> None:
        """See `Receiver.left`."""
        if not self._lobby.left(peer):
            self._gone(peer, reason)

    def _gone(self, peer: PeerId, reason: str) -> None:
        self._company.left(peer)
        self._vantage.left(peer)
        self._deliveries.left(peer)
        self._grapevine.left(peer)
        self._hearing.left(peer)
        self._on_event(PeerLeft(peer, reason))
        self._look_again()

    def frame(self, peer: PeerId, data: bytes) -> float:
        """See `Receiver.frame`."""
        if self._lobby.waits(peer):
            if not self._closed:
                self._doorstep.knock(peer, data)
            return self._reception.owes(peer, 1)
        if peer not in self._company or self._closed:
            return 0.0
        return self._reception.hear(peer, data, self._dispatch.take)

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
            self._reception.drop(reason, None)
        else:
            self._reception.blame(reason, peer)

    # frames

    def _let_in(self, party: Party) -> None:
        self._reception.guard(party.peer, partial(self._welcome, party))

    def _welcome(self, party: Party) -> None:
        hello = party.hello
        self._company.joined(party)
        self._vantage.joined(party.peer, party.here)
        group = self._company.group(party.peer)
        afar = party.dialled and self._distant.dials(party.peer)
        self._on_event(PeerJoined(party.peer, hello.round, hello.sequence, hello.address, group, party.dialled, afar))
        proof = self._lobby.proof(party.peer)
        if proof is not None:  # the first: where an allow-list is set, nothing else is heard before it
            self._send(party.peer, proof)
        self._exhibits.show(party.peer, self._exhibits.at_join(party.peer, hello.sequence))
        self._grapevine.joined(party.peer)
        self._send(party.peer, self._exhibits.records(party.peer))  # the last: it has seen all that we know
        self._hearing.joined(party.peer)
        self._look_again()

    def _look_again(self) -> None:
        """Who is linked, or whom we could dial, has changed."""
        for each in (self._dialer, self._distant, self._trickle):
            each.wake()

    def _adopt(self, peer: PeerId) -> None:
        self._distant.release(peer)
        self._on_event(PeerAdopted(peer, self._company.group(peer)))

    def _may_dial(self, peer: PeerId) -> bool:
        return self._lobby.allows(peer) and not self._reception.refuses(peer)

    def _not_dialled(self, fault: RemoteFault, address: str) -> None:
        self._reception.drop(fault.reason, None, address)

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
            self._exhibits.show(event.author, self._exhibits.proof(event.author))

    def _named(self, peer: PeerId, address: str) -> None:
        self._on_event(PeerNamed(peer, address))
        self._company.refresh()

    def _send(self, peer: PeerId, frame: Frame) -> None:
        self._transport.send(peer, encode_frame(frame))
