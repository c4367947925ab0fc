"""Heat maps and small curves as SVG text.

Law: the same numbers give the same bytes.
"""

from __future__ import annotations

import html
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from simulator.svg import Ramp, bar, rgb, shade, svg

_CELL, _LINE = 58, 25


@dataclass(frozen=True, slots=True)
class Spot:
    """One cell of a heat map.

    Attributes:
        value: what is coloured; None = not run.
        small: second line, in small print.
        hint: shown when the pointer rests on it.
    """

    value: float | None
    small: str = ""
    hint: str = ""


def heat(
    title: str,
    rows: Sequence[str],
    columns: Sequence[str],
    spots: Callable[[int, int], Spot],
    ramp: Ramp,
    low: float,
    high: float,
    strong: Sequence[str] = (),
) -> str:
    """A heat map with a number in every cell.

    Args:
        title: above it.
        rows, columns: names; columns are written aslant.
        spots: (row, column) -> cell.
        ramp: colours from `low` to `high`.
        low, high: ends of the scale, also drawn as a bar.
        strong: rows in bold.
    """
    left = 16 + max(7.4 * len(name) for name in rows)
    top = 44 + max(4.6 * len(name) for name in columns)
    wide = left + _CELL * len(columns) + max(4.4 * len(columns[-1]), 30)
    deep = top + _LINE * len(rows) + 34
    out = [f'<text x="4" y="16" class="cap">{html.escape(title)}</text>']
    for at, name in enumerate(columns):
        x, y = left + _CELL * (at + 0.5), top - 6
        out.append(f'<text x="{x:.0f}" y="{y:.0f}" transform="rotate(-42 {x:.0f} {y:.0f})">{html.escape(name)}</text>')
    for line, name in enumerate(rows):
        y = top + _LINE * line
        weight = ' class="strong"' if name in strong else ""
        out.append(f'<text x="{left - 8:.0f}" y="{y + 16.5:.1f}" text-anchor="end"{weight}>{html.escape(name)}</text>')
        out += [_spot(spots(line, at), left + _CELL * at, y, ramp, low, high) for at in range(len(columns))]
    out.append(bar(left, top + _LINE * len(rows) + 12, ramp, decimal(low), decimal(high)))
    return svg(wide, deep, out)


def curves(
    title: str, lines: Mapping[str, Sequence[tuple[int, float]]], colours: Mapping[str, tuple[str, float, str]]
) -> str:
    """One small chart with values in [0, 1]: a line a rule.

    Args:
        title: above it.
        lines: rule -> (round, value).
        colours: rule -> (stroke, width, dash).
    """
    wide, deep, left, top = 214, 142, 26, 20
    last = max((x for points in lines.values() for x, _ in points), default=1)
    first = min((x for points in lines.values() for x, _ in points), default=0)
    out = [f'<text x="4" y="12" class="tiny strong">{html.escape(title)}</text>']
    for mark in (0.0, 0.25, 0.5, 0.75, 1.0):
        y = top + (1 - mark) * (deep - top - 18)
        out.append(f'<line x1="{left}" x2="{wide - 4}" y1="{y:.1f}" y2="{y:.1f}" stroke="#e3e8ed"/>')
        if mark in (0.0, 0.5, 1.0):
            out.append(f'<text x="{left - 4}" y="{y + 3:.1f}" class="tiny" text-anchor="end">{mark:g}</text>')
    out.append(f'<text x="{left}" y="{deep - 4}" class="tiny">{first}</text>')
    out.append(f'<text x="{wide - 4}" y="{deep - 4}" class="tiny" text-anchor="end">round {last}</text>')
    for rule, points in lines.items():
        stroke, width, dash = colours[rule]
        path = " ".join(
            f"{left + (x - first) / max(last - first, 1) * (wide - 4 - left):.1f},"
            f"{top + (1 - y) * (deep - top - 18):.1f}"
            for x, y in points
        )
        dashes = f' stroke-dasharray="{dash}"' if dash else ""
        out.append(
            f'<polyline points="{path}" fill="none" stroke="{stroke}" stroke-width="{width}"{dashes}>'
            f"<title>{html.escape(rule)}</title></polyline>"
        )
    return svg(wide, deep, out)


def _spot(spot: Spot, x: float, y: float, ramp: Ramp, low: float, high: float) -> str:
    size = f'x="{x:.0f}" y="{y:.0f}" width="{_CELL - 1}" height="{_LINE - 1}"'
    if spot.value is None:
        return f'<rect {size} fill="#f1f3f5"/>'
    fill = shade(ramp, (spot.value - low) / (high - low) if high > low else 0.0)
    ink = "#fff" if 0.299 * fill[0] + 0.587 * fill[1] + 0.114 * fill[2] < 140 else "#111"
    middle = x + (_CELL - 1) / 2
    text = f'<text x="{middle:.1f}" y="{y + (12 if spot.small else 16.5):.1f}" text-anchor="middle" style="fill:{ink}">'
    text += f"{decimal(spot.value)}</text>"
    if spot.small:
        text += f'<text x="{middle:.1f}" y="{y + 21:.1f}" text-anchor="middle" class="tiny" style="fill:{ink}">'
        text += f"{html.escape(spot.small)}</text>"
    hint = f"<title>{html.escape(spot.hint)}</title>" if spot.hint else ""
    return f'<g>{hint}<rect {size} fill="{rgb(fill)}"/>{text}</g>'


def decimal(value: float) -> str:
    """Three decimals without the leading zero: .713, 1.000, -.012."""
    text = f"{value:.3f}"
    return text.replace("0.", ".", 1) if text.lstrip("-").startswith("0.") else text
