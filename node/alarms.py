"""What whoever runs a node must know now: said once when it begins, on the page until it is over."""

from __future__ import annotations

from collections.abc import Callable


class Alarms:
    """Sentences by name; one of each name at a time.

    Attributes:
        say: told each sentence that is news; told one by anybody, it is in the log and nowhere else.
    """

    def __init__(self, say: Callable[[str], None] = lambda line: None) -> None:
        """Nothing is wrong; `say` is told each sentence that is news."""
        self.say = say
        self._now: dict[str, str] = {}

    def sentence(self, name: str) -> str | None:
        """What an alarm of this name says now; None: it does not ring."""
        return self._now.get(name)

    def ring(self, name: str, sentence: str) -> None:
        """Something is wrong. Said unless an alarm of this name rings already; the page shows the newest sentence."""
        if name not in self._now:
            self.say(sentence)
        self._now[name] = sentence

    def clear(self, name: str, sentence: str) -> None:
        """It is over: say so, if it was ringing."""
        if self._now.pop(name, None) is not None:
            self.say(sentence)

    def now(self) -> list[str]:
        """All that is wrong, oldest first."""
        return list(self._now.values())
