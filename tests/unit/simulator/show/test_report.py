"""What a simulation comes to: numbers against a naive fold, a page that stands alone, files that are whole."""

from __future__ import annotations

import html
import json
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from node.trust.opinions import WHY
from simulator.show.page import DEALT
from simulator.show.report import Report
from simulator.study.records import Edges, Influence, RoundRecord, influence
from simulator.study.scenario import Scenario, ScenarioError
from simulator.study.setup import prepare
from simulator.study.summary import summarise
from simulator.work.sweep import sweep

HONEST, SYBILS, ROUNDS = 6, 2, 4


def neighbours() -> tuple[tuple[int, ...], ...]:
    ring = [((i - 1) % HONEST, (i + 1) % HONEST) for i in range(HONEST)]
    return tuple((*row, HONEST + i % SYBILS) for i, row in enumerate(ring)) + tuple(
        tuple(i for i in range(HONEST) if i % SYBILS == s) for s in range(SYBILS)
    )


def record(rule: str, seed: int, round: int, measured: bool = True) -> RoundRecord:
    draw = np.random.default_rng([seed, round, len(rule)])
    links = [(i, j) for i, row in enumerate(neighbours()[:HONEST]) for j in row]
    receivers, senders = (np.array(part, dtype=np.int32) for part in zip(*links, strict=True))
    edges = Edges(
        receivers,
        senders,
        draw.random(len(links)).astype(np.float32),
        draw.integers(0, 4, len(links)).astype(np.int8),
    )
    return RoundRecord(
        rule=rule,
        seed=seed,
        round=round,
        accuracy=draw.random(HONEST) if measured else None,
        success=draw.random(HONEST) if measured else None,
        influence=influence(edges, HONEST),
        bytes=draw.integers(1000, 2000, HONEST),
        seconds=0.25,
        edges=edges if measured else None,
    )


def report(rules: tuple[str, ...] = ("mean", "sybilwall"), seeds: tuple[int, ...] = (1, 2)) -> Report:
    scenario = Scenario.demo(name="small", rounds=ROUNDS, rules=rules, seeds=seeds, nodes=HONEST)
    records = {
        rule: [record(rule, seed, number, number % 2 == 1) for seed in seeds for number in range(ROUNDS)]
        for rule in rules
    }
    return Report(scenario, records, neighbours(), HONEST)


def test_summary_folds_the_last_measured_round_of_every_seed() -> None:
    rows = report().records["mean"]
    summary = summarise("mean", rows)
    last = [row for row in rows if row.round == ROUNDS - 1]
    values = [float(value) for row in last if row.accuracy is not None for value in row.accuracy]
    numbers = summary.numbers()
    assert numbers["accuracy"] == {
        "mean": pytest.approx(sum(values) / len(values), abs=1e-6),
        "min": pytest.approx(min(values), abs=1e-6),
        "std": pytest.approx(float(np.std(values)), abs=1e-6),
    }
    assert numbers["rounds"] == ROUNDS
    assert numbers["bytes_per_node_round"] == pytest.approx(float(np.mean([row.bytes for row in rows])), abs=1e-3)
    assert numbers["seconds"] == pytest.approx(0.25 * len(rows))


def test_order_of_records_does_not_matter() -> None:
    rows = list(report().records["mean"])
    assert summarise("mean", rows).numbers() == summarise("mean", rows[::-1]).numbers()


def test_summary_without_a_measured_round_is_refused() -> None:
    with pytest.raises(ValueError, match="no measured round"):
        summarise("mean", [record("mean", 1, 0, measured=False)])


def test_unknown_weights_are_null_and_the_object_is_plain_json() -> None:
    scenario = Scenario.of({"name": "one", "rounds": 1, "rules": ["alone"], "nodes": HONEST})
    nobody = Edges(*(np.zeros(0, dtype=kind) for kind in (np.int32, np.int32, np.float32, np.int8)))
    lonely = RoundRecord(
        "alone", 1, 0, np.ones(2), np.zeros(2), influence(nobody, 2), np.ones(2, np.int64), 0.1, nobody
    )
    found = Report(scenario, {"alone": [lonely]}, ((), ()), 2).numbers()
    assert found["rules"]["alone"]["weight"] == {"sybil": None, "honest": None}
    assert json.loads(json.dumps(found, allow_nan=False)) == found


def test_same_records_give_the_same_page_and_it_loads_nothing(tmp_path: Path) -> None:
    first = report().write(tmp_path / "a").read_text()
    assert first == report().write(tmp_path / "b").read_text()
    assert not re.search(r"""(src|href)\s*=\s*["']https?:""", first)
    for word in ("mean", "sybilwall", "Who misbehaved", "<svg", "Sybil"):
        assert word in first


def test_the_page_says_of_every_column_which_figure_it_is_and_which_way_is_good(tmp_path: Path) -> None:
    page = report().write(tmp_path).read_text()
    heads = re.findall(r"<th>(.*?)</th>", page.split("</table>")[0])
    assert len(set(heads)) == len(heads) == 11
    assert {"accuracy: worst node ▲", "attack success: median node ▼", "weight to a Sybil ▼"} <= set(heads)


def test_what_covers_one_seed_says_so_where_there_are_several(tmp_path: Path) -> None:
    several, single = report().write(tmp_path / "a").read_text(), report(seeds=(1,)).write(tmp_path / "b").read_text()
    for head in ("Who was believed", "Who misbehaved, and why"):
        assert f'<h2>{head}</h2><p class="soft">Seed 1 alone.</p>' in several
    assert len(re.findall(r"fared worst \([^)]*, seed 1\)", several)) == 2
    assert "Seed 1 alone" not in single
    assert not re.search(r"fared worst \([^)]*seed", single)


def test_every_verdict_on_the_page_is_explained_as_the_node_explains_it(tmp_path: Path) -> None:
    page = report().write(tmp_path).read_text()
    for verdict in ("taken", "absent", "not_finite", "similar"):  # the codes 0 to 3 are in the records
        assert f"<dt>{verdict.replace('_', ' ')}</dt><dd>{html.escape(WHY[verdict])}</dd>" in page
    assert "<dt>harmful</dt>" not in page


def test_page_about_an_attack_says_what_its_numbers_do_not_compare_with(tmp_path: Path) -> None:
    attacked = report()
    peace = replace(attacked, scenario=attacked.scenario.but(attack="none"))
    assert DEALT in attacked.write(tmp_path / "a").read_text()
    assert DEALT not in peace.write(tmp_path / "b").read_text()


def test_names_from_a_scenario_cannot_inject_markup(tmp_path: Path) -> None:
    rows = {"<script>alert(1)</script>": report().records["mean"]}
    page = Report(report().scenario, rows, neighbours(), HONEST).write(tmp_path).read_text()
    assert "<script>" not in page


def test_folder_holds_whole_files_that_read_back(tmp_path: Path) -> None:
    made = report()
    made.write(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "records.jsonl",
        "report.html",
        "scenario.json",
        "summary.json",
    ]
    assert json.loads((tmp_path / "summary.json").read_text()) == made.numbers()
    rows = [json.loads(line) for line in (tmp_path / "records.jsonl").read_text().splitlines()]
    assert len(rows) == 2 * 2 * ROUNDS // 2
    assert Scenario.of(json.loads((tmp_path / "scenario.json").read_text())) == made.scenario


def peaceful() -> Report:
    """The same without an adversary."""
    made = report()
    graph = tuple(tuple(other for other in beside if other < HONEST) for beside in neighbours()[:HONEST])
    records = {rule: [alone(row) for row in rows] for rule, rows in made.records.items()}
    return Report(made.scenario.but(attack="none"), records, graph, HONEST)


def alone(row: RoundRecord) -> RoundRecord:
    """The record without what came from Sybils."""
    if row.edges is None:
        return replace(row, influence=Influence(float("nan"), row.influence.honest))
    here = row.edges.senders < HONEST
    edges = Edges(row.edges.receivers[here], row.edges.senders[here], row.edges.weights[here], row.edges.verdicts[here])
    return replace(row, edges=edges, influence=influence(edges, HONEST))


def test_the_first_line_says_who_learns_and_who_attacks(tmp_path: Path) -> None:
    who = "6 nodes learn digits (dirichlet 0.5, random-geometric graph of degree 2)"
    for made, line in (
        (report(), f"{who}; 2 Sybils attack with label-flip at phi 1"),
        (peaceful(), f"{who}; no attack"),
    ):
        assert str(made).splitlines()[0] == made.headline == line
        assert f'<p class="lead">{line}. Rounds: 4. Seeds: 1, 2.' in made.write(tmp_path / line[-9:]).read_text()


def test_without_an_attack_nothing_is_said_of_success_and_sybils(tmp_path: Path) -> None:
    for text in (str(peaceful()), peaceful().write(tmp_path).read_text().split("The scenario")[0]):
        assert "Sybil" not in text
        assert "success" not in text
    assert "success" in str(report())


def test_a_notebook_shows_one_line_or_the_table(tmp_path: Path) -> None:
    made = report()
    accuracies = [summary.accuracy.mean() for summary in made.summaries()]
    said = ", ".join(f"{rule} {value:.3f}" for rule, value in zip(made.records, accuracies, strict=True))
    assert repr(made) == f"Report(small: 6 nodes, 4 rounds, accuracy: {said})"
    row = made.records["mean"][1]
    assert row.accuracy is not None
    assert repr(row) == f"RoundRecord(mean, seed 1, round 1: 6 nodes, accuracy {row.accuracy.mean():.3f})"
    assert repr(prepare(Scenario.demo())) == "Setup(demo, seed 1: 20 honest nodes, 10 Sybils)"
    shown = diverging()._repr_html_()
    assert made.headline in shown
    assert "<table>" in shown
    assert "training diverged" in shown


def test_a_folder_keeps_the_report_of_its_scenario(tmp_path: Path) -> None:
    first = report()
    first.write(tmp_path)
    report(rules=("mean", "sybilwall", "krum"), seeds=(1, 2, 3)).write(tmp_path)
    for other, differ in (
        (replace(first, scenario=first.scenario.but(alpha=0.1)), "alpha"),
        (peaceful(), "attack"),
        (report(rules=("krum",), seeds=(1, 2, 3)), "rules"),
        (report(rules=("mean", "sybilwall", "krum"), seeds=(1,)), "seeds"),
    ):
        with pytest.raises(ScenarioError, match=rf"holds the report of 'small', .*\(.*{differ}.*name another folder"):
            other.write(tmp_path)
        with pytest.raises(ScenarioError, match="holds the report of 'small'"):
            sweep(other.scenario, folder=tmp_path)
    for torn in ("{", "[]", ""):
        (tmp_path / "scenario.json").write_text(torn)
        peaceful().write(tmp_path)
    assert Scenario.of(json.loads((tmp_path / "scenario.json").read_text())) == peaceful().scenario


def test_time_is_told_a_node_and_round_too() -> None:
    summary = summarise("mean", report().records["mean"])
    assert summary.milliseconds == pytest.approx(250 / HONEST)
    assert "ms" in str(report())


def diverging() -> Report:
    """Node 3 diverged in two rounds of seed 1, all nodes in one of seed 2."""
    made = report(rules=("mean",))
    rows = list(made.records["mean"])
    for at, nodes in ((0, [3]), (1, [3]), (ROUNDS, range(HONEST))):
        rows[at] = replace(rows[at], diverged=np.array(nodes, dtype=np.int32))
    return replace(made, records={"mean": rows})


def test_who_diverged_is_named_in_table_page_json_and_records(tmp_path: Path) -> None:
    made = diverging()
    page = made.write(tmp_path).read_text()
    for text in (str(made), page):
        assert (
            "mean: training diverged (NaN or infinity) at node 3 of seed 1 in 2 of 4 rounds, node 0 of seed 2" in text
        )
    found = made.numbers()["rules"]["mean"]["diverged"]
    assert isinstance(found, list)
    assert found[0] == {"seed": 1, "node": 3, "rounds": 2}
    assert len(found) == 1 + HONEST
    rows = [json.loads(line) for line in (tmp_path / "records.jsonl").read_text().splitlines()]
    assert [row.get("diverged") for row in rows if row["seed"] == 1] == [[3], None]


def test_a_healthy_run_says_nothing_of_divergence(tmp_path: Path) -> None:
    made = report()
    made.write(tmp_path)
    assert "diverged" not in str(made)
    assert all("diverged" not in path.read_text() for path in tmp_path.iterdir())


def test_of_many_that_diverged_the_first_are_named_and_the_others_counted() -> None:
    rows = [replace(row, diverged=np.arange(20, dtype=np.int32)) for row in report(seeds=(1,)).records["mean"]]
    remark = summarise("mean", rows).remark()
    assert remark is not None
    assert remark.count("of 4 rounds") == 8
    assert "and at 12 more nodes" in remark


def test_table_shows_every_rule() -> None:
    assert all(rule in str(report()) for rule in ("mean", "sybilwall"))
