"""Pictures of a simulation as SVG text: curves by round, the graph with its weights, weights by sender.

Laws:
- The same records give the same bytes (fixed hash salt, no dates).
- Nothing is shown to a screen: the Agg and SVG canvases only.
"""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import networkx as nx
import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure
from numpy.typing import NDArray

from simulator.records import Edges, RoundRecord

COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#8c6d31", "#7f7f7f", "#000000", "#b2182b")
SYBIL, HONEST = "#d62728", "#1f77b4"
LARGEST_GRAPH = 250
"""Vertices above which a drawn graph is a smear: the page says so instead."""


def curves(records: Mapping[str, Sequence[RoundRecord]], attacked: bool) -> str:
    """Accuracy, attack success (when attacked) and weights by round.

    Accuracy and success: mean as a line, worst decile to best decile as a band. Weights: mean weight given to honest
    neighbours (solid) and to Sybils (dashed).
    """
    count = 3 if attacked else 2
    figure, spots = plt.subplots(1, count, figsize=(4.6 * count, 3.5), squeeze=False)
    axes = list(spots.flat)
    titles = ("accuracy", "attack success", "weight") if attacked else ("accuracy", "weight")
    for position, (rule, rows) in enumerate(records.items()):
        colour = COLOURS[position % len(COLOURS)]
        _curve(axes[0], rows, "accuracy", rule, colour)
        if attacked:
            _curve(axes[1], rows, "success", rule, colour)
        rounds, honest, sybil = _weights_by_round(rows)
        axes[-1].plot(rounds, honest, color=colour)
        axes[-1].plot(rounds, sybil, color=colour, linestyle="--")
    for spot, title in zip(axes, titles, strict=True):
        _dress(spot, title)
    axes[0].legend(fontsize=8, loc="lower right", framealpha=0.85)
    return _svg(figure)


def graph(neighbours: Sequence[Sequence[int]], honest: int, records: Mapping[str, Sequence[RoundRecord]]) -> str | None:
    """The graph, once a rule: Sybils as red squares, honest nodes coloured by accuracy, links as wide as their weight.

    Returns:
        SVG text; None when there are too many vertices to see anything, or no decisions were recorded.
    """
    vertices = len(neighbours)
    last = {
        rule: next((row for row in reversed(rows) if row.edges is not None), None) for rule, rows in records.items()
    }
    drawn = {rule: row for rule, row in last.items() if row is not None}
    if vertices > LARGEST_GRAPH or not drawn:
        return None
    places = _layout(neighbours, honest)
    columns = min(len(drawn), 2)
    lines = -(-len(drawn) // columns)
    figure, axes = plt.subplots(lines, columns, figsize=(5.3 * columns, 4.7 * lines), squeeze=False)
    for spot in axes.flat:
        spot.set_axis_off()
    for spot, (rule, row) in zip(axes.flat, drawn.items(), strict=False):
        if row.edges is not None:
            _graph(spot, places, honest, row.edges, row.accuracy)
        spot.set_title(rule, fontsize=10)
    return _svg(figure)


def _curve(axes: Axes, rows: Sequence[RoundRecord], field: str, rule: str, colour: str) -> None:
    seeds = {row.seed for row in rows}
    by_round: dict[int, list[NDArray[np.float64]]] = {}
    for row in rows:
        values = row.accuracy if field == "accuracy" else row.success
        if values is not None:
            by_round.setdefault(row.round, []).append(values)
    rounds = sorted(number for number, parts in by_round.items() if len(parts) == len(seeds))
    joined = [np.concatenate(by_round[number]) for number in rounds]
    if not joined:
        return
    x = [number + 1 for number in rounds]
    marker = "o" if len(x) == 1 else None
    axes.plot(x, [part.mean() for part in joined], color=colour, label=rule, linewidth=1.7, marker=marker)
    low, high = ([float(np.quantile(part, q)) for part in joined] for q in (0.1, 0.9))
    axes.fill_between(x, low, high, color=colour, alpha=0.10, linewidth=0)


def _weights_by_round(rows: Sequence[RoundRecord]) -> tuple[list[int], list[float], list[float]]:
    by_round: dict[int, list[RoundRecord]] = {}
    for row in rows:
        by_round.setdefault(row.round, []).append(row)
    rounds = sorted(by_round)
    honest = [float(np.mean([row.influence.honest for row in by_round[number]])) for number in rounds]
    sybil = [float(np.mean([row.influence.sybil for row in by_round[number]])) for number in rounds]
    return [number + 1 for number in rounds], honest, sybil


def _layout(neighbours: Sequence[Sequence[int]], honest: int) -> NDArray[np.float64]:
    known: nx.Graph[int] = nx.Graph()
    known.add_nodes_from(range(len(neighbours)))
    known.add_edges_from((i, j) for i, row in enumerate(neighbours) for j in row if max(i, j) < honest)
    core = known.subgraph(range(honest))
    start = nx.kamada_kawai_layout(core) if honest <= 120 else nx.spring_layout(core, seed=1)
    fixed = {vertex: np.asarray(place) for vertex, place in start.items()}
    spread = np.array([fixed[i] for i in range(honest)])
    centre = spread.mean(axis=0)
    places = np.zeros((len(neighbours), 2))
    places[:honest] = spread
    scale = float(np.abs(spread - centre).max()) or 1.0
    for vertex in range(honest, len(neighbours)):
        near = [fixed[j] for j in neighbours[vertex] if j < honest]
        middle = np.mean(near, axis=0) if near else centre
        turn = 2.4 * (vertex - honest)
        places[vertex] = middle + 0.12 * scale * np.array([np.cos(turn), np.sin(turn)])
    return places


def _graph(
    axes: Axes, places: NDArray[np.float64], honest: int, edges: Edges, accuracy: NDArray[np.float64] | None
) -> None:
    for bad, colour in ((False, HONEST), (True, SYBIL)):
        mine = (edges.senders >= honest) == bad
        ends = np.stack([places[edges.receivers[mine]], places[edges.senders[mine]]], axis=1)
        weight = np.clip(edges.weights[mine], 0, 1)
        axes.add_collection(LineCollection(list(ends), colors="#bbbbbb", linewidths=0.3, zorder=0))
        axes.add_collection(LineCollection(list(ends), colors=colour, linewidths=2.4 * weight, alpha=0.55, zorder=1))
    shade = accuracy if accuracy is not None else np.zeros(honest)
    spots = axes.scatter(
        places[:honest, 0],
        places[:honest, 1],
        c=shade,
        cmap="viridis",
        vmin=0,
        vmax=1,
        s=42,
        edgecolors="white",
        linewidths=0.6,
        zorder=3,
    )
    if len(places) > honest:
        axes.scatter(
            places[honest:, 0],
            places[honest:, 1],
            color=SYBIL,
            marker="s",
            s=34,
            edgecolors="black",
            linewidths=0.5,
            zorder=2,
        )
    axes.autoscale_view()
    bar = axes.figure.colorbar(spots, ax=axes, shrink=0.6, pad=0.01)
    bar.set_label("accuracy", fontsize=8)
    bar.ax.tick_params(labelsize=7)


def _dress(axes: Axes, title: str) -> None:
    axes.set_title(title, fontsize=10, loc="left")
    axes.set_xlabel("round", fontsize=9)
    axes.set_ylim(-0.02, 1.02)
    axes.grid(alpha=0.25)
    axes.spines[["top", "right"]].set_visible(False)
    axes.tick_params(labelsize=8)


def _svg(figure: Figure) -> str:
    out = io.StringIO()
    with matplotlib.rc_context({"svg.hashsalt": "hedgerow", "svg.fonttype": "path"}):
        figure.tight_layout()
        figure.savefig(out, format="svg", metadata={"Date": None, "Creator": None}, transparent=False)
    plt.close(figure)
    text = out.getvalue()
    return text[text.index("<svg") :]
