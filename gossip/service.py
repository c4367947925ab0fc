"""The gossip of one node: frame -> open -> decode -> admit -> event; publish; relay; fetch what is wanted."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import Executor

import numpy as np

from gossip.errors import Drop
from gossip.events import Event
from gossip.ledger import Ledger
from gossip.limits import Limits
from gossip.messages import Buffer, Schema, Update, UpdateHeader
from gossip.transport import Transport
from identity.keys import PeerId, SigningKey

Wants = Callable[[UpdateHeader, PeerId, int], bool]
"""(header, via, distance) -> whether the node wants this payload; asked before it is fetched; must not wait."""


class GossipService:
    """Signed gossip over any transport. All methods belong to one event loop; `on_event` is called on it and must not wait."""

    counters: Counter[Drop]

    def __init__(
        self,
        key: SigningKey,
        network: bytes,
        schema: Schema,
        transport: Transport,
        ledger: Ledger,
        *,
        wants: Wants,
        on_event: Callable[[Event], None],
        generator: np.random.Generator,
        executor: Executor,
        limits: Limits = Limits(),
        bootstrap: Sequence[str] = (),
        allow: frozenset[PeerId] | None = None,
        nonce: Callable[[], bytes] | None = None,
        round: int = 0,
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
            executor: hashes and checks large payloads (`gossip.executors.InlineExecutor` under virtual time).
            limits: what peers may use.
            bootstrap: addresses to dial and keep dialled: "host:port" or "<peer id>@host:port".
            allow: peers that may connect; None means everybody.
            nonce: 32 fresh bytes for each handshake; default `secrets`.
            round: the node's round, see `advance`.
        """
        raise NotImplementedError

    async def start(self) -> None:
        """Listen, load the own head for re-sending, and begin to dial the bootstrap addresses (in the background).

        Raises:
            LocalFault: the transport cannot listen.
        """
        raise NotImplementedError

    async def close(self) -> None:
        """Say goodbye, flush, stop every task. Safe to call twice."""
        raise NotImplementedError

    def advance(self, round: int) -> None:
        """Tell the node's round: moves the window [round - W, round + 2]; headers that were early are judged again."""
        raise NotImplementedError

    async def publish(
        self, round: int, vector: Buffer, base: bytes = bytes(32), classes: bytes = b""
    ) -> Update:
        """Sign and send an update. The header is durable in the ledger before the first byte leaves.

        A round that is already the ledger's newest is sent again, never signed again (the stored update is returned).

        Args:
            round: grows with every publish.
            vector: d little-endian float32, flat, in schema order.
            base: SHA-256 of the model that was trained from.
            classes: bit mask of the classes trained on.

        Raises:
            LocalFault: wrong length, not finite, a round below the ledger's newest, or a stored round without payload.
        """
        raise NotImplementedError

    async def relay(self, to: PeerId, update: Update, distance: int) -> bool:
        """Forward somebody's update untouched; `distance` is our own distance to its author. False if not connected."""
        raise NotImplementedError

    def peers(self) -> tuple[PeerId, ...]:
        """Connected peers, ordered by id."""
        raise NotImplementedError
