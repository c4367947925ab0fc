"""`python -m benchmarks.nightly [--only PART ...] [--out FOLDER]`: the long runs that a test suite cannot hold.

Parts: siege, trio-known, trio-join, chain, reference, size, crowd; what they are stands in docs/nightly.md, which is
written as each part ends, with date, commit and conditions beside every figure. What falls short is printed at the end,
and then the exit code is 1. Every part is bounded, stays on loopback and ends what it started; one that fails does not
keep the next from its turn. All of them take some hours.
"""

from __future__ import annotations

import argparse
import os
import platform
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from threading import Timer

import torch

from benchmarks import chain, siege, size, trio
from benchmarks.household import ROOT, end
from benchmarks.nightly_page import Figure, Night, keep

REFERENCES = ("benchmarks.scenarios", "benchmarks.last_line")
LIMIT = 4 * 3600.0  # seconds for each of them

Say = Callable[[str], None]
Part = Callable[[argparse.Namespace, Say], Iterator[Figure]]


def reference(asked: argparse.Namespace, say: Say) -> Iterator[Figure]:
    """Other benchmarks that judge themselves: their exit codes and last lines."""
    for module in REFERENCES:
        process = subprocess.Popen([sys.executable, "-m", module], cwd=ROOT, text=True, stdout=subprocess.PIPE)
        timer = Timer(LIMIT, process.kill)
        timer.start()
        last = "nothing said"
        try:
            assert process.stdout is not None
            for line in process.stdout:
                last = line.strip() or last
                say(line.rstrip())
            code = process.wait()
        finally:
            timer.cancel()
            end(process)
        yield Figure(module, f"exit code {code}; last line: {last}", "exit code 0", code == 0)


PARTS: Mapping[str, Part] = {
    "siege": lambda asked, say: siege.run(asked.seconds, asked.strangers, asked.share, say),
    "trio-known": lambda asked, say: trio.known(asked.times, asked.busy, say),
    "trio-join": lambda asked, say: trio.joined(say),
    "chain": lambda asked, say: chain.run(say),
    "reference": reference,
    "size": lambda asked, say: size.sizes(say),
    "crowd": lambda asked, say: size.crowd(say),
}


def run(name: str, asked: argparse.Namespace) -> list[Figure]:
    """One part's figures, printed as they come; a part that breaks off says so in a figure that falls short."""

    def say(line: str) -> None:
        print(f"  {line}", flush=True)

    found: list[Figure] = []
    try:
        for figure in PARTS[name](asked, say):
            found.append(figure)
            print(f"{name}: {figure.name}: {figure.found}{_verdict(figure)}", flush=True)
    except (OSError, RuntimeError, subprocess.SubprocessError, ValueError) as error:
        found.append(Figure("ran to its end", f"no: {type(error).__name__}: {error}", "yes", False))
        print(f"{name}: {found[-1].found}", flush=True)
    else:
        found.append(Figure("ran to its end", "yes", "yes"))
    return found


def night(asked: argparse.Namespace, name: str) -> Night:
    """When, of what, and beside what else this part begins."""
    cores = len(os.sched_getaffinity(0))
    shape = {
        "siege": [f"{asked.seconds:g} s", f"{asked.strangers} strangers", f"attackers x {asked.share:g}"],
        "trio-known": [f"{asked.times} idle runs", f"{asked.busy} busy processes"],
    }
    machine = [f"{cores} cores", f"load {os.getloadavg()[0]:.1f}", f"Python {platform.python_version()}"]
    words = [*shape.get(name, []), *machine, f"torch {torch.__version__}", asked.note]
    dirty = "+" if _said("git", "status", "--porcelain", "--untracked-files=no") else ""
    commit = _said("git", "rev-parse", "--short", "HEAD") or "unknown"
    return Night(_said("date", "-u", "+%F"), commit + dirty, ", ".join(filter(None, words)))


def main() -> int:
    """Run what was asked for; 0 when nothing falls short."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.nightly", description=__doc__)
    parser.add_argument("--only", nargs="+", choices=list(PARTS), default=list(PARTS), help="parts; default: all")
    parser.add_argument("--out", type=Path, default=ROOT / "docs", help="folder of nightly.md")
    parser.add_argument("--seconds", type=float, default=120.0, help="of the siege")
    parser.add_argument("--strangers", type=int, default=64, help="who mean well, in the siege")
    parser.add_argument("--share", type=float, default=1.0, help="of the attackers who come, in the siege")
    parser.add_argument("--times", type=int, default=5, help="idle runs of trio-known")
    parser.add_argument("--busy", type=int, default=8, help="busy processes beside one more run of it; 0: none")
    parser.add_argument("--note", default="", help="what else to know of the conditions")
    asked = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that what was started is ended
    short = []
    for name in PARTS:
        if name not in asked.only:
            continue
        when = night(asked, name)
        figures = run(name, asked)
        print(f"{name}: written to {keep(asked.out, when, name, figures, list(PARTS))}", flush=True)
        short += [f"{name}: {figure.name}: {figure.found} (aim: {figure.aim})" for figure in figures if not figure.met]
    for line in short:
        print(f"FALLS SHORT  {line}")
    return 1 if short else 0


def _verdict(figure: Figure) -> str:
    return "" if not figure.aim else f" ({figure.aim}: {'met' if figure.met else 'FALLS SHORT'})"


def _said(*words: str) -> str:
    done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, check=False)
    return done.stdout.strip()


if __name__ == "__main__":
    sys.exit(main())
