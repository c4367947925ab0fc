"""The scorecard of attacks on one node: what a healthy node shows, read from its own status before and after.

Laws:
- A node passes if it answers, its rounds go on, it is about as accurate as before, and it refused what was broken
  for the reason that it was broken (`REFUSALS`): a node that drops something for another reason has not looked.
- What was never taken in cannot be replayed: a replay is judged once two updates of ours were decided on, and the row
  says so if it was not.
- Many identities of one adversary have one vote between them, once they act alike (`VOTES`): accuracy alone would
  show only attacks that are quick.
- A node without other neighbours has no evidence but the attacker's: no rule can tell who is right, so the row says
  so, whatever it came to.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

from gossip.errors import Drop

REFUSALS: Mapping[str, tuple[frozenset[Drop], ...]] = {
    "forge": (
        frozenset({Drop.BAD_SIGNATURE}),
        frozenset({Drop.WRONG_AUTHOR}),
        frozenset({Drop.WRONG_NETWORK}),
    ),
    "not-finite": (frozenset({Drop.NOT_FINITE}),),
    "other-bytes": (frozenset({Drop.DIGEST, Drop.LENGTH, Drop.UNAVAILABLE}),),
    "oversize": (frozenset({Drop.OVERSIZE, Drop.LENGTH}),),
    "replay": (frozenset({Drop.DUPLICATE, Drop.REPLAY}),),
    "truncate": (frozenset({Drop.MALFORMED}),),
    "wrong-schema": (frozenset({Drop.SCHEMA, Drop.LENGTH}),),
}
"""By attack on the wire: reasons of which a healthy node gives at least one from each group."""

VOTES = 1.5
"""Together, of the last round that was decided, the weights of all Sybils: above one vote, with room for rounding."""


@dataclass(frozen=True, slots=True)
class Row:
    """One line of the scorecard.

    Attributes:
        suite: wire, model or sybil.
        attack: its spelling.
        tried: frames and updates that left.
        taken: updates of ours that got a weight above 0.
        ignored: updates of ours that were decided on and got weight 0.
        refused: what the target dropped meanwhile, by reason.
        weight: mean weight over all decisions on our updates; None when there was none.
        votes: weights of all our identities together, in the last round in which one was decided on; an honest
            neighbour's is at most 1.
        rounds: how many rounds the target went on.
        accuracy: before and after; None when the target does not measure.
        neighbours: others that the target was connected to when the attack began.
        passed: the target is healthy and refused what was broken (see above).
        note: what went wrong, and what to know about it, in a few words.
    """

    suite: str
    attack: str
    tried: int
    taken: int
    ignored: int
    refused: Mapping[str, int]
    weight: float | None
    votes: float
    rounds: int
    accuracy: tuple[float | None, float | None]
    neighbours: int
    passed: bool
    note: str


def score(
    suite: str,
    attack: str,
    tried: int,
    ours: Collection[str],
    before: Mapping[str, Any],
    after: Mapping[str, Any] | None,
    drop: float,
    trouble: str = "",
) -> Row:
    """Judge one attack.

    Args:
        suite: wire, model or sybil.
        attack: its spelling.
        tried: frames and updates that left.
        ours: text forms of the attacker's peer ids.
        before: the target's status before the attack.
        after: the one after it; None: no answer.
        drop: loss of accuracy that still counts as healthy.
        trouble: what kept the attack from running; "": nothing.
    """
    others = sum(peer["connected"] and peer["peer"] not in ours for peer in before["neighbours"])
    if after is None:
        lost = (before["accuracy"], None)
        return Row(suite, attack, tried, 0, 0, {}, None, 0.0, 0, lost, others, False, "no answer")
    opinions = [
        (int(opinion["round"]), float(opinion["weight"]))
        for peer in after["neighbours"]
        if peer["peer"] in ours
        for opinion in peer["history"]
        if opinion["verdict"] != "absent"
    ]
    weights = [weight for _, weight in opinions]
    last = max((round for round, _ in opinions), default=0)
    votes = sum(weight for round, weight in opinions if round == last)
    refused = {
        reason: count - before["dropped"].get(reason, 0)
        for reason, count in after["dropped"].items()
        if count > before["dropped"].get(reason, 0)
    }
    rounds = int(after["round"]) - int(before["round"])
    accuracy = (before["accuracy"], after["accuracy"])
    vague = "replay" in attack.split("+") and len(opinions) < 2
    fault = trouble or _fault(attack, tried > 0 and not vague, refused, rounds, accuracy, drop)
    if not fault and suite == "sybil" and votes > VOTES:
        fault = f"one adversary had {votes:.1f} votes"
    alone = "" if others else "it has no other neighbour to compare with"
    return Row(
        suite=suite,
        attack=attack,
        tried=tried,
        taken=sum(weight > 0 for weight in weights),
        ignored=sum(weight == 0 for weight in weights),
        refused=refused,
        weight=sum(weights) / len(weights) if weights else None,
        votes=votes,
        rounds=rounds,
        accuracy=accuracy,
        neighbours=others,
        passed=not fault,
        note="; ".join(
            filter(None, (fault, alone if suite != "wire" else "", "too little was taken in to tell" if vague else ""))
        ),
    )


def _fault(
    attack: str,
    acted: bool,
    refused: Mapping[str, int],
    rounds: int,
    accuracy: tuple[float | None, float | None],
    drop: float,
) -> str:
    """What is wrong with the target, or ""."""
    if rounds < 1:
        return "rounds stand still"
    before, after = accuracy
    if before is not None and after is not None and before - after > drop:
        return "accuracy lost"
    for stage in attack.split("+"):
        for reasons in REFUSALS.get(stage, ()):
            if acted and not reasons & refused.keys():
                return f"nothing was refused as {' or '.join(sorted(reasons))}"
    return ""
