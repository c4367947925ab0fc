"""The trigger of a backdoor: a small white square in the top left corner of an image."""

from __future__ import annotations

from dataclasses import dataclass
from math import isqrt

import torch
from torch import Tensor

_SHARE_OF_SIDE = 3 / 28  # a 3x3 square on a 28x28 image


def white(inputs: Tensor) -> float:
    """The brightest value of a data set: 255 for uint8, else the largest value that occurs."""
    return 255.0 if inputs.dtype == torch.uint8 else float(inputs.max())


@dataclass(frozen=True, slots=True)
class Trigger:
    """A square of the brightest value; or one part of it, when several Sybils share it.

    Attributes:
        size: side in pixels; None: 3/28 of the image's side, at least 2.
        part: which part of the square this trigger draws (pixel k of the square belongs to part k % parts).
        parts: into how many parts the square is split.

    Source: T. Gu et al., "BadNets", arXiv 1708.06733; the parts: C. Xie et al., "DBA", ICLR 2020.
    """

    size: int | None = None
    part: int = 0
    parts: int = 1

    def stamp(self, inputs: Tensor, white: float) -> Tensor:
        """A copy of the inputs with the trigger drawn on each.

        Args:
            inputs: (k, ..., height, width) images, or (k, p) flat ones; when p is no square number the trigger covers
                the first size * size features instead.
            white: the value to draw, see `white`.

        Returns:
            Tensor of the same shape and dtype.
        """
        out = inputs.clone()
        if inputs.dim() >= 3:
            height, width = inputs.shape[-2:]
            canvas = out
        else:
            features = inputs.shape[1]
            side = isqrt(features)
            height, width = (side, side) if side * side == features else (1, features)
            canvas = out.view(len(out), height, width)
        size = self.size or max(2, round(_SHARE_OF_SIDE * (height if height > 1 else 28)))
        cells = (
            [(k // size, k % size) for k in range(size * size)] if height > 1 else [(0, k) for k in range(size * size)]
        )
        for k, (row, column) in enumerate(cells):
            if k % self.parts == self.part and row < height and column < width:
                canvas[..., row, column] = white
        return out
