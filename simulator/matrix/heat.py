"""Heat maps and grids of small curves as SVG text: a row a rule, a column an attack or a place.

Law: the same numbers give the same bytes.
"""

from __future__ import annotations

import html
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from simulator.show.svg import BAD, Ramp, bar, rgb, shade, svg, written

_CELL, _LINE, _TALL = 58, 25, 44
_CHARACTER = 4.9  # pixels that a character of a slanting name takes across and up
ACCURACY, SUCCESS, REFERENCE = "#1f5fa8", rgb(BAD[3]), "#98a3ae"
"""Colours of curves: accuracy, attack success, and the accuracy of the oracle mean beside them."""


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


Curve = Sequence[tuple[int, float, float]]
"""Round, accuracy, attack success."""


def heat(
    title: str,
    rows: Sequence[str],
    columns: Sequence[str],
    spots: Callable[[int, int], Spot],
    ramp: Ramp,
    ends: tuple[tuple[float, str], tuple[float, str]],
    strong: Sequence[str] = (),
) -> str:
    """A heat map with a number in every cell.

    Args:
        title: above it.
        rows, columns: names; columns are written aslant.
        spots: (row, column) -> cell.
        ramp: colours between the ends.
        ends: the lowest and the highest value of the scale, each with a word for it; drawn as a bar.
        strong: rows in bold.
    """
    frame = _frame(rows, columns, _LINE)
    (low, least), (high, most) = ends
    out = [_title(title), *_names(frame, rows, columns, strong)]
    for line in range(len(rows)):
        for at in range(len(columns)):
            x, y = frame.corner(line, at)
            out.append(_spot(spots(line, at), x, y, ramp, low, high))
    y = frame.top + _LINE * len(rows) + 12
    out.append(bar(max(frame.left, 120), y, ramp, f"{decimal(low)}, {least}", f"{decimal(high)}, {most}"))
    return _shrinking(svg(max(frame.wide, 420), y + 22, out), frame.wide)


def traces(
    title: str,
    rows: Sequence[str],
    columns: Sequence[str],
    curve: Callable[[int, int], Curve],
    beside: Callable[[int], Curve],
    strong: Sequence[str] = (),
) -> str:
    """The rounds of every cell, as small curves in the order of a heat map; values from 0 to 1.

    Args:
        title: above it.
        rows, columns: names.
        curve: (row, column) -> accuracy and attack success by round; empty = not run.
        beside: column -> whose accuracy is drawn beside them.
        strong: rows in bold.
    """
    frame = _frame(rows, columns, _TALL)
    out = [_title(title), *_names(frame, rows, columns, strong)]
    for line in range(len(rows)):
        out += [_trace(curve(line, at), beside(at), *frame.corner(line, at)) for at in range(len(columns))]
    return _shrinking(svg(frame.wide, frame.top + _TALL * len(rows) + 6, out), frame.wide)


def decimal(value: float) -> str:
    """Three decimals without the leading zero: .713, 1.000, -.012."""
    text = f"{value:.3f}"
    return text.replace("0.", ".", 1) if text.lstrip("-").startswith("0.") else text


@dataclass(frozen=True, slots=True)
class _Frame:
    left: float
    top: float
    wide: float
    line: int

    def corner(self, line: int, at: int) -> tuple[float, float]:
        return self.left + _CELL * at, self.top + self.line * line


def _frame(rows: Sequence[str], columns: Sequence[str], line: int) -> _Frame:
    left = 16 + max(7.0 * len(name) for name in rows)
    top = 44 + max(_CHARACTER * len(name) for name in columns)
    ends = [left + _CELL * (at + 0.5) + _CHARACTER * len(name) + 8 for at, name in enumerate(columns)]
    return _Frame(left, top, max(*ends, left + _CELL * len(columns)), line)


def _title(text: str) -> str:
    return f'<text x="4" y="16" class="cap">{html.escape(text)}</text>'


def _names(frame: _Frame, rows: Sequence[str], columns: Sequence[str], strong: Sequence[str]) -> list[str]:
    out = []
    for at, name in enumerate(columns):
        x, y = frame.left + _CELL * (at + 0.5), frame.top - 6
        out.append(f'<text x="{x:.0f}" y="{y:.0f}" transform="rotate(-42 {x:.0f} {y:.0f})">{html.escape(name)}</text>')
    for line, name in enumerate(rows):
        y = frame.top + frame.line * (line + 0.5) + 4
        weight = ' class="strong"' if name in strong else ""
        out.append(f'<text x="{frame.left - 8:.0f}" y="{y:.1f}" text-anchor="end"{weight}>{html.escape(name)}</text>')
    return out


def _shrinking(picture: str, wide: float) -> str:
    """A picture that gives way on a narrow page, but not so far that nobody can read it; then it is scrolled."""
    return picture.replace("<svg ", f'<svg style="min-width:{0.72 * wide:.0f}px" ', 1)


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


def _trace(curve: Curve, beside: Curve, x: float, y: float) -> str:
    wide, deep = _CELL - 2, _TALL - 3
    box = f'<rect x="{x:.0f}" y="{y:.0f}" width="{wide}" height="{deep}" fill="#f6f8fa"/>'
    if not curve:
        return box
    first, last = curve[0][0], curve[-1][0]

    def line(points: Curve, column: int, colour: str, width: float) -> str:
        spots = [
            (x + (point[0] - first) / max(last - first, 1) * wide, y + (1 - min(max(point[column], 0), 1)) * deep)
            for point in points
        ]
        return f'<polyline points="{written(spots)}" fill="none" stroke="{colour}" stroke-width="{width}"/>'

    return box + line(beside, 1, REFERENCE, 1) + line(curve, 1, ACCURACY, 1.8) + line(curve, 2, SUCCESS, 1.8)
