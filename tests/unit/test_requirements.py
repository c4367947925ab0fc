"""What `pip install hedgerow` may take: nothing with a hole that is known, and the pins are no older than that."""

from __future__ import annotations

import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SAFE = {
    "aiohttp": (3, 14, 3),  # bombs at a dialler, smuggling by upgrade, a heap read before
    "filelock": (3, 20, 3),  # symbolic links in the place of a lock before
    "cryptography": (50, 0),  # the OpenSSL of older wheels
}


def version(text: str) -> tuple[int, ...]:
    return tuple(int(part) for part in text.split("."))


@pytest.mark.parametrize("name", sorted(SAFE))
def test_floors_and_pins_are_past_the_holes_that_are_known(name: str) -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    (floor,) = (one.partition(">=")[2] for one in project["dependencies"] if one.partition(">=")[0] == name)
    pins = dict(line.split("==") for line in (ROOT / "constraints.txt").read_text().splitlines() if "==" in line)
    assert SAFE[name] <= version(floor) <= version(pins[name])
