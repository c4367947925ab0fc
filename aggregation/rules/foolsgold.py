"""FoolsGold: models that point the same way share one vote.

Source: C. Fung, C. Yoon, I. Beschastnikh, "Mitigating Sybils in Federated Learning Poisoning", arXiv 1808.04866 (2018),
Algorithm 1.

With C the cosines between rows, diagonal 0:
- p_a = max_b C_ab + 1e-5; pardon: where p_a < p_b, C_ab *= p_a / p_b
- w_a = clip(1 - max_b C_ab, 0, 1), divided by the largest w
- w_a = clip(ln(w_a / (1 - w_a)) + .5, 0, 1)

Differs: everything is computed from gaps 1 - C, so that near-parallel rows lose no digits; a w below 1e-9 is 0 before
the division (else rounding noise between identical rows would be blown up to full weight); a row that is zero or not
finite gets 0 and pardons nobody; when nothing is left all weights are 0.
"""

from __future__ import annotations

from math import prod

import torch
from torch import Tensor

from aggregation.evidence import Evidence, Rule, Verdict, Weights
from aggregation.kernels.geometry import Geometry, gaps_from_products
from aggregation.kernels.rows import numba_serves
from aggregation.parts.compose import compose
from aggregation.parts.integration import weighted_mean

PARDON = 1e-5  # the paper's epsilon: no division by 0
FLOOR = 1e-9  # below it a weight is rounding noise (seen: 1e-16 between identical rows)
SHIFT = 0.5  # the paper's shift of the logit
_BLOCK = 524_288  # pairs at a time: 4 MB of float64, so that what passes between steps stays in cache


def similarity_weights(histories: Tensor, direct: int | None = None) -> Tensor:
    """Raw weights of the first `direct` rows.

    Args:
        histories: (..., m, d) one row per peer.
        direct: how many rows, from the first, get a weight; the others only lower weights. Default: all.

    Returns:
        (..., direct) in [0, 1], float64. No row: empty. One row: 1. A row of zeros or with a number that is not finite:
        0.
    """
    rows = torch.as_tensor(histories)
    return weights_from_gaps(gaps_of_rows(rows), rows.shape[-2] if direct is None else direct)


def gaps_of_rows(rows: Tensor) -> Tensor:
    """Cosine gaps between rows: (..., m, d) -> (..., m, m) float64, as `Geometry.cosine_gaps` gives them."""
    finite = torch.isfinite(rows).all(dim=-1)
    clean = torch.where(finite.unsqueeze(-1), rows, 0.0).double()
    return gaps_from_products(clean @ clean.transpose(-1, -2), finite)


def weights_from_gaps(gaps: Tensor, direct: int) -> Tensor:
    """Raw weights from cosine gaps.

    Args:
        gaps: (..., m, m), 1 - cosine; on the diagonal 0, or 1 for a row that does not count.
        direct: how many rows, from the first, get a weight.

    Returns:
        (..., direct) in [0, 1].
    """
    if gaps.dim() == 3 and direct and gaps.dtype == torch.float64 and numba_serves(gaps):
        from aggregation.kernels import compiled_pairs

        out = gaps.new_empty(len(gaps), direct)
        compiled_pairs.similarity_weights(gaps.numpy(), direct, PARDON, FLOOR, SHIFT, out.numpy())
        return out
    counts = torch.diagonal(gaps, dim1=-2, dim2=-1) < 1
    same = torch.eye(gaps.shape[-1], dtype=torch.bool, device=gaps.device)
    apart = torch.where(same, 1.0, gaps)  # the diagonal is cosine 0
    nearest = apart.amin(dim=-1) if gaps.shape[-1] else gaps.new_zeros(gaps.shape[:-1])
    # 1 - C r with r = p_a / p_b where p_a < p_b: g + (1 - g) (1 - r), and 1 - r = (p_b - p_a) / p_b
    first = apart[..., :direct, :]
    excess = (nearest[..., :direct].unsqueeze(-1) - nearest.unsqueeze(-2)).clamp(min=0)
    pardon = excess / (1 - nearest + PARDON).unsqueeze(-2)
    pardoned = torch.where(same[:direct], 1.0, first + (1 - first) * pardon)
    raw = pardoned.amin(dim=-1).clamp(0, 1) if direct else gaps.new_zeros((*gaps.shape[:-2], 0))
    raw = torch.where(counts[..., :direct] & (raw >= FLOOR), raw, 0.0)
    if direct == 0:
        return raw
    largest = raw.amax(dim=-1, keepdim=True)
    scaled = torch.where(largest > 0, raw / largest.clamp(min=FLOOR), 0.0)
    return (torch.logit(scaled) + SHIFT).clamp(0, 1)


def weights_of_rows(
    geometry: Geometry, index: Tensor, direct: int, origin: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """Raw weights of rows by number.

    Args:
        geometry: of the table; asked once, for all nodes.
        index: (..., m) row numbers, -1 absent.
        direct: how many rows, from the first, get a weight.
        origin: as `Geometry.cosine_gaps`.

    Returns:
        weights (..., direct) and whether each of these rows has a direction, bool (..., direct).
    """
    gaps = geometry.cosine_gaps(index, origin).double()
    directed = torch.diagonal(gaps, dim1=-2, dim2=-1)[..., :direct] < 1
    flat = gaps.reshape(prod(index.shape[:-1]), *gaps.shape[-2:])
    step = max(1, _BLOCK // max(1, index.shape[-1] ** 2))
    parts = [weights_from_gaps(part, direct) for part in torch.split(flat, step)]
    return torch.cat(parts).reshape(*index.shape[:-1], direct), directed


def verdicts(evidence: Evidence, weights: Tensor, directed: Tensor) -> Tensor:
    """Why a neighbour got its similarity weight: int8 (..., n).

    Args:
        evidence: whose neighbours.
        weights: (..., n) similarity weights.
        directed: (..., n) bool: the row has a direction.
    """
    verdict = evidence.absence()
    taken = verdict == int(Verdict.TAKEN)
    verdict[taken & ~directed] = int(Verdict.UNPROVEN)
    verdict[taken & directed & (weights <= 0)] = int(Verdict.SIMILAR)
    return verdict


def foolsgold_weighting(evidence: Evidence) -> Weights:
    """Weights of direct neighbours and of the own model, a row like any other; relayed records do not count."""
    index = torch.cat([evidence.neighbours, evidence.own.unsqueeze(-1)], dim=-1)
    raw, directed = weights_of_rows(evidence.table.geometry, index, index.shape[-1])
    raw = raw.to(evidence.table.values.dtype)
    neighbours = raw[..., :-1]
    return Weights(own=raw[..., -1], neighbours=neighbours, verdicts=verdicts(evidence, neighbours, directed[..., :-1]))


def build_foolsgold() -> Rule:
    """FoolsGold over direct neighbours and the own model."""
    return compose(foolsgold_weighting, weighted_mean, "foolsgold")
