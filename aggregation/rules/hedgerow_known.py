"""The rule `hedgerow-known`: hedgerow's votes, then a mean in which strangers are bounded and known peers are not.

For nodes that know whom they can believe: peers named by the operator, and peers whom these vouch for. A node that
hears nobody it knows decides as `hedgerow` does, so one rule serves both.
"""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor

from aggregation.evidence import Decision, Evidence, Integration, Need, Rule, Weighting, Weights
from aggregation.parts.clipping import median_bound
from aggregation.parts.compose import compose
from aggregation.parts.known_unbounded import known_rows, known_unbounded, row_votes
from aggregation.parts.neighbourhood import neighbourhood
from aggregation.parts.views import VIEWS, read_views
from aggregation.parts.winsorised import clipped_winsorised_mean
from aggregation.rules.hedgerow import ALL_VIEWS, check_clusters, keep_votes

CLIP = 2.0  # hedgerow's, at nodes that hear nobody they know


def hedgerow_known(
    clip: float = 1.0,
    views: str | Iterable[str] = ALL_VIEWS,
    threshold: float = 0.9,
    gain: float = 0.3,
    trim: float = 0.2,
    mixing: bool = False,
) -> Rule:
    """Clip, one cluster one vote, leave out who stands far apart, bound strangers: for neighbours j of node i.

    1. D_j = clip(x_j - x_i, tau), tau = clip x lower median of |x_j - x_i|.
    2. s_jk = largest over views of the cosine of D_j and D_k, each view centred over the known rows, the node and
       strangers left out. Known before strangers, nearest first, j keeps its vote unless s_jk > threshold for a k
       that kept its own: no copy of a known row takes its vote.
    3. Up to two rows leave if the largest distance between models shrinks by the share `gain` for each.
    4. m rows are left, b = min(max(1, floor(trim m)), floor((m - 1) / 2)). Per coordinate [l, h] is the range of all of
       them without the b lowest and the b highest. h_j = 1 for the own and known rows, R_j = D_j; a stranger's h_j is
       the share of rows that hold it among their m - b nearest, its R_j = D_j bounded to [l, h].
    5. x_i += sum_j h_j R_j / sum_j h_j.

    Exact steps 3 to 5, and what unequal votes (`Evidence.votes`) change: `known_unbounded`. Where votes are given, who
    is known keeps its vote whomever it is like, since the operator has said how much it counts: a step that is much
    longer than others makes those look alike. A stranger loses its vote to any kept row that it is like.

    Why the centre is that of the known: to a node that stands apart from them (it has just joined, or comes back) they
    lie in one direction, and would share one vote; so they would about a centre that strangers draw away.

    Guarantee: if all known are honest and at most b strangers have a say, every coordinate of the result lies within
    the range of own and honest rows. Against known liars nothing is promised but the clip.

    A node none of whose rows is known (`Evidence.trusted`) decides as `hedgerow` with these views and this threshold,
    the rest at its defaults. No neighbour: own model, bit for bit.

    Args:
        clip: >= 0; 0 leaves clipping out.
        views: names from `VIEWS`, comma-separated; none: nobody is alike.
        threshold: cosine above which two share one vote; 1 leaves clusters out.
        gain: in [0, 1); 0: nobody leaves.
        trim: in [0, .5); 0: strangers are not bounded.
        mixing: known rows and the own one count by how many hold them near too. With clip = 2, gain = 0 and trim = .25
            that is a simpler rule, which holds known liars by it rather than by leaving out.

    Source: this project.

    Raises:
        RuleError: a parameter out of its range; at decision, evidence without a probe when a view needs one.
    """
    names = read_views(views)
    needs: frozenset[Need] = frozenset({Need.VOTES}).union(*(VIEWS[name][1] for name in names))
    integration = _as_known(known_unbounded(clip, trim, gain, mixing), clipped_winsorised_mean(CLIP))
    return compose(_votes(clip, names, threshold), integration, "hedgerow-known", needs)


def _knows(evidence: Evidence) -> Tensor:
    """Nodes that hear somebody they know: bool (...,)."""
    return (known_rows(evidence) & evidence.present()).any(dim=-1)


def _votes(clip: float, views: Iterable[str], threshold: float) -> Weighting:
    check_clusters(clip, threshold)

    def weigh(evidence: Evidence) -> Weights:
        around = neighbourhood(evidence)
        tau = median_bound(around, clip, row_votes(evidence, around.heard)[..., 1:])
        bound = torch.where(_knows(evidence).unsqueeze(-1), tau, median_bound(around, CLIP))
        return keep_votes(evidence, around, bound, views, threshold, known_rows(evidence), evidence.votes is not None)

    return weigh


def _as_known(known: Integration, unknown: Integration) -> Integration:
    """One integration for nodes that hear somebody they know, one for the others."""

    def integrate(evidence: Evidence, weights: Weights) -> Decision:
        knows = _knows(evidence)
        if bool(knows.all()):
            return known(evidence, weights)
        if not bool(knows.any()):
            return unknown(evidence, weights)
        params = evidence.table.values[evidence.own.reshape(-1)]
        said = weights.neighbours.flatten(0, -2).clone()
        verdicts = weights.verdicts.flatten(0, -2).clone()
        for some, decide in ((knows.reshape(-1), known), (~knows.reshape(-1), unknown)):
            decision = decide(*_of(evidence, weights, some))
            params[some], said[some], verdicts[some] = decision.params, decision.weights, decision.verdicts
        whole = weights.neighbours.shape
        return Decision(params.reshape(*whole[:-1], -1), said.reshape(whole), verdicts.reshape(whole))

    return integrate


def _of(evidence: Evidence, weights: Weights, nodes: Tensor) -> tuple[Evidence, Weights]:
    """What these integrations read, of some nodes: bool (N,) over all leading dimensions."""

    def part(rows: Tensor) -> Tensor:
        return rows.flatten(0, -2)[nodes]

    trusted, votes = evidence.trusted, evidence.votes
    some = Evidence(
        table=evidence.table,
        own=evidence.own.reshape(-1)[nodes],
        neighbours=part(evidence.neighbours),
        relayed=part(evidence.relayed),
        trusted=None if trusted is None else part(trusted),
        votes=None if votes is None else part(votes),
    )
    return some, Weights(weights.own.reshape(-1)[nodes], part(weights.neighbours), part(weights.verdicts))
