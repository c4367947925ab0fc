"""The rule `hedgerow-bristle`: hedgerow's votes, then each column of the head from those who train its class.

A class is a column of the head (`aggregation.rules.bristle`). Where every node trains few classes, most rows know
nothing of
a column: they drag it, and to a bound over all rows those who know look like liars. So a column has speakers:

1. Votes as in `hedgerow`: clip, one cluster one vote.
2. A neighbour speaks for the classes that its signed mask says it trains (no mask: for all).
3. It is tested as far as it can be: in a familiar column its weight by Bristle must be above 0, elsewhere its foreign
   weight; who shares no familiar class with this node is not tested.
4. The own row speaks for the classes that this node trains, and below the head.
5. A column moves by the winsorised mean over its speakers, b of m bounded at each end as in `hedgerow`; without a
   speaker among the neighbours it stays, bit by bit.

Guarantee: where m >= 3 speak and at most b of them are dishonest, every coordinate lies within [min, max] of the honest
ones. A claim is a peer's own word: it is signed, but says what its author likes. It buys a voice, no more than that.

Source: this project. After the idea of cross-tested columns, as far as a node can go without others' verdicts.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from aggregation.errors import RuleError
from aggregation.evidence import Decision, Evidence, HeadLayout, Integration, Need, Rule, Verdict, Weights
from aggregation.parts.clipping import median_bound, shrink
from aggregation.parts.compose import compose
from aggregation.parts.neighbourhood import column_blocks, neighbourhood
from aggregation.parts.views import VIEWS, read_views
from aggregation.parts.winsorised import check_bounds, winsor_bound, winsorised_mean
from aggregation.rules.bristle import coordinate_mean, overlap, peer_scores, per_class, trust
from aggregation.rules.hedgerow import ALL_VIEWS, one_cluster_one_vote


def spoken_columns(clip: float = 2.0, trim: float = 0.2, claims: bool = True, test: bool = True) -> Integration:
    """Integration: steps 2 to 5 above, over neighbours of weight above 0.

    The weight in the decision is the share of coordinates that a neighbour speaks for.

    Args:
        clip: rows are shortened to so many lower median distances, >= 0; 0: no clipping.
        trim: share of speakers bounded at each end, in [0, .5); 0: their plain mean.
        claims: whether masks count; else everybody speaks for every class.
        test: whether speakers are tested on own held-out samples.

    Raises:
        RuleError: a parameter out of its range; at a decision, evidence without a probe when there is a test.
    """
    check_bounds(clip, trim)

    def integrate(evidence: Evidence, weights: Weights) -> Decision:
        around = neighbourhood(evidence)
        voters = around.heard & (weights.neighbours > 0)
        classes = _classes(evidence)
        speak = voters.unsqueeze(-1).repeat(*([1] * voters.dim()), classes + 1)
        mine = torch.ones(*evidence.own.shape, classes + 1, dtype=torch.bool, device=speak.device)
        if claims and evidence.peer_classes is not None and evidence.head is not None:
            speak[..., :-1] &= evidence.peer_classes
        if claims and evidence.own_classes is not None and evidence.head is not None:
            mine[..., :-1] = evidence.own_classes
        verdicts = weights.verdicts.clone()
        if test and classes:
            passed = _passed(evidence, voters, classes)
            verdicts[(speak & ~passed).any(dim=-1) & ~(speak & passed).any(dim=-1)] = int(Verdict.HARMFUL)
            speak &= passed
        rows = torch.cat([mine.unsqueeze(-2), speak], dim=-2)
        factors = shrink(around.lengths, median_bound(around, clip))
        params = _pull(evidence, around.index, rows, factors, trim)
        share = coordinate_mean(speak.double(), evidence.head, params.shape[-1]).to(params.dtype)
        verdicts[voters & (share <= 0) & (verdicts != int(Verdict.HARMFUL))] = int(Verdict.UNPROVEN)
        return Decision(params=params, weights=share, verdicts=verdicts)

    return integrate


def _classes(evidence: Evidence) -> int:
    """Columns that can be told apart: 0 when nothing says how many there are."""
    if evidence.head is not None:
        return evidence.head.classes
    return 0 if evidence.own_classes is None else evidence.own_classes.shape[-1]


def _passed(evidence: Evidence, voters: Tensor, classes: int) -> Tensor:
    """Who passes the own test for each class and, last, for all else; or cannot be tested: bool (..., n, c + 1)."""
    probe = evidence.probe
    if probe is None:
        raise RuleError(
            "hedgerow-bristle tests neighbours: the evidence has no probe (or leave the test out: test=false)"
        )
    familiar = probe.familiar()
    own_f1 = probe.scores(evidence.table.rows(evidence.own.unsqueeze(-1))).squeeze(-2)
    said = trust(own_f1, peer_scores(evidence, probe, voters, classes), familiar, overlap(evidence, classes))
    foreign = (said.foreign > 0).unsqueeze(-1)
    columns = torch.where(familiar.unsqueeze(-2), said.classes > 0, foreign)
    return torch.cat([columns, foreign], dim=-1) | ~said.selected.any(dim=-1).unsqueeze(-1)


def _pull(evidence: Evidence, index: Tensor, speak: Tensor, factors: Tensor, trim: float) -> Tensor:
    """x_i + winsorised mean over the speakers of each column, in blocks of coordinates.

    Args:
        evidence: own and n neighbours.
        index: (..., n + 1) row numbers, own first.
        speak: (..., n + 1, c + 1) bool, own first; last class: all that is not head.
        factors: (..., n) how much of each difference counts.
        trim: as in `spoken_columns`.
    """
    values = evidence.table.values
    index = index.reshape(-1, index.shape[-1])
    speak = speak.reshape(*index.shape, speak.shape[-1])
    shares = torch.cat([factors.new_ones(len(index), 1), factors.reshape(len(index), -1)], dim=-1).to(values.dtype)
    out = values[index[:, 0]]
    for span, number in _spans(evidence.head, values.shape[-1], speak.shape[-1] - 1):
        nodes = torch.nonzero(speak[:, 1:, number].any(dim=-1)).flatten()
        who = speak[nodes, :, number]
        bound = winsor_bound(who.sum(dim=-1), trim)
        for block in column_blocks(span.stop - span.start, 2 * index[nodes].numel()) if len(nodes) else ():
            part = slice(span.start + block.start, span.start + block.stop)
            apart = values[:, part][index[nodes]] - values[:, part][index[nodes, :1]]
            out[nodes, part] += winsorised_mean(apart * shares[nodes].unsqueeze(-1), who, bound)
    return out.reshape(*evidence.own.shape, values.shape[-1])


def _spans(head: HeadLayout | None, size: int, rest: int) -> Iterator[tuple[slice, int]]:
    """Runs of coordinates that belong to one class, or (numbered `rest`) to none."""
    if head is None:
        yield slice(0, size), rest
        return
    runs = [(head.weight + k * head.features, head.features, k) for k in range(head.classes)]
    if head.bias is not None:
        runs += [(head.bias + k, 1, k) for k in range(head.classes)]
    at = 0
    for start, length, number in sorted(runs):
        if at < start:
            yield slice(at, start), rest
        yield slice(start, start + length), number
        at = start + length
    if at < size:
        yield slice(at, size), rest


def hedgerow_bristle(
    clip: float = 2.0,
    views: str = ALL_VIEWS,
    threshold: float = 0.9,
    trim: float = 0.2,
    claims: bool = True,
    test: bool = True,
    bounded: bool = True,
) -> Rule:
    """Votes of `hedgerow`, then `spoken_columns`; with `bounded` false, Bristle's own weighted mean in its place.

    For full or dense neighbourhoods in which every class has several holders. Where a node has no holder of a class
    beside it, that column does not reach it: then take `hedgerow`.

    Raises:
        RuleError: a parameter out of its range.
    """
    names = read_views(views)
    scores = {Need.SCORES} if test or not bounded else set[Need]()
    classes = {Need.CLASSES} if claims or scores else set[Need]()
    needs = frozenset(scores | classes).union(*(VIEWS[name][1] for name in names))
    integration = spoken_columns(clip, trim, claims, test) if bounded else per_class()
    return compose(one_cluster_one_vote(clip, names, threshold), integration, "hedgerow-bristle", needs)
