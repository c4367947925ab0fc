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
from simulator.study.scenario import Scenario, ScenarioError
from simulator.study.summary import Numbers, Summary, headline, summarise, table

SCENARIO = "scenario.json"
_MORE = ("rules", "seeds")  # a report that has all of the old ones takes its place


@dataclass(frozen=True, slots=True, repr=False)
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
            ScenarioError: the folder holds the report of another scenario.
            OSError: the folder cannot be written.
        """
        folder = Path(folder)
        check_folder(folder, self.scenario)
        folder.mkdir(parents=True, exist_ok=True)
        rows = [
            json.dumps(_row(record))
            for records in self.records.values()
            for record in records
            if record.accuracy is not None
        ]
        _put(folder / "records.jsonl", "".join(f"{row}\n" for row in rows))
        _put(folder / "summary.json", json.dumps(self.numbers(), indent=2) + "\n")
        _put(folder / SCENARIO, json.dumps(_inputs(self.scenario), indent=2) + "\n")
        text = page.render(self.scenario, self.summaries(), self.records, self.neighbours, self.honest)
        return _put(folder / "report.html", text)

    def __repr__(self) -> str:
        """Name, counts and accuracy by rule, in one line: what a notebook shows of a list of them."""
        found = ", ".join(f"{each.rule} {each.accuracy.mean():.3f}" for each in self.summaries())
        scenario = self.scenario
        return f"Report({scenario.name}: {scenario.nodes} nodes, {scenario.rounds} rounds, accuracy: {found})"

    def _repr_html_(self) -> str:
        """First line, table and remarks, as a notebook shows them."""
        return page.digest(self.headline, self.summaries(), self.attacked)

    def __str__(self) -> str:
        """The table as plain text."""
        out = io.StringIO()
        self.show(Console(file=out, width=100))
        return out.getvalue()


def check_folder(folder: Path, scenario: Scenario) -> None:
    """Refuse to put a scenario's report in place of another's; more rules or seeds than before are welcome.

    Raises:
        ScenarioError: the folder holds another scenario's report.
    """
    try:
        held = json.loads((folder / SCENARIO).read_text(encoding="utf-8"))
    except (OSError, ValueError):  # none, or none that can be read
        return
    if not isinstance(held, dict):
        return
    mine = json.loads(json.dumps(_inputs(scenario)))
    other = sorted(key for key in held.keys() | mine.keys() if held.get(key) != mine.get(key) and key != "name")
    lost = [key for key in _MORE if any(each not in mine[key] for each in held.get(key, []))]
    if not lost and not set(other) - set(_MORE):
        return
    differ = ", ".join(lost + [key for key in other if key not in _MORE])
    raise ScenarioError(
        f"{folder} holds the report of '{held.get('name')}', which is another scenario ({differ}): name "
        "another folder, or remove this one"
    )


def _inputs(scenario: Scenario) -> dict[str, object]:
    """The scenario as plain values that read back as it, what is absent left out."""
    attack = {"attack": "none"} if scenario.attack is None else {}
    return scenario.model_dump(mode="json", exclude_none=True) | attack


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
        }
        | ({} if edges.far is None else {"far": edges.far.tolist()}),
    } | diverged


def _put(path: Path, text: str) -> Path:
    part = path.with_name(path.name + ".part")
    part.write_text(text, encoding="utf-8")
    part.replace(path)
    return path
