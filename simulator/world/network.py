"""A network in memory and virtual time: latency, jitter, loss, bandwidth and cuts, with the promises of a real one.

Laws:
- A frame takes `latency` plus up to `jitter` seconds; frames of one direction of a connection never overtake
  each other.
- Whether something is lost and how long it takes is a function of (seed, from, to, number), whatever else is
  sent.
- Blobs travel the same way. A lost request or answer shows as a timeout at whoever waits; handshakes are not
  lost.
- What would cross a cut is lost; a connection that a cut crosses for `Limits.heartbeat` seconds ends on both
  sides.
- With a bandwidth, all that one node sends leaves one after the other.
- Bytes are counted where they are sent, lost or not: `MemoryTransport.sent`.

Here is who can reach whom; `wire` has delay and loss, `transport` what a node sees of it all.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass

from gossip.protocol.errors import LocalFault
from gossip.protocol.limits import Limits
from identity.keys import PeerId
from simulator.world.transport import MemoryTransport
from simulator.world.wire import End, Wire


@dataclass(frozen=True, slots=True)
class Weather:
    """What the network does to what is sent.

    Attributes:
        latency: seconds on the way.
        jitter: largest random addition, seconds.
        loss: share that is lost, in [0, 1).
        bandwidth: bytes a second that one node sends; None = no limit.
    """

    latency: float = 0.02
    jitter: float = 0.0
    loss: float = 0.0
    bandwidth: float | None = None


class MemoryNetwork:
    """All wires between the nodes of one event loop."""

    def __init__(self, seed: int = 0, weather: Weather = Weather()) -> None:
        """A network without nodes; `seed` of losses and delays."""
        self.seed = seed
        self.weather = weather
        self._listening: dict[str, MemoryTransport] = {}
        self._wires: dict[Wire, None] = {}
        self._side: dict[PeerId, int] = {}
        self._made = 0

    def transport(self, peer: PeerId, address: str, limits: Limits = Limits()) -> MemoryTransport:
        """A new endpoint for `peer`, reachable at `address` once it is started."""
        return MemoryTransport(self, peer, address, limits)

    def cut(self, sides: Mapping[PeerId, int]) -> None:
        """Separate peers of different sides; peers that are not named still reach everybody."""
        self._side = dict(sides)
        loop = asyncio.get_running_loop()
        for wire in self._wires:
            if self.blocked(wire):
                loop.call_later(wire.limits.heartbeat, self._starve, wire)

    def heal(self) -> None:
        """End the cut."""
        self._side = {}

    def blocked(self, wire: Wire) -> bool:
        """Whether the cut lies across a wire."""
        one, other = (self._side.get(end.transport.peer) for end in wire.ends)
        return one is not None and other is not None and one != other

    def listen(self, transport: MemoryTransport) -> None:
        """Make a transport reachable.

        Raises:
            LocalFault: somebody else listens at its address.
        """
        if self._listening.setdefault(transport.address, transport) is not transport:
            raise LocalFault(f"address {transport.address} is in use")

    def unlisten(self, transport: MemoryTransport) -> None:
        """Make a transport unreachable."""
        if self._listening.get(transport.address) is transport:
            del self._listening[transport.address]

    def reach(self, caller: MemoryTransport, address: str) -> End | None:
        """The caller's end of a new wire to whoever listens there, or None."""
        listener = self._listening.get(address)
        if listener is None:
            return None
        self._made += 1
        wire = Wire(self, caller, listener, self._made)
        self._wires[wire] = None
        return wire.ends[0]

    def forget(self, wire: Wire) -> None:
        """A wire has ended."""
        self._wires.pop(wire, None)

    def _starve(self, wire: Wire) -> None:
        if wire in self._wires and self.blocked(wire):
            for end in wire.ends:
                end.shut("heartbeat missed")
            self.forget(wire)
