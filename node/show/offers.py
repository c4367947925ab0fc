"""What the shell offers after TAB: names, read from where they are registered when TAB is pressed."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from pathlib import Path

Offer = Callable[[str], list[str]]
"""What was typed of a word -> the words it may become."""


def words(*known: str) -> Offer:
    """These words."""

    def offer(incomplete: str) -> list[str]:
        return [word for word in known if word.startswith(incomplete)]

    return offer


def registered(module: str, table: str, joined_by: str = "") -> Offer:
    """The names of a registry, which is imported when TAB is pressed.

    Args:
        module: where the registry is.
        table: its name there, a mapping by name.
        joined_by: what stands between several names in one word ("+"): the last of them is completed.
    """

    def offer(incomplete: str) -> list[str]:
        before, last = "", incomplete
        if joined_by:
            head, sign, last = incomplete.rpartition(joined_by)
            before = head + sign
        names = getattr(importlib.import_module(module), table)
        return [before + name for name in names if name.startswith(last)]

    return offer


def files(package: str, ending: str) -> Offer:
    """The names of the files with this ending in a folder of a package ("simulator/matrix/presets", ".toml")."""

    def offer(incomplete: str) -> list[str]:
        root, _, rest = package.partition("/")
        place = importlib.import_module(root).__file__
        assert place is not None
        found = sorted(path.stem for path in (Path(place).parent / rest).glob(f"*{ending}"))
        return [name for name in found if name.startswith(incomplete)]

    return offer


RULES = registered("aggregation.registry", "RULES")
MODELS = registered("node.learning.registry", "MODELS")
PARTITIONS = registered("node.learning.registry", "PARTITIONS")
TASKS = registered("node.learning.registry", "TASKS")
