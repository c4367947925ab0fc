"""The adversary against a real daemon on loopback."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from identity.keys import SigningKey, format_peer
from node.daemon import init_node
from node.errors import NodeError
from node.status import fetch_status
from simulator.harness import SUITES, Bounds, Forbidden, Row, Trial, _target, assault

RUN = "import sys; from node.daemon import run_node; run_node(sys.argv[1])"


@pytest.fixture
def page(tmp_path: Path) -> Iterator[str]:
    folder = tmp_path / "node"
    values: dict[str, dict[str, object]] = {
        "network": {"listen": "127.0.0.1:0", "name": "harness"},
        "round": {"pace": 0.2, "least": 0.2, "most": 1.0},
        "rule": {"name": "hedgerow"},
        "task": {"parts": 10},
    }
    init_node(folder, values)
    with subprocess.Popen([sys.executable, "-c", RUN, str(folder)], stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        lines = (line.strip() for line in process.stderr)
        address = next(line.removeprefix("status: http://") for line in lines if line.startswith("status:"))
        while fetch_status(address)["round"] < 4:
            time.sleep(0.1)
        yield address
        process.terminate()
        process.stderr.read()
        assert process.wait(15) == 0


async def test_faults_on_the_wire_are_refused_and_clones_share_one_vote(page: str) -> None:
    trials = [
        ("wire", Trial("truncate", {}, 1)),
        ("wire", Trial("silent", {}, 1)),
        ("sybil", Trial("label-flip+clones", {}, 5)),
    ]
    seen: list[Row] = []
    bounds = Bounds(seconds=15, rounds=3, drop=0.9)
    rows = await assault(page, trials=trials, bounds=bounds, observe=seen.append)
    assert list(rows) == seen
    truncated, silent, clones = rows
    assert truncated.passed, truncated
    assert truncated.refused["malformed"] > 0
    assert silent.passed, silent
    assert silent.tried == 0
    assert silent.weight is None
    assert clones.passed, clones
    assert clones.tried >= 10
    assert clones.ignored >= 3 * clones.taken > 0


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
