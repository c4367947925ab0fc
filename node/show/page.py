"""The page that a person looks at: a status as HTML, without scripts and without anything from elsewhere.

Law: every text that is not ours is escaped; colours only repeat what a word beside them says.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

from node.trust.opinions import ROUNDS, WHY

GONE = 16  # peers that left which are shown
ASKS = "They dialled this node, and anybody can: type this for a peer id that its owner has told you himself."
SLOW = (
    0.82  # share of rounds in time below which a round no longer waits for a peer: (7/8)^1.5, see `node.core.neighbour`
)
_CELL, _HEIGHT = 5, 16  # pixels, of a round in a strip
_WIDE, _CURVE = 640, 100  # pixels, of the curve

COLOURS: Mapping[str, str] = {
    "taken": "#2f9e63",
    "clipped": "#8cc63f",
    "trimmed": "#8cc63f",
    "similar": "#f0a020",
    "duplicate": "#f0a020",
    "far": "#e2552d",
    "harmful": "#c21f3a",
    "not_finite": "#7b1fa2",
    "absent": "#dcdfe3",
    "unproven": "#9db4d0",
    "unheard": "#9db4d0",
    "stranger": "#b9a3d6",
    "unbacked": "#b9a3d6",
    "braked": "#c21f3a",
}

_STYLE = """
:root{color-scheme:light}
body{font:15px/1.45 system-ui,sans-serif;color:#1d2329;background:#f6f7f8;margin:0}
main{max-width:80em;margin:0 auto;padding:1.5em}
h1{font-size:1.5em;margin:0}h2{font-size:1.05em;margin:1.8em 0 .5em}
p{margin:.3em 0}.quiet{color:#66707a}.bad{color:#a3122c}
code{font:.9em ui-monospace,monospace}
table{border-collapse:collapse;width:100%;background:#fff;border:1px solid #e1e4e8}
td,th{padding:.4em .7em;text-align:left;border-top:1px solid #eceff1;vertical-align:top}
th{font-weight:600;border-top:0;background:#fbfcfc}
th.number,td.number{text-align:right;font-variant-numeric:tabular-nums}
tr.gone td{color:#8a939c}tr.gone td.bad{color:#a3122c}tr.gone svg{opacity:.55}
td.link{white-space:nowrap}
.key{display:inline-block;width:.8em;height:.8em;margin:0 .35em 0 0;border-radius:2px}
.curve{background:#fff;border:1px solid #e1e4e8;display:block}
dl{margin:0}dt{float:left;clear:left;min-width:8.5em}dd{margin:0 0 .2em 8.5em;color:#66707a}
"""


def render(status: Mapping[str, Any]) -> str:
    """The page: where the node is, what it thinks of whom and why, what its neighbours sent that was dropped."""
    accuracy = "not measured yet" if status["accuracy"] is None else f"{status['accuracy']:.1%}"
    shown, hidden = ranked(status["neighbours"])
    more = f'<p class="quiet">and {hidden} more that have left</p>' if hidden else ""
    newest = max((row["round"] for peer in shown for row in peer["history"]), default=0)
    rows = "".join(_row(peer, newest) for peer in shown)
    table = (
        '<table><tr><th>neighbour<th>link<th class="number">round<th class="number">weight<th>why'
        f"<th>last {ROUNDS} rounds, newest at the right<th>remarks</tr>{rows}</table>"
        if shown
        else "<p>nobody yet</p>"
    )
    alone = f'<p class="bad"><b>{escape(status["alone"])}</b></p>' if status.get("alone") else ""
    alarms = "".join(f'<p class="bad">{escape(alarm)}</p>' for alarm in others(status))
    return (
        '<!doctype html><html lang="en"><meta charset="utf-8"><meta http-equiv="refresh" content="2">'
        f"<title>hedgerow: round {status['round']}</title><style>{_STYLE}</style><main>"
        f"{alone}<h1>round {status['round']}, accuracy {accuracy}</h1>"
        f"<p>{escape(status['task'])} with {escape(status['rule'])}, {escape(status['phase'])}</p>"
        f'<p class="quiet">peer <code>{escape(status["peer"])}</code> at <code>{escape(status["address"])}</code>, '
        f"up {_duration(status['uptime_seconds'])}, {status['rounds_played']} rounds</p>"
        f"{alarms}"
        f"{_line(status)}{_afar(status)}"
        f"{_curve(status.get('course', []))}<h2>neighbours</h2>{table}{more}"
        f"{_asks(status.get('asks', []))}{_legend(shown)}"
        f"{_dropped(status['dropped'])}</main></html>\n"
    )


TRUST = "how much of what this node trusts flows to a peer, over what people say of whom they know"
"""What stands behind `trust` in a table."""


def others(status: Mapping[str, Any]) -> list[str]:
    """What whoever runs the node must know, but that it trains alone: that stands at the top."""
    return [alarm for alarm in status.get("alarms", []) if alarm != status.get("alone")]


def afar(status: Mapping[str, Any]) -> str:
    """What was heard from afar, in a sentence; "" where nobody may be."""
    far = status.get("far")
    if not far or not far["wanted"] or not far["known"]:
        return ""
    heard = f"{len(far['heard'])} of {len(far['drawn'])} peers that were drawn from afar were heard in the last round"
    few = f"; far = {far['wanted']} but only {far['known']} are known" if far["known"] < far["wanted"] else ""
    return heard + few


def ranked(neighbours: Sequence[Mapping[str, Any]]) -> tuple[list[Mapping[str, Any]], int]:
    """Neighbours as people want to see them: connected ones first, of those that left the distrusted, those who
    misbehaved and the last few; how many are not among them."""
    here = [peer for peer in neighbours if peer["connected"]]
    left = [peer for peer in neighbours if not peer["connected"]]

    def order(peer: Mapping[str, Any]) -> tuple[bool, bool, int]:
        latest = max((row["round"] for row in peer["history"]), default=-1)
        return link_of(peer) == "gone", not peer.get("remarks"), -latest

    left.sort(key=order)
    return [*here, *left[:GONE]], len(left[GONE:])


def called(peer: Mapping[str, Any]) -> str:
    """A neighbour for people: "bob (k5g6abcd...)", or the beginning of its id; not escaped."""
    return f"{peer['name']} ({peer['peer'][:8]}...)" if peer.get("name") else str(peer["peer"][:12])


def link_of(peer: Mapping[str, Any]) -> str:
    """What it is to the node: its standing while it is here, "gone"; "distrusted" wherever it is. Not escaped."""
    here = peer["connected"] or peer.get("standing") == "distrusted"
    vouched = f", trust {peer['vouched']:.1%}" if peer.get("vouched") else ""
    return f"{peer['standing']}{vouched}" if here else "gone"


def remarks_on(peer: Mapping[str, Any]) -> list[str]:
    """What a peer did, and how slow it is."""
    said = list(peer.get("remarks", []))
    if peer["connected"] and peer["trust"] is not None and peer["trust"] < SLOW:
        behind = "" if peer["lag_seconds"] is None else f", {peer['lag_seconds']:.1f} s after us"
        said.append(f"slow: its update is in time in {peer['trust']:.0%} of rounds{behind}")
    return said


def _row(peer: Mapping[str, Any], newest: int) -> str:
    weight = "" if peer["weight"] is None else f"{peer['weight']:.2f}"
    round = "" if peer["round"] is None else peer["round"]
    link = escape(link_of(peer))
    said = "<br>".join(escape(remark) for remark in remarks_on(peer))
    return (
        f'<tr class="{"" if peer["connected"] else "gone"}"><td><code title="{escape(peer["peer"])}">'
        f'{escape(called(peer))}</code><td class="link">{link}<td class="number">{round}'
        f'<td class="number">{weight}'
        f'<td>{_word(peer["verdict"])}<td>{_strip(peer["history"], newest)}<td class="bad">{said}</tr>'
    )


def _asks(asks: Sequence[Mapping[str, Any]]) -> str:
    """Who dialled this node and asks to be known, newest first, and what to type."""
    if not asks:
        return ""
    rows = "".join(f"<dt>since round {ask['since']}<dd><code>{escape(ask['type'])}</code>" for ask in reversed(asks))
    return f'<h2>asks to be known</h2><p class="quiet">{ASKS}</p><dl>{rows}</dl>'


def _strip(history: Sequence[Mapping[str, Any]], newest: int) -> str:
    """One cell a round: as high as the weight, in the colour of the verdict."""
    cells = []
    for row in history:
        column = ROUNDS - 1 - (newest - row["round"])
        if column < 0:
            continue
        high = max(3, _HEIGHT * min(max(row["weight"], 0.0), 1.0))
        words = f"round {row['round']}: {_word(row['verdict'])}, weight {row['weight']:.2f}"
        cells.append(
            f'<rect x="{column * _CELL}" y="{_HEIGHT - high:.0f}" width="{_CELL - 1}" height="{high:.0f}" '
            f'fill="{COLOURS.get(row["verdict"], "#999")}"><title>{escape(words)}</title></rect>'
        )
    return f'<svg width="{ROUNDS * _CELL}" height="{_HEIGHT}" role="img">{"".join(cells)}</svg>'


def _curve(course: Sequence[Mapping[str, Any]]) -> str:
    """Accuracy over the last rounds."""
    known = [(row["round"], row["accuracy"]) for row in course if row["accuracy"] is not None]
    if len(known) < 2:
        return ""
    first, last = known[0][0], known[-1][0]
    left, right = 44, _WIDE - 10

    def high(value: float) -> str:
        return f"{6 + (1 - value) * (_CURVE - 26):.1f}"

    points = " ".join(
        f"{left + (round - first) / (last - first) * (right - left):.1f},{high(value)}" for round, value in known
    )
    marks = "".join(
        f'<line x1="{left}" x2="{right}" y1="{high(at)}" y2="{high(at)}" stroke="#eceff1"/>'
        f'<text x="{left - 6}" y="{high(at)}" dy="4" text-anchor="end">{at:.0%}</text>'
        for at in (0.0, 0.5, 1.0)
    )
    return (
        f'<h2>accuracy after each round</h2><svg class="curve" width="{_WIDE}" height="{_CURVE}" font-size="10" '
        f'fill="#66707a">{marks}<polyline points="{points}" fill="none" stroke="#2f6fb0" stroke-width="2"/>'
        f'<text x="{left}" y="{_CURVE - 5}">round {first}</text>'
        f'<text x="{right}" y="{_CURVE - 5}" text-anchor="end">{last}</text></svg>'
    )


def _line(status: Mapping[str, Any]) -> str:
    """What the last line did so far, and what there is to go back to."""
    counts, good = status.get("last_line") or {}, status.get("last_good")
    said = []
    if any(counts.values()):
        said.append(
            f"last line: {counts['braked']} rounds decided once more, {counts['kept']} kept as trained, "
            f"{counts['unbacked']} without anybody known"
        )
    if good is not None:
        said.append(f"last good model: round {good['round']}, accuracy {good['accuracy']:.1%}")
    return f'<p class="quiet">{"; ".join(said)}</p>' if said else ""


def _afar(status: Mapping[str, Any]) -> str:
    said = afar(status)
    return f'<p class="quiet">{escape(said)}</p>' if said else ""


def _legend(peers: Sequence[Mapping[str, Any]]) -> str:
    """What the words in the table mean, of those that are there."""
    seen = {row["verdict"] for peer in peers for row in peer["history"]}
    rows = "".join(
        f'<dt><span class="key" style="background:{COLOURS[verdict]}"></span>{_word(verdict)}<dd>{escape(words)}'
        for verdict, words in WHY.items()
        if verdict in seen
    )
    trust = f'<p class="quiet">trust: {escape(TRUST)}</p>' if any(peer.get("vouched") for peer in peers) else ""
    return (f"<h2>why</h2><dl>{rows}</dl>" if rows else "") + trust


def _dropped(dropped: Mapping[str, int]) -> str:
    """All that was dropped, by reason."""
    if not dropped:
        return ""
    words = ", ".join(f"{escape(reason)} {count}" for reason, count in dropped.items())
    return f'<h2>dropped so far</h2><p class="quiet">{words}</p>'


def _word(verdict: str | None) -> str:
    return "" if verdict is None else verdict.replace("_", " ")


def _duration(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes // 60} h {minutes % 60} min" if minutes >= 60 else f"{minutes} min {rest} s"
