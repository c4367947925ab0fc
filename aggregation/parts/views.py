"""Views: in what ways neighbours' pulls can be alike. Each gives inner products, and these give centred cosines.

An adversary that hides its Sybils' likeness in one view (white noise, noise on weights of dead inputs) shows it in
another; so the similarity of two neighbours is the largest over views.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from types import MappingProxyType

import torch
from torch import Tensor

from aggregation.errors import RuleError
from aggregation.evidence import Evidence, Need, Probe
from aggregation.parts.neighbourhood import Neighbourhood, difference_products
from hedgerow_registry import UnknownName

View = Callable[[Evidence, Neighbourhood, Tensor], Tensor]
TWIN = 1e-4  # rows whose squared distance is below this share of their squared lengths are the same row; where the mean
# goes over some rows, of their squared distances from it


def parameters(evidence: Evidence, around: Neighbourhood, factors: Tensor) -> Tensor:
    """Inner products of D_j = factor_j (x_j - x_i): (..., n, n), from the table's geometry alone."""
    return around.products() * factors.unsqueeze(-1) * factors.unsqueeze(-2)


def activity(evidence: Evidence, around: Neighbourhood, factors: Tensor) -> Tensor:
    """Inner products of a * D_j, a the root mean square of each weight's input on own data: (..., n, n).

    What a weight that never sees an input does is nothing, so noise there changes nothing here.
    """
    scale = _probe(evidence).activity().to(evidence.table.values.dtype)
    raw = difference_products(evidence.table.values, around.index[..., 1:], evidence.own, scale)
    return raw * factors.unsqueeze(-1) * factors.unsqueeze(-2)


def function(evidence: Evidence, around: Neighbourhood, factors: Tensor) -> Tensor:
    """Inner products of logits(x_i + D_j) - logits(x_i) on own inputs, less their mean over classes: (..., n, n).

    A row whose logits are not finite gives NaN.
    """
    probe, values = _probe(evidence), evidence.table.values
    moved = values[around.index]
    torch.lerp(moved[..., :1, :], moved[..., 1:, :], factors.to(values.dtype).unsqueeze(-1), out=moved[..., 1:, :])
    logits = probe.outputs(moved)
    change = (logits[..., 1:, :, :] - logits[..., :1, :, :]).double()
    change = (change - change.mean(dim=-1, keepdim=True)).flatten(-2)
    bad = ~torch.isfinite(change).all(dim=-1)
    change = change.nan_to_num(nan=0.0, posinf=0.0, neginf=0.0)
    products = change @ change.transpose(-1, -2)
    return products.masked_fill(bad.unsqueeze(-1) | bad.unsqueeze(-2), torch.nan)


VIEWS: Mapping[str, tuple[View, frozenset[Need]]] = MappingProxyType(
    {
        "parameters": (parameters, frozenset[Need]()),
        "activity": (activity, frozenset({Need.ACTIVITY})),
        "function": (function, frozenset({Need.OUTPUTS})),
    }
)


def read_views(text: str | Iterable[str]) -> tuple[str, ...]:
    """Names of views from "parameters,activity,function" or a sequence; empty: none.

    Raises:
        RuleError: no such view.
    """
    names = tuple(text.replace(",", " ").split()) if isinstance(text, str) else tuple(text)
    for name in names:
        if name not in VIEWS:
            raise RuleError(str(UnknownName("view", name, VIEWS)))
    return names


def centred_cosines(products: Tensor, present: Tensor, about: Tensor | None = None) -> Tensor:
    """Cosines of rows less a mean of rows, from inner products about the own row.

    Args:
        products: (..., n, n) inner products; NaN marks rows that cannot be judged.
        present: (..., n) bool.
        about: (..., n) bool, rows that the mean goes over; where none of these is present, and where None: the own row
            (0) and all present ones.

    Returns:
        (..., n, n) float64 in [-1, 1]; 0 for absent and unjudged rows, and for a row at the centre; 1 for rows that are
        the same, even at the centre (there a cosine is noise, and identical Sybils would count apart).
    """
    judged = present & torch.isfinite(torch.diagonal(products, dim1=-2, dim2=-1))
    both = judged.unsqueeze(-1) & judged.unsqueeze(-2)
    inner = torch.where(both, products, torch.zeros_like(products)).double()
    chosen = judged if about is None else judged & about
    some = torch.zeros_like(judged[..., :1]) if about is None else chosen.any(dim=-1, keepdim=True)
    centre = torch.where(some, chosen, judged).unsqueeze(-2).to(inner.dtype)
    count = centre.sum(dim=-1, keepdim=True) + (~some).unsqueeze(-1)
    along = (inner * centre).sum(dim=-1, keepdim=True) / count
    middle = (along * centre.transpose(-1, -2)).sum(dim=-2, keepdim=True) / count
    centred = inner - along - along.transpose(-1, -2) + middle
    squares = torch.diagonal(inner, dim1=-2, dim2=-1)
    sums = squares.unsqueeze(-1) + squares.unsqueeze(-2)
    around = torch.diagonal(centred, dim1=-2, dim2=-1).clamp(min=0)
    lengths = around.sqrt()
    area = lengths.unsqueeze(-1) * lengths.unsqueeze(-2)
    noise = 1e-12 * sums
    cosines = torch.where(area > noise, centred / torch.where(area > noise, area, 1.0), 0.0).clamp(-1, 1)
    spread = around.unsqueeze(-1) + around.unsqueeze(-2)
    twins = both & (sums - 2 * inner <= torch.where(some.unsqueeze(-1), TWIN * spread + noise, TWIN * sums))
    return torch.where(twins, 1.0, torch.where(both, cosines, 0.0))


def _probe(evidence: Evidence) -> Probe:
    if evidence.probe is None:
        raise RuleError("a view of what models do needs own samples")
    return evidence.probe
