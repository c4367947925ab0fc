"""Memory of one worker that is used again: fresh pages cost more than the products written to them."""

from __future__ import annotations

from math import prod

import torch
from torch import Tensor


class Scratch:
    """Named buffers that grow. One owner at a time.

    Law: a tensor taken is uninitialised and starts on a cache line; taking its name again takes it back.
    """

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._held: dict[str, Tensor] = {}

    def take(self, name: str, shape: tuple[int, ...], dtype: torch.dtype = torch.float32) -> Tensor:
        """A contiguous tensor of this shape; contents are whatever was there.

        Args:
            name: what it is for; the same tensor comes back under the same name.
            shape: of the tensor.
            dtype: of the tensor, always the same for a name.
        """
        size = prod(shape)
        held = self._held.get(name)
        if held is None or held.numel() < size:
            held = self._held[name] = torch.empty(size, dtype=dtype, device=self._device)
        return held[:size].view(shape)
