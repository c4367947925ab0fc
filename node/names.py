"""One sentence for a word that nobody knows: it names the nearest right one."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from difflib import get_close_matches
from typing import TypeVar

Value = TypeVar("Value")


class UnknownName(ValueError):
    """A user wrote a name that does not exist; the message says which one comes nearest."""

    def __init__(self, kind: str, name: str, known: Iterable[str]) -> None:
        words = sorted(known)
        near = get_close_matches(name, words, n=1, cutoff=0.5)
        hint = f"did you mean '{near[0]}'?" if near else f"known: {', '.join(words)}."
        super().__init__(f"unknown {kind} '{name}': {hint}")


def choose(kind: str, name: str, known: Mapping[str, Value]) -> Value:
    """The value that `name` stands for.

    Args:
        kind: what is being named, for the message ("rule", "task", ...).
        name: what the user wrote.
        known: all that exists.

    Raises:
        UnknownName: no such name; the message names the nearest one.
    """
    try:
        return known[name]
    except KeyError:
        raise UnknownName(kind, name, known) from None
