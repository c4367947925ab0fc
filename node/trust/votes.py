"""Unequal votes: an operator may count sites of known peers by the data that they hold, not all alike.

    weights = { bob = 2.0, self = 0.5 }

A name is one that the operator gave (`hedgerow trust --name`), a whole peer id, or `self`. Whoever is not named has one
vote. Votes count among known rows, under rules that ask for them (`hedgerow-known`); a stranger has never more than the
mean vote.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping

from identity.errors import BadPeerId
from identity.keys import PeerId, parse_peer

SELF = "self"


def votes_of(weights: Mapping[str, float], names: Mapping[str, PeerId], own: PeerId) -> dict[PeerId, float]:
    """Votes by peer.

    Args:
        weights: votes > 0, by name.
        names: peers by the names that the operator gave them; `self` is this node, whoever else is called so.
        own: own peer id.

    Raises:
        BadPeerId: a name that nobody has; one sentence.
    """
    return {_meant(name, names, own): vote for name, vote in weights.items()}


def above_half(votes: Mapping[PeerId, float], own: PeerId, known: Collection[PeerId]) -> PeerId | None:
    """Who alone has more than half of all votes of this node and those that it knows: nothing can bound it.

    Args:
        votes: by peer, 1 for whoever is not in it.
        own: own peer id.
        known: whom the node knows.
    """
    everybody = {own, *known, *votes}
    total = sum(votes.get(peer, 1.0) for peer in everybody)
    heaviest = max(sorted(everybody), key=lambda peer: votes.get(peer, 1.0))
    return heaviest if 2 * votes.get(heaviest, 1.0) > total and len(everybody) > 1 else None


def _meant(name: str, names: Mapping[str, PeerId], own: PeerId) -> PeerId:
    if name == SELF:
        return own
    if name in names:
        return names[name]
    try:
        return parse_peer(name)
    except BadPeerId:
        raise BadPeerId(
            f"[network] weights: nobody is called '{name}' here: give the peer that name with "
            f"`hedgerow trust DIR PEER --name {name}`, or write its whole peer id"
        ) from None
