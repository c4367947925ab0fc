"""What was typed wrongly is 2, what the machine refuses is 1, and a bug is nobody's exit code."""

from __future__ import annotations

import importlib

import pytest

from node.errors import Busy, ConfigError, NodeError
from node.exits import ERRORS, FAILED, WRONG, code_of
from node.learning.errors import DataMissing


@pytest.mark.parametrize("name", ERRORS)
def test_every_class_of_the_table_exists_under_its_name(name: str) -> None:
    module, _, word = name.rpartition(".")
    kind = getattr(importlib.import_module(module), word)
    assert issubclass(kind, Exception)
    assert (kind.__module__, kind.__qualname__) == (module, word)


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (ConfigError(""), WRONG),
        (DataMissing(""), WRONG),
        (NodeError(""), FAILED),
        (Busy(""), FAILED),
        (FileNotFoundError(), FAILED),
        (ValueError(), None),
        (KeyError(), None),
    ],
)
def test_the_nearest_class_of_the_table_decides(error: Exception, code: int | None) -> None:
    assert code_of(error) == code
