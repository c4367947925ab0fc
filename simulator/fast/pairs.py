"""Geometry for a group of nodes, from distances of the pairs that some node needs and has not had before.

Laws:
- Distances are sums of squared differences: no common origin, so they never cancel, and a pair stays valid for as
  long as both rows live. A node keeps the distances between the relayed histories that it holds; only pairs with a
  row that is new to it are computed.
- Distances are kept in float32; equal rows have equal distances to any third, bit by bit, in either order. Those beyond
  float32 (models beyond 1e18 or so) are kept as infinite, and measured again in float64 whenever they are asked for.
- Where 1 - cosine is a small remainder of a large distance (rows of one direction and different length) it is
  computed again from products in float64.
"""

from __future__ import annotations

import torch
from torch import Tensor

from aggregation.kernels.rows import known_distances, numba_serves
from simulator.fast.profile import Profile
from simulator.fast.rows import Rows
from simulator.fast.survey import Survey

_REMAINDER = 1e-2  # of the squared distance: below it two of seven digits are gone
_STILL = 1e-13  # as aggregation.kernels.geometry: the difference of two equal rows


class Kept:
    """Distances between the histories that each node holds, from round to round: 4 w^2 bytes a node.

    A node's last ones stay until it puts new ones. Serials are never used twice, so none of them is ever wrong.

    Attributes:
        serials: (N, w) of the histories held, 0 past the end; w is the most that any node ever held.
        distances: (N, w, w) between them.
    """

    def __init__(self, nodes: int, device: str = "cpu") -> None:
        self.serials = torch.zeros(nodes, 0, dtype=torch.int64, device=device)
        self.distances = torch.zeros(nodes, 0, 0, device=device)

    def widen(self, width: int) -> None:
        """Make room for what is held in this round."""
        nodes, before = self.serials.shape
        if width > before:
            serials, distances = self.serials, self.distances
            self.serials = serials.new_zeros(nodes, width)
            self.serials[:, :before] = serials
            self.distances = distances.new_zeros(nodes, width, width)
            self.distances[:, :before, :before] = distances

    def put(self, nodes: Tensor, serials: Tensor, distances: Tensor) -> None:
        """What these nodes (ascending) hold in this round: (n, w) and (n, w, w)."""
        width, who = serials.shape[1], _run(nodes)
        self.serials[who, :width] = serials
        self.serials[who, width:] = 0
        self.distances[who, :width, :width] = distances

    def of(self, nodes: Tensor) -> tuple[Tensor, Tensor]:
        """Serials (n, w) and distances (n, w, w) of these nodes (ascending); not to be changed."""
        who = _run(nodes)
        return self.serials[who], self.distances[who]

    def known(self, serials: Tensor) -> Tensor:
        """How many of the histories (H, r), 0 none, each node held before: (H,)."""
        match = (serials.unsqueeze(-1) == self.serials.unsqueeze(-2)) & (serials > 0).unsqueeze(-1)
        return match.any(dim=-1).sum(dim=1) if match.shape[-1] else serials.new_zeros(len(serials))


class Surveyed:
    """All pairs of a round and the cosine gaps between them, for every group of nodes.

    Attributes:
        survey: the distances.
        gaps: (L + 1, L + 1) float64, 1 - cosine; 1 past the end.
    """

    def __init__(self, survey: Survey, rows: Rows, finite: Tensor, profile: Profile) -> None:
        self.survey = survey
        count = len(survey.names)
        geometry = PairGeometry(rows, finite, survey.names[:0], survey.names[:0], None, profile)
        geometry.give(survey.names[None], survey.distances[None, :count, :count])
        self.gaps = torch.ones(count + 1, count + 1, dtype=torch.float64, device=finite.device)
        self.gaps[:count, :count] = geometry.cosine_gaps(survey.names[None])[0]


class PairGeometry:
    """Implements aggregation.kernels.geometry.Geometry for evidence about `nodes`, ascending.

    Attributes:
        finite: (R,) bool.
    """

    def __init__(
        self,
        rows: Rows,
        finite: Tensor,
        nodes: Tensor,
        relayed: Tensor,
        kept: Kept | None,
        profile: Profile,
        surveyed: Surveyed | None = None,
    ) -> None:
        self.finite = finite
        self._rows = rows
        self._nodes = nodes
        self._relayed = relayed
        self._kept = kept
        self._profile = profile
        self._surveyed = surveyed
        self._last: tuple[Tensor, Tensor] | None = None

    def give(self, index: Tensor, distances: Tensor) -> None:
        """Say what the distances (..., k, k) between these rows (..., k) are."""
        self._last = index, distances

    def products(self, index: Tensor) -> Tensor:
        """Inner products: (..., k) -> (..., k, k) float64."""
        distances, usable = self._distances(index)
        squares = torch.where(usable, self._rows.squares[index.clamp(min=0)], 0.0)
        inner = (squares.unsqueeze(-1) + squares.unsqueeze(-2) - self._measured(index, distances)) / 2
        return torch.where(usable.unsqueeze(-1) & usable.unsqueeze(-2), inner, 0.0)

    def squared_distances(self, index: Tensor) -> Tensor:
        """Squared distances: (..., k) -> (..., k, k) float64."""
        return self._measured(index, self._distances(index)[0])

    def cosine_gaps(self, index: Tensor, origin: Tensor | None = None) -> Tensor:
        """1 - cosine of rows less the origin: (..., k) -> (..., k, k) float64."""
        if origin is None and self._surveyed is not None:
            usable = (index >= 0) & self.finite[index.clamp(min=0)]
            at = self._surveyed.survey.among(torch.where(usable, index, -1))
            if at is not None:
                self._distances(index)  # kept for the next round
                return self._surveyed.gaps[at.unsqueeze(-1), at.unsqueeze(-2)]
        distances, usable = self._distances(index)
        if origin is None and index.numel() and numba_serves(self._rows.values):
            from aggregation.kernels import compiled_pairs

            flat = torch.where(usable, index, -1).reshape(-1, index.shape[-1])
            out = torch.empty(distances.shape, dtype=torch.float64)
            compiled_pairs.cosine_gaps(
                self._rows.values.numpy(),
                flat.numpy(),
                self._rows.squares.numpy(),
                distances.reshape(-1, *distances.shape[-2:]).numpy(),
                out.view(-1, *distances.shape[-2:]).numpy(),
            )
            return out
        distances = self._measured(index, distances)
        squares = torch.where(usable, self._rows.squares[index.clamp(min=0)], 0.0)
        if origin is None:
            lengths = squares
        else:
            base = origin.expand(index.shape[:-1])
            lengths = _from_origin(self._rows.values, index, usable, base)
            still = lengths <= _STILL * (squares + self._rows.squares[base].unsqueeze(-1))
            lengths = torch.where(still | ~self.finite[base].unsqueeze(-1), 0.0, lengths)
        directed = usable & (lengths > 0)
        roots = lengths.sqrt()
        radial = (roots.unsqueeze(-1) - roots.unsqueeze(-2)).square_()
        area = roots.unsqueeze(-1) * roots.unsqueeze(-2)
        both = directed.unsqueeze(-1) & directed.unsqueeze(-2)
        rest = distances - radial
        doubtful = both & (rest < _REMAINDER * distances)
        gaps = (rest / torch.where(both, 2 * area, 1.0)).clamp_(0, 2)
        if bool(doubtful.any()):
            self._again(gaps, doubtful, index, roots, origin)
        gaps = torch.where(both, gaps, 1.0)
        same = torch.eye(index.shape[-1], dtype=torch.bool, device=index.device)
        return torch.where(same & directed.unsqueeze(-1), 0.0, gaps)

    def _measured(self, index: Tensor, distances: Tensor) -> Tensor:
        """Distances (..., k, k) between rows (..., k) as float64, those that overflowed float32 too."""
        found, beyond = distances.double(), torch.isinf(distances)
        if bool(beyond.any()):
            where = beyond.nonzero(as_tuple=True)
            lead, one, two = where[:-2], where[-2], where[-1]
            pairs = torch.stack([index[(*lead, one)], index[(*lead, two)]], dim=1).sort(dim=1).values
            unique, back = torch.unique(pairs, dim=0, return_inverse=True)
            values = self._rows.values
            far = torch.empty(len(unique), dtype=torch.float64, device=values.device)
            step = max(1, (1 << 20) // values.shape[1])
            for start in range(0, len(unique), step):
                part = unique[start : start + step]
                apart = values[part[:, 0]].double() - values[part[:, 1]].double()
                far[start : start + step] = torch.linalg.vecdot(apart, apart)
            found[where] = far[back]
        return found

    def _again(self, gaps: Tensor, doubtful: Tensor, index: Tensor, roots: Tensor, origin: Tensor | None) -> None:
        where = doubtful.nonzero(as_tuple=True)
        lead, one, two = where[:-2], where[-2], where[-1]
        upper = one < two
        lead, one, two = tuple(axis[upper] for axis in lead), one[upper], two[upper]
        if len(one) == 0:
            return
        values = self._rows.values
        first, second = index[(*lead, one)], index[(*lead, two)]
        base = None if origin is None else origin.expand(index.shape[:-1])[lead]
        pairs = torch.stack([torch.minimum(first, second), torch.maximum(first, second)], dim=1)
        if base is not None:
            pairs = torch.cat([pairs, base.reshape(-1, 1)], dim=1)
        unique, back = torch.unique(pairs, dim=0, return_inverse=True)
        inner = torch.zeros(len(unique), dtype=torch.float64, device=values.device)
        step = max(1, (1 << 20) // values.shape[1])
        for start in range(0, len(unique), step):
            part = unique[start : start + step]
            left, right = values[part[:, 0]].double(), values[part[:, 1]].double()
            if base is not None:
                common = values[part[:, 2]].double()
                left, right = left - common, right - common
            inner[start : start + step] = torch.linalg.vecdot(left, right) / (
                torch.linalg.vector_norm(left, dim=1) * torch.linalg.vector_norm(right, dim=1)
            )
        found = (1 - inner[back]).clamp(0, 2)
        gaps[(*lead, one, two)] = found
        gaps[(*lead, two, one)] = found

    def _distances(self, index: Tensor) -> tuple[Tensor, Tensor]:
        usable = (index >= 0) & self.finite[index.clamp(min=0)]
        if index.numel() == 0:
            return self._rows.squares.new_zeros(*index.shape, index.shape[-1]), usable
        if self._last is not None and torch.equal(self._last[0], index):
            return self._last[1], usable
        with self._profile.within("gram"):
            flat = torch.where(usable, index, -1).reshape(-1, index.shape[-1])
            distances = self._found(flat).reshape(*index.shape, index.shape[-1])
        self._last = (index, distances)
        return distances, usable

    def _found(self, index: Tensor) -> Tensor:
        rows, kept = self._rows, self._kept
        found = None
        if self._surveyed is not None:
            survey = self._surveyed.survey
            at = survey.among(index)
            found = None if at is None else survey.distances[at.unsqueeze(-1), at.unsqueeze(-2)]
        if kept is None or len(index) != len(self._nodes):
            if found is None:
                none = index.new_zeros(len(index), 0)
                found = known_distances(rows.values, index, rows.serial, none, rows.values.new_zeros(len(index), 0, 0))
            return found
        if found is None:
            found = known_distances(rows.values, index, rows.serial, *kept.of(self._nodes))
        held = self._relayed.shape[-1]
        mine = index[:, index.shape[-1] - held :]
        if held and torch.equal(mine, torch.where(self._relayed >= 0, self._relayed, -1)):
            serials = torch.where(mine >= 0, rows.serial[mine.clamp(min=0)], 0)
            kept.put(self._nodes, serials, found[:, -held:, -held:])
        return found


def _run(nodes: Tensor) -> Tensor | slice:
    # ascending numbers as a slice where none is left out: what is read is then no copy
    first, count = int(nodes[0]), len(nodes)
    return slice(first, first + count) if int(nodes[-1]) - first == count - 1 else nodes


def _from_origin(values: Tensor, index: Tensor, usable: Tensor, base: Tensor) -> Tensor:
    # squared distances from one row: (..., k) float64
    flat, origin = index.clamp(min=0).reshape(-1, index.shape[-1]), base.reshape(-1)
    total = torch.zeros(flat.shape, dtype=torch.float64, device=values.device)
    step = max(64, (1 << 19) // max(1, flat.numel()))
    for start in range(0, values.shape[1], step):
        part = values[:, start : start + step]
        apart = (part[flat] - part[origin].unsqueeze(1)).double()
        total += torch.linalg.vecdot(apart, apart)
    return torch.where(usable, total.reshape(index.shape), 0.0)
