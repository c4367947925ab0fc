"""The tables of a matrix's page: a row a rule; green is the best rule of a column, red what nobody wants.

Law: a number stands under a head that says whether more or less of it is better, and dim rows are the two ends.
"""

from __future__ import annotations

import html
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import groupby

from rich.box import SIMPLE_HEAD
from rich.table import Table
from rich.text import Text

from simulator.matrix.figures import ALONE, ORACLE, Estimate, Figures
from simulator.matrix.heat import decimal
from simulator.matrix.plan import NOBODY
from simulator.study.summary import TRAFFIC

MINE = "hedgerow"
MORE, LESS = " ▲", " ▼"
"""After a head: more, or less, is better."""
_PRINTED = {
    ("nobody attacks", "accuracy"): "accuracy, no attack",
    ("nobody attacks", "tax"): "tax",
    ("accuracy under attack", "mean"): "accuracy under attack",
    ("attack success", "mean"): "attack success",
    ("attack success", "worst attack"): "at worst",
}
"""Group and head of the columns that a terminal shows -> their head there."""


@dataclass(frozen=True, slots=True)
class Column:
    """One column.

    Attributes:
        group: head above those of neighbouring columns.
        head: what the numbers are.
        values: one a rule; None = not measured.
        best: `max` where more is better, `min` where less is, None where neither is.
        write: number -> text.
        notes: small print under each number.
        bad: what is printed red.
    """

    group: str
    head: str
    values: Sequence[float | None]
    best: Callable[[Iterable[float]], float] | None = None
    write: Callable[[float], str] = decimal
    notes: Sequence[str] = ()
    bad: Callable[[float], bool] = lambda value: False

    def cells(self, rules: Sequence[str]) -> list[str]:
        """HTML of all its cells."""
        best = self.top(rules)
        out = []
        for at, value in enumerate(self.values):
            text = "-" if value is None else self.write(value)
            if value is not None and self.bad(value):
                text = f'<span class="bad">{text}</span>'
            elif value is not None and value == best and rules[at] not in (ALONE, ORACLE):
                text = f"<b>{text}</b>"
            note = self.notes[at] if self.notes else ""
            out.append(f"{text}<small>{html.escape(note)}</small>" if note else text)
        return out

    def top(self, rules: Sequence[str]) -> float | None:
        """The best value of a rule that is no end; None where there is nothing to choose."""
        known = [v for v, rule in zip(self.values, rules, strict=True) if v is not None and rule not in (ALONE, ORACLE)]
        return self.best(known) if self.best is not None and len(known) > 1 else None

    def title(self) -> str:
        """Head with its direction."""
        return html.escape(self.head) + (MORE if self.best is max else LESS if self.best is min else "")


def glance(figures: Sequence[Figures], where: Callable[[Figures], str]) -> str:
    """Every rule in one line, over all places; `where` names a place in few words."""
    rules, rows = _by_rule(figures)
    return table("rule", rules, [mine[0].label for mine in rows], _glance(rules, rows, where))


def printed(figures: Sequence[Figures]) -> Table:
    """The main columns of `glance` for a terminal; a place is named in full where there are several."""
    several = len({(each.split, each.network, each.attackers) for each in figures if each.attackers != NOBODY}) > 1

    def where(each: Figures) -> str:
        return ", ".join((each.attack, each.network, each.split, each.attackers)) if several else each.attack

    rules, rows = _by_rule(figures)
    columns = {(column.group, column.head): column for column in _glance(rules, rows, where)}
    out = Table(box=SIMPLE_HEAD, header_style="bold", pad_edge=False, padding=(0, 1, 0, 0))
    out.add_column("rule")
    for head in _PRINTED.values():
        out.add_column(head, justify="right", width=max(5, *map(len, head.split())))
    out.add_column("where")
    shown = [columns[place] for place in _PRINTED]
    for at, (rule, mine) in enumerate(zip(rules, rows, strict=True)):
        cells = []
        for column in shown:
            value = column.values[at]
            best = value is not None and value == column.top(rules) and rule not in (ALONE, ORACLE)
            cells.append(Text(maybe(value), style="bold green" if best else ""))
        style = "dim" if rule in (ALONE, ORACLE) else ""
        out.add_row(Text(mine[0].label), *cells, Text(shown[-1].notes[at]), style=style)
    return out


def _glance(rules: Sequence[str], rows: Sequence[Sequence[Figures]], where: Callable[[Figures], str]) -> list[Column]:
    calm = [[each for each in mine if each.attackers == NOBODY] for mine in rows]
    hit = [[each for each in mine if each.attackers != NOBODY] for mine in rows]
    lowest = [min(mine, key=lambda each: _or(each.accuracy.mean, 1.0), default=None) for mine in hit]
    highest = [max(mine, key=lambda each: _or(each.success.mean, 0.0), default=None) for mine in hit]
    alone = next((mine for rule, mine in zip(rules, rows, strict=True) if rule == ALONE), [])

    def useless(mine: Sequence[Figures]) -> Callable[[float], bool]:
        floor = mean(each.accuracy.mean for each in mine)
        return lambda value: floor is not None and value < floor

    calm_alone = [each for each in alone if each.attackers == NOBODY]
    hit_alone = [each for each in alone if each.attackers != NOBODY]
    return [
        Column("nobody attacks", "accuracy", [mean(f.accuracy.mean for f in mine) for mine in calm], max,
               bad=useless(calm_alone)),
        Column("nobody attacks", "tax", [mean(f.tax.mean for f in mine if f.tax) for mine in calm], min),
        Column("accuracy under attack", "mean", [mean(f.accuracy.mean for f in mine) for mine in hit], max,
               bad=useless(hit_alone)),
        Column("accuracy under attack", "worst attack", [None if f is None else f.accuracy.mean for f in lowest], max,
               notes=["" if f is None else where(f) for f in lowest], bad=useless(hit_alone)),
        Column("attack success", "mean", [mean(f.success.mean for f in mine) for mine in hit], min, bad=_won),
        Column("attack success", "worst attack", [None if f is None else f.success.mean for f in highest], min,
               notes=["" if f is None else where(f) for f in highest], bad=_won),
        Column("attack success", "worst node", [max((f.worst_success for f in mine), default=None) for mine in hit],
               min, bad=_won),
        Column("weight", "Sybils' share", [mean(f.sybil_share for f in mine) for mine in hit], min),
        Column("weight", "honest shut out", [mean(f.excluded for f in mine) for mine in rows], min),
        Column("cost a node and round", "ms", [mean(f.milliseconds for f in mine) for mine in rows], None,
               "{:.2f}".format),
        Column("cost a node and round", "kB", [_thousandth(mine) for mine in rows], None, "{:.0f}".format),
    ]  # fmt: skip


def calm_table(
    figures: Sequence[Figures],
    read: Callable[[Figures], float | None],
    write: Callable[[float], str],
    note: Callable[[Figures], str] = lambda each: "",
) -> str:
    """A number of every rule where nobody attacks, a column a network and split; less is better."""
    calm = [each for each in figures if each.attackers == NOBODY]
    rules, rows = _by_rule(calm)
    columns = []
    for place in dict.fromkeys((each.network, each.split) for each in calm):
        found = [next((f for f in mine if (f.network, f.split) == place), None) for mine in rows]
        values = [None if f is None else read(f) for f in found]
        notes = ["" if f is None else note(f) for f in found]
        columns.append(Column("", ", ".join(place), values, min, write, notes))
    return table("rule", rules, [mine[0].label for mine in rows], columns)


def cost(figures: Sequence[Figures]) -> str:
    """Traffic and time of every rule, means over all places."""
    rules, rows = _by_rule(figures)
    times = [mean(f.milliseconds for f in mine) for mine in rows]
    base = next((time for rule, time in zip(rules, times, strict=True) if rule == ALONE), None)
    ratios = [None if time is None or not base else time / base for time in times]
    columns = [
        Column("", TRAFFIC, [_thousandth(mine) for mine in rows], min, "{:.1f}".format),
        Column("", "ms a node and round", times, min, "{:.2f}".format),
        Column("", "times as long as alone", ratios, min, "{:.1f}".format),
    ]
    return table("rule", rules, [mine[0].label for mine in rows], columns)


def everything(here: Sequence[Figures]) -> str:
    """All numbers of some places, a row for each attack and rule."""
    heads = (
        "attack", "rule", "accuracy ± 95 %", "worst tenth of nodes", "worst node", "attack success ± 95 %",
        "worst node", "success an attack edge", "Sybils' share", "honest shut out", "kB", "ms",
    )  # fmt: skip
    head = "".join(f"<th>{html.escape(word)}</th>" for word in heads)
    body = []
    for each in sorted(here, key=lambda each: each.attack != "none"):
        numbers = (
            pm(each.accuracy), decimal(each.worst_decile), decimal(each.worst_accuracy), pm(each.success),
            decimal(each.worst_success), maybe(each.harm), maybe(each.sybil_share), maybe(each.excluded),
            f"{each.bytes / 1000:.0f}", f"{each.milliseconds:.2f}",
        )  # fmt: skip
        cells = "".join(f"<td>{cell}</td>" for cell in numbers)
        names = f"<td>{html.escape(each.attack)}</td><td>{html.escape(each.label)}</td>"
        body.append(f"<tr{_kind(each.rule)}>{names}{cells}</tr>")
    return f'<table class="all"><tr>{head}</tr>{"".join(body)}</table>'


def table(corner: str, rules: Sequence[str], names: Sequence[str], columns: Sequence[Column]) -> str:
    """A table with a row for each rule; the ends are dim, hedgerow is bold; groups have a head of their own."""
    grouped = any(column.group for column in columns)
    rows = ' rowspan="2"' if grouped else ""
    heads = "".join(f"<th>{column.title()}</th>" for column in columns)
    groups = ((name, len(list(each))) for name, each in groupby(columns, key=lambda column: column.group))
    above = "".join(f'<th class="group" colspan="{size}">{html.escape(name)}</th>' for name, size in groups)
    first = f"<th{rows}>{html.escape(corner)}</th>"
    head = f"<tr>{first}{above}</tr><tr>{heads}</tr>" if grouped else f"<tr>{first}{heads}</tr>"
    cells = [column.cells(rules) for column in columns]
    body = [
        f"<tr{_kind(rule)}><td>{html.escape(names[at])}</td>{''.join(f'<td>{c[at]}</td>' for c in cells)}</tr>"
        for at, rule in enumerate(rules)
    ]
    narrow = ' class="narrow"' if len(columns) < 5 else ""
    return f"<table{narrow}><thead>{head}</thead><tbody>{''.join(body)}</tbody></table>"


def pm(value: Estimate) -> str:
    """Mean and half of the interval, which is absent with one seed."""
    if value.mean is None:
        return "-"
    return decimal(value.mean) + (f" ± {decimal(value.half)}" if value.half is not None else "")


def maybe(value: float | None) -> str:
    """A number, or a dash for what was not measured."""
    return "-" if value is None else decimal(value)


def mean(values: Iterable[float | None]) -> float | None:
    """Mean of what was measured."""
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if known else None


def _by_rule(figures: Sequence[Figures]) -> tuple[list[str], list[list[Figures]]]:
    rows: dict[str, list[Figures]] = {}
    for each in figures:
        rows.setdefault(each.rule, []).append(each)
    last = rows.pop(ORACLE, None)
    if last is not None:
        rows[ORACLE] = last
    return list(rows), list(rows.values())


def _kind(rule: str) -> str:
    kind = "end" if rule in (ALONE, ORACLE) else "mine" if rule == MINE else ""
    return f' class="{kind}"' if kind else ""


def _won(value: float) -> bool:
    return value > 0.5


def _or(value: float | None, other: float) -> float:
    return other if value is None else value


def _thousandth(mine: Sequence[Figures]) -> float | None:
    sent = mean(each.bytes for each in mine)
    return None if sent is None else sent / 1000
