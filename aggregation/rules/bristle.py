"""Bristle: neighbours weighed class by class by what their models do on own held-out samples.

Source: J. Verbraeken, M. de Vos, J. Pouwelse, "Bristle: Decentralized Federated Learning in Byzantine, Non-i.i.d.
Environments", arXiv 2110.11006 (2021), and the authors' published code.

Familiar classes are those with enough own held-out samples to judge; the others are foreign. A class is a column of the
head.
1. F1 per familiar class, of the own model and of each candidate.
2. S_p: the n_p familiar classes where candidate p does best (n_p: classes that both train; ties: lower class).
3. d = 10 |f_own - f_p|; score = d^(3 + f_own) if f_p > f_own, else -d^(4 + f_own).
4. certainty_p = max(0, mean - population standard deviation) of f_p over S_p; empty S_p: 0.
5. class weight = squash(max(-100, score)) certainty_p; foreign weight = squash(sum of scores) certainty_p.
6. Familiar column c: (own + sum_p w_p[c] W_p[c]) / (1 + sum_p w_p[c]) over p with c in S_p; foreign columns with
   foreign weights.

All sums in float64, in order of peer id. A weight of 0 never multiplies.
Differs: models with layers below the head are scored whole; what lies below the head is integrated with the foreign
weight.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from aggregation.errors import RuleError
from aggregation.evidence import Decision, Evidence, HeadLayout, Integration, Need, Probe, Rule, Verdict, Weights
from aggregation.parts.compose import compose
from aggregation.parts.prioritizer import buckets as buckets
from aggregation.parts.prioritizer import drawn
from aggregation.parts.prioritizer import quotas as quotas
from aggregation.rules.baselines import everyone
from aggregation.rules.sybilwall import sybilwall_weighting

BOUND = -100.0  # class scores below it count as this; it only keeps numbers small, the weight is 0 from -40.55 on
_BLOCK = 1 << 22  # numbers gathered at a time: 16 MB of float32
Numbers = Tensor | Sequence[float] | Sequence[Sequence[float]]


@dataclass(frozen=True, slots=True)
class Trust:
    """How far each candidate is believed.

    Attributes:
        selected: (..., n, c) bool, S_p.
        classes: (..., n, c) float64 class weights; 0 outside S_p.
        foreign: (..., n) float64 foreign weights.
        certainty: (..., n) float64 in [0, 1].
    """

    selected: Tensor
    classes: Tensor
    foreign: Tensor
    certainty: Tensor


def score(own: Tensor | float, peer: Tensor | float) -> Tensor:
    """Score of a peer in a class from two F1 values in [0, 1]: float64, of their common shape; a tie is (minus) 0."""
    mine = torch.as_tensor(own, dtype=torch.float64)
    theirs = torch.as_tensor(peer, dtype=torch.float64)
    gap = 10 * (mine - theirs).abs()
    return torch.where(theirs > mine, gap ** (3 + mine), -(gap ** (4 + mine)))


def squash(points: Tensor | float) -> Tensor:
    """Weight of a score: max(0, 10 sigmoid(score / 100) - 4): 1 for 0, 0 below -40.55, at most 6; float64."""
    scaled = torch.as_tensor(points, dtype=torch.float64) / 100
    small = torch.exp(-scaled.abs())  # never overflows
    sigmoid = torch.where(scaled >= 0, 1 / (1 + small), small / (1 + small))
    return (10 * sigmoid - 4).clamp(min=0)


def certainty(f1s: Numbers, selected: Tensor | None = None) -> Tensor:
    """max(0, mean - population standard deviation) of F1 values.

    Args:
        f1s: (..., k).
        selected: (..., k) bool, which of them count; None: all.

    Returns:
        (...,) float64; 0 where none counts.
    """
    values = torch.as_tensor(f1s, dtype=torch.float64)
    counts = torch.ones_like(values, dtype=torch.bool) if selected is None else selected
    number = counts.sum(dim=-1)
    share = 1 / number.clamp(min=1).double()
    mean = torch.where(counts, values, 0.0).sum(dim=-1) * share
    spread = torch.where(counts, (values - mean.unsqueeze(-1)) ** 2, 0.0).sum(dim=-1) * share
    return torch.where(number > 0, (mean - spread.sqrt()).clamp(min=0), 0.0)


def trust(own_f1: Tensor, peer_f1: Tensor, familiar: Tensor, overlap: Tensor) -> Trust:
    """Steps 2 to 5.

    Args:
        own_f1: (..., c) F1 of the own model.
        peer_f1: (..., n, c) F1 of the candidates.
        familiar: (..., c) bool.
        overlap: (..., n) int64, n_p; more than there are familiar classes means all of them.
    """
    mine, theirs = own_f1.double().unsqueeze(-2), peer_f1.double()
    known = familiar.unsqueeze(-2).expand(theirs.shape)
    best_first = torch.argsort(torch.where(known, theirs, -torch.inf), dim=-1, descending=True, stable=True)
    place = torch.argsort(best_first, dim=-1, stable=True)
    selected = known & (place < overlap.unsqueeze(-1))
    sure = certainty(theirs, selected)
    scores = torch.where(selected, score(mine, theirs), 0.0)
    classes = torch.where(selected, squash(scores.clamp(min=BOUND)) * sure.unsqueeze(-1), 0.0)
    foreign = squash(scores.sum(dim=-1)) * sure
    return Trust(selected=selected, classes=classes, foreign=foreign, certainty=sure)


def integrate(
    own: Numbers,
    peers: Tensor | Sequence[Numbers],
    own_f1: Numbers,
    peer_f1: Numbers,
    familiar: Tensor | Sequence[int],
    overlap: Tensor | Sequence[int | None] | None = None,
) -> Tensor:
    """One node's head from its own and its peers'.

    Args:
        own: (f, c) own head.
        peers: (n, f, c) heads in order of peer id, or a sequence of heads. A head of another shape, or with a number
            that is not finite, is dropped before anything.
        own_f1: (k,) F1 of the own head in the familiar classes.
        peer_f1: (n, k) F1 of the peers' heads in the familiar classes.
        familiar: (k,) class numbers, or bool (c,).
        overlap: (n,) how many classes both train; None, as a whole or for one peer: all familiar classes.

    Returns:
        (f, c) float64. No peer, or none that is believed: the own head.
    """
    mine = torch.as_tensor(own, dtype=torch.float64)
    classes = mine.shape[-1]
    known = torch.as_tensor(familiar)
    known = torch.nonzero(known).flatten() if known.dtype == torch.bool else known.long().flatten()
    heads = [torch.as_tensor(head, dtype=torch.float64) for head in peers]
    limits = [classes] * len(heads) if overlap is None else [classes if n is None else int(n) for n in overlap]
    fits = [head.shape == mine.shape and bool(torch.isfinite(head).all()) for head in heads]
    whole_own = mine.new_zeros(classes)
    whole_own[known] = torch.as_tensor(own_f1, dtype=torch.float64)
    whole_peers = mine.new_zeros((len(heads), classes))
    if heads:
        whole_peers[:, known] = torch.as_tensor(peer_f1, dtype=torch.float64)
    mask = torch.zeros(classes, dtype=torch.bool)
    mask[known] = True
    said = trust(whole_own, whole_peers, mask, torch.tensor(limits, dtype=torch.int64))
    columns = torch.where(mask, said.classes, said.foreign.unsqueeze(-1))
    total, weight = mine.clone(), mine.new_ones(classes)
    for head, fit, by_class in zip(heads, fits, columns, strict=True):
        if fit:
            total += torch.where(by_class > 0, by_class * head, 0.0)
            weight += by_class
    return torch.where(weight > 1, total / weight, mine)


def per_class(k: int = 10, alpha: float = 0.4) -> Integration:
    """Bristle's integration of neighbours whose weight is above 0; that weight multiplies what Bristle gives them.

    Candidates are drawn by the prioritizer (`Evidence.priority`), scored by the probe, and summed in order of peer id
    in float64. With no head layout all of a model gets its foreign weight. Nobody believed: the own model, bit by bit.

    The weight in the decision is the mean over coordinates.

    Args:
        k: how many neighbours to score at most.
        alpha: the prioritizer's taste for distant heads.

    Raises:
        RuleError: k or alpha out of range; at a decision, evidence without a probe.
    """
    if not 0 <= alpha <= 1 or k < 1:
        raise RuleError(f"alpha must be in [0, 1] and k at least 1, not {alpha} and {k}")

    def integrate_all(evidence: Evidence, weights: Weights) -> Decision:
        if evidence.probe is None:
            raise RuleError("bristle needs scores: the evidence has no probe")
        listened = evidence.present() & (weights.neighbours > 0)
        candidates = listened
        if listened.shape[-1] > k:
            candidates = drawn(head_distances(evidence, listened), listened, evidence.priority, alpha, k)
        familiar = evidence.probe.familiar()
        own_f1 = evidence.probe.scores(evidence.table.rows(evidence.own.unsqueeze(-1))).squeeze(-2)
        peer_f1 = peer_scores(evidence, evidence.probe, candidates, own_f1.shape[-1])
        said = trust(own_f1, peer_f1, familiar, overlap(evidence, own_f1.shape[-1]))
        columns = torch.where(familiar.unsqueeze(-2), said.classes, said.foreign.unsqueeze(-1))
        votes = torch.cat([columns, said.foreign.unsqueeze(-1)], dim=-1)
        similarity = torch.where(candidates, weights.neighbours.double(), 0.0).unsqueeze(-1)
        votes = torch.where(similarity > 0, votes * similarity, 0.0)
        params, influence = _sum_columns(evidence, votes)
        verdicts = weights.verdicts.clone()
        verdicts[listened & ~candidates] = int(Verdict.FAR)
        judged = said.selected.any(dim=-1)
        verdicts[candidates & ~judged] = int(Verdict.UNPROVEN)
        verdicts[candidates & judged & (influence <= 0)] = int(Verdict.HARMFUL)
        return Decision(params=params, weights=influence.to(weights.neighbours.dtype), verdicts=verdicts)

    return integrate_all


def head_distances(evidence: Evidence, wanted: Tensor) -> Tensor:
    """Distances of neighbours' heads from the own head (of whole models when the head is not known).

    Args:
        evidence: n neighbours.
        wanted: (..., n) bool; the others get infinity.

    Returns:
        (..., n) float64.
    """
    values, own = evidence.table.values, evidence.own.reshape(-1)
    index, asked = evidence.neighbours.reshape(len(own), -1), wanted.reshape(len(own), -1)
    squares = torch.where(asked, 0.0, torch.inf).double()
    for columns in _head_columns(evidence.head, values.shape[1]):
        for slot in range(index.shape[1]):
            nodes = torch.nonzero(asked[:, slot]).flatten()
            for part in torch.split(nodes, max(1, _BLOCK // values.shape[1])):
                apart = values[index[part, slot], columns] - values[own[part], columns]
                squares[part, slot] += apart.double().square().sum(dim=-1)
    return squares.sqrt().reshape(wanted.shape)


def _head_columns(head: HeadLayout | None, size: int) -> list[slice]:
    if head is None:
        return [slice(0, size)]
    weight = slice(head.weight, head.weight + head.features * head.classes)
    return [weight] if head.bias is None else [weight, slice(head.bias, head.bias + head.classes)]


def peer_scores(evidence: Evidence, probe: Probe, candidates: Tensor, classes: int) -> Tensor:
    """F1 of candidates, a bounded number of models at a time: (..., n, c); what others get is not used."""
    index = torch.where(candidates, evidence.neighbours, -1)
    nodes = max(1, evidence.own.numel())
    step = max(1, _BLOCK // (nodes * evidence.table.values.shape[1]))
    parts = [probe.scores(evidence.table.rows(part)) for part in torch.split(index, step, dim=-1) if part.shape[-1]]
    if not parts:
        return torch.zeros((*candidates.shape, classes), dtype=torch.float64, device=index.device)
    return torch.cat(parts, dim=-2)


def overlap(evidence: Evidence, classes: int) -> Tensor:
    """n_p; all classes where the masks are not known."""
    if evidence.own_classes is None or evidence.peer_classes is None:
        return torch.full(evidence.neighbours.shape, classes, device=evidence.neighbours.device)
    return (evidence.own_classes.unsqueeze(-2) & evidence.peer_classes).sum(dim=-1)


def _sum_columns(evidence: Evidence, votes: Tensor) -> tuple[Tensor, Tensor]:
    """(own + sum_p u_p x_p) / (1 + sum_p u_p) with one u per class column, and one for all else.

    Args:
        evidence: own model and n neighbours.
        votes: (..., n, c + 1) float64: u of each class, last of all else; 0 for rows that are not there.

    Returns:
        params (..., d) and the mean of u over coordinates (..., n).
    """
    values, own = evidence.table.values, evidence.own.reshape(-1)
    size = values.shape[1]
    each = votes.reshape(len(own), -1, votes.shape[-1])
    index = evidence.neighbours.reshape(len(own), -1)
    weight = 1 + each.sum(dim=1)
    out = values[own]
    for part in torch.split(torch.nonzero(weight.amax(dim=-1) > 1).flatten(), max(1, _BLOCK // size)):
        mine = values[own[part]]
        total = mine.double()
        for slot in range(index.shape[1]):
            there = torch.nonzero(each[part, slot].amax(dim=-1) > 0).flatten()
            nodes = part[there]
            total[there] += _spread(each[nodes, slot], evidence.head, size) * values[index[nodes, slot]]
        shared = _spread(weight[part], evidence.head, size)
        out[part] = torch.where(shared > 1, total / shared, mine).to(values.dtype)
    influence = coordinate_mean(each, evidence.head, size)
    return out.reshape(*evidence.own.shape, size), influence.reshape(votes.shape[:-1])


def _spread(by_column: Tensor, head: HeadLayout | None, size: int) -> Tensor:
    """Numbers per class, last for all else, at every coordinate: (g, c + 1) -> (g, d)."""
    spread = by_column[:, -1:].repeat(1, size)
    if head is not None:
        stop = head.weight + head.features * head.classes
        spread[:, head.weight : stop] = by_column[:, :-1].repeat_interleave(head.features, dim=1)
        if head.bias is not None:
            spread[:, head.bias : head.bias + head.classes] = by_column[:, :-1]
    return spread


def coordinate_mean(by_column: Tensor, head: HeadLayout | None, size: int) -> Tensor:
    """Mean of `_spread` over coordinates: (..., c + 1) -> (...,)."""
    if head is None:
        return by_column[..., -1]
    depth = head.features + (head.bias is not None)
    rest = size - depth * head.classes
    return (by_column[..., :-1].sum(dim=-1) * depth + by_column[..., -1] * rest) / size


def build_bristle(k: int = 10, alpha: float = 0.4) -> Rule:
    """Bristle over all neighbours."""
    return compose(everyone, per_class(k, alpha), "bristle", {Need.SCORES, Need.CLASSES})


def build_sybilwall_bristle(k: int = 10, alpha: float = 0.4, histories: str = "model") -> Rule:
    """SybilWall's weight times Bristle's, per neighbour and class, before anything is summed."""
    needs = {Need.RELAYS, Need.SCORES, Need.CLASSES}
    return compose(sybilwall_weighting(histories), per_class(k, alpha), "sybilwall-bristle", needs)
