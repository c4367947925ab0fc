"""Whole numbers as people write them: Python's, NumPy's, anything that counts as an index; True is none."""

from __future__ import annotations

from operator import index

import numpy as np

from node.learning.errors import TaskError


def count(name: str, value: object, least: int = 1) -> int:
    """The value as an int.

    Args:
        name: of the setting, for the message.
        value: an int, or a NumPy integer.
        least: smallest that makes sense.

    Raises:
        TaskError: no whole number, or a smaller one.
    """
    if isinstance(value, int | np.integer) and not isinstance(value, bool) and index(value) >= least:
        return index(value)
    raise TaskError(f"{name} is {value!r}; wanted a whole number, at least {least}")
