"""Strangers dial real nodes: a crowd from one address is one, silent ones hold nobody up, honest rounds go on."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from daemons import Daemon, until
from weak_node import running

from gossip.chain.ledger import MemoryLedger
from gossip.protocol.events import GossipEvent, PeerAhead, PeerJoined
from gossip.protocol.limits import Limits
from gossip.protocol.messages import Schema, UpdateHeader
from gossip.service import GossipService
from gossip.transport.executors import InlineExecutor
from gossip.transport.http import HttpTransport
from identity.keys import PeerId, SigningKey, format_peer
from node.config import parse_config
from node.daemon import KEY
from node.learning.learner import Learner
from node.learning.tasks import make_task
from node.show.status import fetch_status

COMMON = ["network.name=crowded", "network.listen=127.0.0.1:0", "round.pace=0.3", "task.parts=3"]
CROWD = 40
ROUNDS = 12  # beside silent strangers
HALF = {"parts": 2}


@pytest.fixture
def trio(tmp_path: Path) -> Iterator[list[Daemon]]:
    daemons = [Daemon(tmp_path / name, *COMMON, f"task.part={part}") for part, name in enumerate("abc")]
    yield daemons
    for daemon in daemons:
        if daemon.process is not None and daemon.process.poll() is None:
            daemon.kill()


class Stranger:
    """One identity that dials its victims; it says nothing until it is told to lie."""

    def __init__(self, schema: Schema, pool: ThreadPoolExecutor, victims: Sequence[str], number: int) -> None:
        key = SigningKey.generate()
        self.peer = key.peer
        self._round = -1
        self._news = asyncio.Event()
        self._vector = np.full(schema.elements, 1e3 + number, dtype="<f4").tobytes()
        self.gossip = GossipService(
            key,
            parse_config({"network": {"name": "crowded"}}).network_id(),
            schema,
            HttpTransport(key.peer, pool),
            MemoryLedger(keep=1),
            wants=self._wants,
            on_event=self._hear,
            generator=np.random.default_rng(number),
            executor=InlineExecutor(),
            limits=Limits(settle=0.0, degree=0),
            bootstrap=victims,
        )

    async def lie(self) -> None:
        """Say something huge in every round that a victim is in."""
        await self.gossip.start()
        said = -1
        while True:
            await self._news.wait()
            self._news.clear()
            if self._round > said:
                said = self._round
                await self.gossip.publish(said, self._vector)

    def _wants(self, header: UpdateHeader, via: PeerId, distance: int) -> bool:
        self._follow(header.round)
        return False

    def _hear(self, event: GossipEvent) -> None:
        if isinstance(event, PeerJoined | PeerAhead):
            self._follow(event.round)

    def _follow(self, round: int) -> None:
        if round > self._round:
            self._round = round
            self.gossip.advance(round)
            self._news.set()


def verdicts(record: dict[str, Any], peers: set[str]) -> dict[str, str]:
    return {each["peer"]: each["verdict"] for each in record["neighbours"] if each["peer"] in peers}


async def test_a_crowd_from_one_address_has_one_say_and_honest_rounds_do_not_suffer(trio: list[Daemon]) -> None:
    names = [format_peer(SigningKey.load(daemon.folder / KEY).peer) for daemon in trio]
    known = f"network.known={list(names)}".replace("'", '"')
    for daemon in trio:
        joins = [] if daemon is trio[0] else [f'network.join=["{trio[0].told("join")}"]']
        daemon.start(known, *joins)
    a = trio[0]
    await asyncio.to_thread(until, lambda: sum(len(record["neighbours"]) == 2 for record in a.records()) >= 12)
    before = a.records()
    with ThreadPoolExecutor(2) as pool:
        schema = Learner(make_task("digits")).schema
        crowd = [Stranger(schema, pool, [a.told("join")], number) for number in range(CROWD)]
        lying = [asyncio.create_task(liar.lie()) for liar in crowd]
        names_of_crowd = {format_peer(liar.peer) for liar in crowd}

        def crowded() -> list[dict[str, Any]]:
            return [record for record in a.records() if len(verdicts(record, names_of_crowd)) == CROWD]

        await asyncio.to_thread(until, lambda: len(crowded()) >= 25)
        status = await asyncio.to_thread(fetch_status, a.told("status").removeprefix("http://"))
        for task in lying:
            task.cancel()
        ended = await asyncio.gather(*lying, return_exceptions=True)
        await asyncio.gather(*(liar.gossip.close() for liar in crowd))
    assert all(isinstance(end, asyncio.CancelledError) for end in ended)

    rounds = crowded()
    heard = [{peer for peer, why in verdicts(record, names_of_crowd).items() if why != "stranger"} for record in rounds]
    assert max(map(len, heard)) == 1
    assert len(set.union(*heard)) >= 10  # it is somebody else's turn each time
    friends = set(names[1:])
    taken = [set(verdicts(record, friends).values()) <= {"taken", "clipped", "trimmed"} for record in rounds]
    assert sum(taken) >= 0.9 * len(rounds)
    assert all(record["waited"] <= record["deadline"] + 1.0 for record in rounds)
    assert rounds[-1]["accuracy"] > before[-1]["accuracy"] - 0.1
    standing = {each["peer"]: each["standing"] for each in status["neighbours"] if each["connected"]}
    assert {standing[name] for name in friends} == {"named"}
    assert all(standing[name].startswith("stranger, ") for name in names_of_crowd & standing.keys())
    assert min(daemon.round() for daemon in trio[1:]) >= rounds[-1]["round"] - 5


def played(folder: Path) -> list[dict[str, Any]]:
    """Rounds of a node so far."""
    path = folder / "state" / "rounds.jsonl"
    lines = path.read_text().splitlines(keepends=True) if path.exists() else []
    return [json.loads(line) for line in lines if line.endswith("\n")]


async def test_silent_strangers_stretch_nobodys_rounds(tmp_path: Path) -> None:
    """Two nodes; two strangers are there before one of them ever heard anybody, two more come later; all are silent."""
    calm = {"round": {"pace": 0.05, "least": 0.5, "most": 600.0, "evaluate_samples": 0}}
    network = {"name": "crowded"}
    schema = Learner(make_task("digits")).schema
    silent: list[Stranger] = []

    async def two_more(address: str) -> None:
        fresh = [Stranger(schema, pool, [address], len(silent) + number) for number in range(2)]
        silent.extend(fresh)
        for stranger in fresh:
            await stranger.gossip.start()
        await asyncio.to_thread(until, lambda: all(stranger.gossip.peers() for stranger in fresh), 20.0)

    def beside(folder: Path) -> list[dict[str, Any]]:
        """Rounds that closed while two strangers at least, and somebody else, were neighbours with a say."""
        names = {format_peer(stranger.peer) for stranger in silent}
        said = [(record, list(verdicts(record, names).values())) for record in played(folder)]
        return [
            record for record, why in said if len(record["neighbours"]) > len(why) >= 2 and why == ["absent"] * len(why)
        ]

    with ThreadPoolExecutor(2) as pool, running(tmp_path / "early", calm | {"network": network, "task": HALF}) as early:
        try:
            address = (await asyncio.to_thread(fetch_status, early))["address"]
            await two_more(address)
            other = {"network": network | {"join": (address,)}, "task": HALF | {"part": 1}}
            with running(tmp_path / "late", calm | other) as late:
                await two_more((await asyncio.to_thread(fetch_status, late))["address"])
                for folder in (early, late):
                    await asyncio.to_thread(until, lambda at=folder: len(beside(at)) >= ROUNDS, 30.0)
                assert all(stranger.gossip.peers() for stranger in silent)
        finally:
            await asyncio.gather(*(stranger.gossip.close() for stranger in silent))
    for folder in (early, late):
        closed = [record["closed_by"] for record in beside(folder)]
        assert closed.count("all") >= ROUNDS // 3, closed  # not even waited for, but at first
