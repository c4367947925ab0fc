"""What came out of a simulation: an object to print, to turn into JSON, and to write into a folder.

The folder holds `summary.json` (the object of `--json`), `records.jsonl` (a line for each rule, seed and measured
round), `scenario.json`
and `report.html`.
"""

from __future__ import annotations

import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from rich.console import Console

from simulator.show import page
from simulator.study.records import RoundRecord
from simulator.study.scenario import Scenario
from simulator.study.summary import Numbers, Summary, headline, summarise, table


@dataclass(frozen=True, slots=True)
class Report:
    """A finished simulation.

    Attributes:
        scenario: what was run.
        records: rule -> all its records, seed by seed, round by round.
        neighbours: the graph of the first seed: for every vertex its neighbours' vertices.
        honest: number of honest vertices; the others are Sybils.
    """

    scenario: Scenario
    records: Mapping[str, Sequence[RoundRecord]]
    neighbours: tuple[tuple[int, ...], ...]
    honest: int

    @property
    def headline(self) -> str:
        """Who learned, who attacked and how, in one line."""
        return headline(self.scenario, self.neighbours)

    @property
    def attacked(self) -> bool:
        """Whether anybody attacked."""
        return self.scenario.adversary and len(self.neighbours) > self.honest

    def summaries(self) -> list[Summary]:
        """One a rule, in the scenario's order."""
        return [summarise(rule, rows) for rule, rows in self.records.items()]

    def numbers(self, seconds: bool = True) -> dict[str, dict[str, Numbers]]:
        """The JSON object: {"rules": {name: {...}}}; same scenario, same object, `seconds` aside."""
        return {"rules": {summary.rule: summary.numbers(seconds) for summary in self.summaries()}}

    def show(self, console: Console) -> None:
        """Print who learned and who attacked, the table, and what there is to remark."""
        summaries = self.summaries()
        console.print(self.headline, markup=False, soft_wrap=True)
        console.print(table(summaries, self.scenario.name, self.attacked))
        for remark in filter(None, (summary.remark() for summary in summaries)):
            console.print(remark, markup=False, soft_wrap=True)

    def write(self, folder: Path | str) -> Path:
        """Write all four files (each whole or not at all) and return the page's path.

        Raises:
            OSError: the folder cannot be written.
        """
        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        rows = [
            json.dumps(_row(record))
            for records in self.records.values()
            for record in records
            if record.accuracy is not None
        ]
        _put(folder / "records.jsonl", "".join(f"{row}\n" for row in rows))
        _put(folder / "summary.json", json.dumps(self.numbers(), indent=2) + "\n")
        _put(folder / "scenario.json", self.scenario.model_dump_json(indent=2, exclude_none=True) + "\n")
        text = page.render(self.scenario, self.summaries(), self.records, self.neighbours, self.honest)
        return _put(folder / "report.html", text)

    def __str__(self) -> str:
        """The table as plain text."""
        out = io.StringIO()
        self.show(Console(file=out, width=100))
        return out.getvalue()


def _row(record: RoundRecord) -> dict[str, object]:
    edges, success = record.edges, record.success
    diverged = {"diverged": record.diverged.tolist()} if len(record.diverged) else {}
    return {
        "rule": record.rule,
        "seed": record.seed,
        "round": record.round,
        "accuracy": None if record.accuracy is None else record.accuracy.round(6).tolist(),
        "attack_success": None if success is None or np.isnan(success).any() else success.round(6).tolist(),
        "bytes": record.bytes.tolist(),
        "seconds": round(record.seconds, 6),
        "edges": None
        if edges is None
        else {
            "receiver": edges.receivers.tolist(),
            "sender": edges.senders.tolist(),
            "weight": [round(float(weight), 6) for weight in edges.weights],
            "verdict": edges.verdicts.tolist(),
        },
    } | diverged


def _put(path: Path, text: str) -> Path:
    part = path.with_name(path.name + ".part")
    part.write_text(text, encoding="utf-8")
    part.replace(path)
    return path
