"""What a node that runs says of its rounds now and then: where it is, how good it is, and who was heard.

Laws: one line in `EVERY` seconds at most, whatever the pace, so that a log of weeks can be read; the first one early,
since whoever starts a node wants to know that it learns.
"""

from __future__ import annotations

from collections.abc import Callable

from identity.keys import short
from node.store.record import NodeRecord
from node.watch import Name, listed

FIRST = 10.0  # seconds until the first line
EVERY = 60.0  # seconds between two lines


class Bulletin:
    """Turns a record into a line, if it is time.

    Args:
        say: told the line.
        clock: monotonic seconds.
        name: what people call a peer.
    """

    def __init__(self, say: Callable[[str], None], clock: Callable[[], float], name: Name = short) -> None:
        self._say = say
        self._clock = clock
        self._name = name
        self._due = clock() + FIRST
        self._accuracy: float | None = None

    def note(self, record: NodeRecord) -> None:
        """A round is over."""
        self._accuracy = self._accuracy if record.accuracy is None else record.accuracy
        now = self._clock()
        if now < self._due:
            return
        self._due = now + EVERY
        accuracy = "not measured" if self._accuracy is None else f"{self._accuracy:.1%}"
        heard = [each.peer for each in record.neighbours if each.weight > 0]
        self._say(
            f"round {record.round}: accuracy {accuracy}, heard {listed(heard, self._name) if heard else 'nobody'}"
        )
