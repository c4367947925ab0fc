"""The rule `hedgerow`: clip, compare in several views, one cluster one vote, bounded mean of mixed rows.

Every part exists on its own and is left out by a parameter: clip = 0, views = "", threshold = 1, trim = 0, mixing =
false, slack = 0.
No relays, no memory between rounds: it stands on nothing but the neighbours' own updates.
"""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor

from aggregation.errors import RuleError
from aggregation.evidence import Evidence, Need, Rule, Verdict, Weighting, Weights
from aggregation.parts.clipping import median_bound, shrink
from aggregation.parts.clusters import nearest_first, one_vote
from aggregation.parts.compose import compose
from aggregation.parts.neighbourhood import Neighbourhood, neighbourhood
from aggregation.parts.views import VIEWS, centred_cosines, read_views
from aggregation.parts.winsorised import clipped_winsorised_mean

ALL_VIEWS = "parameters,activity,function"


def hedgerow(
    clip: float = 2.0,
    views: str | Iterable[str] = ALL_VIEWS,
    threshold: float = 0.9,
    trim: float = 0.2,
    mixing: bool = True,
    slack: float = 1.0,
) -> Rule:
    """The composed defence, in five steps, for neighbours j of node i.

    1. D_j = clip(x_j - x_i, tau), tau = clip x lower median of |x_j - x_i|.
    2. s_jk = largest over views of the cosine of D_j and D_k, each view centred over own (0) and neighbours.
    3. Nearest first, j keeps its vote unless s_jk > threshold for a k that kept its own.
    4. Rows 0 (own) and the kept D_j, m of them, b = min(max(1, floor(trim m)), floor((m - 1) / 2)). Per coordinate
       [l, h] is the range of the rows without the b lowest and the b highest: a row counts at most `slack` widths of
       it beyond it.
    5. Each row becomes the mean of its m - b nearest; x_i moves by the mean of these, bounded to [l, h].

    Who is known is not asked: all rows are judged alike (`hedgerow-known` asks).

    Guarantee: for m >= 3, if at most b kept rows are dishonest, every coordinate of the result lies within [min, max]
    of own and honest kept rows. No neighbour: own model; one: the mean of both. A neighbour whose logits here are not
    finite has no vote.

    Args:
        clip: >= 0; 0 leaves clipping out.
        views: names from `VIEWS`, comma-separated; none: nobody is alike.
        threshold: cosine above which two share one vote; 1 leaves clusters out.
        trim: in [0, .5); 0 leaves the bound per coordinate out, and mixing with it.
        mixing: whether step 5 counts a row by how many hold it near; False: all alike.
        slack: >= 0; 0: no row counts beyond [l, h], which is the winsorised mean.

    Source: this project; its parts stand on FoolsGold (similarity), ClippedGossip (clipping), winsorised means and
        nearest-neighbour mixing.

    Raises:
        RuleError: a parameter out of its range; at decision, evidence without a probe when a view needs one.
    """
    names = read_views(views)
    needs: frozenset[Need] = frozenset().union(*(VIEWS[name][1] for name in names))
    return compose(
        one_cluster_one_vote(clip, names, threshold),
        clipped_winsorised_mean(clip, trim, mixing, slack),
        "hedgerow",
        needs,
    )


def one_cluster_one_vote(clip: float, views: Iterable[str], threshold: float) -> Weighting:
    """Weighting: 1 for neighbours that keep their vote, 0 for the others (steps 1 to 3 of `hedgerow`).

    Raises:
        RuleError: clip < 0, threshold outside [-1, 1], or no such view.
    """
    names = read_views(views)
    check_clusters(clip, threshold)

    def weigh(evidence: Evidence) -> Weights:
        around = neighbourhood(evidence)
        return keep_votes(evidence, around, median_bound(around, clip), names, threshold)

    return weigh


def check_clusters(clip: float, threshold: float) -> None:
    """Refuse what no clusters of clipped rows can be found with.

    Raises:
        RuleError: clip < 0, or threshold outside [-1, 1].
    """
    if not clip >= 0:
        raise RuleError(f"clip must be >= 0 (0: no clipping), got {clip}")
    if not -1 <= threshold <= 1:
        raise RuleError(f"threshold must lie in [-1, 1], got {threshold}")


def keep_votes(
    evidence: Evidence,
    around: Neighbourhood,
    bound: Tensor,
    views: Iterable[str],
    threshold: float,
    known: Tensor | None = None,
    apart: bool = False,
) -> Weights:
    """Who keeps a vote, nearest first, of rows clipped at `bound` (..., 1).

    `known` rows (..., n) come before all others, so that no copy takes their vote. A node that hears some compares rows
    about the mean of these, itself left out: else all of them are alike to one that stands apart. `apart`: known rows
    keep their votes however alike they are.
    """
    factors = shrink(around.lengths, bound)
    likeness, sound = similarity(evidence, around, factors, views, known)
    if known is not None and apart:
        likeness = likeness.masked_fill(known.unsqueeze(-1) & known.unsqueeze(-2), -1.0)
    voters = around.heard & sound
    kept = one_vote(likeness, nearest_first(around.lengths, voters, known), voters, threshold)
    around.verdicts[kept & (factors < 1)] = int(Verdict.CLIPPED)
    around.verdicts[voters & ~kept] = int(Verdict.DUPLICATE)
    around.verdicts[around.heard & ~sound] = int(Verdict.NOT_FINITE)
    said = kept.to(evidence.table.values.dtype)
    return Weights(own=torch.ones_like(evidence.own, dtype=said.dtype), neighbours=said, verdicts=around.verdicts)


def similarity(
    evidence: Evidence, around: Neighbourhood, factors: Tensor, views: Iterable[str], about: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """Largest centred cosine over views (..., n, n) float64, and which rows all views could judge, bool (..., n).

    `about` as `centred_cosines` takes it.
    """
    shape = (*around.heard.shape, around.heard.shape[-1])
    likeness = torch.full(shape, -1.0, dtype=torch.float64, device=around.squares.device)
    sound = torch.ones_like(around.heard)
    if around.heard.shape[-1] == 0:
        return likeness, sound
    for name in views:
        products = VIEWS[name][0](evidence, around, factors)
        sound &= torch.isfinite(torch.diagonal(products, dim1=-2, dim2=-1)) | ~around.heard
        likeness = torch.maximum(likeness, centred_cosines(products, around.heard, about))
    return likeness, sound
