"""What lies between two ends of a wire: delay, loss, bandwidth, and cuts that nothing crosses."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from identity.keys import PeerId


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


class Medium:
    """The weather of one network, and who is cut off from whom.

    Attributes:
        seed: of losses and delays.
        weather: what happens to what is sent.
    """

    def __init__(self, seed: int, weather: Weather) -> None:
        """A medium without cuts."""
        self.seed = seed
        self.weather = weather
        self._side: dict[PeerId, int] = {}

    def cut(self, sides: Mapping[PeerId, int]) -> None:
        """Separate peers of different sides; peers that are not named still reach everybody."""
        self._side = dict(sides)

    def blocked(self, one: PeerId, other: PeerId) -> bool:
        """Whether the cut lies between two peers."""
        here, there = self._side.get(one), self._side.get(other)
        return here is not None and there is not None and here != there
