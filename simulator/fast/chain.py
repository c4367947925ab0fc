"""Recognises a model that is a plain chain of layers, so that its gradients can be written out instead of recorded."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from enum import IntEnum
from math import prod

from torch import nn


class Activation(IntEnum):
    """What follows a linear layer. Numbers are passed to compiled kernels."""

    NONE = 0
    RELU = 1
    TANH = 2
    SIGMOID = 3


@dataclass(frozen=True, slots=True)
class Dense:
    """One linear layer of a chain.

    Attributes:
        inputs: features in.
        outputs: features out.
        weight: offset of the (outputs, inputs) weight in a flat vector of params.
        bias: offset of the (outputs,) bias, or None.
        activation: what follows.
    """

    inputs: int
    outputs: int
    weight: int
    bias: int | None
    activation: Activation


@dataclass(frozen=True, slots=True)
class Chain:
    """Linear layers one after the other, cross entropy at the end; together they are the whole flat vector.

    Attributes:
        layers: in order; the last has no activation.
        dimension: length of the flat vector.
    """

    layers: tuple[Dense, ...]
    dimension: int


_ACTIVATIONS: dict[type[nn.Module], Activation] = {
    nn.ReLU: Activation.RELU,
    nn.Tanh: Activation.TANH,
    nn.Sigmoid: Activation.SIGMOID,
}


def recognise(module: nn.Module, shape: tuple[int, ...]) -> Chain | str:
    """The chain that a module is, or why it is none.

    Only exact types count (a subclass may do anything), only where every parameter is trained, and only without hooks.

    Args:
        module: the user's model.
        shape: shape of one input.
    """
    layers: list[Dense] = []
    features = prod(shape)
    flat = len(shape) == 1
    offset = 0
    for part in _parts(module):
        if part._forward_hooks or part._forward_pre_hooks or part._backward_hooks:
            return "a layer has hooks"
        kind = type(part)
        if isinstance(part, nn.Flatten) and kind is nn.Flatten:
            if layers or (part.start_dim, part.end_dim) != (1, -1):
                return "flattens elsewhere than at the start"
            flat = True
        elif isinstance(part, nn.Linear) and kind is nn.Linear:
            if not flat or part.in_features != features:
                return "a linear layer on inputs that are not flat"
            if not all(p.requires_grad for p in part.parameters()):
                return "a layer is frozen"
            weight = offset
            offset += part.in_features * part.out_features
            bias = offset if part.bias is not None else None
            offset += part.out_features if part.bias is not None else 0
            features = part.out_features
            layers.append(Dense(part.in_features, features, weight, bias, Activation.NONE))
        elif kind in _ACTIVATIONS:
            if not layers or layers[-1].activation is not Activation.NONE:
                return f"{kind.__name__} does not follow a linear layer"
            last = layers.pop()
            layers.append(Dense(last.inputs, last.outputs, last.weight, last.bias, _ACTIVATIONS[kind]))
        elif kind is not nn.Identity:
            return f"{kind.__name__} is no linear layer"
    if not layers:
        return "no linear layer"
    if layers[-1].activation is not Activation.NONE:
        return "an activation comes last"
    if len({id(p) for p in module.parameters()}) != sum(1 + (layer.bias is not None) for layer in layers):
        return "layers share weights"
    return Chain(tuple(layers), offset)


def _parts(module: nn.Module) -> Iterator[nn.Module]:
    if type(module) is nn.Sequential:
        if module._forward_hooks or module._forward_pre_hooks or module._backward_hooks:
            yield module  # a Sequential is no layer: the caller refuses it, naming the hooks
        for part in module:
            yield from _parts(part)
    else:
        yield module
