"""The part `chain` of the nightly: five daemons, each invited by the one before, with Sybils beside them.

By the rule of nodes at their defaults, and by `hedgerow-known`. Nobody looks for further neighbours (`degree = 1`), so
that whoever is not next in the chain is known by vouches only, and is heard from afar. How each figure is taken:
- sybils beside all: two unlike Sybils attack each of the five, all at once;
- sybils at the ends: `hedgerow attack --suite sybil` at the first and at the last of the chain, at the same time;
- two are killed (kill -9): what their tables hold of the others' statements, and how many rounds after they are up all
  whom vouches lead to were heard again by all, some of them from afar;
- a vouch is taken back (`hedgerow distrust` of the last by the one who invited it): rounds until no node counts it.
"""

from __future__ import annotations

import asyncio
import socket
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

from benchmarks.household import ROOT, Household, command, until
from benchmarks.nightly_page import Figure
from benchmarks.trio import Rows, passes, scorecard
from node.config import DEFAULT_RULE
from node.errors import NodeError
from node.show.status import fetch_status
from node.society import listed
from simulator.live.campaign import Bounds
from simulator.live.harness import assault
from simulator.live.suites import Trial

RULES = tuple(dict.fromkeys((DEFAULT_RULE, "hedgerow-known")))
NAMES = ("one", "two", "three", "four", "five")
SETTINGS = {"degree": 1, "enough": 1, "far": 2, "pace": 0.5}
UNLIKE = Trial("label-flip+structured-noise", {"of": "update"}, sybils=2, rounds=12)
KILLED = (1, 2)
AGAIN = 300.0  # seconds: peers are heard out for up to 40, and a node catches up round by round
FORGOTTEN = 10  # rounds in which a vouch that was taken back is to be forgotten everywhere

Say = Callable[[str], None]


def run(say: Say) -> Iterator[Figure]:
    """All of it, by each rule."""
    for rule in RULES:
        with tempfile.TemporaryDirectory() as folder, chain(Path(folder), rule) as nodes:
            say(f"{rule}: five nodes hear each other")
            yield passes(f"{rule}: two unlike Sybils beside each of five", [surrounded(nodes, say)])
            ends = (nodes[0], nodes[-1])
            with ThreadPoolExecutor(2) as pool:
                rows = list(pool.map(lambda node: scorecard(node, "sybil", _as(node, say)), ends))
            yield passes(f"{rule}: suite sybil at the first (run 1) and the last (run 2)", rows)
            yield from killed(rule, nodes, [nodes[place] for place in KILLED])
            yield from revoked(rule, nodes)


@contextmanager
def chain(folder: Path, rule: str) -> Iterator[list[Household]]:
    """Five running nodes; each knows the one that invited it, and all are heard at both ends."""
    with ExitStack() as running:
        nodes: list[Household] = []
        for part, name in enumerate(NAMES):
            words = ["--rule", rule]
            if nodes:
                words += ["--ticket", _said("invite", nodes[-1].folder, "--name", name).strip()]
            node = Household(folder / name, part, len(NAMES), *words, listen=_free())
            for key, value in SETTINGS.items():
                node.say(key, value)
            running.enter_context(node).ready()
            nodes.append(node)
        for node in (nodes[0], nodes[-1]):
            others = {other.peer for other in nodes} - {node.peer}
            until(lambda node=node, others=others: voices(node) >= others, f"{node.folder.name} does not hear all")  # type: ignore[misc]
        yield nodes


def surrounded(nodes: list[Household], say: Say) -> Rows:
    """Rows of an attack by two Sybils on each node, all at once."""

    async def all_at_once() -> Rows:
        attacks = [assault(node.folder, trials=[("sybil", UNLIKE)], bounds=Bounds(seed=None)) for node in nodes]
        return [asdict(row) | {"passed": row.passed} for (row,) in await asyncio.gather(*attacks)]

    rows = asyncio.run(all_at_once())
    for node, row in zip(nodes, rows, strict=True):
        say(f"{node.folder.name}: {row['verdict']} {row['note']}")
    return rows


def killed(rule: str, nodes: list[Household], victims: list[Household]) -> Iterator[Figure]:
    """Kill two of them; what is left, and how long it takes until all is as before."""
    before = [_near(node) for node in victims]
    for node in victims:
        node.kill()
    kept = [_near(node) for node in victims]
    found = ", ".join(f"{len(now)} of {len(then)}" for now, then in zip(kept, before, strict=True))
    yield Figure(f"{rule}: whom statements lead to after kill -9 of two", found, "all", kept == before)
    with ThreadPoolExecutor() as pool:
        list(pool.map(_start, victims))
    since = {node: _round(node) for node in nodes}
    for node in nodes:
        others = {other.peer for other in nodes} - {node.peer}
        until(
            lambda node=node, others=others: voices(node, since[node]) >= others,  # type: ignore[misc]
            f"{node.folder.name} does not hear all again",
            AGAIN,
        )
    until(lambda: any(voices(node, since[node], far=True) for node in nodes), "nobody is heard from afar again")
    took = max(_first_full(node, nodes, since[node]) for node in nodes)
    yield Figure(f"{rule}: all are heard again, by all", f"after {took} rounds at most", "yes", True)


def revoked(rule: str, nodes: list[Household]) -> Iterator[Figure]:
    """The last but one distrusts the last, for whom nobody else has vouched."""
    *others, inviter, last = nodes
    until(lambda: all(last.peer in _near(node) for node in others), "the last is not near everywhere")
    _said("distrust", inviter.folder, last.peer)
    since = {node: _round(node) for node in others}
    took: dict[Household, int] = {}

    def over() -> bool:
        for node in others:
            if node not in took and last.peer not in _near(node):
                took[node] = _round(node) - since[node]
        return len(took) == len(others)

    until(over, "a vouch that was taken back is not forgotten")
    found = f"after {max(took.values())} rounds at most"
    yield Figure(f"{rule}: a vouch that was taken back counts nowhere", found, f"<= {FORGOTTEN} rounds",
                 max(took.values()) <= FORGOTTEN)  # fmt: skip
    until(lambda: all(_round(node) >= since[node] + FORGOTTEN + 4 for node in others), "rounds stand still")
    afar = [last.peer in voices(node, since[node] + FORGOTTEN, far=True) for node in others]
    yield Figure(f"{rule}: heard from afar since", f"by {sum(afar)} of {len(others)}", "by nobody", not any(afar))


def voices(node: Household, since: int = -1, far: bool = False) -> set[str]:
    """Whose models the rule was shown in rounds after this one; `far`: of those, who was heard from afar."""
    rows = [row for record in node.records() if record["round"] > since for row in record["neighbours"]]
    return {str(row["peer"]) for row in rows if _spoke(row) and (row.get("far") or not far)}


def _first_full(node: Household, nodes: list[Household], since: int) -> int:
    """Rounds from this one on until all others had had a say."""
    lacking = {other.peer for other in nodes} - {node.peer}
    for record in node.records():
        if record["round"] > since:
            lacking -= {row["peer"] for row in record["neighbours"] if _spoke(row)}
            if not lacking:
                return int(record["round"]) - since
    raise RuntimeError(f"{node.folder.name} did not hear all")


def _spoke(row: dict[str, Any]) -> bool:
    return row["verdict"] not in ("absent", "stranger")


def _near(node: Household) -> set[str]:
    """Whom statements lead to."""
    return {str(row["peer"]) for row in listed(node.folder) if row["standing"] is not None}


def _round(node: Household) -> int:
    """Latest round that is over."""
    return max((int(record["round"]) for record in node.records()), default=-1)


def _start(node: Household) -> None:
    node.__enter__()
    until(lambda: _answers(node) or not node.alive, f"{node.folder.name} does not start again")


def _answers(node: Household) -> bool:
    try:
        return bool(fetch_status(node.folder)["peer"])
    except NodeError:
        return False


def _free() -> str:
    """An address that a node can listen on again after it was killed."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        return f"127.0.0.1:{free.getsockname()[1]}"


def _said(*words: object) -> str:
    done = subprocess.run(command(*map(str, words)), cwd=ROOT, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"hedgerow {words[0]}: {done.stderr.strip()}")
    return done.stdout


def _as(node: Household, say: Say) -> Say:
    return lambda line: say(f"{node.folder.name}: {line}")
