"""Who is at the other end: three signed hellos, as a value-in, value-out machine.

    dialler                                      listener
    Hello(nonce a, echo 0, to 0)        ->
                                        <-       Hello(nonce b, echo a, to dialler)
    Hello(nonce a, echo b, to listener) ->       complete here
    complete after sending

Laws:
- Complete means: the other side signed our fresh nonce, our peer id, this network and this schema's digest.
- Refused: another network or version, another schema, ourselves, a peer outside the allow-list, somebody other than expected,
  a nonce that changes between hellos, an echo that is not ours, anything after completion.
- No clock and no randomness inside: nonces are arguments.
Without channel binding a passive relay of the whole connection is possible and gains nothing but what it could drop; TLS bound
to these keys belongs to the open-network stage.
"""

from __future__ import annotations

from dataclasses import dataclass

from gossip.messages import Hello
from identity.keys import PeerId, SigningKey


@dataclass(frozen=True, slots=True)
class Greeting:
    """What we say of ourselves, and whom we accept. `allow` None means everybody."""

    network: bytes
    schema: bytes
    address: str
    sequence: int
    round: int
    allow: frozenset[PeerId] | None = None


@dataclass(frozen=True, slots=True)
class Party:
    """The other side of a complete handshake; `session` (32 bytes, equal on both sides) names the connection."""

    peer: PeerId
    hello: Hello
    session: bytes


class Handshake:
    """One side of one handshake.

    Use: send `first()` if it is not None; then, for every message that comes, send what `receive` returns if it is not
    None; until `party` is set. `receive` raises RemoteFault to refuse; then close the connection.
    """

    def __init__(
        self, key: SigningKey, greeting: Greeting, nonce: bytes, dialled: bool, expect: PeerId | None = None
    ) -> None:
        """Prepare one side; `nonce` is 32 fresh bytes."""
        self.party: Party | None = None
        raise NotImplementedError

    def first(self) -> bytes | None:
        """The dialler's first sealed hello; None for the listener."""
        raise NotImplementedError

    def receive(self, envelope: bytes) -> bytes | None:
        """Take the other side's sealed hello; returns our answer, or None when there is nothing to say.

        Raises:
            RemoteFault: refused, with the reason.
        """
        raise NotImplementedError
