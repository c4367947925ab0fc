"""One HTML page about a simulation: table, curves, graph, who misbehaved and why. It loads nothing from a network."""

from __future__ import annotations

import html
import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence

import numpy as np

from aggregation.evidence import Verdict
from node.trust.opinions import WHY
from simulator.show import plots
from simulator.study.records import RoundRecord
from simulator.study.scenario import Scenario
from simulator.study.summary import PACE, TRAFFIC, Summary, headline

STYLE = """
:root { --ink:#1d2733; --soft:#5d6b79; --line:#dde3e9; --paper:#fff; --good:#0a7d4f; --bad:#b3261e; }
* { box-sizing:border-box }
body { margin:0; font:15px/1.5 system-ui,sans-serif; color:var(--ink); background:#f4f6f8 }
main { max-width:1120px; margin:0 auto; padding:28px 20px 60px }
h1 { font-size:26px; margin:0 0 4px }
h2 { font-size:18px; margin:34px 0 10px }
p.lead,figcaption,.soft { color:var(--soft); margin:0 0 14px }
section,figure { background:var(--paper); border:1px solid var(--line); border-radius:10px; padding:16px;
  margin:0 0 16px; overflow-x:auto }
figure svg { max-width:100%; height:auto; display:block }
table { border-collapse:collapse; width:100%; font-variant-numeric:tabular-nums }
th,td { text-align:right; padding:6px 10px; border-bottom:1px solid var(--line); white-space:nowrap }
th { white-space:normal }
th:first-child,td:first-child { text-align:left }
th { font-weight:600; color:var(--soft); vertical-align:bottom }
tr:last-child td { border-bottom:0 }
b { color:var(--good) }
dl { display:grid; grid-template-columns:max-content 1fr; gap:2px 18px; margin:0 }
dt { color:var(--soft) }
dd { margin:0 }
table + dl { margin-top:14px }
svg text { font:11.5px system-ui,sans-serif; fill:var(--ink) }
svg text.tick { font-size:10.5px; fill:var(--soft) } svg text.tiny { font-size:8.5px }
svg text.cap { font-size:13px; font-weight:600 } svg text.strong { font-weight:700 }
.spark { vertical-align:middle }
.bad { color:var(--bad) }
code { background:#eef1f4; padding:1px 5px; border-radius:4px }
"""

WEIGHT = (
    "Weight: how much a neighbour's model counts beside the own model's 1. With hedgerow it is a share: of the models "
    "that count at a node, its own among them, how many have this one among their nearest; the own model's is such a "
    "share too, 1 or less."
)
_COST = (
    "kB: thousands of bytes an honest node sends in a round. Seconds: of the whole run of the rule, measuring and "
    "compiling left out; ms: of these, a node and round."
)
_TABLE = (
    "After the last round, over the honest nodes of all seeds. ▲ more is better, ▼ less is better; bold: the best "
    "rule. Accuracy: share of test samples predicted right. Attack success: share of the samples the attacker cares "
    "about that are taken for what it wants. Mean: over nodes; median node: half of the nodes are no worse; worst "
    f"node: the one that fared worst. Weights: means over links and rounds, see below. {_COST}"
)
_CALM = (
    "After the last round, over the nodes of all seeds. ▲ more is better; bold: the best rule. Accuracy: share of test "
    "samples predicted right. Mean: over nodes; worst node: the one that fared worst. Weights: means over links and "
    f"rounds, see below. {_COST}"
)

_LINKS = "Solid: mean over links from honest neighbours; dashed: over links from Sybils."

DEALT = (
    "With an adversary the data is dealt into one share more, the adversary's: honest nodes then hold other samples "
    "than without. So compare rules under the same attack, not a rule's numbers under attack with its numbers without."
)
"""What numbers can be compared with which; see `setup.prepare`."""


def render(
    scenario: Scenario,
    summaries: Sequence[Summary],
    records: Mapping[str, Sequence[RoundRecord]],
    neighbours: Sequence[Sequence[int]],
    honest: int,
) -> str:
    """The page as text.

    Args:
        scenario: what was run.
        summaries: one a rule, in the order to show.
        records: rule -> its records, all seeds.
        neighbours: the graph of the first seed, by vertex.
        honest: number of honest vertices; the others are Sybils.
    """
    first = {rule: [row for row in rows if row.seed == rows[0].seed] for rule, rows in records.items() if rows}
    attacked = scenario.adversary and len(neighbours) > honest
    alone = f'<p class="soft">Seed {scenario.seeds[0]} alone.</p>' if len(scenario.seeds) > 1 else ""
    said = filter(None, (summary.remark() for summary in summaries))
    words = f"{_TABLE} {DEALT}" if attacked else _CALM
    remarks = "".join(f'<p class="bad">{html.escape(remark)}.</p>' for remark in said)
    parts = [
        f"<h1>{html.escape(scenario.name)}</h1>",
        f'<p class="lead">{html.escape(_lead(scenario, neighbours))}</p>',
        f"<section>{_table(summaries, attacked)}<p class=soft>{words}</p>{remarks}</section>",
        "<h2>Round by round</h2>",
        f"<figure>{plots.curves(records, attacked)}<figcaption>Line: mean over honest nodes. Band: all but the lowest "
        f"and the highest tenth of nodes. {WEIGHT} {_LINKS if attacked else ''}</figcaption></figure>",
        f"<h2>Who was believed</h2>{alone}",
        _graph(neighbours, honest, first),
    ]
    judged = {rule: rows for rule, rows in first.items() if any(row.edges is not None for row in rows)}
    if judged:
        reasons = f"{_reasons(judged, honest)}{_legend(judged)}"
        parts += [f"<h2>Who misbehaved, and why</h2>{alone}", f"<section>{reasons}</section>"]
        parts += [_worst(rule, rows, honest, len(scenario.seeds) > 1, attacked) for rule, rows in judged.items()]
    parts += ["<h2>The scenario</h2>", f"<section>{_inputs(scenario)}</section>"]
    title = html.escape(scenario.name)
    head = f'<meta charset="utf-8"><meta name="viewport" content="width=device-width"><title>{title}</title>'
    body = f"<body><main>{''.join(parts)}</main></body>"
    return f'<!doctype html><html lang="en"><head>{head}<style>{STYLE}</style></head>{body}</html>\n'


def digest(headline: str, summaries: Sequence[Summary], attacked: bool) -> str:
    """First line, table and remarks of a report, as HTML to stand among other things."""
    said = "".join(f"<p>{html.escape(remark)}.</p>" for remark in (each.remark() for each in summaries) if remark)
    return f"<p>{html.escape(headline)}</p>{_table(summaries, attacked)}{said}"


def _lead(scenario: Scenario, neighbours: Sequence[Sequence[int]]) -> str:
    seeds = ", ".join(map(str, scenario.seeds))
    return f"{headline(scenario, neighbours)}. Rounds: {scenario.rounds}. Seeds: {seeds}. Engine: {scenario.engine}."


def _table(summaries: Sequence[Summary], attacked: bool) -> str:
    columns: list[tuple[str, list[float], Callable[[Sequence[float]], float] | None, str]] = [
        ("accuracy: mean ▲", [s.accuracy.mean() for s in summaries], max, ".3f"),
        ("accuracy: worst node ▲", [s.accuracy.min() for s in summaries], max, ".3f"),
        ("attack success: mean ▼", [s.success.mean() for s in summaries], min, ".3f"),
        ("attack success: median node ▼", [float(np.median(s.success)) for s in summaries], min, ".3f"),
        ("attack success: worst node ▼", [s.success.max() for s in summaries], min, ".3f"),
        ("weight to a Sybil ▼", [s.sybil_weight for s in summaries], min, ".3f"),
        ("weight to an honest neighbour", [s.honest_weight for s in summaries], None, ".3f"),
        (TRAFFIC, [s.bytes / 1000 for s in summaries], None, ".1f"),
        ("seconds", [s.seconds for s in summaries], None, ".1f"),
        (PACE, [s.milliseconds for s in summaries], None, ".3g"),
    ]
    if not attacked:
        del columns[2:6]
    lines = [[html.escape(summary.rule)] for summary in summaries]
    for _, values, pick, form in columns:
        known = [value for value in values if not math.isnan(value)]
        best = pick(known) if pick and len(known) > 1 else None
        for line, value in zip(lines, values, strict=True):
            text = "-" if math.isnan(value) else format(value, form)
            line.append(f"<b>{text}</b>" if value == best else text)
    return _rows(["rule", *(head for head, *_ in columns)], lines)


def _rows(heads: Sequence[str], lines: Sequence[Sequence[str]]) -> str:
    """A table from cells that are HTML already."""
    head = "".join(f"<th>{cell}</th>" for cell in heads)
    body = "".join(f"<tr>{''.join(f'<td>{cell}</td>' for cell in line)}</tr>" for line in lines)
    return f"<table><tr>{head}</tr>{body}</table>"


def _graph(neighbours: Sequence[Sequence[int]], honest: int, records: Mapping[str, Sequence[RoundRecord]]) -> str:
    attacked = len(neighbours) > honest
    drawn = plots.graph(neighbours, honest, records)
    if drawn is None:
        return f'<p class="soft">The graph has {len(neighbours)} vertices: too many to draw.</p>'
    text = (
        f"After the last round. Circles: honest nodes by accuracy. {'Red squares: Sybils. ' if attacked else ''}"
        "Width of a link: weight given over it; grey: none."
    )
    return f"<figure>{drawn}<figcaption>{text}</figcaption></figure>"


def _reasons(records: Mapping[str, Sequence[RoundRecord]], honest: int) -> str:
    lines = []
    for rule, rows in records.items():
        edges = next((row.edges for row in reversed(rows) if row.edges is not None), None)
        if edges is None:
            continue
        bad, away = edges.senders >= honest, edges.away
        kinds = {"Sybils": bad & ~away, "honest": ~bad & ~away, "Sybils, far": bad & away, "honest, far": ~bad & away}
        for who, mine in kinds.items():
            if mine.any():
                counts = Counter(_word(code) for code in edges.verdicts[mine])
                why = ", ".join(f"{name} {count}" for name, count in counts.most_common())
                lines.append([html.escape(rule), who, str(int(mine.sum())), f"{edges.weights[mine].mean():.3f}", why])
    return _rows(["rule", "links from", "links", "mean weight", "verdicts after the last round"], lines)


def _legend(records: Mapping[str, Sequence[RoundRecord]]) -> str:
    """What the verdicts mean, of those that were ever given."""
    edges = [row.edges for rows in records.values() for row in rows if row.edges is not None]
    given = {Verdict(int(code)).name.lower() for each in edges for code in np.unique(each.verdicts)}
    words = "".join(
        f"<dt>{name.replace('_', ' ')}</dt><dd>{html.escape(words)}</dd>"
        for name, words in WHY.items()
        if name in given
    )
    return f"<dl>{words}</dl>"


def _worst(rule: str, rows: Sequence[RoundRecord], honest: int, several: bool, attacked: bool) -> str:
    """The node that fared worst under a rule: its neighbours, with the history of their weights and verdicts; the seed
    is named where there are several, attack success where somebody attacks."""
    measured = [row for row in rows if row.edges is not None]
    accuracy, success = measured[-1].accuracy, measured[-1].success
    if accuracy is None or success is None:
        return ""
    worst = int(np.argmax(success - accuracy if attacked else -accuracy))
    histories: dict[int, list[tuple[float, int]]] = {}
    for row in measured:
        if row.edges is not None:
            mine = row.edges.receivers == worst
            links = zip(row.edges.senders[mine], row.edges.weights[mine], row.edges.verdicts[mine], strict=True)
            for sender, weight, verdict in links:
                histories.setdefault(int(sender), []).append((float(weight), int(verdict)))
    lines = []
    for sender, seen in sorted(histories.items()):
        weights = [weight for weight, _ in seen]
        name = f"<span class=bad>Sybil {sender}</span>" if sender >= honest else f"node {sender}"
        mean, last = f"{np.mean(weights):.2f}", f"{weights[-1]:.2f}"
        lines.append([name, _spark(weights), mean, last, _word(seen[-1][1])])
    seed = f", seed {measured[-1].seed}" if several else ""
    hit = f", attack success {success[worst]:.3f}" if attacked else ""
    figures = f"accuracy {accuracy[worst]:.3f}{hit}{seed}"
    return (
        f"<section><details><summary>{html.escape(rule)}: node {worst} fared worst ({figures})</summary>"
        f"{_rows(['neighbour', 'weight by round', 'mean', 'last', 'last verdict'], lines)}</details></section>"
    )


def _word(verdict: int) -> str:
    return Verdict(int(verdict)).name.lower().replace("_", " ")


def _spark(values: Sequence[float]) -> str:
    step = 120 / max(len(values) - 1, 1)
    points = " ".join(f"{step * i:.1f},{19 - 18 * min(max(v, 0), 1):.1f}" for i, v in enumerate(values))
    line = f'<polyline points="{points}" fill="none" stroke="#0072b2" stroke-width="1.4"/>'
    return f'<svg class="spark" width="122" height="20">{line}</svg>'


def _inputs(scenario: Scenario) -> str:
    values = scenario.model_dump(mode="python", exclude_none=True)
    items = "".join(
        f"<dt>{html.escape(key)}</dt><dd>{html.escape(_plain(value))}</dd>" for key, value in values.items()
    )
    return f"<dl>{items}</dl>"


def _plain(value: object) -> str:
    if isinstance(value, Mapping) and "name" in value:
        inner = ", ".join(f"{key}={item}" for key, item in dict(value.get("parameters", {})).items())
        return f"{value['name']}({inner})" if inner else str(value["name"])
    if isinstance(value, (list, tuple)):
        return ", ".join(_plain(item) for item in value) or "none"
    return str(value)
