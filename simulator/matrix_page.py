"""One HTML page about a matrix: what each rule costs, what it withstands, and how to run it again. It loads nothing."""

from __future__ import annotations

import html
from collections.abc import Callable, Mapping, Sequence

from simulator.matrix_heat import Spot, curves, decimal, heat
from simulator.matrix_plan import NOBODY, PRESETS, Condition, Matrix
from simulator.matrix_report import ALONE, ORACLE, Estimate, Figures
from simulator.page import STYLE
from simulator.summary import TRAFFIC
from simulator.svg import BAD, COLOURS, GOOD

_STYLE = (
    STYLE
    + """
main { max-width:1480px }
.maps { display:flex; flex-wrap:wrap; gap:18px } .maps svg { flex:none }
.small { display:flex; flex-wrap:wrap; gap:6px 14px } .small svg { flex:none }
.keys { display:flex; flex-wrap:wrap; gap:4px 16px; font-size:12.5px; margin:4px 0 12px }
.keys i { display:inline-block; width:22px; height:0; border-top:3px solid; vertical-align:middle; margin-right:5px }
summary { cursor:pointer; color:var(--soft) } tr.end td { color:var(--soft) } tr.mine td { font-weight:600 }
table { font-size:13.5px }
pre { overflow-x:auto; font-size:12.5px; background:#f4f6f8; padding:10px; border-radius:6px }
@media print { body { background:#fff } section,figure { border:0; padding:0; break-inside:avoid } }
"""
)
MINE = "hedgerow"


def render(matrix: Matrix, conditions: Sequence[Condition], figures: Sequence[Figures]) -> str:
    """The page as text.

    Args:
        matrix: what was run.
        conditions: its places.
        figures: a place and rule each, places in order, rules in order.
    """
    panels = _panels(conditions)
    title = html.escape(matrix.name)
    about = f"<p>{html.escape(matrix.about)}</p>" if matrix.about else ""
    parts = [
        f"<h1>Rules against attacks: {title}</h1>",
        f'<p class="lead">{html.escape(_lead(conditions))}</p>{about}',
        "<h2>At a glance</h2>",
        f"<section>{_glance(figures)}</section>",
    ]
    low, high = _range(figures)
    for panel in panels:
        here = [each for each in figures if (each.split, each.network, each.attackers) == panel]
        parts.append(f"<h2>{html.escape(_title(panel))}</h2>")
        parts.append(_maps(here, _calm(figures, panel), low, high))
        parts.append(_curves(here, _calm(figures, panel)))
    parts += ["<h2>Tax: what a rule costs when nobody attacks</h2>", f"<section>{_tax(figures)}</section>"]
    parts += ["<h2>Traffic and time</h2>", f"<section>{_cost(figures)}</section>"]
    parts += ["<h2>How to read it, and how to run it again</h2>", f"<section>{_notes(matrix, conditions)}</section>"]
    head = f'<meta charset="utf-8"><meta name="viewport" content="width=device-width"><title>{title}</title>'
    body = f"<body><main>{''.join(parts)}</main></body>"
    return f'<!doctype html><html lang="en"><head>{head}<style>{_STYLE}</style></head>{body}</html>\n'


def _panels(conditions: Sequence[Condition]) -> list[tuple[str, str, str]]:
    attacked = {each.panel for each in conditions if not each.calm}
    return list(dict.fromkeys(each.panel for each in conditions if each.panel in attacked))


def _title(panel: tuple[str, str, str]) -> str:
    split, network, attackers = panel
    return f"{network} · {split} · {attackers}"


def _calm(figures: Sequence[Figures], panel: tuple[str, str, str]) -> dict[str, Figures]:
    """Rule -> its figures without attack at this split and network."""
    return {each.rule: each for each in figures if (each.split, each.network, each.attackers) == (*panel[:2], NOBODY)}


def _range(figures: Sequence[Figures]) -> tuple[float, float]:
    values = [each.accuracy.mean for each in figures if each.accuracy.mean is not None]
    return (min(values), max(values)) if values else (0.0, 1.0)


def _lead(conditions: Sequence[Condition]) -> str:
    first = conditions[0].scenario
    seeds = sorted({seed for each in conditions for seed in each.scenario.seeds})
    cells = sum(len(each.scenario.rules) * len(each.scenario.seeds) for each in conditions)
    model = f" ({first.model})" if first.model else ""
    return (
        f"Task {first.task}{model}, {first.rounds} rounds. {len(conditions)} places, {cells} cells, seeds "
        f"{', '.join(map(str, seeds))}. Every rule stands between listening to nobody (alone) and a mean that knows "
        "who is honest (oracle-mean). Intervals: 95 % over seeds."
    )


def _glance(figures: Sequence[Figures]) -> str:
    heads = (
        "rule", "accuracy, no attack", "tax", "accuracy under attack: mean", "worst place", "attack success: mean",
        "worst place", "worst node", "Sybils' share of weight", "honest shut out", "ms a node and round", TRAFFIC,
    )  # fmt: skip
    lines = []
    for rule in dict.fromkeys(each.rule for each in figures):
        mine = [each for each in figures if each.rule == rule]
        calm = [each for each in mine if each.attackers == NOBODY]
        hit = [each for each in mine if each.attackers != NOBODY]
        lowest = min(hit, key=lambda each: each.accuracy.mean or 0.0, default=None)
        worst = max(hit, key=lambda each: each.success.mean or 0.0, default=None)
        cells = [
            html.escape(mine[0].label),
            _mean([each.accuracy.mean for each in calm]),
            _mean([each.tax.mean for each in calm if each.tax]),
            _mean([each.accuracy.mean for each in hit]),
            _named(lowest, lambda each: each.accuracy.mean),
            _mean([each.success.mean for each in hit]),
            _named(worst, lambda each: each.success.mean),
            decimal(max(each.worst_success for each in hit)) if hit else "-",
            _mean([each.sybil_share for each in hit]),
            _mean([each.excluded for each in mine]),
            f"{_plain_mean([each.milliseconds for each in mine]):.2f}",
            f"{_plain_mean([each.bytes for each in mine]) / 1000:.0f}",
        ]
        lines.append((rule, cells))
    return _table(heads, lines)


def _maps(here: Sequence[Figures], calm: Mapping[str, Figures], low: float, high: float) -> str:
    columns = ["no attack", *dict.fromkeys(each.attack for each in here)]
    rules = [rule for rule in calm if any(each.rule == rule for each in here)] or list(calm)
    at = {(each.rule, each.attack): each for each in here} | {(rule, "no attack"): calm[rule] for rule in calm}
    names = [calm[rule].label for rule in rules]
    strong = [calm[rule].label for rule in rules if rule.split("(")[0] == MINE]

    def spots(read: Callable[[Figures], Estimate]) -> Callable[[int, int], Spot]:
        def spot(line: int, column: int) -> Spot:
            found = at.get((rules[line], columns[column]))
            if found is None:
                return Spot(None)
            value = read(found)
            return Spot(value.mean, f"±{decimal(value.half)}" if value.half is not None else "", _hint(found))

        return spot

    robust = heat("Accuracy of honest nodes", names, columns, spots(lambda f: f.accuracy), GOOD, low, high, strong)
    success = heat("Attack success at honest nodes", names, columns, spots(lambda f: f.success), BAD, 0, 1, strong)

    def believed(line: int, column: int) -> Spot:
        found = at.get((rules[line], columns[column]))
        return Spot(found.sybil_share if found else None, "", _hint(found) if found else "")

    def lost(line: int, column: int) -> Spot:
        found = at.get((rules[line], columns[column]))
        return Spot(found.excluded if found else None, "", _hint(found) if found else "")

    share = heat("Sybils' share of the weight", names, columns, believed, BAD, 0, 1, strong)
    out = heat("Honest neighbours with weight 0", names, columns, lost, BAD, 0, 1, strong)
    return (
        f'<figure><div class="maps">{robust}{success}</div></figure>'
        f"<section><details><summary>Weights: Sybils' share, honest neighbours shut out</summary>"
        f'<div class="maps">{share}{out}</div></details></section>'
    )


def _curves(here: Sequence[Figures], calm: Mapping[str, Figures]) -> str:
    rules = list(calm)
    colours: dict[str, tuple[str, float, str]] = {}
    others = [rule for rule in rules if rule not in (ALONE, ORACLE, MINE)]
    for rule in rules:
        label = calm[rule].label
        if rule in (ALONE, ORACLE):
            colours[label] = ("#555", 1.1, "2 2" if rule == ALONE else "5 3")
        elif rule == MINE:
            colours[label] = ("#000", 2.4, "")
        else:
            at = others.index(rule)
            colours[label] = (COLOURS[at % len(COLOURS)], 1.3, "" if at < len(COLOURS) else "4 2")
    keys = "".join(
        f'<span><i style="border-top:{max(width, 1.5):.0f}px {"dashed" if dash else "solid"} {stroke}"></i>'
        f"{html.escape(rule)}</span>"
        for rule, (stroke, width, dash) in colours.items()
    )
    charts = []
    for attack in dict.fromkeys(each.attack for each in here):
        mine = [each for each in here if each.attack == attack]
        for title, column in (("accuracy", 1), ("attack success", 2)):
            lines = {each.label: [(point[0], float(point[column])) for point in each.curve] for each in mine}
            charts.append(curves(f"{attack}: {title}", lines, colours))
    if all(len(each.curve) < 2 for each in here):
        return ""
    inner = f'<div class="keys">{keys}</div><div class="small">{"".join(charts)}</div>'
    return f"<section><details><summary>Round by round</summary>{inner}</details></section>"


def _tax(figures: Sequence[Figures]) -> str:
    calm = [each for each in figures if each.attackers == NOBODY]
    places = list(dict.fromkeys((each.split, each.network) for each in calm))
    at = {(each.rule, each.split, each.network): each for each in calm}
    lines = []
    for rule in dict.fromkeys(each.rule for each in calm):
        cells = [html.escape(next(each.label for each in calm if each.rule == rule))]
        for split, network in places:
            found = at.get((rule, split, network))
            cells.append("-" if found is None or found.tax is None else _pm(found.tax))
        lines.append((rule, cells))
    heads = ["accuracy below the oracle mean", *(f"{network}, {split}" for split, network in places)]
    return _table(heads, lines)


def _cost(figures: Sequence[Figures]) -> str:
    heads = ("rule", TRAFFIC, "ms a node and round", "x alone", "rounds to 90 % of the oracle mean")
    rows = {rule: [each for each in figures if each.rule == rule] for rule in dict.fromkeys(f.rule for f in figures)}
    base = _plain_mean([each.milliseconds for each in rows.get(ALONE, [])]) or 1.0
    lines = []
    for rule, mine in rows.items():
        time = _plain_mean([each.milliseconds for each in mine])
        calm = [each for each in mine if each.attackers == NOBODY]
        rounds = ", ".join("never" if each.rounds_to_90 is None else str(each.rounds_to_90) for each in calm)
        sent = _plain_mean([each.bytes for each in mine]) / 1000
        lines.append((rule, [html.escape(mine[0].label), f"{sent:.1f}", f"{time:.2f}", f"{time / base:.1f}", rounds]))
    return _table(heads, lines)


def _notes(matrix: Matrix, conditions: Sequence[Condition]) -> str:
    first = conditions[0].scenario
    preset = f"hedgerow matrix {matrix.name if matrix.name in PRESETS else f'{matrix.name}.toml'}"
    shared = {key: value for key, value in first.model_dump(exclude_none=True).items() if key in _SHOWN}
    settings = ", ".join(f"{key} {value}" for key, value in shared.items())
    places = "".join(
        f"<li>{html.escape(', '.join((each.attack, each.split, each.network, each.attackers)))}: rules "
        f"{html.escape(', '.join(str(rule) for rule in each.scenario.rules))}; seeds "
        f"{', '.join(map(str, each.scenario.seeds))}; attack {html.escape(str(each.scenario.attack or 'none'))}</li>"
        for each in conditions
    )
    return (
        "<p>Accuracy and attack success are means over honest nodes after the last round, then over seeds. Tax: the "
        "oracle mean's accuracy less the rule's when nobody attacks. Sybils' share: their weight over all weight, the "
        "own model counting 1 (hedgerow: the share of rows that hold it near). Shut out: honest neighbours that were "
        "heard and got weight 0. Times are wall times of "
        "the array engine, training and adversary included: compare them within this page only. Rest the pointer on a "
        "cell for its worst node and more.</p>"
        f"<pre>{html.escape(preset)} --out FOLDER</pre><p>Settings of all scenarios: {html.escape(settings)}.</p>"
        f"<details><summary>All places, with the attacks' parameters</summary><ul>{places}</ul></details>"
    )


_SHOWN = ("task", "model", "rounds", "initial", "engine", "evaluate_every", "evaluate_samples", "lr", "batch", "epochs",
          "held_out")  # fmt: skip


def _hint(found: Figures) -> str:
    seeds = found.accuracy.seeds
    text = f"{found.label} / {found.attack}, {seeds} seed{'s' if seeds != 1 else ''}\n"
    text += f"accuracy {_pm(found.accuracy)}, worst decile {decimal(found.worst_decile)}, "
    text += f"worst node {decimal(found.worst_accuracy)}\n"
    text += f"attack success {_pm(found.success)}, worst node {decimal(found.worst_success)}"
    if found.sybil_share is not None:
        text += f"\nSybils' share of weight {decimal(found.sybil_share)}"
    if found.excluded is not None:
        text += f"\nhonest neighbours shut out {decimal(found.excluded)}"
    if found.harm is not None:
        text += f"\nattack success per attack edge of a node {decimal(found.harm)}"
    return text


def _pm(value: Estimate) -> str:
    if value.mean is None:
        return "-"
    return decimal(value.mean) + (f" ± {decimal(value.half)}" if value.half is not None else "")


def _named(found: Figures | None, read: Callable[[Figures], float | None]) -> str:
    value = None if found is None else read(found)
    if found is None or value is None:
        return "-"
    return f'{decimal(value)} <span class="soft">{html.escape(found.attack)}</span>'


def _mean(values: Sequence[float | None]) -> str:
    known = [value for value in values if value is not None]
    return decimal(sum(known) / len(known)) if known else "-"


def _plain_mean(values: Sequence[float]) -> float:
    return sum(values) / len(values) if values else 0.0


def _table(heads: Sequence[str], lines: Sequence[tuple[str, Sequence[str]]]) -> str:
    """A table whose cells are HTML already; the ends are dim, hedgerow is bold."""
    head = "".join(f"<th>{html.escape(cell)}</th>" for cell in heads)
    body = []
    for rule, cells in lines:
        kind = "end" if rule in (ALONE, ORACLE) else "mine" if rule == MINE else ""
        body.append(f'<tr class="{kind}">{"".join(f"<td>{cell}</td>" for cell in cells)}</tr>')
    return f"<table><tr>{head}</tr>{''.join(body)}</table>"
