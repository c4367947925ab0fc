"""Connections that others make us open: not many to one place, whoever names it.

Laws:
- After a failure nothing is opened to a location for a while that doubles with each further one, up to
  `Limits.retry_cap`; one success forgets them.
- To one public network `Limits.outward_rate` new connections a second, `Limits.group` at once; who comes sooner waits.
  Addresses that are not public, and names, have no network here.
- Bounded: as many locations and networks as `Limits.records`; the one used longest ago is forgotten first.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict

from gossip.protocol.errors import Drop, RemoteFault
from gossip.protocol.limits import Limits
from gossip.protocol.rates import Bucket
from gossip.transport.slots import group_of


class Outward:
    """What became of earlier connections, by place."""

    def __init__(self, limits: Limits) -> None:
        """Nothing was opened yet."""
        self._limits = limits
        self._failures: OrderedDict[str, tuple[int, float]] = OrderedDict()  # location -> how many, and until when
        self._networks: OrderedDict[str, Bucket] = OrderedDict()

    async def turn(self, location: str, doubtful: bool = False) -> None:
        """Wait until "host:port" may be connected to; a doubtful one counts as a failure until it `answered`.

        Raises:
            RemoteFault: UNREACHABLE, nobody answered there a moment ago.
        """
        now = asyncio.get_running_loop().time()
        if now < self._failures.get(location, (0, now))[1]:
            raise RemoteFault(Drop.UNREACHABLE, "nobody answered there a moment ago")
        if doubtful:
            self.failed(location)
        group = group_of(location.rpartition(":")[0].strip("[]"))
        if group:
            network = self._network(group, now)
            network.owe(now, 1.0)
            await asyncio.sleep(network.due(now, 0.0))

    def failed(self, location: str) -> None:
        """Nobody answered there, or not as a node does."""
        failures = self._failures.get(location, (0, 0.0))[0] + 1
        seconds = min(self._limits.retry_cap, self._limits.retry_first * 2.0 ** min(failures, 16))
        self._failures[location] = failures, asyncio.get_running_loop().time() + seconds
        self._failures.move_to_end(location)
        if len(self._failures) > self._limits.records:
            self._failures.popitem(last=False)

    def answered(self, location: str) -> None:
        """A node answered there."""
        self._failures.pop(location, None)

    def _network(self, group: str, now: float) -> Bucket:
        bucket = self._networks.get(group)
        if bucket is None:
            bucket = self._networks[group] = Bucket.full(self._limits.outward_rate, float(self._limits.group), now)
            if len(self._networks) > self._limits.records:
                self._networks.popitem(last=False)
        self._networks.move_to_end(group)
        return bucket
