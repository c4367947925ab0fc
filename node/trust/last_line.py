"""The last line: what keeps a node's model when the rule was fooled. Pure; for one node or for many at once.

- Quorum: who knows somebody is moved by no round in which only strangers answered.
- Remembered size: a round moves a model by at most `stretch` times (`wary` times, where nobody is known by name) the
  lower median of its remembered sizes: of its own training steps (this round's too) and of the moves that it made, over
  `memory` rounds. So one neighbour alone, or two, cannot carry a model away, however few there are to compare them
  with.
- Brake: after a round the own held-out samples are asked. If fewer of them are right by more than `fall` than after
  training and than is usual (the lower median of `memory` rounds), the node decides once more with the neighbours that
  it knows; if that falls by more than `known_fall`, it keeps the model that it trained.

Laws:
- Half of what sizes are remembered by is the node's own training, so what others send cannot raise the bound above
  `stretch` times the longest own step of the last rounds.
- No single neighbour is judged here: a model that is worse than usual on one's own samples is common among honest
  specialists. Only the node's own next model is asked, and only against its own past.
- A brake is no weapon: what a node hears from those it knows counts in the braked round too.
- What is usual is what known peers give: where they too fall below it, their score is remembered, not that of the model
  that was kept. So a specialist whose known peers are unlike it brakes for some rounds, not for ever.

Source: this project; what it costs and holds stands in docs/adr/0008. Bounded steps: clipping against a remembered
scale, as in Karimireddy et al., "Learning from History for Byzantine Robust Optimization", arXiv 2012.10333.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from aggregation.evidence import Decision, Verdict


@dataclass(frozen=True, slots=True)
class LastLine:
    """How far a node lets itself be moved.

    Attributes:
        stretch: a round's move, in remembered sizes, at a node that knows somebody by name.
        wary: the same at a node that knows nobody.
        fall: share of own held-out samples that may be lost in a round, at least.
        known_fall: the same where only known peers were heard: they are believed further, since honest specialists
            lose that much to each other in peace (docs/adr/0008-the-last-line.md).
        spread: median deviations from the usual score that are borne, where they are more than `fall`; at most twice
            `fall`.
        memory: rounds that are remembered.
    """

    stretch: float = 2.0
    wary: float = 1.0
    fall: float = 0.2
    known_fall: float = 0.4
    spread: float = 3.0
    memory: int = 16


class Memory:
    """What n nodes remember of their own rounds; a node may be named by one thread at a time.

    Attributes:
        line: how far they let themselves be moved.

    Args:
        nodes: n.
        line: how far they let themselves be moved.
    """

    def __init__(self, nodes: int, line: LastLine) -> None:
        self.line = line
        shape = (nodes, line.memory)
        self._steps = torch.full(shape, torch.nan, dtype=torch.float64)
        self._moves = torch.full(shape, torch.nan, dtype=torch.float64)
        self._scores = torch.full(shape, torch.nan, dtype=torch.float64)
        self._rounds = torch.zeros(nodes, dtype=torch.int64)

    def bound(self, nodes: Tensor, steps: Tensor, knows: Tensor) -> Tensor:
        """How far these nodes may be moved now, and begin their round.

        Args:
            nodes: (k,) int64, each once.
            steps: (k,) lengths of their training steps in this round; one that is not finite is not remembered.
            knows: (k,) bool: they know somebody by name.

        Returns:
            (k,) float64; infinite while nothing is remembered, or where all that is remembered is 0.
        """
        place = self._rounds[nodes] % self.line.memory
        steps = steps.double().cpu()
        self._steps[nodes, place] = torch.where(torch.isfinite(steps), steps, torch.nan)
        self._moves[nodes, place] = torch.nan
        self._scores[nodes, place] = torch.nan
        sizes = torch.cat([self._steps[nodes], self._moves[nodes]], dim=1).nanmedian(dim=1).values
        stretch = torch.where(knows, self.line.stretch, self.line.wary).double()
        return torch.where(sizes > 0, stretch * sizes, torch.inf)

    def usual(self, nodes: Tensor) -> Tensor:
        """What these nodes' models score after a round, at the lower end of what is usual: (k,) float64, NaN unknown.

        The lower median less what `spread` median deviations exceed `fall` by, up to `fall` once more: where scores
        jump about, as on a handful of samples, more is borne, but a slow decline is still noticed.
        """
        scores = self._scores[nodes]
        middle = scores.nanmedian(dim=1).values
        deviation = (scores - middle.unsqueeze(1)).abs().nanmedian(dim=1).values
        return middle - (self.line.spread * deviation - self.line.fall).clamp(0, self.line.fall)

    def note(self, nodes: Tensor, moves: Tensor, scores: Tensor) -> None:
        """The round of these nodes is over: how far each was moved (k,), and how its model scores (k,), NaN unknown."""
        place = self._rounds[nodes] % self.line.memory
        self._moves[nodes, place] = moves.double().cpu()
        self._scores[nodes, place] = scores.double().cpu()
        self._rounds[nodes] += 1


@dataclass(frozen=True, slots=True)
class Held:
    """What k nodes hold on to.

    Attributes:
        params: (k, d) models.
        weights: (k, n) as the rule gave them, 0 for whoever was left out.
        verdicts: (k, n) int8.
        braked: (k,) bool: lost too much at first.
        kept: (k,) bool: braked, and lost too much with known peers alone as well: the trained model stays.
        lost: (k,) float64: share of own held-out samples that the first try lost against training; 0 where not braked.
    """

    params: Tensor
    weights: Tensor
    verdicts: Tensor
    braked: Tensor
    kept: Tensor
    lost: Tensor


def hold(
    memory: Memory,
    nodes: Tensor,
    start: Tensor,
    own: Tensor,
    strange: Tensor,
    knows: Tensor,
    decide: Callable[[Tensor, bool], Decision],
    score: Callable[[Tensor, Tensor], Tensor],
) -> Held:
    """Decide a round of k nodes behind the last line.

    Args:
        memory: of all nodes.
        nodes: (k,) int64, their places in it, each once.
        start: (k, d) their models before training.
        own: (k, d) after it; finite.
        strange: (k, n) bool: whom no person stands for: not named, not near by vouches, not heard from afar.
        knows: (k,) bool: nodes that know somebody by name, a neighbour or not.
        decide: (positions (s,), with known peers alone) -> the rule's decision for these of the k nodes.
        score: (positions (s,), models (s, d)) -> (s,) share of own held-out samples that are right, NaN without any.
    """
    every = torch.arange(len(nodes))
    bound = memory.bound(nodes, (own - start).norm(dim=-1), knows)
    usual = memory.usual(nodes)
    first = decide(every, False)
    params, moves = within(own, first.params, bound)
    weights, verdicts = first.weights, first.verdicts
    scores = score(every, params).double().cpu()
    braked = scores < usual - memory.line.fall
    lost = torch.zeros_like(scores)
    some = torch.nonzero(braked).flatten()
    if len(some):  # what training itself lost is nobody's doing
        trained = score(some, own[some]).double().cpu()
        braked[some] &= scores[some] < trained - memory.line.fall
        lost[some] = torch.where(braked[some], trained - scores[some], 0.0)
        some = torch.nonzero(braked).flatten()
    kept = torch.zeros_like(braked)
    if len(some):
        params, weights, verdicts, moves = params.clone(), weights.clone(), verdicts.clone(), moves.clone()
        at = some.to(params.device)
        guilty = strange[some].to(weights.device) & (weights[at] > 0)
        again = decide(some, True)
        params[at], moves[at] = within(own[at], again.params, bound[some])
        weights[at] = again.weights
        verdicts[at] = torch.where(guilty, int(Verdict.BRAKED), again.verdicts)
        scores[some] = score(some, params[at]).double().cpu()
        least = torch.minimum(usual[some], score(some, own[at]).double().cpu()) - memory.line.known_fall
        still = some[scores[some] < least]
        if len(still):
            kept[still] = True
            at = still.to(params.device)
            verdicts[at] = torch.where(weights[at] > 0, int(Verdict.BRAKED), verdicts[at])
            params[at], moves[at], weights[at] = own[at], 0.0, 0.0
    memory.note(nodes, moves, scores)
    return Held(params, weights, verdicts, braked, kept, lost)


def within(own: Tensor, params: Tensor, bound: Tensor) -> tuple[Tensor, Tensor]:
    """Models moved no farther than their bounds.

    Args:
        own: (k, d) models before the move.
        params: (k, d) after it.
        bound: (k,) lengths.

    Returns:
        (k, d) models, those within their bound bit by bit as they were, and (k,) float64 how far each is moved.
    """
    moves = (params - own).norm(dim=-1).double()
    limit = bound.to(moves.device)
    over = moves > limit
    if not bool(over.any()):
        return params, moves
    factors = torch.where(over, limit / moves, 1.0).to(own.dtype).unsqueeze(-1)
    shortened = own + (params - own) * factors
    return torch.where(over.unsqueeze(-1), shortened, params), torch.minimum(moves, limit)


def unbacked(verdicts: Tensor, strangers: Tensor) -> Tensor:
    """Verdicts of a round in which no known peer answered: strangers that did (same shape, bool) move nobody."""
    return torch.where(strangers.to(verdicts.device), int(Verdict.UNBACKED), verdicts).to(verdicts.dtype)
