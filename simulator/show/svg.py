"""SVG by hand: colours, ramps, charts and the frame around them; crisp in print, nothing to load.

Law: the same numbers give the same bytes.
"""

from __future__ import annotations

import html
import math
from collections.abc import Sequence
from dataclasses import dataclass

Colour = tuple[float, float, float]
Ramp = Sequence[Colour]
Point = tuple[float, float]

GOOD: Ramp = ((68, 1, 84), (59, 82, 139), (33, 145, 140), (94, 201, 98), (253, 231, 37))
"""Viridis: accuracy, dark = low."""
BAD: Ramp = ((255, 255, 255), (254, 224, 210), (252, 146, 114), (222, 45, 38), (103, 0, 13))
"""Reds: attack success, dark = high."""
COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#8c6d31", "#6a51a3", "#b2182b", "#1b7837")


def svg(wide: float, deep: float, parts: Sequence[str]) -> str:
    """The parts as one picture of this size in pixels."""
    size = f'width="{wide:.0f}" height="{deep:.0f}" viewBox="0 0 {wide:.0f} {deep:.0f}"'
    return f'<svg xmlns="http://www.w3.org/2000/svg" {size}>{"".join(parts)}</svg>'


def shade(ramp: Ramp, share: float) -> Colour:
    """Colour at a share of the ramp, clamped to [0, 1]."""
    place = min(max(share, 0.0), 1.0) * (len(ramp) - 1)
    at = min(int(place), len(ramp) - 2)
    part = place - at
    one, two = ramp[at], ramp[at + 1]
    return (
        one[0] + part * (two[0] - one[0]),
        one[1] + part * (two[1] - one[1]),
        one[2] + part * (two[2] - one[2]),
    )


def rgb(colour: Colour) -> str:
    """As SVG writes it."""
    return f"rgb({colour[0]:.0f},{colour[1]:.0f},{colour[2]:.0f})"


def bar(x: float, y: float, ramp: Ramp, low: str, high: str) -> str:
    """A ramp as a bar of 160 pixels with the words for its ends on both sides."""
    steps = 40
    out = [
        f'<rect x="{x + 4 * step:.0f}" y="{y:.0f}" width="4.4" height="8" fill="{rgb(colour)}"/>'
        for step, colour in enumerate(shade(ramp, step / (steps - 1)) for step in range(steps))
    ]
    out.append(f'<text x="{x - 6:.0f}" y="{y + 8:.0f}" class="tick" text-anchor="end">{html.escape(low)}</text>')
    out.append(f'<text x="{x + 4 * steps + 6:.0f}" y="{y + 8:.0f}" class="tick">{html.escape(high)}</text>')
    return "".join(out)


@dataclass(frozen=True, slots=True)
class Chart:
    """Axes over rounds, with values in [0, 1]; what lies beyond is drawn at the edge.

    Attributes:
        left, top: corner of the area in pixels.
        wide, deep: its size.
        first, last: rounds at its left and right edge.
    """

    left: float
    top: float
    wide: float
    deep: float
    first: int
    last: int

    def axes(self, title: str) -> str:
        """Title, grid and ticks."""
        right, bottom = self.left + self.wide, self.top + self.deep
        out = [f'<text x="{self.left:.0f}" y="{self.top - 10:.0f}" class="cap">{html.escape(title)}</text>']
        for mark in (0.0, 0.25, 0.5, 0.75, 1.0):
            _, y = self.at(self.first, mark)
            out.append(f'<path d="M{self.left:.0f} {y:.1f}H{right:.0f}" stroke="#e3e8ed"/>')
            out.append(f'<text x="{self.left - 6:.0f}" y="{y + 4:.1f}" class="tick" text-anchor="end">{mark:g}</text>')
        for round in ticks(self.first, self.last):
            x, _ = self.at(round, 0)
            out.append(f'<path d="M{x:.1f} {bottom:.1f}v4" stroke="#9aa5b1"/>')
            out.append(f'<text x="{x:.1f}" y="{bottom + 16:.0f}" class="tick" text-anchor="middle">{round}</text>')
        middle = self.left + self.wide / 2
        out.append(f'<text x="{middle:.0f}" y="{bottom + 31:.0f}" class="tick" text-anchor="middle">round</text>')
        return "".join(out)

    def at(self, round: float, value: float) -> Point:
        """Where a value lies."""
        x = self.left + (round - self.first) / max(self.last - self.first, 1) * self.wide
        return x, self.top + (1 - min(max(value, 0.0), 1.0)) * self.deep

    def line(self, points: Sequence[Point], colour: str, hint: str, dash: str = "") -> str:
        """Values by round, joined; a single one is a dot. Without a number there is a gap."""
        spots = [self.at(*point) for point in points if not math.isnan(point[1])]
        title = f"<title>{html.escape(hint)}</title>"
        if len(spots) == 1:
            return f'<circle cx="{spots[0][0]:.1f}" cy="{spots[0][1]:.1f}" r="3" fill="{colour}">{title}</circle>'
        if not spots:
            return ""
        dashes = f' stroke-dasharray="{dash}"' if dash else ""
        return (
            f'<polyline points="{written(spots)}" fill="none" stroke="{colour}" stroke-width="1.8"{dashes}>'
            f"{title}</polyline>"
        )

    def band(self, rounds: Sequence[int], low: Sequence[float], high: Sequence[float], colour: str) -> str:
        """The area between two lines."""
        upper = [self.at(*point) for point in zip(rounds, high, strict=True)]
        lower = [self.at(*point) for point in zip(rounds, low, strict=True)]
        return f'<polygon points="{written([*upper, *lower[::-1]])}" fill="{colour}" fill-opacity=".1"/>'


def written(spots: Sequence[Point]) -> str:
    """Points as SVG writes them."""
    return " ".join(f"{x:.1f},{y:.1f}" for x, y in spots)


def ticks(first: int, last: int, most: int = 6) -> list[int]:
    """Round numbers from `first` to `last`, at most `most` of them, evenly spaced."""
    span = max(last - first, 1)
    steps = (factor * 10**power for power in range(9) for factor in (1, 2, 5))
    step = next(step for step in steps if span / step < most)
    return list(range(-(-first // step) * step, last + 1, step))


def keys(names: Sequence[str], x: float, y: float, wide: float) -> tuple[str, float]:
    """A legend of coloured strokes in lines no longer than `wide`.

    Returns:
        SVG text, and the y of its last line.
    """
    out, at = [], x
    for position, name in enumerate(names):
        space = 38 + 6.6 * len(name)
        if at > x and at + space > x + wide:
            at, y = x, y + 18
        colour = COLOURS[position % len(COLOURS)]
        out.append(f'<path d="M{at:.0f} {y - 4:.0f}h20" stroke="{colour}" stroke-width="3"/>')
        out.append(f'<text x="{at + 25:.0f}" y="{y:.0f}">{html.escape(name)}</text>')
        at += space
    return "".join(out), y
