"""The mean of rows in which strangers are bounded per coordinate, and peers that the node knows are not.

To a rule that hears one round alone an honest specialist and a liar look the same, and a bound takes from both. Who is
known need not be bounded: so what one specialist knows reaches others, and strangers move a coordinate no further than
the rows between them do.

Law: a row that leaves, leaves whether known or not; the own row never does.
"""

from __future__ import annotations

import torch
from torch import Tensor

from aggregation.errors import RuleError
from aggregation.evidence import Decision, Evidence, Integration, Verdict, Weights
from aggregation.kernels.sorting import comparators, run
from aggregation.parts.clipping import median_bound, shrink
from aggregation.parts.mixing import held_near
from aggregation.parts.neighbourhood import column_blocks, neighbourhood
from aggregation.parts.winsorised import check_bounds, picked, winsor_bound

EXACT = 1e-9  # relative: sums of votes may round by so much


def known_unbounded(clip: float = 1.0, trim: float = 0.2, gain: float = 0.3, mixing: bool = False) -> Integration:
    """Integration: x_i + mean of 0 (own) and D_j = w_j clip(x_j - x_i, tau) over neighbours with w_j > 0.

    1. tau = clip x lower median of |x_j - x_i| over all neighbours that are here. m rows have a weight.
    2. Up to two rows leave. d_f is the least, over sets of f rows without the own one, of the largest distance between
       models (whole, not clipped) that are left; d_0 is that of all. From f* = 0, for f = 1, 2 (at most
       floor((m - 1) / 2)): f* = f if d_f < (1 - gain)^(f - f*) d_f*. The set of f* leaves; of sets that tie, that which
       leaves the least sum of squared distances.
    3. Of the m rows left, b = min(max(1, floor(trim m)), floor((m - 1) / 2)). Per coordinate [l, h] reaches from the
       (b + 1)-th lowest row to the (b + 1)-th highest, of all. A stranger's row is bounded to it, no other.
    4. Known rows and the own have the share 1, a stranger's the share of rows that hold it among their m - b nearest.
       x_i moves by the mean by shares.

    Unequal votes v (`Evidence.votes`): a stranger's vote is the mean vote of the own and the known rows that count at
    that step, so it is never more than that. tau is the weighted lower median. Nobody leaves whose vote is above the
    mean. l is the lowest value such that the rows up to it hold more than b mean votes, h likewise from above. Shares
    are v_j, a stranger's times its share of step 4. With all votes alike that is the above.

    Guarantee: if the own and the known rows that count are honest and strangers that count are at most b, every
    coordinate lies within [min, max] of own and honest rows: l and h each have an honest row on either side. Against a
    known liar nothing is promised but the clip: it moves the model by at most tau times its share. Nobody has a weight:
    own model, bit for bit.

    Args:
        clip: bound in units of the lower median distance, >= 0; 0: no clipping.
        trim: share bounded at each end, in [0, .5); 0: strangers are not bounded either.
        gain: share by which the largest distance must shrink for each row that leaves, in [0, 1); 0: nobody leaves.
        mixing: known rows and the own count by how many hold them near too (their votes times that).

    Returns:
        The weights of the decision are shares over the own row's vote. Who leaves gets the verdict FAR.

    Source: this project. Step 2 after minimum-diameter averaging, El Mhamdi, Guerraoui, Rouault, arXiv 1802.07927.

    Raises:
        RuleError: a parameter out of its range.
    """
    check_bounds(clip, trim)
    if not 0 <= gain < 1:
        raise RuleError(f"gain must lie in [0, 1) (0: nobody is left out), got {gain}")

    def integrate(evidence: Evidence, weights: Weights) -> Decision:
        around = neighbourhood(evidence)
        given = torch.where(around.heard, weights.neighbours.double(), 0.0)
        tau = median_bound(around, clip, row_votes(evidence, around.heard)[..., 1:])
        factors = given * shrink(around.lengths, tau)
        counted = given > 0
        here = _with_own(counted)
        leaving = _leaving(around.squares, here, _light(row_votes(evidence, counted), here), gain)
        left = here & ~leaving
        kept = left[..., 1:]
        bound = winsor_bound(left.sum(dim=-1), trim)
        held = held_near(around, kept, bound)
        votes = torch.where(left, row_votes(evidence, kept), 0.0)
        strange = kept & ~known_rows(evidence)
        near = held if mixing else torch.where(_with_own(~strange), 1.0, held)
        shares = votes * near
        limits = votes.sum(dim=-1) / left.sum(dim=-1) * bound if evidence.votes is not None else None
        params = _pull(evidence, around.index[..., 1:], factors, strange, shares, bound, votes, limits)
        verdicts = weights.verdicts.clone()
        verdicts[leaving[..., 1:]] = int(Verdict.FAR)
        return Decision(params=params, weights=(shares[..., 1:] / votes[..., :1]).to(params.dtype), verdicts=verdicts)

    return integrate


def known_rows(evidence: Evidence) -> Tensor:
    """Rows of peers that the node knows, bool (..., n): nobody's where nobody is told apart."""
    return torch.zeros_like(evidence.present()) if evidence.trusted is None else evidence.trusted


def row_votes(evidence: Evidence, here: Tensor) -> Tensor:
    """Votes of own (first) and neighbours, (..., n + 1) float64: a stranger's is the mean of the own and the known.

    Args:
        evidence: n neighbours, and their votes if those are unequal.
        here: (..., n) bool, rows over which that mean goes.
    """
    counted = _with_own(known_rows(evidence) & here)
    if evidence.votes is None:
        return counted.new_ones(counted.shape, dtype=torch.float64)
    votes = torch.where(counted, evidence.votes.double(), 0.0)
    return torch.where(counted, votes, votes.sum(dim=-1, keepdim=True) / counted.sum(dim=-1, keepdim=True))


def _with_own(neighbours: Tensor) -> Tensor:
    own = torch.ones((*neighbours.shape[:-1], 1), dtype=torch.bool, device=neighbours.device)
    return torch.cat([own, neighbours], dim=-1)


def _light(votes: Tensor, here: Tensor) -> Tensor:
    """Rows that may leave, bool (..., m): not the own one, and none whose vote is above the mean of those here."""
    mean = torch.where(here, votes, 0.0).sum(dim=-1, keepdim=True) / here.sum(dim=-1, keepdim=True)
    light = here & (votes <= mean * (1 + EXACT))
    light[..., 0] = False
    return light


def _leaving(squares: Tensor, here: Tensor, light: Tensor, gain: float) -> Tensor:
    """Step 2: rows that leave, bool (..., m), from squared distances (..., m, m).

    A set that brings the largest distance down has an end of the longest pair in it, and one of two that brings it
    further down than one row alone does has an end of the longest pair that is then left: so six sets are enough.
    """
    if gain == 0 or here.shape[-1] < 3:
        return torch.zeros_like(here)
    room = torch.div(here.sum(dim=-1) - 1, 2, rounding_mode="floor")
    nobody = torch.zeros_like(here)
    widest, ends = _longest(squares, here)
    ones, pairs = [], []
    for end in ends:
        one, may = _joined(nobody, end, light, room >= 1)
        ones.append((one, may))
        rest = _longest(squares, here & ~one)[1]
        pairs += [_joined(one, second, light, may & (room >= 2)) for second in rest]
    single, alone = _best(squares, here, ones)
    double, both = _best(squares, here, pairs)
    shrunk = (1 - gain) ** 2  # of squares
    first = alone < shrunk * widest
    second = both < torch.where(first, shrunk * alone, shrunk**2 * widest)
    return torch.where(second.unsqueeze(-1), double, single & first.unsqueeze(-1))


def _joined(leaving: Tensor, row: Tensor, light: Tensor, may: Tensor) -> tuple[Tensor, Tensor]:
    """A set of rows (..., m) and one more (...,), and whether such a set may leave (...,)."""
    place = row.unsqueeze(-1)
    return leaving.scatter(-1, place, True), may & light.gather(-1, place).squeeze(-1)


def _longest(squares: Tensor, here: Tensor) -> tuple[Tensor, tuple[Tensor, Tensor]]:
    """Largest squared distance between rows that are here (...,), 0 below two rows, and the two ends (...,)."""
    size = here.shape[-1]
    both = here.unsqueeze(-1) & here.unsqueeze(-2)
    both &= ~torch.eye(size, dtype=torch.bool, device=here.device)
    value, place = torch.where(both, squares, -1.0).flatten(-2).max(dim=-1)
    return value.clamp(min=0), (torch.div(place, size, rounding_mode="floor"), place % size)


def _best(squares: Tensor, here: Tensor, sets: list[tuple[Tensor, Tensor]]) -> tuple[Tensor, Tensor]:
    """Of sets that may leave, that after which rows lie closest (..., m), and the largest square then (...,)."""
    widths, sums = [], []
    for leaving, may in sets:
        left = here & ~leaving
        apart = torch.where(left.unsqueeze(-1) & left.unsqueeze(-2), squares, 0.0).flatten(-2)
        widths.append(torch.where(may, apart.amax(dim=-1), torch.inf))
        sums.append(apart.sum(dim=-1))
    width = torch.stack(widths)
    least = width.amin(dim=0)
    first = torch.where(width <= least, torch.stack(sums), torch.inf).argmin(dim=0)
    chosen = torch.zeros_like(here)
    for number, (leaving, _) in enumerate(sets):
        chosen |= leaving & (first == number).unsqueeze(-1)
    return chosen, least


def _pull(
    evidence: Evidence,
    index: Tensor,
    factors: Tensor,
    strange: Tensor,
    shares: Tensor,
    bound: Tensor,
    votes: Tensor,
    limits: Tensor | None,
) -> Tensor:
    """x_i + mean by shares (..., n + 1) of 0 and factor_j (x_j - x_i), strangers' bounded: (..., d).

    Rows lie between the lowest and the highest of those that hold no more than `limits` (...,) of `votes`; limits
    None: `bound` rows. Only nodes with a stranger need to know.
    """
    values, own = evidence.table.values, evidence.own.reshape(-1)
    flat = (own.numel(), index.shape[-1])
    index, factors, strange = index.reshape(flat), factors.reshape(flat).to(values.dtype), strange.reshape(flat)
    whole = (own.numel(), index.shape[-1] + 1)
    shares, votes, bound = shares.reshape(whole), votes.reshape(whole), bound.reshape(-1, 1)
    shares = (shares / shares.sum(dim=-1, keepdim=True)).to(values.dtype)
    kept, doubted = votes[:, 1:] > 0, strange.any(dim=-1)
    out = values[own]
    for among in (kept.any(dim=-1) & ~doubted, doubted):
        nodes = torch.nonzero(among).flatten()
        most = int(kept[nodes].sum(dim=-1).max()) if len(nodes) else 0
        line = 2 * kept[nodes].to(torch.int8) - strange[nodes].to(torch.int8)  # known ones, strangers, then the rest
        order = line.argsort(dim=-1, descending=True, stable=True)[:, :most]
        rows, scale, odd = (part[nodes].gather(-1, order) for part in (index, factors, strange))
        weigh, heavy = (torch.cat([part[nodes, :1], part[nodes, 1:].gather(-1, order)], -1) for part in (shares, votes))
        odd_lanes, low = odd.any(dim=0).tolist(), bound[nodes]
        high = (heavy > 0).sum(dim=-1, keepdim=True) - 1 - low
        for columns in column_blocks(values.shape[-1], 2 * (rows.numel() + len(nodes))) if most else ():
            part = values[:, columns]
            mine = part[own[nodes]]
            lanes = [torch.zeros_like(mine)]
            lanes += [part[rows[:, k]].sub_(mine).mul_(scale[:, k, None]) for k in range(most)]
            total = torch.zeros_like(mine)
            if any(odd_lanes):
                lowest, highest = (
                    _range_of_rows(lanes, heavy > 0, low, high)
                    if limits is None
                    else _range_of_votes(lanes, heavy, limits.reshape(-1, 1)[nodes])
                )
            for k, lane in enumerate(lanes):
                if k and odd_lanes[k - 1]:
                    lane = torch.where(odd[:, k - 1, None], lane.clamp(lowest, highest), lane)
                total.addcmul_(lane, weigh[:, k, None])
            out[nodes, columns] += total
    return out.reshape(*evidence.own.shape, values.shape[-1])


def _range_of_rows(lanes: list[Tensor], kept: Tensor, low: Tensor, high: Tensor) -> tuple[Tensor, Tensor]:
    """Row number low (N, 1) and number high (N, 1) of lanes (N, d) in order, those not kept (N, m) last: two (N, d)."""
    filler = torch.finfo(lanes[0].dtype).max
    full = kept.all(dim=0).tolist()
    ordered = [lane.clone() if full[k] else torch.where(kept[:, k, None], lane, filler) for k, lane in enumerate(lanes)]
    run(comparators(len(ordered)), ordered)
    return picked(ordered, low), picked(ordered, high)


def _range_of_votes(lanes: list[Tensor], votes: Tensor, limit: Tensor) -> tuple[Tensor, Tensor]:
    """First value from below, and from above, at which votes (N, m) so far exceed a limit (N, 1): two (N, d)."""
    ordered, line = torch.stack(lanes, dim=-1).sort(dim=-1, stable=True)
    held = votes.unsqueeze(-2).expand(ordered.shape).gather(-1, line)
    limit = limit.unsqueeze(-1) * (1 + EXACT)
    low = (held.cumsum(dim=-1) <= limit).sum(dim=-1, keepdim=True)
    high = len(lanes) - 1 - (held.flip(-1).cumsum(dim=-1) <= limit).sum(dim=-1, keepdim=True)
    return ordered.gather(-1, low).squeeze(-1), ordered.gather(-1, high).squeeze(-1)
