"""Pictures of a simulation as SVG text: curves by round, and the graph with its weights.

Law: the same records give the same bytes.
"""

from __future__ import annotations

import html
from collections.abc import Callable, Iterable, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from simulator.show.drawing import places_of
from simulator.show.svg import COLOURS, GOOD, Chart, bar, keys, rgb, shade, svg
from simulator.study.records import Edges, RoundRecord

SYBIL, HONEST = "#d62728", "#1f77b4"
LARGEST_GRAPH = 250
"""Vertices above which a drawn graph is a smear: the page says so instead."""
_WIDE = 1060
_DEEP = 230  # pixels of a chart
_PANEL = 430  # pixels of a drawn graph
_WIDEST, _WIDTHS = 2.4, 24  # pixels of a link of weight 1; widths that are told apart

Values = NDArray[np.float64]


def curves(records: Mapping[str, Sequence[RoundRecord]], attacked: bool) -> str:
    """Accuracy, attack success (when attacked) and weights by round.

    Accuracy and success: mean as a line, worst decile to best decile as a band. Weights: mean weight given to honest
    neighbours (solid) and to Sybils (dashed).
    """
    legend, top = keys(list(records), 40, 18, _WIDE - 60)
    top += 42
    rounds = [row.round + 1 for rows in records.values() for row in rows]
    titles = ("accuracy", "attack success", "weight") if attacked else ("accuracy", "weight")
    each = _WIDE / len(titles)
    charts = {
        title: Chart(each * at + 40, top, each - 60, _DEEP, min(rounds, default=1), max(rounds, default=1))
        for at, title in enumerate(titles)
    }
    out = [legend, *(chart.axes(title) for title, chart in charts.items())]
    for position, (rule, rows) in enumerate(records.items()):
        colour = COLOURS[position % len(COLOURS)]
        out.append(_curve(charts["accuracy"], rows, lambda row: row.accuracy, rule, colour))
        if attacked:
            out.append(_curve(charts["attack success"], rows, lambda row: row.success, rule, colour))
        out.append(_weights(charts["weight"], rows, rule, colour))
    return svg(_WIDE, top + _DEEP + 38, out)


def graph(neighbours: Sequence[Sequence[int]], honest: int, records: Mapping[str, Sequence[RoundRecord]]) -> str | None:
    """The graph, once a rule: Sybils as red squares, honest nodes coloured by accuracy, links as wide as their weight.

    Returns:
        SVG text; None when there are too many vertices to see anything, or no decisions were recorded.
    """
    last = {
        rule: next((row for row in reversed(rows) if row.edges is not None), None) for rule, rows in records.items()
    }
    drawn = {rule: (row.edges, row) for rule, row in last.items() if row is not None and row.edges is not None}
    if len(neighbours) > LARGEST_GRAPH or not drawn:
        return None
    places = _fitted(places_of(neighbours, honest))
    columns = min(len(drawn), 2)
    out = [bar(80, 6, GOOD, "accuracy 0", "1")]
    for position, (rule, (edges, row)) in enumerate(drawn.items()):
        line, column = divmod(position, columns)
        across, down = (_WIDE / columns) * (column + 0.5) - _PANEL / 2, 30 + (_PANEL + 40) * line
        inner = f'<text x="{_PANEL / 2:.0f}" y="14" class="cap" text-anchor="middle">{html.escape(rule)}</text>'
        inner += _links(neighbours, places, honest, edges) + _vertices(places, honest, row)
        out.append(f'<g transform="translate({across:.0f} {down:.0f})">{inner}</g>')
    return svg(_WIDE, 30 + (_PANEL + 40) * -(-len(drawn) // columns), out)


def _curve(
    chart: Chart,
    rows: Sequence[RoundRecord],
    read: Callable[[RoundRecord], Values | None],
    rule: str,
    colour: str,
) -> str:
    seeds = {row.seed for row in rows}
    by_round: dict[int, list[Values]] = {}
    for row in rows:
        values = read(row)
        if values is not None:
            by_round.setdefault(row.round, []).append(values)
    rounds = sorted(number for number, parts in by_round.items() if len(parts) == len(seeds))
    if not rounds:
        return ""
    joined = np.stack([np.concatenate(by_round[number]) for number in rounds])
    x = [number + 1 for number in rounds]
    low, high = np.quantile(joined, (0.1, 0.9), axis=1).tolist()
    means = joined.mean(axis=1).tolist()
    line = chart.line(list(zip(x, means, strict=True)), colour, f"{rule}: {means[-1]:.3f} at the end")
    return chart.band(x, low, high, colour) + line


def _weights(chart: Chart, rows: Sequence[RoundRecord], rule: str, colour: str) -> str:
    by_round: dict[int, list[RoundRecord]] = {}
    for row in rows:
        by_round.setdefault(row.round, []).append(row)
    found = sorted(by_round.items())
    honest = [(number + 1, float(np.mean([row.influence.honest for row in each]))) for number, each in found]
    sybil = [(number + 1, float(np.mean([row.influence.sybil for row in each]))) for number, each in found]
    return chart.line(honest, colour, f"{rule}: to honest neighbours") + chart.line(
        sybil, colour, f"{rule}: to Sybils", "5 4"
    )


def _fitted(places: Values) -> Values:
    """Places in the pixels of a panel, its title and a margin left free."""
    low, high = places.min(axis=0), places.max(axis=0)
    spread = np.maximum(high - low, 1e-9)
    room = np.array([_PANEL - 24.0, _PANEL - 44.0])
    return np.array([12.0, 32.0]) + (places - low) / spread * room if len(places) > 1 else places + _PANEL / 2


def _links(neighbours: Sequence[Sequence[int]], places: Values, honest: int, edges: Edges) -> str:
    pairs = {(min(i, j), max(i, j)) for i, row in enumerate(neighbours) for j in row}
    out = [f'<path d="{_strokes(places, sorted(pairs))}" stroke="#bbb" stroke-width=".4"/>']
    steps = np.rint(np.clip(edges.weights, 0, 1) * _WIDTHS).astype(int)
    for bad, colour in ((False, HONEST), (True, SYBIL)):
        for step in range(1, _WIDTHS + 1):
            mine = ((edges.senders >= honest) == bad) & (steps == step)
            if mine.any():
                ends = zip(edges.receivers[mine].tolist(), edges.senders[mine].tolist(), strict=True)
                width = _WIDEST * step / _WIDTHS
                out.append(
                    f'<path d="{_strokes(places, ends)}" stroke="{colour}" stroke-width="{width:.1f}" opacity=".55"/>'
                )
    return "".join(out)


def _strokes(places: Values, ends: Iterable[tuple[int, int]]) -> str:
    return "".join(f"M{places[i, 0]:.0f} {places[i, 1]:.0f}L{places[j, 0]:.0f} {places[j, 1]:.0f}" for i, j in ends)


def _vertices(places: Values, honest: int, row: RoundRecord) -> str:
    out = []
    for sybil in range(honest, len(places)):
        x, y = places[sybil]
        square = f'<rect x="{x - 3.5:.1f}" y="{y - 3.5:.1f}" width="7" height="7" fill="{SYBIL}" stroke="#000"'
        out.append(f'{square} stroke-width=".5"><title>Sybil {sybil}</title></rect>')
    for node in range(honest):
        x, y = places[node]
        accuracy = 0.0 if row.accuracy is None else float(row.accuracy[node])
        hint = f"node {node}: accuracy {accuracy:.3f}"
        if len(places) > honest and row.success is not None:
            hint += f", attack success {float(row.success[node]):.3f}"
        circle = f'<circle cx="{x:.1f}" cy="{y:.1f}" r="5" fill="{rgb(shade(GOOD, accuracy))}" stroke="#fff"'
        out.append(f'{circle} stroke-width=".8"><title>{hint}</title></circle>')
    return "".join(out)
