"""Numbers of a matrix against the obvious way, and a page that stands alone."""

from __future__ import annotations

import html
import io
import math
import re
from dataclasses import replace
from html.parser import HTMLParser

import numpy as np
import pytest
from rich.console import Console

from aggregation.evidence import Verdict
from simulator.matrix import page as matrix_page
from simulator.matrix.figures import Key, Outcome, ends_outside, estimate, outcome
from simulator.matrix.heat import ACCURACY, SUCCESS, Spot, decimal, heat, traces
from simulator.matrix.plan import Matrix
from simulator.matrix.report import MatrixReport
from simulator.matrix.tables import Column, pm
from simulator.show.page import DEALT
from simulator.show.svg import BAD, GOOD, shade
from simulator.study.records import Edges, Influence, RoundRecord

MATRIX = Matrix.of(
    {
        "name": "tiny",
        "about": "a <b>small</b> one",
        "rules": ["mean", "hedgerow"],
        "attacks": ["label-flip"],
        "networks": [{"topology": "ring", "nodes": 4}],
        "seeds": [0, 1],
        "scenario": {"task": "digits", "rounds": 2},
    }
)


def result(accuracy: float, success: float) -> Outcome:
    spread = np.array([-0.02, 0.0, 0.0, 0.02])
    return Outcome(
        rounds=(1, 2),
        accuracy=np.stack([0.5 * accuracy + spread, accuracy + spread]),
        success=np.stack([success + spread, success + spread]),
        sybil_share=0.25,
        excluded=0.5,
        edges=8,
        bytes=1000.0,
        milliseconds=2.0,
    )


def report() -> MatrixReport:
    places = MATRIX.conditions()
    found = {}
    for place in places:
        for rule in place.scenario.rules:
            for seed in (0, 1):
                best = 0.9 if str(rule) == "oracle-mean" else 0.8 - 0.1 * seed
                found[Key(place, str(rule), seed)] = result(best, 0.0 if place.calm else 0.3)
    return MatrixReport(MATRIX, places, found)


def test_interval_is_students_t_over_seeds() -> None:
    found = estimate([1.0, 2.0, 6.0])
    assert found.mean == pytest.approx(3)
    assert found.half == pytest.approx(4.303 * math.sqrt(7) / math.sqrt(3))
    assert estimate([0.5]).half is None
    assert estimate([math.nan]).mean is None


def test_ends_stand_outside() -> None:
    assert ends_outside(["oracle-mean", "mean", "alone", "flag"]) == ["alone", "mean", "flag", "oracle-mean"]


def test_tax_and_harm_are_differences_seed_by_seed() -> None:
    by = {(each.rule, each.attack): each for each in report().figures()}
    calm, hit = by["hedgerow", "none"], by["hedgerow", "label-flip"]
    assert calm.tax is not None
    assert calm.tax.mean == pytest.approx(0.15)
    assert hit.tax is None
    assert hit.harm == pytest.approx(0.3 * 4 / 8)  # four nodes, eight attack edges
    assert by["oracle-mean", "none"].tax is not None
    assert by["oracle-mean", "none"].tax.mean == pytest.approx(0)


def test_worst_node_worst_decile_and_speed() -> None:
    hit = next(each for each in report().figures() if (each.rule, each.attack) == ("mean", "label-flip"))
    assert hit.worst_accuracy == pytest.approx(0.68)
    assert hit.worst_decile == pytest.approx((0.78 + 0.68) / 2)
    assert hit.worst_success == pytest.approx(0.32)
    assert hit.rounds_to_90 is None
    oracle = next(each for each in report().figures() if (each.rule, each.attack) == ("oracle-mean", "label-flip"))
    assert oracle.rounds_to_90 == 2


def record(weights: list[float], verdicts: list[Verdict]) -> RoundRecord:
    """Two honest nodes; node 0 hears node 1 and Sybil 2, node 1 hears node 0."""
    edges = Edges(
        receivers=np.array([0, 0, 1], dtype=np.int32),
        senders=np.array([1, 2, 0], dtype=np.int32),
        weights=np.array(weights, dtype=np.float32),
        verdicts=np.array([int(verdict) for verdict in verdicts], dtype=np.int8),
    )
    share = np.array([0.5, 0.5])
    return RoundRecord("mean", 0, 0, share, share, Influence(0, 0), np.array([10, 20]), 0.004, edges)


def test_share_of_sybils_and_honest_neighbours_shut_out() -> None:
    taken = outcome([record([1, 1, 0], [Verdict.TAKEN, Verdict.TAKEN, Verdict.SIMILAR])], 2)
    assert taken.sybil_share == pytest.approx((1 / 3 + 0) / 2)
    assert taken.excluded == pytest.approx(1 / 2)
    assert taken.edges == 1
    assert taken.bytes == 15
    assert taken.milliseconds == pytest.approx(2)
    absent = outcome([record([1, 0, 0], [Verdict.TAKEN, Verdict.TAKEN, Verdict.ABSENT])], 2)
    assert absent.excluded == 0


def test_rounds_without_measurement_do_not_count() -> None:
    one = record([1, 1, 1], [Verdict.TAKEN] * 3)
    assert outcome([replace(one, accuracy=None, success=None), replace(one, round=1)], 2).rounds == (2,)
    with pytest.raises(ValueError):
        outcome([replace(one, accuracy=None, success=None)], 2)


def test_numbers_are_plain_and_null_where_nothing_was_measured() -> None:
    cells = report().numbers()["cells"]
    assert isinstance(cells, list)
    assert len(cells) == 2 * 4
    calm = cells[0]
    assert calm["tax"]["seeds"] == 2
    assert calm["harm"] is None


def test_page_stands_alone_and_escapes() -> None:
    page = matrix_page.render(MATRIX, MATRIX.conditions(), report().figures())
    assert "a &lt;b&gt;small&lt;/b&gt; one" in page
    assert html.escape(DEALT) in page
    for word in ("src=", "@import", "<script", "url("):
        assert word not in page
    assert "http" not in page.replace("http://www.w3.org/2000/svg", "")
    balance: list[str] = []

    class Balanced(HTMLParser):
        def handle_starttag(self, tag: str, attrs: object) -> None:
            if tag != "meta":
                balance.append(tag)

        def handle_startendtag(self, tag: str, attrs: object) -> None:
            return

        def handle_endtag(self, tag: str) -> None:
            assert balance.pop() == tag

    Balanced().feed(page)
    assert balance == []
    assert page == matrix_page.render(MATRIX, MATRIX.conditions(), report().figures())


def test_every_number_of_a_cell_can_be_found_without_a_pointer() -> None:
    page = re.sub(
        r"<title>.*?</title>", "", matrix_page.render(MATRIX, MATRIX.conditions(), report().figures()), flags=re.S
    )
    hit = next(each for each in report().figures() if (each.rule, each.attack) == ("hedgerow", "label-flip"))
    assert hit.harm is not None
    row = re.search(r'<tr class="mine"><td>label-flip</td><td>hedgerow</td>(.*?)</tr>', page)
    assert row is not None
    cells = re.findall(r"<td>(.*?)</td>", row[1])
    assert cells == [
        pm(hit.accuracy), decimal(hit.worst_decile), decimal(hit.worst_accuracy), pm(hit.success),
        decimal(hit.worst_success), decimal(hit.harm), ".250", ".500", "1", "2.00",
    ]  # fmt: skip
    assert " ± " in cells[0]


def test_several_places_have_an_overview_with_a_link_to_each() -> None:
    attackers = [{"phi": 1.0}, {"phi": 2.0}]
    matrix = Matrix.of(MATRIX.model_dump() | {"attackers": attackers, "seeds": [0]})
    cells = [(place, str(rule)) for place in matrix.conditions() for rule in place.scenario.rules]
    found = {Key(place, rule, 0): result(0.8, 0.6 if place.attackers == "phi 2" else 0.1) for place, rule in cells}
    page = matrix_page.render(matrix, matrix.conditions(), MatrixReport(matrix, matrix.conditions(), found).figures())
    for number in (1, 2):
        assert f'href="#place-{number}"' in page
        assert f'id="place-{number}"' in page
    assert '<span class="bad">.600</span><small>label-flip, place\N{NO-BREAK SPACE}2</small>' in page


def test_terminal_shows_the_numbers_of_the_page_rule_by_rule() -> None:
    out = io.StringIO()
    report().show(Console(file=out, width=100))
    lines = [line.split() for line in out.getvalue().splitlines()]
    assert ["mean", ".750", ".150", ".750", ".300", ".300", "label-flip"] in lines
    assert ["oracle-mean", ".900", ".000", ".900", ".300", ".300", "label-flip"] in lines


def test_the_best_rule_of_a_column_is_marked_and_the_ends_never_are() -> None:
    rules = ["alone", "mean", "hedgerow", "oracle-mean"]
    more = Column("", "accuracy", [0.9, 0.5, 0.7, 0.95], max, bad=lambda value: value < 0.6)
    assert more.cells(rules) == [".900", '<span class="bad">.500</span>', "<b>.700</b>", ".950"]
    assert Column("", "cost", [None, 1.0, 2.0, 0.1], min).cells(rules) == ["-", "<b>1.000</b>", "2.000", ".100"]
    assert Column("", "only one", [None, 1.0, None, 0.1], min).cells(rules)[1] == "1.000"


def test_a_small_curve_spans_its_cell_and_what_was_not_run_is_blank() -> None:
    made = traces("x", ["a"], ["p", "q"], lambda _, at: () if at else ((5, 0.0, 1.0), (10, 1.0, 0.0)), lambda _: ())
    lines = re.findall(r'points="([^"]+)" fill="none" stroke="([^"]+)"', made)
    drawn = {
        colour: [tuple(map(float, spot.split(","))) for spot in points.split()] for points, colour in lines if points
    }
    assert set(drawn) == {ACCURACY, SUCCESS}
    (left, low), (right, high) = drawn[ACCURACY]
    assert (right - left, low - high) == pytest.approx((56, 41))
    assert made.count("<rect") == 2


def test_heat_map_colours_by_value_and_leaves_blanks() -> None:
    made = heat("x", ["a"], ["p", "q"], lambda _, at: Spot(1.0 if at else None), BAD, ((0, "good"), (1, "bad")))
    assert "rgb(103,0,13)" in made
    assert "#f1f3f5" in made
    assert shade(GOOD, -1) == GOOD[0]
    assert shade(GOOD, 2) == GOOD[-1]


@pytest.mark.parametrize(("value", "text"), [(0.7128, ".713"), (1.0, "1.000"), (-0.012, "-.012"), (10.05, "10.050")])
def test_decimals(value: float, text: str) -> None:
    assert decimal(value) == text
