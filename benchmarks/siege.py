"""The part `siege` of the nightly: a node at its defaults among strangers, good ones and hostile ones of every kind.

README's network of three who know each other; beside alice `strangers` who mean well (`benchmarks.bystanders`) and as
many attackers as get in (`benchmarks.besiegers`), who have one core together. Strangers do not push each other out, so
of the 48 places that they have, the first who mean well take half, then come the attackers, then everybody else who
means well and tries on. How each figure is taken:
- updates heard: of alice's records of the siege, those in which both known peers' updates were there and had a say;
- loop lag: alice's own histogram `hedgerow_loop_lag_seconds` (a look every quarter of a second) at the end less that at
  the beginning; the bound is that of the bucket in which the 99th percentile lies. Beside it the same before the
  attackers came; how long the loop's thread ran, and was ready and waited for a core, which is not the node's doing
  (`/proc/PID/schedstat`); and from outside how long her `/metrics` took to answer, once a second;
- memory and files: `/proc/PID`, the median of five looks, a second apart, at a quarter of the time and at the end.
  Level: at the end at most a tenth more.
"""

from __future__ import annotations

import json
import math
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks.household import Household, beside, heard, three, until
from benchmarks.nightly_page import Figure
from node.config import NodeConfig
from node.errors import NodeError
from node.show.status import fetch_status

HEARD, LAG, LEVEL = 0.95, 0.1, 1.1
LOOKS = 5
EARLY = 24  # who mean well and come before the attackers: half of the places that strangers have
_SPARE = 240.0  # seconds that helpers may live beyond the siege, should nobody end them
_GOODBYE = 30.0  # seconds that the attackers may take to end


@dataclass(slots=True)
class _Seen:
    """What was seen of the node, a look a second."""

    memory: list[float] = field(default_factory=list)
    files: list[int] = field(default_factory=list)
    answers: list[float] = field(default_factory=list)
    unanswered: int = 0


def run(seconds: float, strangers: int, share: float, say: Callable[[str], None]) -> Iterator[Figure]:
    """Besiege alice for so long; figures at the end.

    Args:
        seconds: of the siege.
        strangers: that mean well.
        share: of the attackers that `benchmarks.besiegers` brings; 1: all of them.
        say: told how it goes.
    """
    with tempfile.TemporaryDirectory() as folder, three(Path(folder), known=True) as nodes:
        alice, friends = nodes[0], nodes[1:]
        where = alice.told("join").rpartition("@")[2]
        name = NodeConfig().network.name
        with ExitStack() as others:
            early, calm = min(strangers, EARLY), alice.lags()
            beyond = str(seconds + _SPARE)
            good = others.enter_context(beside("-m", "benchmarks.bystanders", where, name, beyond, str(early)))
            assert good.stdout is not None
            good.stdout.readline()
            until(lambda: _connected(alice) >= 2 + early, "the strangers do not get in")
            say(f"{early} of {strangers} strangers are in; the attackers come, then the others")
            hostile = others.enter_context(beside("-m", "benchmarks.besiegers", where, name, str(seconds), str(share)))
            assert hostile.stdout is not None
            hostile.stdout.readline()
            began, before, turns = alice.records()[-1]["round"], alice.lags(), alice.turns()
            late = str(strangers - early)
            others.enter_context(beside("-m", "benchmarks.bystanders", where, name, beyond, late))
            seen = _watch(alice, seconds, say)
            records = [record for record in alice.records() if record["round"] > began]
            after = _lags(alice, before)
            ran, waited = (now - then for now, then in zip(alice.turns(), turns, strict=True))
            there = _connected(alice)
            report = _report(hostile)
        yield from _judge(alice, friends, records, (before, after), seen)
        yield Figure("lag before the attackers", f"p99 <= {bound(calm, before, 0.99):g} s")
        yield Figure("the loop's thread", f"ran {ran:.0f} s, was ready and waited for a core {waited:.0f} s")
        yield Figure("strangers", f"{strangers} mean well; {there} peers are connected at the end")
        yield Figure("attackers", "; ".join(f"{kind}: {_words(*counts)}" for kind, counts in report.items()))


def bound(before: Mapping[float, float], after: Mapping[float, float], share: float) -> float:
    """Upper bound of the bucket in which this share of the looks between two histograms ends; infinity without any."""
    looks = {edge: count - before.get(edge, 0.0) for edge, count in after.items()}
    every = looks.get(math.inf, 0.0)
    return min((edge for edge, count in looks.items() if every and count >= share * every), default=math.inf)


def _watch(alice: Household, seconds: float, say: Callable[[str], None]) -> _Seen:
    """Look at her once a second."""
    seen = _Seen()
    began = time.monotonic()
    while (now := time.monotonic() - began) < seconds and alice.alive:
        seen.memory.append(alice.memory())
        seen.files.append(alice.files())
        asked = time.monotonic()
        try:
            alice.lags()
        except (OSError, NodeError):
            seen.unanswered += 1
        seen.answers.append(time.monotonic() - asked)
        if len(seen.answers) % 10 == 0:
            say(f"{now:.0f} s: {seen.memory[-1]:.0f} MiB, {seen.files[-1]} files, answers in {seen.answers[-1]:.3f} s")
        time.sleep(max(0.0, 1.0 - (time.monotonic() - asked)))
    return seen


def _judge(
    alice: Household,
    friends: list[Household],
    records: list[dict[str, Any]],
    lags: tuple[Mapping[float, float], Mapping[float, float]],
    seen: _Seen,
) -> Iterator[Figure]:
    full = sum(heard(record, friends) for record in records)
    share = full / len(records) if records else 0.0
    waited = max((record["waited"] for record in records), default=0.0)
    text = f"{full} of {len(records)} rounds ({share:.3f}), waited for {waited:.2f} s at most"
    yield Figure("known updates heard", text, f"share >= {HEARD}", share >= HEARD)
    worst = bound(*lags, 0.99)
    usual = bound(*lags, 0.5)
    text = "no looks" if math.isinf(worst) and not lags[1] else f"p99 <= {worst:g} s, median <= {usual:g} s"
    yield Figure("event loop's lag", f"{text} (own histogram)", f"p99 <= {LAG:g} s", worst <= LAG)
    answers = sorted(seen.answers)
    late = answers[min(len(answers) - 1, int(0.99 * len(answers)))] if answers else math.inf
    middle = median(answers) if answers else math.inf
    text = f"median {middle:.3f} s, p99 {late:.3f} s, {seen.unanswered} of {len(answers)} unanswered"
    yield Figure("answers of /metrics", text)
    for name, looks, unit in (("memory", seen.memory, " MiB"), ("open files", seen.files, "")):
        first, last = _level(looks)
        found = f"{first:.0f}{unit} at a quarter, {last:.0f}{unit} at the end"
        yield Figure(name, found, f"<= {LEVEL:g} times", 0 < last <= LEVEL * first)
    yield Figure("process", "alive" if alice.alive else "gone", "alive", alice.alive)


def _level(looks: list[float] | list[int]) -> tuple[float, float]:
    """Around a quarter of the time, and at the end."""
    if not looks:
        return 0.0, 0.0
    quarter = max(1, len(looks) // 4)
    return median(looks[max(0, quarter - LOOKS) : quarter]), median(looks[-LOOKS:])


def _connected(alice: Household) -> int:
    try:
        return sum(bool(each["connected"]) for each in fetch_status(alice.folder)["neighbours"])
    except NodeError:
        return 0


def _lags(alice: Household, before: Mapping[float, float]) -> Mapping[float, float]:
    """Her histogram now; `before` if she does not answer: no looks since."""
    try:
        return alice.lags()
    except (OSError, NodeError):
        return before


def _report(hostile: subprocess.Popen[str]) -> dict[str, list[int]]:
    """What the attackers say of themselves, by kind; empty if they ended otherwise."""
    try:
        text, _ = hostile.communicate(timeout=_GOODBYE)
        return dict(json.loads(text.splitlines()[-1]))
    except (IndexError, ValueError, subprocess.TimeoutExpired):
        return {}


def _words(most: int, entered: int, kept_out: int) -> str:
    return f"{most} in at most, got in {entered} times, kept out {kept_out}"
