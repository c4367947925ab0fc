"""Flat vector of params <-> named tensors.

Law: tensors lie one after the other in the order of `named_parameters()`, each row-major, without padding. So tensor k
starts at the sum of the sizes before it, and the vector of softmax regression 784x10 has 7 850 numbers: 7 840 weights,
then 10 biases.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from math import prod

import torch
from torch import Tensor


@dataclass(frozen=True, slots=True)
class Layout:
    """Which named tensor lies where in a flat vector.

    Attributes:
        names: as in `named_parameters()`.
        shapes: shape of each.
        offsets: start of each in the flat vector.
        dimension: length d of the flat vector.
    """

    names: tuple[str, ...]
    shapes: tuple[tuple[int, ...], ...]
    offsets: tuple[int, ...]
    dimension: int

    @classmethod
    def of(cls, named: Iterable[tuple[str, Tensor]]) -> Layout:
        """Layout of tensors in the order given."""
        names, shapes, offsets, total = [], [], [], 0
        for name, tensor in named:
            names.append(name)
            shapes.append(tuple(tensor.shape))
            offsets.append(total)
            total += tensor.numel()
        return cls(tuple(names), tuple(shapes), tuple(offsets), total)

    def read(self, params: Tensor) -> dict[str, Tensor]:
        """Views into (..., d) params: name -> (..., *shape). Writing to a view writes to the vector."""
        return {
            name: params[..., offset : offset + prod(shape)].view((*params.shape[:-1], *shape))
            for name, shape, offset in zip(self.names, self.shapes, self.offsets, strict=True)
        }

    def flatten(self, named: Mapping[str, Tensor]) -> Tensor:
        """Named tensors (..., *shape) as one (..., d) vector.

        Raises:
            KeyError: a tensor is missing.
            ValueError: a tensor of another shape.
        """
        parts = []
        for name, shape in zip(self.names, self.shapes, strict=True):
            tensor = named[name]
            lead = tensor.dim() - len(shape)
            if lead < 0 or tuple(tensor.shape[lead:]) != shape:
                raise ValueError(f"tensor '{name}' has shape {tuple(tensor.shape)}; the layout wants (..., {shape})")
            parts.append(tensor.reshape(*tensor.shape[:lead], prod(shape)))
        return torch.cat(parts, dim=-1)
