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

Here is who can reach whom; `medium` says what happens on the way, `wire` does it, `transport` is what a node sees of it
all.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

from gossip.protocol.errors import LocalFault
from identity.keys import PeerId
from simulator.world.medium import Medium, Weather
from simulator.world.wire import End, Station, Wire


class MemoryNetwork:
    """All wires between the nodes of one event loop."""

    def __init__(self, seed: int = 0, weather: Weather = Weather()) -> None:
        """A network without nodes; `seed` of losses and delays."""
        self.medium = Medium(seed, weather)
        self._listening: dict[str, Station] = {}
        self._wires: dict[Wire, None] = {}
        self._made = 0

    def cut(self, sides: Mapping[PeerId, int]) -> None:
        """Separate peers of different sides; peers that are not named still reach everybody."""
        self.medium.cut(sides)
        loop = asyncio.get_running_loop()
        for wire in self._wires:
            if wire.blocked():
                loop.call_later(wire.limits.heartbeat, self._starve, wire)

    def heal(self) -> None:
        """End the cut."""
        self.medium.cut({})

    def listen(self, transport: Station) -> None:
        """Make a transport reachable.

        Raises:
            LocalFault: somebody else listens at its address.
        """
        if self._listening.setdefault(transport.address, transport) is not transport:
            raise LocalFault(f"address {transport.address} is in use")

    def unlisten(self, transport: Station) -> None:
        """Make a transport unreachable."""
        if self._listening.get(transport.address) is transport:
            del self._listening[transport.address]

    def reach(self, caller: Station, address: str) -> End | None:
        """The caller's end of a new wire to whoever listens there, or None."""
        listener = self._listening.get(address)
        if listener is None:
            return None
        self._made += 1
        wire = Wire(self.medium, caller, listener, self._made, self.forget)
        self._wires[wire] = None
        return wire.ends[0]

    def forget(self, wire: Wire) -> None:
        """A wire has ended."""
        self._wires.pop(wire, None)

    def _starve(self, wire: Wire) -> None:
        if wire in self._wires and wire.blocked():
            for end in wire.ends:
                end.shut("heartbeat missed")
            self.forget(wire)
