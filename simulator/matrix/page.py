"""One HTML page about a matrix: what each rule costs, what it withstands, and how to run it again. It loads nothing."""

from __future__ import annotations

import html
import shlex
from collections.abc import Callable, Mapping, Sequence
from math import inf

from simulator.matrix.figures import ORACLE, Estimate, Figures
from simulator.matrix.heat import ACCURACY, REFERENCE, SUCCESS, Curve, Spot, decimal, heat, traces
from simulator.matrix.plan import NOBODY, PRESETS, Condition, Matrix
from simulator.matrix.tables import LESS, MINE, MORE, calm_table, cost, everything, glance, pm
from simulator.show.page import DEALT, STYLE
from simulator.show.svg import BAD, GOOD

_STYLE = (
    STYLE
    + """
main { max-width:1480px }
p.note { color:var(--soft); font-size:13.5px; margin:0 0 10px; max-width:110ch }
.maps { display:flex; flex-wrap:wrap; gap:18px } .maps svg { flex:none; max-width:100% }
section svg { max-width:100%; height:auto }
i.key { display:inline-block; width:22px; border-top:3px solid; vertical-align:middle; margin:0 5px 0 8px }
summary { cursor:pointer; color:var(--soft) } details[open] > summary { margin-bottom:10px }
tr.end td { color:var(--soft) } tr.mine td { font-weight:600 }
table { font-size:13px } th,td { padding:5px 7px } table.narrow { width:auto } table.narrow td { padding-left:26px }
th:not(:first-child) { max-width:120px } th.group { text-align:center; border-bottom:2px solid var(--line) }
td small { display:block; white-space:normal; color:var(--soft); font-weight:400; font-size:11px; line-height:1.2;
  max-width:130px; margin-left:auto }
table.all { font-size:12px } table.all td:nth-child(2) { text-align:left }
dl dt { font-weight:600; color:var(--ink) }
ol.places { columns:2; margin:0; padding-left:26px } ol.places li { break-inside:avoid }
pre { overflow-x:auto; font-size:12.5px; background:#f4f6f8; padding:10px; border-radius:6px }
@media (max-width:1000px) { main { padding:18px 10px } section,figure { padding:10px } th,td { padding:4px 5px }
  table { font-size:12px } td small { max-width:88px } dl { grid-template-columns:1fr } ol.places { columns:1 } }
@media print { body { background:#fff } section,figure { border:0; padding:0; break-inside:avoid } }
"""
)
_WORDS = (
    ("alone, oracle-mean", "the two ends (dim): a node that listens to nobody, and a mean that knows who is honest. "
     "A rule that does worse than alone under attack is better not used."),
    ("accuracy", "share of test samples predicted right: mean over honest nodes after the last round, then over seeds. "
     "Under attack this is the robust accuracy."),
    ("attack success", "share of the samples the attacker cares about that honest nodes take for what it wants: mean "
     "over honest nodes after the last round. Attacks without such an aim (sign-flip, gaussian, ...) harm accuracy "
     "alone; for them it counts two classes taken for each other."),
    ("tax", "accuracy of the oracle mean less that of the rule, nobody attacking: what safety costs in peace."),
    ("Sybils' share", "weight of all Sybils over all weight in a node's decision, the own model counting 1 (with "
     "hedgerow it counts 1 or less, so the true share may be a little higher): mean over honest nodes and rounds."),
    ("honest shut out", "share of honest neighbours that were heard and got weight 0."),
    ("± , intervals", "95 % intervals over seeds (Student's t): the number lies within mean ± this. With one seed "
     "there is none, and nothing is printed."),
    ("ms, kB", "wall milliseconds of the simulation, training and adversary included (compare within this page only), "
     "and thousands of bytes that an honest node sends; both a node and round."),
    ("places", "phi n: n links from Sybils for each honest node. f/n: Sybils among all nodes. dirichlet a: split of "
     "the data; the smaller a, the fewer classes a node holds. iid: all alike."),
)  # fmt: skip

Place = tuple[str, str, str]


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
    words = "".join(f"<dt>{html.escape(word)}</dt><dd>{html.escape(text)}</dd>" for word, text in _WORDS)
    parts = [
        f"<h1>Rules against attacks: {title}</h1>",
        f'<p class="lead">{html.escape(_lead(conditions))}</p>{about}',
        "<h2>At a glance</h2>",
        f"<section>{_note(_GLANCE)}{glance(figures, lambda each: _where(each, panels))}</section>",
        f"<section><details><summary>What the words and numbers mean</summary><dl>{words}</dl></details></section>",
    ]
    ends = _range(figures)
    by_panel = {panel: [f for f in figures if (f.split, f.network, f.attackers) == panel] for panel in panels}
    if len(panels) > 1:
        parts += ["<h2>Place by place</h2>", _overview(by_panel, ends)]
    for number, panel in enumerate(panels, 1):
        calm = _calm(figures, panel)
        parts.append(f'<h2 id="place-{number}">{html.escape(_title(panel, number if len(panels) > 1 else None))}</h2>')
        parts.append(_maps(by_panel[panel], calm, ends, opened=number == 1))
    parts += ["<h2>Without an attack</h2>", _peace(figures)]
    parts += ["<h2>Traffic and time</h2>", f"<section>{_note(_COST)}{cost(figures)}</section>"]
    parts += ["<h2>How to run it again</h2>", f"<section>{_again(matrix, conditions)}</section>"]
    head = f'<meta charset="utf-8"><meta name="viewport" content="width=device-width"><title>{title}</title>'
    body = f"<body><main>{''.join(parts)}</main></body>"
    return f'<!doctype html><html lang="en"><head>{head}<style>{_STYLE}</style></head>{body}</html>\n'


_GLANCE = (
    f"Means over all places and seeds; 1.000 = 100 %.{MORE} more is better,{LESS} less is better. Green: the best rule "
    "of the column. Red: accuracy below that of alone, or more than half of what the attacker wanted. Worst attack: "
    "where the rule fared worst, named below the number; intervals are in the maps below. A rule that did not run in "
    f"all places has means over those where it did: then compare it place by place. {DEALT}"
)
_COST = (
    "Means over all places. Milliseconds are those of the simulation on the machine that ran it, other work included."
)
_TAX = "Tax: accuracy below that of the oracle mean, taken seed by seed. A column a network and split of the data."
_SPEED = "Speed: the first measured round with 90 % of the final accuracy of the oracle mean."


def _note(text: str) -> str:
    return f'<p class="note">{html.escape(text)}</p>'


def _panels(conditions: Sequence[Condition]) -> list[Place]:
    attacked = {each.panel for each in conditions if not each.calm}
    return list(dict.fromkeys(each.panel for each in conditions if each.panel in attacked))


def _title(panel: Place, number: int | None) -> str:
    split, network, attackers = panel
    return f"{'' if number is None else f'{number}. '}{network} · {split} · {attackers}"


def _short(panel: Place, panels: Sequence[Place]) -> str:
    """A place by its number and by what it has that the first has not."""
    other = [mine for mine, first in zip(panel, panels[0], strict=True) if mine != first]
    return f"{panels.index(panel) + 1}: {', '.join(other) or 'the first'}"


def _where(found: Figures, panels: Sequence[Place]) -> str:
    """Attack, and the number of its place where there are several."""
    panel = found.split, found.network, found.attackers
    return f"{found.attack}, place\N{NO-BREAK SPACE}{panels.index(panel) + 1}" if len(panels) > 1 else found.attack


def _calm(figures: Sequence[Figures], panel: Place) -> dict[str, Figures]:
    """Rule -> its figures without attack at this split and network."""
    return {each.rule: each for each in figures if (each.split, each.network, each.attackers) == (*panel[:2], NOBODY)}


def _range(figures: Sequence[Figures]) -> tuple[float, float]:
    values = [each.accuracy.mean for each in figures if each.accuracy.mean is not None]
    return (min(values), max(values)) if values else (0.0, 1.0)


def _lead(conditions: Sequence[Condition]) -> str:
    first = conditions[0].scenario
    seeds = sorted({seed for each in conditions for seed in each.scenario.seeds})
    cells = sum(len(each.scenario.rules) * len(each.scenario.seeds) for each in conditions)
    rules = {str(rule) for each in conditions for rule in each.scenario.rules}
    attacks = {each.attack for each in conditions if not each.calm}
    model = f" ({first.model})" if first.model else ""
    return (
        f"{counted(len(rules), 'rule')} against {counted(len(attacks), 'attack')} in "
        f"{counted(len(_panels(conditions)), 'place')} (a split of the data, a network, a number of attackers), and "
        f"without attack: {counted(cells, 'cell')}. Task {first.task}{model}, "
        f"{first.rounds} rounds, seeds {', '.join(map(str, seeds))}."
    )


def _overview(by_panel: Mapping[Place, Sequence[Figures]], ends: tuple[float, float]) -> str:
    panels = list(by_panel)
    names = {each.rule: each.label for here in by_panel.values() for each in here}
    rules = [rule for rule in names if rule != ORACLE] + [rule for rule in names if rule == ORACLE]
    strong = [names[rule] for rule in rules if rule.split("(")[0] == MINE]
    grouped = {(each.rule, panel): list[Figures]() for panel, here in by_panel.items() for each in here}
    for panel, here in by_panel.items():
        for each in here:
            grouped[each.rule, panel].append(each)

    def spots(pick: Callable[..., Figures], read: Callable[[Figures], float]) -> Callable[[int, int], Spot]:
        def spot(line: int, column: int) -> Spot:
            found = grouped.get((rules[line], panels[column]))
            if not found:
                return Spot(None)
            worst = pick(found, key=read)
            return Spot(read(worst), "", f"{worst.label}, {_title(panels[column], column + 1)}\n{worst.attack}")

        return spot

    heads = [_short(panel, panels) for panel in panels]
    rows = [names[rule] for rule in rules]
    low, high = ends
    robust = heat(
        "Accuracy under the worst attack of a place",
        rows,
        heads,
        spots(min, lambda f: f.accuracy.mean or 0.0),
        GOOD,
        ((low, "bad"), (high, "good")),
        strong,
    )
    success = heat("Success of the worst attack of a place", rows, heads,
                   spots(max, lambda f: f.success.mean or 0.0), BAD, ((0, "good"), (1, "bad")), strong)  # fmt: skip
    items = "".join(
        f'<li><a href="#place-{number}">{html.escape(_title(panel, None))}</a> <span class="soft">'
        f"({counted(len({f.attack for f in by_panel[panel]}), 'attack')}, "
        f"{counted(len({f.rule for f in by_panel[panel]}), 'rule')}, "
        f"{counted(max(f.accuracy.seeds for f in by_panel[panel]), 'seed')})</span></li>"
        for number, panel in enumerate(panels, 1)
    )
    return (
        f'<section><ol class="places">{items}</ol></section><figure><div class="maps">{robust}{success}</div>'
        "<figcaption>Of each place the attack that hurts the rule most; not every place has the same attacks and rules "
        "(grey: not run). The pointer names the attack.</figcaption></figure>"
    )


def _maps(here: Sequence[Figures], calm: Mapping[str, Figures], ends: tuple[float, float], opened: bool) -> str:
    columns = ["no attack", *dict.fromkeys(each.attack for each in here)]
    rules = [rule for rule in calm if any(each.rule == rule for each in here)] or list(calm)
    at = {(each.rule, each.attack): each for each in here} | {(rule, "no attack"): calm[rule] for rule in calm}
    names = [calm[rule].label for rule in rules]
    strong = [calm[rule].label for rule in rules if rule.split("(")[0] == MINE]

    def map_of(title: str, read: Callable[[Figures], Estimate | float | None], good: bool) -> str:
        def spot(line: int, column: int) -> Spot:
            found = at.get((rules[line], columns[column]))
            value = None if found is None else read(found)
            if found is None or not isinstance(value, Estimate):
                return Spot(None if isinstance(value, Estimate) else value)
            return Spot(value.mean, f"±{decimal(value.half)}" if value.half is not None else "", _hint(found))

        scale = ((ends[0], "bad"), (ends[1], "good")) if good else ((0.0, "good"), (1.0, "bad"))
        return heat(title, names, columns, spot, GOOD if good else BAD, scale, strong)

    def curve(line: int, column: int) -> Curve:
        found = at.get((rules[line], columns[column]))
        return () if found is None else found.curve

    robust = map_of("Accuracy of honest nodes", lambda each: each.accuracy, True)
    success = map_of("Attack success at honest nodes", lambda each: each.success, False)
    share = map_of("Sybils' share of the weight", lambda each: each.sybil_share, False)
    out = map_of("Honest neighbours shut out (weight 0)", lambda each: each.excluded, False)
    shown = " open" if opened else ""
    parts = [
        f'<figure><div class="maps">{robust}{success}</div><figcaption>Row: rule. Column: attack. Number: mean over '
        "honest nodes after the last round and over seeds, below it half of its 95 % interval if there are several "
        "seeds. The pointer shows the worst nodes.</figcaption></figure>"
    ]
    if any(len(each.curve) > 1 for each in here):
        oracle = len(rules) - 1
        grid = traces("Round by round", names, columns, curve, lambda column: curve(oracle, column), strong)
        rounds = next(each.curve for each in here if len(each.curve) > 1)
        note = (
            f"Across: round {rounds[0][0]} to {rounds[-1][0]}. Up: 0 to 1. {_key(ACCURACY)} accuracy (high is good) "
            f"{_key(SUCCESS)} attack success (low is good) {_key(REFERENCE)} accuracy of oracle-mean"
        )
        parts.append(
            f"<section><details{shown}><summary>Round by round: a curve for every cell</summary>"
            f'<p class="note">{note}</p>{grid}</details></section>'
        )
    parts.append(
        f"<section><details><summary>Weights: who was believed, and who was shut out</summary>"
        f'<div class="maps">{share}{out}</div></details></section>'
        f"<section><details><summary>All numbers of this place</summary>"
        f"{everything([*(calm[rule] for rule in rules), *here])}</details></section>"
    )
    return "".join(parts)


def counted(number: int, noun: str) -> str:
    """One cell, two cells."""
    return f"{number} {noun}{'' if number == 1 else 's'}"


def _key(colour: str) -> str:
    return f'<i class="key" style="border-color:{colour}"></i>'


def _peace(figures: Sequence[Figures]) -> str:
    tax = calm_table(
        figures,
        lambda each: None if each.tax is None else each.tax.mean,
        decimal,
        lambda each: "" if each.tax is None or each.tax.half is None else f"± {decimal(each.tax.half)}",
    )
    rounds = calm_table(
        figures,
        lambda each: inf if each.rounds_to_90 is None else each.rounds_to_90,
        lambda number: "never" if number == inf else f"{number:.0f}",
    )
    return f"<section>{_note(_TAX)}{tax}</section><section>{_note(_SPEED)}{rounds}</section>"


def _again(matrix: Matrix, conditions: Sequence[Condition]) -> str:
    first = conditions[0].scenario
    preset = shlex.join(["hedgerow", "matrix", matrix.name if matrix.name in PRESETS else f"{matrix.name}.toml"])
    shared = {key: value for key, value in first.model_dump(exclude_none=True).items() if key in _SHOWN}
    settings = ", ".join(f"{key} {value}" for key, value in shared.items())
    places = "".join(
        f"<li>{html.escape(', '.join((each.attack, each.split, each.network, each.attackers)))}: rules "
        f"{html.escape(', '.join(str(rule) for rule in each.scenario.rules))}; seeds "
        f"{', '.join(map(str, each.scenario.seeds))}; attack {html.escape(str(each.scenario.attack or 'none'))}</li>"
        for each in conditions
    )
    return (
        f"<pre>{html.escape(preset)} --out FOLDER</pre><p>With the folder of this page only what is missing is run. "
        "Beside the page: <code>summary.json</code> has all its numbers, <code>records.jsonl</code> every node of "
        "every measured round, <code>matrix.json</code> what was run. Settings of all scenarios: "
        f"{html.escape(settings)}.</p>"
        f"<details><summary>All places, with the attacks' parameters</summary><ul>{places}</ul></details>"
    )


_SHOWN = ("task", "model", "rounds", "initial", "engine", "evaluate_every", "evaluate_samples", "lr", "batch", "epochs",
          "held_out")  # fmt: skip


def _hint(found: Figures) -> str:
    text = f"{found.label} / {found.attack}, {counted(found.accuracy.seeds, 'seed')}\n"
    text += f"accuracy {pm(found.accuracy)}, worst tenth {decimal(found.worst_decile)}, "
    text += f"worst node {decimal(found.worst_accuracy)}\n"
    text += f"attack success {pm(found.success)}, worst node {decimal(found.worst_success)}"
    if found.sybil_share is not None:
        text += f"\nSybils' share {decimal(found.sybil_share)}"
    return text
