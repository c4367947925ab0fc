"""Where the time of a sweep went: seconds by rule and phase, summed over cells, wherever they ran.

Law: only cells that ran in this sweep count; those found on disk are named as such.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path

from rich.table import Table

from simulator.work.cells import Cell, Finished, Found, News, Started

PHASES = "prepare: data, graph, keys, choice of paths; rest: what no phase counts; total: all of a cell, measuring too"
"""What to say below the table."""


class Timesheet:
    """Hears of cells, sums up their phases.

    Attributes:
        engines: how cells ran, one line each, without repetition, in order of first use.
        found: cells that were on disk.
    """

    def __init__(self) -> None:
        """Nothing has run."""
        self.engines: list[str] = []
        self.found = 0
        self._rounds: dict[str, int] = {}
        self._seconds: dict[str, dict[str, float]] = {}

    def hear(self, cell: Cell, news: News | Found) -> None:
        """Take note of what was heard of a cell; see `tell` of simulator.work.sweep.sweep."""
        if isinstance(news, Started) and news.about not in self.engines:
            self.engines.append(news.about)
        elif isinstance(news, Found):
            self.found += 1
        elif isinstance(news, Finished):
            rule = str(cell.rule)
            self._rounds[rule] = self._rounds.get(rule, 0) + news.rounds
            sums = self._seconds.setdefault(rule, {})
            for phase, spent in news.seconds.items():
                sums[phase] = sums.get(phase, 0.0) + spent

    def numbers(self) -> Mapping[str, object]:
        """The object of `profile.json`: seconds by rule and phase, rounds that they were spent on."""
        rules = {
            rule: {"rounds": self._rounds[rule], "seconds": {phase: round(spent, 6) for phase, spent in sums.items()}}
            for rule, sums in self._seconds.items()
        }
        return {"engines": self.engines, "cells_found": self.found, "rules": rules}

    def write(self, folder: Path) -> Path:
        """Write `profile.json`, whole or not at all.

        Raises:
            OSError: the folder cannot be written.
        """
        path = folder / "profile.json"
        part = path.with_name("profile.json.part")
        part.write_text(json.dumps(self.numbers(), indent=2) + "\n", encoding="utf-8")
        os.replace(part, path)
        return path

    def table(self) -> Table:
        """A row for each phase, the costliest first, a column for each rule: seconds and share of the rule's time."""
        title = "seconds by phase, summed over cells"
        found = f" ({self.found} found on disk left out)" if self.found else ""
        out = Table(title=title + found, box=None)
        out.add_column("phase", no_wrap=True)
        for rule in self._seconds:
            out.add_column(rule, justify="right")
        phases = {phase: 0.0 for sums in self._seconds.values() for phase in sums}
        for sums in self._seconds.values():
            for phase, spent in sums.items():
                phases[phase] += spent
        totals = {rule: sum(sums.values()) for rule, sums in self._seconds.items()}
        for phase in sorted(phases, key=lambda phase: -phases[phase]):
            cells = []
            for rule, sums in self._seconds.items():
                share = sums.get(phase, 0.0) / (totals[rule] or 1)
                cells.append(f"{sums[phase]:.2f} {share:4.0%}" if phase in sums else "-")
            out.add_row(phase, *cells)
        out.add_row("total", *(f"{totals[rule]:.2f} 100%" for rule in self._seconds))
        out.add_row("ms a round", *(f"{1000 * totals[rule] / max(1, self._rounds[rule]):.1f}     " for rule in totals))
        return out
