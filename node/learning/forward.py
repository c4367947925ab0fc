"""Outputs of many models of one architecture at once: three ways, the same numbers to rounding.

- chain: a plain chain of nn.Linear and elementwise layers becomes products over all models; for shared inputs the first
  layer is a single product.
- vmap: other modules without convolutions, where torch.func.vmap agrees with the loop on two models.
- loop: one model after the other. Convolutions stay here: stacked, they cost up to twice as much as the loop, because
  vmap turns them into grouped convolutions.

Law: the way is chosen by what the module is and by agreement, never by timing, so a machine's load cannot change a
result.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from torch import Tensor, nn
from torch.func import vmap

from node.learning.functional import Functional
from node.learning.layout import Layout

Path = Literal["chain", "vmap", "loop"]
Buffers = Mapping[str, Tensor]
Seen = Callable[[str, Tensor], None]

ELEMENTWISE: tuple[type[nn.Module], ...] = (
    nn.ReLU,
    nn.LeakyReLU,
    nn.ELU,
    nn.GELU,
    nn.SiLU,
    nn.Tanh,
    nn.Sigmoid,
    nn.Hardtanh,
    nn.Softplus,
    nn.Identity,
    nn.Dropout,  # in evaluation it passes everything on
)
AGREEMENT = 1e-5  # largest difference between vmap and loop, relative to the largest output
CHUNK_FLOATS = 1 << 24  # 64 MB of activations or repacked weights at a time


@dataclass(frozen=True, slots=True)
class Link:
    """One layer of a chain: an nn.Linear at `path` (weight and bias by name), or an elementwise module."""

    path: str
    layer: nn.Module


class Forward:
    """Runs models given as rows of flat params through one module.

    Attributes:
        path: which way is taken.
        width: most numbers that a layer puts out for one sample and model (what all models share is not counted).
    """

    def __init__(self, module: nn.Module, layout: Layout, sample: Tensor) -> None:
        """Choose the way.

        Args:
            module: in evaluation mode; its trainable parameters are replaced, the rest is used as it is.
            layout: where its trainable parameters lie.
            sample: (2, *shape) inputs as fed, to try the module on.
        """
        self._module, self._layout, self._function = module, layout, Functional(module)
        self._links = _chain(module, sample)
        self.width = _width(module, sample) if self._links is None else _chain_width(self._links)
        self.path: Path = "chain" if self._links is not None else self._choose(sample)

    def __call__(self, params: Tensor, inputs: Tensor, sample_dims: int, buffers: Buffers | None = None) -> Tensor:
        """Outputs: params (..., d), inputs as fed (..., p, *shape) with `sample_dims` = len(shape) -> (..., p, c)."""
        lead = inputs.shape[: inputs.dim() - sample_dims - 1]
        if self._links is not None:
            flat = inputs.flatten(inputs.dim() - sample_dims)
            return self._run_chain(params, flat)
        shape = _broadcast(params.shape[:-1], lead)
        rows = params.expand(*shape, params.shape[-1]).reshape(-1, params.shape[-1])
        shared = all(size == 1 for size in lead)
        own = inputs.reshape(inputs.shape[len(lead) :]) if shared else inputs.expand(*shape, *inputs.shape[len(lead) :])
        stacked = own if shared else own.reshape(-1, *inputs.shape[len(lead) :])
        outputs = self._run_rows(rows, stacked, shared, buffers or {})
        return outputs.reshape(*shape, *outputs.shape[1:])

    def predicted(self, params: Tensor, inputs: Tensor, sample_dims: int, buffers: Buffers | None = None) -> Tensor:
        """Class of the greatest output, of equal ones the lowest: params (n, d), inputs as fed (p, *shape) -> (n, p).

        In a chain outputs stand in columns, (n, c, p): the greatest of c rows is found many samples at a time.
        """
        if self._links is None:
            return self(params, inputs, sample_dims, buffers).argmax(dim=-1)
        named = self._layout.read(params)
        state = inputs.flatten(1).T
        for link in self._links:
            if not isinstance(link.layer, nn.Linear):
                state = link.layer(state)
                continue
            weight, bias = _tensors(link.path, link.layer, named)
            if state.dim() == 2 and weight.dim() == 3:
                product = weight.reshape(-1, weight.shape[-1]) @ state  # all models are rows of one product
                state = product.view(*weight.shape[:2], -1)
            else:
                state = weight @ state
            if bias is not None:
                state.add_(bias.unsqueeze(-1))
        return state.max(dim=-2).indices.expand(len(params), len(inputs))

    def chain_inputs(self, params: Tensor, inputs: Tensor, sample_dims: int) -> Iterator[tuple[str, Tensor]] | None:
        """Name of each linear layer of a chain with what it is fed, (..., p, f); None when the module is no chain."""
        if self._links is None:
            return None
        return self._walk(params, inputs.flatten(inputs.dim() - sample_dims))

    def _walk(self, params: Tensor, inputs: Tensor) -> Iterator[tuple[str, Tensor]]:
        seen: list[tuple[str, Tensor]] = []
        self._run_chain(params, inputs, lambda path, fed: seen.append((path, fed)))
        return iter(seen)

    def _run_chain(self, params: Tensor, inputs: Tensor, seen: Seen | None = None) -> Tensor:
        assert self._links is not None
        named = self._layout.read(params)
        lead = _broadcast(params.shape[:-1], inputs.shape[:-2])
        state = inputs
        for link in self._links:
            if isinstance(link.layer, nn.Linear):
                if seen is not None:
                    seen(link.path, state)
                state = _linear(state, *_tensors(link.path, link.layer, named))
            else:
                state = link.layer(state)
        return state.expand(*lead, *state.shape[-2:])

    def _run_rows(self, rows: Tensor, inputs: Tensor, shared: bool, buffers: Buffers) -> Tensor:
        named = self._layout.read(rows)
        if self.path == "vmap":
            samples = inputs.shape[0 if shared else 1]
            chunk = max(1, CHUNK_FLOATS // max(1, samples * self.width))
            return self._vmapped(named, inputs, shared, buffers, chunk)
        return torch.stack(
            [
                self._call(
                    {name: value[row] for name, value in named.items()}, inputs if shared else inputs[row], buffers
                )
                for row in range(len(rows))
            ]
        )

    def _vmapped(
        self, named: Mapping[str, Tensor], inputs: Tensor, shared: bool, buffers: Buffers, chunk: int
    ) -> Tensor:
        def one(values: dict[str, Tensor], fed: Tensor) -> Tensor:
            return self._call(values, fed, buffers)

        result: Tensor = vmap(one, in_dims=(0, None if shared else 0), chunk_size=chunk)(dict(named), inputs)
        return result

    def _call(self, values: Mapping[str, Tensor], inputs: Tensor, buffers: Buffers) -> Tensor:
        return self._function({**values, **buffers}, inputs)

    def _choose(self, sample: Tensor) -> Path:
        convolutions = (nn.modules.conv._ConvNd,)
        if any(isinstance(layer, convolutions) for layer in self._module.modules()):
            return "loop"
        # two models that differ, deterministically, without drawing from torch's global generator
        base = torch.cat([self._module.get_parameter(name).detach().reshape(-1) for name in self._layout.names])
        wave = torch.sin(torch.arange(2 * len(base), device=base.device, dtype=torch.float32)).view(2, -1)
        models = base + 0.1 * wave
        named = self._layout.read(models)
        with torch.no_grad(), _strict_vmap():
            loop = torch.stack([self._call(self._layout.read(model), sample, {}) for model in models])
            try:
                shared = self._vmapped(named, sample, True, {}, 2)
                own = self._vmapped(named, torch.stack([sample, sample]), False, {}, 2)
            except Exception:  # the user's own code runs, on what vmap feeds it
                return "loop"
        scale = loop.abs().max().clamp(min=1.0)
        agree = all(
            found.shape == loop.shape and bool(((found - loop).abs() <= AGREEMENT * scale).all())
            for found in (shared, own)
        )
        return "vmap" if agree else "loop"


@contextmanager
def _strict_vmap() -> Iterator[None]:
    """Operations that vmap can only run one by one warn every time, and the warning is an error."""
    before = torch.is_warn_always_enabled()
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        torch.set_warn_always(True)
        try:
            yield
        finally:
            torch.set_warn_always(before)


def _broadcast(first: torch.Size, second: torch.Size) -> torch.Size:
    return torch.Size(np.broadcast_shapes(tuple(first), tuple(second)))


def _linear(state: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """State (..., p, f), weight (..., o, f), bias (..., o) or None -> (..., p, o)."""
    lead = weight.shape[:-2]
    outputs, features = weight.shape[-2:]
    common = len(lead) - 1  # leading dimensions that the state has and the last group of models shares
    if lead and state.dim() == 2:
        # shared inputs: the outputs of all models are columns of one product
        product = state @ weight.reshape(-1, features).T
        state = product.view(len(state), *lead, outputs).movedim(0, -2)
    elif lead and state.dim() - 2 == len(lead) and state.shape[common] == 1 and lead[common] > 1:
        # (n, 1, p, f) against (n, k, o, f): the k models of a node are columns of one product
        product = state.squeeze(common) @ weight.flatten(-3, -2).transpose(-1, -2)
        state = product.view(*product.shape[:-1], lead[-1], outputs).movedim(-2, -3)
    else:
        state = state @ weight.transpose(-1, -2)
    return state if bias is None else state + bias.unsqueeze(-2)


def _tensors(path: str, layer: nn.Linear, named: Mapping[str, Tensor]) -> tuple[Tensor, Tensor | None]:
    """Weight and bias: the models' own where they are exchanged, else the module's."""
    prefix = f"{path}." if path else ""
    return named.get(f"{prefix}weight", layer.weight), named.get(f"{prefix}bias", layer.bias)


def _chain(module: nn.Module, sample: Tensor) -> tuple[Link, ...] | None:
    """The layers of a plain chain in order, or None."""
    links: list[Link] = []
    flat = sample.dim() == 2
    for path, layer in _leaves(module):
        hooked = layer._forward_hooks or layer._forward_pre_hooks
        if hooked or path in {link.path for link in links}:
            return None
        if type(layer) is nn.Flatten and layer.start_dim == 1 and layer.end_dim == -1:
            flat = True
        elif (type(layer) is nn.Linear and flat and sample.dtype == torch.float32) or type(layer) in ELEMENTWISE:
            links.append(Link(path, layer))
        else:
            return None
    seen = [id(link.layer) for link in links if isinstance(link.layer, nn.Linear)]
    names = {name for name, _ in module.named_parameters()}
    complete = all(
        f"{link.path}.{name}".lstrip(".") in names
        for link in links
        for name, _ in link.layer.named_parameters(recurse=False)
    )
    return tuple(links) if len(set(seen)) == len(seen) and complete else None


def _leaves(module: nn.Module, path: str = "") -> Iterator[tuple[str, nn.Module]]:
    if type(module) is nn.Sequential and not module._forward_hooks and not module._forward_pre_hooks:
        for name, child in module._modules.items():
            assert child is not None
            yield from _leaves(child, f"{path}.{name}".lstrip("."))
    else:
        yield path, module


def _chain_width(links: tuple[Link, ...]) -> int:
    return max((link.layer.out_features for link in links if isinstance(link.layer, nn.Linear)), default=1)


def _width(module: nn.Module, sample: Tensor) -> int:
    widest = sample[0].numel()

    def watch(_: nn.Module, __: object, output: object) -> None:
        nonlocal widest
        if isinstance(output, Tensor):
            widest = max(widest, output.numel() // len(sample))

    handles = [layer.register_forward_hook(watch) for layer in module.modules()]
    try:
        with torch.no_grad():
            module(sample)
    finally:
        for handle in handles:
            handle.remove()
    return widest
