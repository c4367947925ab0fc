"""The scorecard of attacks on one node: harm is what counts, seen from outside before, during and after.

Laws:
- A row fails for what was done to the node, never for what was tried. Harm is: no answer; rounds that stand still, jump
  or take much longer; a neighbour lost or left behind; accuracy lost, or an attack that succeeds more often than
  before, by more than `Bounds.loss` and `Bounds.gain`, at the worst moment of the attack.
- On the wire besides: nothing broken gets a weight, and what is broken is refused for the reason that it is broken
  (`REFUSALS`): a node that drops something for another reason has not looked.
- How much weight all identities of the adversary had is told beside what one identity would have had; it is a reason to
  worry, and no harm by itself. Harm is never excused by it either: an attack that is known to succeed fails its row.
- What was never decided on did no harm and shows nothing: the row says so, also where too little was there to replay.
- A row that could not be judged (the attack did not run, no round was over in so short a time, nothing was measured) is
  inconclusive: neither a pass nor harm.
- A crowd that sends more than its rate is read in turn, all of it by one rate (`gossip.patience`), so that none of it
  need be refused: of crowds no refusal for rates is asked, and what they cost is judged.
- A node without other neighbours has no evidence but the attacker's: no rule can tell who is right, so the row says so,
  whatever it came to.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from enum import StrEnum
from statistics import median
from typing import Any

from gossip.protocol.errors import Drop
from node.core.events import Phase

Status = Mapping[str, Any]
Pair = tuple[float | None, float | None]

REFUSALS: Mapping[str, tuple[frozenset[Drop], ...]] = {
    "ahead": (frozenset({Drop.EARLY}),),
    "broken-chain": (frozenset({Drop.BROKEN_CHAIN}),),
    "drip": (frozenset({Drop.TIMEOUT}),),
    "equivocate": (frozenset({Drop.EQUIVOCATION}), frozenset({Drop.CONVICTED})),
    "flood": (frozenset({Drop.PEER_RATE, Drop.MALFORMED}), frozenset({Drop.AUTHOR_RATE})),
    "forge": (
        frozenset({Drop.BAD_SIGNATURE}),
        frozenset({Drop.WRONG_AUTHOR}),
        frozenset({Drop.WRONG_NETWORK}),
    ),
    "not-finite": (frozenset({Drop.NOT_FINITE}),),
    # after two of them nothing more is fetched from whoever sent them: which two they are is a matter of turn
    "other-bytes": (frozenset({Drop.DIGEST, Drop.LENGTH, Drop.UNAVAILABLE}),),
    "other-encoding": (frozenset({Drop.MALFORMED}),),
    "oversize": (frozenset({Drop.OVERSIZE}), frozenset({Drop.MALFORMED})),
    "pester": (frozenset({Drop.PEER_RATE}),),
    "replay": (frozenset({Drop.DUPLICATE, Drop.REPLAY}),),
    "silent": (),
    "tell": (frozenset({Drop.PEER_RATE}),),
    "truncate": (frozenset({Drop.MALFORMED}),),
    "withhold": (frozenset({Drop.UNAVAILABLE, Drop.TIMEOUT}),),
    "wrong-length": (frozenset({Drop.LENGTH}),),
    "wrong-schema": (frozenset({Drop.SCHEMA}),),
}
"""By attack on the wire: reasons of which a healthy node gives at least one from each group."""

RATES = frozenset({Drop.PEER_RATE, Drop.AUTHOR_RATE})

ASIDE = frozenset({Drop.UNWANTED.value, Drop.UNREACHABLE.value})
"""Drops that say nothing about a peer: the round was over, or the peer had gone."""

SLOWER, GRACE = 2.0, 1.0
"""A round may take so many times as long as before, and so many seconds more."""

MEASURED = ("model", "sybil")
"""Suites whose harm is what a model does."""

JUMP = 20
"""Rounds that a node may go on without having played them: to catch up with its neighbours is no harm."""

STILL = 2
"""Rounds that a node goes on before a neighbour counts as standing still."""


class Verdict(StrEnum):
    """What a row comes to."""

    PASS = "pass"
    FAIL = "fail"
    INCONCLUSIVE = "inconclusive"

    @property
    def word(self) -> str:
        """The same for people, who look for what went wrong."""
        return "FAIL" if self is Verdict.FAIL else self.value


@dataclass(frozen=True, slots=True)
class Sight:
    """What was seen of the target.

    Attributes:
        before: its status before the attack.
        after: the last one that was read; None: no answer.
        accuracy: (before, lowest since) of the model after its rule decided, as its page says, or where it does not
            measure, of the model that it publishes.
        success: (before, highest since) share of test samples for which the attack has its way, of the model that the
            target publishes; None where it was not heard.
        first: its status before all attacks, which tells its usual pace; None: `before` does.
    """

    before: Status
    after: Status | None
    accuracy: Pair = (None, None)
    success: Pair = (None, None)
    first: Status | None = None


@dataclass(frozen=True, slots=True)
class Row:
    """One line of the scorecard.

    Attributes:
        suite: wire, siege, model or sybil.
        attack: its spelling, with what differs from the defaults.
        sybils: identities.
        tried: frames and updates that left.
        taken: updates of ours that got a weight above 0.
        ignored: updates of ours that were decided on and got weight 0.
        refused: what the target dropped of us, by reason.
        votes: most that our identities weighed together in one round, when one honest neighbour's weight is at most 1.
        share: most that they had of all weight in one round, the target's own model included; None: no decision.
        fair: what one identity would have had of it in that round.
        rounds: how many rounds the target went on.
        pace: median seconds a round before all attacks and during this one; None: no round.
        accuracy, success: as in `Sight`.
        neighbours: others that the target was connected to when the attack began, and those of them that went on.
        seconds: how long the attack took.
        verdict: pass: no harm was done, and what was broken was refused; inconclusive: nobody can tell.
        note: what harm there was, and what to know about it, in a few words.
    """

    suite: str
    attack: str
    sybils: int
    tried: int
    taken: int
    ignored: int
    refused: Mapping[str, int]
    votes: float
    share: float | None
    fair: float | None
    rounds: int
    pace: Pair
    accuracy: Pair
    success: Pair
    neighbours: tuple[int, int]
    seconds: float
    verdict: Verdict
    note: str

    @property
    def passed(self) -> bool:
        """Whether it is known that no harm was done."""
        return self.verdict is Verdict.PASS


def prospect(status: Status) -> str:
    """What to expect of a node before it is attacked, in a sentence or two.

    Args:
        status: of the target.
    """
    others = [peer for peer in status["neighbours"] if peer["connected"]]
    named = sum(peer["standing"] == "named" for peer in others)
    if not others:
        return "The node has no neighbours: what attacks it is all that it hears, and no rule can tell who is right."
    if named:
        return f"The node knows {named} of its {len(others)} neighbours by name: every row should pass."
    return (
        f"The node knows none of its {len(others)} neighbours by name, so a crowd of strangers outvotes them. A round "
        "moves it by one step of its own at most; some rows may cost up to .2 of accuracy. Let it know its peers: "
        "hedgerow invite, or [network] known."
    )


def score(
    suite: str,
    attack: str,
    spelling: str,
    tried: int,
    ours: Collection[str],
    sight: Sight,
    *,
    sybils: int,
    loss: float,
    gain: float,
    seconds: float,
    trouble: str = "",
    broken: bool = False,
    remark: str = "",
) -> Row:
    """Judge one attack.

    Args:
        suite: wire, siege, model or sybil.
        attack: its stages, joined by "+".
        spelling: the same with its parameters, for people.
        tried: frames and updates that left.
        ours: text forms of the attacker's peer ids.
        sight: what was seen of the target.
        sybils: identities that attacked.
        loss, gain: as in `Bounds`.
        seconds: how long it took.
        trouble: what kept the attack from running, so that nothing can be said; "": nothing.
        broken: every update that was sent is one that no node should take.
        remark: what else to know.
    """
    before, after = sight.before, sight.after
    usual = _pace(sight.first or before, -1)
    others = _others(before, ours)
    if after is None:
        return Row(
            suite, spelling, sybils, tried, 0, 0, {}, 0.0, None, None, 0, (usual, None),
            (sight.accuracy[0], None), sight.success, (len(others), 0), seconds, Verdict.FAIL, "no answer",
        )  # fmt: skip
    since = int(before["round"])
    opinions = _opinions(after, since)
    mine = [opinion for peer in ours for opinion in opinions.get(peer, {}).values()]
    votes, share, fair = _weight(opinions, ours)
    refused = _refused(before, after, ours)
    rounds = int(after["round"]) - since
    pace = (usual, _pace(after, since))
    going = _others(after, ours).keys() & others.keys()
    taken = sum(weight > 0 for weight in mine)
    vague = len(mine) < (2 if "replay" in attack.split("+") else suite != "wire")
    still = rounds < 1
    rests = after["phase"] == Phase.PACING.value or usual is None or seconds <= SLOWER * usual + GRACE
    faults = [
        "rounds stand still" if still and not rests else "",
        *_standing(before, after, rounds, others, _others(after, ours), pace),
        _lost(sight.accuracy, loss),
        _gained(sight.success, gain),
        f"{taken} broken updates had a weight" if broken and taken else "",
        "" if vague or trouble or not tried else _unrefused(attack, refused, sybils),
    ]
    doubts = [
        trouble,
        f"no round was over in {seconds:.0f} s" if still and rests else "",
        "its model was not measured" if suite in MEASURED and sight.accuracy[1] is None else "",
    ]
    notes = [
        *faults,
        *doubts,
        f"{sybils} identities had {votes:.1f} votes" if sybils > 1 and votes > 1.5 else "",
        "" if others or suite == "wire" else "it has no other neighbour to compare with",
        "too little was here in time to tell" if vague else "",
        remark,
    ]
    return Row(
        suite=suite,
        attack=spelling,
        sybils=sybils,
        tried=tried,
        taken=taken,
        ignored=len(mine) - taken,
        refused=refused,
        votes=votes,
        share=share,
        fair=fair,
        rounds=rounds,
        pace=pace,
        accuracy=sight.accuracy,
        success=sight.success,
        neighbours=(len(others), len(going)),
        seconds=round(seconds, 1),
        verdict=Verdict.FAIL if any(faults) else Verdict.INCONCLUSIVE if any(doubts) else Verdict.PASS,
        note="; ".join(filter(None, notes)),
    )


def settled(attack: str, before: Status, after: Status, ours: Collection[str], sybils: int) -> bool:
    """Whether a healthy node would have nothing more to say: all that should be refused is."""
    return not _unrefused(attack, _refused(before, after, ours), sybils)


def _others(status: Status, ours: Collection[str]) -> dict[str, int]:
    """Connected neighbours that are not ours, and the rounds they say they are in."""
    return {
        peer["peer"]: int(peer["round"] or 0)
        for peer in status["neighbours"]
        if peer["connected"] and peer["peer"] not in ours
    }


def _opinions(status: Status, since: int) -> dict[str, dict[int, float]]:
    """By peer and round: the weights of updates that were decided on, from round `since` on."""
    return {
        peer["peer"]: {
            int(row["round"]): float(row["weight"])
            for row in peer["history"]
            if row["verdict"] != "absent" and int(row["round"]) >= since
        }
        for peer in status["neighbours"]
    }


def _weight(
    opinions: Mapping[str, Mapping[int, float]], ours: Collection[str]
) -> tuple[float, float | None, float | None]:
    """Our votes, our share of all weight, and one identity's share, in the round in which our share was largest."""
    best: tuple[float, float | None, float | None] = (0.0, None, None)
    for round in sorted({round for peer in ours for round in opinions.get(peer, {})}):
        votes = sum(opinions.get(peer, {}).get(round, 0.0) for peer in ours)
        rest = 1.0 + sum(rows.get(round, 0.0) for peer, rows in opinions.items() if peer not in ours)
        share = votes / (rest + votes)
        if best[1] is None or share > best[1]:
            best = (votes, share, 1.0 / (rest + 1.0))
    return best


def _refused(before: Status, after: Status, ours: Collection[str]) -> dict[str, int]:
    """What was dropped of us meanwhile, by reason."""
    counts: dict[str, int] = {}
    for status, sign in ((before, -1), (after, 1)):
        for peer in status["neighbours"]:
            if peer["peer"] in ours:
                for reason, count in peer["dropped"].items():
                    counts[reason] = counts.get(reason, 0) + sign * count
    return {reason: count for reason, count in sorted(counts.items()) if count > 0 and reason not in ASIDE}


def _pace(status: Status, since: int) -> float | None:
    """Median seconds of the rounds from `since` on."""
    took = [float(row["seconds"]) for row in status["course"] if row["round"] >= since]
    return median(took) if took else None


def _standing(
    before: Status, after: Status, rounds: int, others: Mapping[str, int], now: Mapping[str, int], pace: Pair
) -> list[str]:
    """What is wrong with the target's rounds, and with its neighbours'."""
    found = []
    jumped = rounds - (int(after["rounds_played"]) - int(before["rounds_played"]))
    if others and jumped > JUMP:
        found.append(f"it was led {jumped} rounds ahead")
    lost = others.keys() - now.keys()
    if lost:
        found.append(f"it lost {len(lost)} of {len(others)} honest neighbours")
    stuck = [peer for peer in others.keys() & now.keys() if rounds > STILL and now[peer] <= others[peer]]
    if stuck:
        found.append(f"{len(stuck)} of {len(others)} honest neighbours stand still")
    if pace[0] is not None and pace[1] is not None and pace[1] > SLOWER * pace[0] + GRACE:
        found.append(f"rounds take {pace[1]:.1f} s instead of {pace[0]:.1f}")
    return found


def _lost(accuracy: Pair, loss: float) -> str:
    before, worst = accuracy
    if before is None or worst is None or before - worst <= loss:
        return ""
    return f"accuracy fell from {before:.2f} to {worst:.2f}"


def _gained(success: Pair, gain: float) -> str:
    before, worst = success
    if before is None or worst is None or worst - before <= gain:
        return ""
    return f"the attack succeeds at {worst:.2f}, before at {before:.2f}"


def _unrefused(attack: str, refused: Mapping[str, int], sybils: int) -> str:
    """What should have been refused and was not, or ""."""
    for stage in attack.split("+"):
        for reasons in REFUSALS.get(stage, ()):
            waits = sybils > 1 and reasons & RATES
            if not waits and not reasons & refused.keys():
                return f"nothing was refused as {' or '.join(sorted(reasons))}"
    return ""
