"""What a running node looks like from outside, as plain JSON values: the body of `/v1/status`."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from aggregation.evidence import Verdict
from identity.keys import PeerId, format_peer
from node.core.neighbour import Neighbour
from node.fallback import Fallback
from node.service import NodeService
from node.store.journal import record_object
from node.store.people import Person, State
from node.trust.conduct import remarks

SHOWN = 64  # rounds of opinions on the page


@dataclass(frozen=True, slots=True)
class Facts:
    """What does not change while a node runs."""

    version: str
    peer: PeerId
    network: str
    task: str
    rule: str
    attackable: tuple[str, ...] = ()
    folder: str = "DIR"


def snapshot(
    service: NodeService,
    facts: Facts,
    uptime: float,
    alarms: Sequence[str] = (),
    people: Sequence[Person] = (),
    standing: Mapping[PeerId, float] | None = None,
) -> dict[str, Any]:
    """The node now.

    Args:
        service: a service whose `run` has begun.
        facts: what does not change.
        uptime: seconds since the start.
        alarms: what whoever runs the node must know now.
        people: whom the operator knows, whom he distrusts, and who asks.
        standing: P by peer, of those for whom people vouch.
    """
    live = {neighbour.peer: neighbour for neighbour in service.core.neighbours()}
    distrusted = service.core.standing.distrusted
    peers = sorted({*live, *service.opinions, *service.conduct.guilty(), *distrusted})
    record = service.record
    names = {person.peer: person.alias for person in people}
    return {
        "version": facts.version,
        "peer": format_peer(facts.peer),
        "network": facts.network,
        "task": facts.task,
        "rule": facts.rule,
        "address": service.gossip.address,
        "attackable": list(facts.attackable),
        "alarms": list(alarms),
        "alone": service.watch.alone,
        "last_line": {what: service.watch.counts[what] for what in ("braked", "kept", "unbacked")},
        "last_good": None if service.fallback is None else _last_good(service.fallback),
        "phase": service.core.phase.value,
        "round": service.core.round,
        "rounds_played": service.played,
        "accuracy": service.accuracy,
        "uptime_seconds": round(uptime, 3),
        "diverged": service.diverged,
        "course": [
            {"round": number, "accuracy": measured, "seconds": took} for number, measured, took in service.course
        ],
        "last_round": None if record is None else record_object(record),
        "neighbours": [
            {
                **_peer(service, peer, live.get(peer), tuple(live)),
                "name": names.get(peer, ""),
                "vouched": (standing or {}).get(peer),
            }
            for peer in peers
        ],
        "far": _afar(service, tuple(live)),
        "people": [
            {
                "peer": format_peer(person.peer),
                "name": person.alias,
                "state": person.state.value,
                "since": person.since,
            }
            for person in people
        ],
        "asks": [
            {
                "peer": format_peer(person.peer),
                "since": person.since,
                "type": f"hedgerow trust {shlex.quote(facts.folder)} {format_peer(person.peer)}",
            }
            for person in people
            if person.state is State.ASKS
        ],
        "dropped": {reason.value: count for reason, count in sorted(service.gossip.counters.items())},
    }


def _afar(service: NodeService, linked: Sequence[PeerId]) -> dict[str, Any]:
    """What was heard from afar in the latest round, and of whom it could be."""
    rows = [] if service.record is None else [row for row in service.record.neighbours if row.far]
    standing = service.core.standing
    return {
        "wanted": standing.far,
        "known": len(standing.choices(linked)),
        "drawn": [format_peer(row.peer) for row in rows],
        "heard": [format_peer(row.peer) for row in rows if row.verdict is not Verdict.ABSENT],
        "near": len((standing.near - standing.by_name).intersection(linked)),
    }


def _peer(service: NodeService, peer: PeerId, neighbour: Neighbour | None, live: Sequence[PeerId]) -> dict[str, Any]:
    around = live if neighbour is not None else (*live, peer)
    opinions = service.opinions.of(peer)[-SHOWN:]
    history = [{"round": o.round, "weight": round(o.weight, 6), "verdict": o.verdict.name.lower()} for o in opinions]
    latest = history[-1] if history else {"weight": None, "verdict": None}
    dropped = service.conduct.of(peer)
    return {
        "peer": format_peer(peer),
        "connected": neighbour is not None,
        "standing": service.core.standing.describe(peer, around, service.core.round),
        "round": None if neighbour is None or neighbour.signed < 0 else neighbour.signed,
        "trust": None if neighbour is None else round(neighbour.trust, 4),
        "lag_seconds": None if neighbour is None else neighbour.lag,
        "weight": latest["weight"],
        "verdict": latest["verdict"],
        "history": history,
        "dropped": {reason.value: count for reason, count in sorted(dropped.items())},
        "remarks": remarks(dropped, service.conduct.harm(peer)),
    }


def _last_good(fallback: Fallback) -> dict[str, Any] | None:
    """The model that there is to go back to, and whether accuracy is far below it."""
    best = fallback.recent.best
    return None if best is None else {"round": best[0], "accuracy": best[1], "fallen": fallback.fell is not None}
