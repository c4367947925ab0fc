"""Who is at the other end: three signed hellos, as a value-in, value-out machine.

    dialler                                      listener
    Hello(nonce a, echo 0, to 0)        ->
                                        <-       Hello(nonce b, echo a, to dialler)
    Hello(nonce a, echo b, to listener) ->       complete here
    complete after sending

Laws:
- Complete means: the other side signed our fresh nonce, our peer id, this network and this schema's digest.
- Refused: another network or version, another schema, ourselves, a distrusted peer, one outside the allow-list,
  somebody other than expected, a nonce that changes between hellos, an echo that is not ours, anything after
  completion.
- No clock and no randomness inside: nonces are arguments.

Without channel binding a passive relay of the whole connection is possible and gains nothing but what it could
drop; TLS bound to these keys belongs to the open-network stage.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass

from gossip.protocol.codec import HELLO, decode_hello, encode_hello
from gossip.protocol.errors import Drop, RemoteFault
from gossip.protocol.limits import Limits
from gossip.protocol.messages import NO_DIGEST, Hello
from identity.envelope import OVERHEAD_BYTES, domain, open_envelope, seal
from identity.errors import ForgedEnvelope
from identity.keys import PeerId, SigningKey


@dataclass(frozen=True, slots=True)
class Greeting:
    """What we say of ourselves, and whom we accept. `allow` None: all but the distrusted; `refuse`: not for a while."""

    network: bytes
    schema: bytes
    address: str
    sequence: int
    round: int
    allow: frozenset[PeerId] | None = None
    refuse: Callable[[PeerId], bool] = lambda peer: False
    distrusted: frozenset[PeerId] = frozenset()


@dataclass(frozen=True, slots=True)
class Party:
    """The other side of a complete handshake; `session` (32 bytes, equal on both sides) names the link.

    `seen` is the IP address that the transport sees it at, `here` our own on that connection, where it sees us unless
    something between us translates addresses; "" if there is none. Both are nobody's claim. `dialled`: by us.
    """

    peer: PeerId
    hello: Hello
    session: bytes
    seen: str = ""
    here: str = ""
    dialled: bool = True


class Handshake:
    """One side of one handshake.

    Use: send `first()` if it is not None; then, for every message that comes, send what `receive` returns if it is
    not None; until `party` is set. `receive` raises RemoteFault to refuse; then close the connection.
    """

    def __init__(
        self,
        key: SigningKey,
        greeting: Greeting,
        nonce: bytes,
        dialled: bool,
        expect: PeerId | None = None,
        limits: Limits = Limits(),
    ) -> None:
        """Prepare one side; `nonce` is 32 fresh bytes; `dialled` says that we dialled."""
        self.party: Party | None = None
        self._key = key
        self._greeting = greeting
        self._nonce = nonce
        self._dialled = dialled
        self._expect = expect
        self._limits = limits
        self._met: Hello | None = None

    @property
    def met(self) -> PeerId | None:
        """Who a listener's dialler says it is, before it has proved that it is here now."""
        return None if self._met is None else self._met.peer

    def first(self) -> bytes | None:
        """The dialler's first sealed hello; None for the listener."""
        return self._say(NO_DIGEST, NO_DIGEST) if self._dialled else None

    def receive(self, envelope: bytes) -> bytes | None:
        """Take the other side's sealed hello; returns our answer, or None when there is nothing to say.

        Raises:
            RemoteFault: refused, with the reason.
        """
        if self.party is not None:
            raise RemoteFault(Drop.REFUSED, "a hello after the handshake")
        hello = self._read(envelope)
        if self._dialled:
            self._complete(hello)
            return self._say(hello.nonce, hello.peer)
        if self._met is None:
            if hello.echo != NO_DIGEST or hello.to != NO_DIGEST:
                raise RemoteFault(Drop.REFUSED, "a first hello echoes nothing")
            self._met = hello
            return self._say(hello.nonce, hello.peer)
        if hello.peer != self._met.peer or hello.nonce != self._met.nonce:
            raise RemoteFault(Drop.REFUSED, "the second hello is somebody else's")
        self._complete(hello)
        return None

    def _read(self, envelope: bytes) -> Hello:
        """Size, signature, parse, and all that does not depend on the step."""
        if len(envelope) > self._limits.header + OVERHEAD_BYTES:
            raise RemoteFault(Drop.OVERSIZE, "a hello longer than any")
        try:
            opened = open_envelope(envelope, HELLO)
        except ForgedEnvelope as error:
            raise RemoteFault(Drop.BAD_SIGNATURE, str(error)) from None
        hello = decode_hello(opened.body, self._limits)
        if hello.peer != opened.author:
            raise RemoteFault(Drop.WRONG_AUTHOR, "the hello of another peer")
        if hello.peer == self._key.peer:
            raise RemoteFault(Drop.SELF, "this is ourselves")
        if hello.network != self._greeting.network:
            raise RemoteFault(Drop.WRONG_NETWORK, "the peer belongs to another network")
        if hello.schema != self._greeting.schema:
            raise RemoteFault(Drop.SCHEMA, "the peer trains another model")
        if hello.peer in self._greeting.distrusted:
            raise RemoteFault(Drop.DISTRUSTED, "whoever runs this node distrusts the peer")
        if self._greeting.allow is not None and hello.peer not in self._greeting.allow:
            raise RemoteFault(Drop.NOT_ALLOWED, "the peer is not on the allow-list")
        if self._greeting.refuse(hello.peer):
            raise RemoteFault(Drop.REFUSED, "the peer misbehaved a while ago")
        if self._expect is not None and hello.peer != self._expect:
            raise RemoteFault(Drop.UNEXPECTED_PEER, "somebody else answers at this address")
        return hello

    def _complete(self, hello: Hello) -> None:
        if hello.echo != self._nonce or hello.to != self._key.peer:
            raise RemoteFault(Drop.REFUSED, "the hello answers somebody else")
        nonces = (self._nonce, hello.nonce) if self._dialled else (hello.nonce, self._nonce)
        session = hashlib.sha256(domain("session") + b"".join(nonces)).digest()
        self.party = Party(hello.peer, hello, session, dialled=self._dialled)

    def _say(self, echo: bytes, to: bytes) -> bytes:
        mine = self._greeting
        hello = Hello(
            network=mine.network,
            peer=self._key.peer,
            nonce=self._nonce,
            echo=echo,
            to=to,
            schema=mine.schema,
            address=mine.address,
            sequence=mine.sequence,
            round=mine.round,
        )
        return seal(self._key, HELLO, encode_hello(hello))
