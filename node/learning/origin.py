"""Where a model's initial weights come from: whether every process that builds it from one seed gets the same ones.

Laws:
- Nothing is believed of a layer or a function: the model is made twice from one seed, and bits are compared.
- A module that is given is filled with two different numbers before its layers are drawn: what differs afterwards was
  not drawn. One repeated number is a constant, the same in every process.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator

import torch
from torch import Tensor, nn

from node.learning.blueprint import redraw, trainable
from node.learning.errors import TaskError
from node.learning.seeded import seeded


class Fresh:
    """A user's function whose models share tensors that are not trained: each caller gets a copy of its own."""

    def __init__(self, make: Callable[[], nn.Module]) -> None:
        self.make = make

    def __call__(self) -> nn.Module:
        """A model that shares nothing."""
        return copy.deepcopy(self.make())


def check_function(first: nn.Module, second: nn.Module) -> None:
    """What a function made of one seed, twice.

    Raises:
        TaskError: it differs, so every process would start elsewhere; the message names what.
    """
    others = dict(tensors(second))
    for name, value in tensors(first):
        other = others.pop(name, None)
        if other is None or not same(value, other):
            raise TaskError(
                f"the model function gives '{name}' other values each time, from one seed: nodes would not start from "
                "the same model. Draw it with torch (torch.randn, torch.nn.init), which the seed reaches, or from a "
                "generator with a fixed seed that the function makes itself"
            )
    if others:
        raise TaskError(f"the model function makes another model each time: '{next(iter(others))}' comes and goes")


def check_module(module: nn.Module) -> None:
    """A module whose layers are drawn afresh from the seed (see `redraw`).

    Raises:
        TaskError: a trainable tensor is not drawn, so every process would start elsewhere; the message names it.
    """
    copied = copy.deepcopy(module)
    given = {name: value.detach().clone() for name, value in trainable(copied)}
    drawn = []
    for number in (1.0, 2.0):
        with torch.no_grad():
            for _, value in trainable(copied):
                value.fill_(number)
        with seeded(0):
            redraw(copied)
        drawn.append({name: value.detach().clone() for name, value in trainable(copied)})
    for name, value in given.items():
        if not same(drawn[0][name], drawn[1][name]) and not _constant(value):
            raise TaskError(
                f"parameter '{name}' is not drawn by its layer's reset_parameters(), so it cannot come from the "
                "network's seed: give a function that makes the model anew each time, or pretrained=True to start "
                "from the weights as they are"
            )


def shared(first: nn.Module, second: nn.Module) -> tuple[bool, bool]:
    """Whether two models share trainable tensors, and whether they share any."""
    mine = {place: value.requires_grad for place, value in _places(first)}
    common = [mine[place] for place, _ in _places(second) if place in mine]
    return any(common), bool(common)


def tensors(module: nn.Module) -> Iterator[tuple[str, Tensor]]:
    """All parameters and buffers, by name."""
    yield from module.named_parameters()
    yield from module.named_buffers()


def same(first: Tensor, second: Tensor) -> bool:
    """Equal in shape, dtype and every bit (a NaN equals itself)."""
    if first.shape != second.shape or first.dtype != second.dtype:
        return False
    ours, theirs = (each.detach().contiguous().reshape(-1).view(torch.uint8) for each in (first, second))
    return torch.equal(ours, theirs)


def _places(module: nn.Module) -> Iterator[tuple[int, Tensor]]:
    return ((value.data_ptr(), value) for _, value in tensors(module) if value.numel())


def _constant(value: Tensor) -> bool:
    first = float(value.reshape(-1)[0]) if value.numel() else 0.0
    return bool((value == first).all()) and (value.numel() > 1 or first in (0.0, 1.0))
