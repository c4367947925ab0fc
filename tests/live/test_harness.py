"""The adversary against a real daemon on loopback."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest
from daemons import until

from identity.keys import SigningKey, format_peer
from node.daemon import init_node
from node.errors import NodeError
from node.status import FOUND_IN, fetch_status
from simulator.harness import SUITES, Bounds, Forbidden, Trial, _target, assault
from simulator.scorecard import REFUSALS, Row

WEAK = Path(__file__).with_name("weak_node.py")
LIVELY: dict[str, dict[str, object]] = {
    "network": {"listen": "127.0.0.1:0", "name": "harness"},
    "round": {"pace": 0.2, "least": 0.6, "most": 2.0},  # it waits for us on a busy machine
    "rule": {"name": "hedgerow"},
    "task": {"parts": 10},
}
BOUNDS = Bounds(seconds=20, rounds=3, drop=0.3)
WIRE = [("wire", Trial(name, {}, 1)) for name in ("forge", "not-finite", "replay", "truncate")]
NOISE = ("model", Trial("gaussian", {"scale": 2.0}, 1))
CLONES = ("sybil", Trial("label-flip+clones", {}, 5))


@contextmanager
def running(folder: Path, weakness: str = "none", rule: str = "hedgerow") -> Iterator[Path]:
    """A daemon in a process of its own that has learned a little; its folder."""
    init_node(folder, LIVELY | {"rule": {"name": rule}})
    with subprocess.Popen([sys.executable, str(WEAK), str(folder), weakness], stderr=subprocess.PIPE) as process:
        assert process.stderr is not None
        try:
            yield folder
            process.terminate()
            process.stderr.read()
            assert process.wait(15) == 0
        finally:
            process.kill()


def grown(folder: Path) -> Path:
    """Wait until the node in a folder has played a few rounds."""

    def old() -> bool:
        try:
            return int(fetch_status(folder)["round"]) >= 4
        except NodeError:
            return False

    until(old)
    return folder


async def test_faults_on_the_wire_are_refused_and_clones_share_one_vote(tmp_path: Path) -> None:
    trials = [*WIRE, ("wire", Trial("silent", {}, 1)), CLONES, NOISE]
    seen: list[Row] = []
    with running(tmp_path / "node") as folder:
        rows = await assault(grown(folder), trials=trials, bounds=BOUNDS, observe=seen.append)
    assert list(rows) == seen
    *wire, silent, clones, noise = rows
    assert all(row.passed for row in (*wire, silent, clones)), rows
    for row in wire:
        assert all(reasons & row.refused.keys() for reasons in REFUSALS[row.attack]), row
        assert row.note == ""
    assert silent.tried == 0
    assert silent.weight is None
    assert clones.tried >= 10
    assert clones.ignored >= 3 * clones.taken > 0
    assert clones.votes <= 1
    assert noise.neighbours == 0
    assert noise.note.endswith("it has no other neighbour to compare with")  # who falls then is not to blame
    assert not (tmp_path / "node" / "state" / FOUND_IN).exists()  # it left in order


async def test_a_node_that_skips_one_check_fails_the_rows_of_that_check_and_no_other(tmp_path: Path) -> None:
    weak = {
        ("signature", "hedgerow"): "forge",
        ("finite", "hedgerow"): "not-finite",
        ("replay", "hedgerow"): "replay",
        ("none", "mean"): "label-flip+clones",
    }
    with ExitStack() as stack:
        nodes = [
            stack.enter_context(running(tmp_path / "-".join(weakness), *weakness)) for weakness in weak
        ]  # all at once
        ready = [grown(folder) for folder in nodes]
        cards = await asyncio.gather(*(assault(folder, trials=[*WIRE[:3], CLONES], bounds=BOUNDS) for folder in ready))
    for rows, failing in zip(cards, weak.values(), strict=True):
        assert [row.attack for row in rows if not row.passed] == [failing], rows


async def test_nobody_answers() -> None:
    with pytest.raises(NodeError, match="nobody answers"):
        await assault("127.0.0.1:1")


@pytest.mark.parametrize(("page", "listens"), [("127.0.0.1:80", "10.0.0.7:7700"), ("node.example:80", ":7700")])
def test_only_loopback_is_attacked_unless_the_node_consents(page: str, listens: str) -> None:
    with pytest.raises(Forbidden, match="not this machine"):
        _target(page, {"address": listens, "attackable": []})
    key, other = SigningKey(bytes(32)), SigningKey(bytes(range(32)))
    consenting = {"address": listens, "attackable": [format_peer(key.peer)]}
    for stranger in (None, other):
        with pytest.raises(Forbidden, match="attackable there names"):
            _target(page, consenting, stranger)
    assert _target(page, consenting, key).endswith(":7700")


def test_loopback_by_any_name_is_ours() -> None:
    assert _target("localhost:80", {"address": ":7700", "attackable": []}) == "localhost:7700"
    assert _target("http://[::1]:80/", {"address": "[::1]:7700", "attackable": []}) == "[::1]:7700"


def test_every_trial_of_a_suite_can_be_built() -> None:
    assert {trial.attack for trial in SUITES["wire"]} >= {"forge", "replay", "truncate", "oversize", "silent"}
    assert len(SUITES["model"]) >= 5
    assert all(trial.sybils > 1 for trial in SUITES["sybil"])
