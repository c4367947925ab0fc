"""Threats by their figures: forgeries, replays, forged relays, one-field mutations; and what nobody may import."""

from __future__ import annotations

import ast
from collections.abc import Callable
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from wire_rig import LIMITS, NETWORK, Author, Rig, author

from gossip.chain.ledger import MemoryLedger
from gossip.protocol.codec import UPDATE, encode_frame, encode_header
from gossip.protocol.errors import Drop
from gossip.protocol.messages import Announce, Relay, UpdateHeader
from identity.envelope import seal
from identity.keys import SigningKey

FORGERIES = 10_000  # of each kind
RELAYS = 40_000  # forged relays, of all six kinds
ROOT = Path(__file__).parents[2]


def wrong_key(header: UpdateHeader, who: Author, n: int, draw: np.random.Generator) -> bytes:
    """Signed by another key, which the envelope names."""
    return seal(SigningKey(draw.bytes(32)), UPDATE, encode_header(header))


def claimed_key(header: UpdateHeader, who: Author, n: int, draw: np.random.Generator) -> bytes:
    """Signed by another key, though the envelope names the author's."""
    return who.peer + seal(SigningKey(draw.bytes(32)), UPDATE, encode_header(header))[32:]


def swapped_author(header: UpdateHeader, who: Author, n: int, draw: np.random.Generator) -> bytes:
    """The author signs a header that names somebody else."""
    return who.seal(replace(header, author=SigningKey(draw.bytes(32)).peer))


def swapped_network(header: UpdateHeader, who: Author, n: int, draw: np.random.Generator) -> bytes:
    """The author signs for another network."""
    return who.seal(replace(header, network=draw.bytes(32)))


def swapped_domain(header: UpdateHeader, who: Author, n: int, draw: np.random.Generator) -> bytes:
    """The author signed these bytes for another purpose."""
    return seal(who.key, f"purpose-{n}", encode_header(header))


def flipped_bit(header: UpdateHeader, who: Author, n: int, draw: np.random.Generator) -> bytes:
    """One bit of key, signature or body is another."""
    envelope = bytearray(who.seal(header))
    bit = int(draw.integers(8 * len(envelope)))
    envelope[bit // 8] ^= 1 << bit % 8
    return bytes(envelope)


FORGERS: list[Callable[[UpdateHeader, Author, int, np.random.Generator], bytes]] = [
    wrong_key,
    claimed_key,
    swapped_author,
    swapped_network,
    swapped_domain,
    flipped_bit,
]


@pytest.mark.parametrize("forge", FORGERS, ids=lambda forge: forge.__name__)
async def test_no_forgery_is_accepted(forge: Callable[..., bytes]) -> None:
    draw = np.random.default_rng(3)
    async with Rig() as rig:
        who = author(1)
        rig.join(who)
        header = who.header(0)
        for n in range(FORGERIES):
            rig.service.frame(who.peer, encode_frame(Announce(forge(header, who, n, draw))))
        await rig.settle()
        assert not rig.verified
        assert not rig.desk.asked
        assert rig.service.counters.total() == FORGERIES
        assert set(rig.service.counters) <= {Drop.BAD_SIGNATURE, Drop.WRONG_AUTHOR, Drop.WRONG_NETWORK}
        rig.events.clear()
        await rig.take(who, encode_frame(Announce(who.seal(header))))  # the real one still passes
        assert len(rig.verified) == 1


async def test_no_forged_relay_is_accepted() -> None:
    draw = np.random.default_rng(5)
    async with Rig() as rig:
        relayer, who = author(2), author(1)
        relayer.payloads = who.payloads
        rig.join(relayer)
        header = who.header(0)
        for n in range(RELAYS):
            forged = FORGERS[n % len(FORGERS)](header, who, n, draw)
            rig.service.frame(relayer.peer, encode_frame(Relay(1 + n % 16, forged)))
        await rig.settle()
        # a relayer's own new key that signs its own header is an author like any other: none of these is one
        assert not rig.verified
        assert rig.service.counters.total() == RELAYS


async def test_no_captured_frame_is_applied_twice() -> None:
    ledger, people = MemoryLedger(), [author(n) for n in range(1, 11)]
    other = author(20)
    captured: list[tuple[Author, bytes, bytes]] = []
    async with Rig(ledger, round=0) as rig:
        for who in people:
            rig.join(who)
        for round in range(100):
            rig.service.advance(round)
            for who in people:
                envelope = who.seal(who.header(round))
                announce, relay = encode_frame(Announce(envelope)), encode_frame(Relay(1, envelope))
                captured.append((who, announce, relay))
                rig.service.frame(who.peer, announce)
            await rig.settle()
        assert len(rig.verified) == 1000
        rig.join(other)
        for _ in range(3):  # same connection, another connection: 6000 replays
            for who, announce, relay in captured:
                rig.service.frame(who.peer, announce)
                rig.service.frame(other.peer, relay)
        await rig.settle()
        assert len(rig.verified) == 1000
    async with Rig(ledger, round=99) as rig:  # after a restart: 4000 replays
        for who in [*people, other]:
            rig.join(who)
        for _ in range(2):
            for who, announce, relay in captured:
                rig.service.frame(who.peer, announce)
                rig.service.frame(other.peer, relay)
        await rig.settle()
        assert not rig.verified
        assert rig.count(Drop.REPLAY) == 4000
    async with Rig(round=99) as rig:  # in another network
        rig.service._intake._home = replace(rig.service._intake._home, network=bytes(32))
        rig.join(people[0])
        for who, announce, _ in captured:
            if who is people[0]:
                rig.service.frame(who.peer, announce)
        assert rig.count(Drop.WRONG_NETWORK) == 100


CHANGES = {
    "network": st.binary(min_size=32, max_size=32).filter(lambda value: value != NETWORK),
    "author": st.integers(2, 1000).map(lambda n: author(n).peer),
    "previous": st.binary(min_size=32, max_size=32).filter(lambda value: value != bytes(32)),
    "payload_length": st.integers(0, 2**63 - 1).filter(lambda value: value != 103),
    "payload_digest": st.binary(min_size=32, max_size=32),
    "schema": st.binary(min_size=32, max_size=32),
    "round": st.integers(3, 2**63 - 1),
    "version": st.integers(2, 255),
}


@settings(max_examples=150)
@given(st.sampled_from(sorted(CHANGES)), st.data())
async def test_no_header_with_one_wrong_field_is_accepted_though_its_author_signed_it(
    name: str, data: st.DataObject
) -> None:
    async with Rig() as rig:
        who = author(1)
        rig.join(who)
        value: Any = data.draw(CHANGES[name])
        header = who.header(0)
        await rig.take(who, encode_frame(Announce(who.seal(replace(header, **{name: value})))))
        assert not rig.verified
        assert rig.service.counters.total() >= 1


def test_every_field_but_free_ones_is_mutated_above() -> None:
    free = {"sequence", "base", "classes", "kind"}  # the author's to choose, or covered by the codec's tests
    assert {one.name for one in fields(UpdateHeader)} == set(CHANGES) | free


FORBIDDEN = {"pickle", "cPickle", "_pickle", "marshal", "shelve", "dill", "cloudpickle", "joblib"}


def test_nothing_imports_what_runs_foreign_bytes() -> None:
    found, seen = [], 0
    for package in ("identity", "gossip", "aggregation", "node", "simulator", "examples", "benchmarks"):
        for path in sorted((ROOT / package).rglob("*.py")):
            seen += 1
            found += [f"{path.relative_to(ROOT)}:{line}" for line in dangers(path.read_text())]
    found += [f"hedgerow.py:{line}" for line in dangers((ROOT / "hedgerow.py").read_text())]
    assert seen > 20
    assert found == []


@pytest.mark.parametrize(
    "code",
    [
        "import pickle",
        "from pickle import loads",
        "import joblib.numpy_pickle",
        "import torch\ntorch.load(x)",
        "from torch import load",
        "import numpy as np\nnp.load(x)",
        "import numpy as np\nnp.load(x, allow_pickle=True)",
        "eval(x)",
        "exec(x)",
    ],
)
def test_the_search_finds_what_it_looks_for(code: str) -> None:
    assert dangers(code)


def dangers(source: str) -> list[int]:
    """Lines that import or call something that can run foreign bytes."""
    lines = []
    for node in ast.walk(ast.parse(source)):
        match node:
            case ast.Import(names=names) if {one.name.split(".")[0] for one in names} & FORBIDDEN:
                lines.append(node.lineno)
            case ast.ImportFrom(module=str(module)) if module.split(".")[0] in FORBIDDEN:
                lines.append(node.lineno)
            case ast.ImportFrom(module="torch", names=names) if {"load", "save"} & {one.name for one in names}:
                lines.append(node.lineno)
            case ast.Call(func=ast.Attribute(value=ast.Name(id="torch"), attr="load" | "save")):
                lines.append(node.lineno)
            case ast.Call(func=ast.Attribute(value=ast.Name(id="np" | "numpy"), attr="load"), keywords=keywords):
                safe = [one.value for one in keywords if one.arg == "allow_pickle"]
                if not any(isinstance(one, ast.Constant) and one.value is False for one in safe):
                    lines.append(node.lineno)
            case ast.Call(func=ast.Name(id="eval" | "exec")):
                lines.append(node.lineno)
            case _:
                continue
    return lines


def test_no_package_reads_a_wall_clock() -> None:
    """Clock skew: a clock that is years off, or jumps, changes nothing, since only monotonic time is ever read."""
    found, seen = [], 0
    for package in ("identity", "gossip", "aggregation", "node", "simulator"):
        for path in sorted((ROOT / package).rglob("*.py")):
            seen += 1
            found += [f"{path.relative_to(ROOT)}:{line}" for line in wall_clocks(path.read_text())]
    assert seen > 20
    assert found == []


@pytest.mark.parametrize(
    "code",
    [
        "import time\ntime.time()",
        "import time as t\nt.time_ns()",
        "import time\ntime.gmtime(0)",
        "from time import time",
        "from time import monotonic, strftime",
        "import time\ntime.clock_gettime(time.CLOCK_REALTIME)",
        "import datetime",
        "from datetime import datetime",
        "from email.utils import formatdate",
        "np.datetime64('now')",
    ],
)
def test_the_search_finds_wall_clocks(code: str) -> None:
    assert wall_clocks(code)


def test_the_search_lets_monotonic_clocks_pass() -> None:
    assert not wall_clocks("import time\nfrom time import perf_counter\ntime.monotonic()\nloop.time()\ntime.sleep(1)")


MONOTONIC = {"monotonic", "monotonic_ns", "perf_counter", "perf_counter_ns", "process_time", "thread_time", "sleep"}


def wall_clocks(source: str) -> list[int]:
    """Lines that could read the time of day."""
    tree = ast.parse(source)
    names = [one for node in ast.walk(tree) if isinstance(node, ast.Import) for one in node.names]
    clocks = {one.asname or one.name for one in names if one.name == "time"}
    lines = []
    for node in ast.walk(tree):
        match node:
            case ast.Import(names=names) if {one.name.split(".")[0] for one in names} & {"datetime", "email"}:
                lines.append(node.lineno)
            case ast.ImportFrom(module=str(module)) if module.split(".")[0] in {"datetime", "email"}:
                lines.append(node.lineno)
            case ast.ImportFrom(module="time", names=names) if {one.name for one in names} - MONOTONIC:
                lines.append(node.lineno)
            case ast.Attribute(value=ast.Name(id=name), attr=attr) if name in clocks and attr not in MONOTONIC:
                lines.append(node.lineno)
            case ast.Attribute(attr="datetime64"):
                lines.append(node.lineno)
            case _:
                continue
    return lines


def test_limits_are_what_the_figures_assume() -> None:
    assert LIMITS.header == 512
    assert LIMITS.frame == 4096
