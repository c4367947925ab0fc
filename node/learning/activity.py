"""How large a weight's input is on given data: what a change of that weight does there.

Linear: weight[:, j] gets the root mean square of input feature j. Conv2d: weight[o, c, y, x] gets the root mean
square, over samples and positions, of the input element that it multiplies. Biases and all other parameters get 1.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from torch import Tensor, nn

from node.learning.functional import Functional
from node.learning.layout import Layout


def module_activity(
    module: nn.Module, layout: Layout, params: Tensor, inputs: Tensor, buffers: Mapping[str, Tensor]
) -> Tensor:
    """Activity of one model, layer by layer through hooks.

    Args:
        module: in evaluation mode.
        layout: where its trainable parameters lie.
        params: (d,).
        inputs: (p, *shape) as fed, p >= 1.
        buffers: of the model.

    Returns:
        (d,) float32. A layer that is called several times gets the mean over its calls; one that is never called, 1.
    """
    squares: dict[str, Tensor] = {}
    calls: dict[str, int] = {}

    def watch(name: str) -> Callable[[nn.Module, tuple[Tensor, ...]], None]:
        def hook(layer: nn.Module, given: tuple[Tensor, ...]) -> None:
            value = _conv_squares(layer, given[0]) if isinstance(layer, nn.Conv2d) else _linear_squares(given[0])
            squares[name] = squares.get(name, torch.zeros(())) + value
            calls[name] = calls.get(name, 0) + 1

        return hook

    handles = []
    for path, layer in module.named_modules():
        name = f"{path}.weight".lstrip(".")
        if isinstance(layer, nn.Linear | nn.Conv2d) and name in layout.names:
            handles.append(layer.register_forward_pre_hook(watch(name)))
    try:
        with torch.no_grad():
            Functional(module)({**layout.read(params), **buffers}, inputs)
    finally:
        for handle in handles:
            handle.remove()
    return spread(layout, {name: (total / calls[name]).sqrt() for name, total in squares.items()}, ())


def spread(layout: Layout, sizes: Mapping[str, Tensor], lead: tuple[int, ...]) -> Tensor:
    """Sizes of the inputs of some weights, each broadcastable to (*lead, *shape) -> (*lead, d); 1 elsewhere."""
    out = torch.ones(*lead, layout.dimension)
    for name, view in layout.read(out).items():
        if name in sizes:
            view.copy_(sizes[name].expand_as(view))
    return out


def _linear_squares(inputs: Tensor) -> Tensor:
    return inputs.flatten(0, -2).square().mean(dim=0)


def _conv_squares(layer: nn.Conv2d, inputs: Tensor) -> Tensor:
    """(p, c, h, w) -> mean squares (o, c / groups, kh, kw)."""
    padded = _padded(layer, inputs)
    patches = nn.functional.unfold(padded, layer.kernel_size, dilation=layer.dilation, stride=layer.stride)
    means = patches.square().mean(dim=(0, 2))
    per_group = means.view(layer.groups, 1, layer.in_channels // layer.groups, *layer.kernel_size)
    each = per_group.expand(-1, layer.out_channels // layer.groups, -1, -1, -1)
    return each.reshape(layer.weight.shape)


def _padded(layer: nn.Conv2d, inputs: Tensor) -> Tensor:
    if isinstance(layer.padding, str):
        totals = [
            step * (size - 1) if layer.padding == "same" else 0
            for size, step in zip(layer.kernel_size, layer.dilation, strict=True)
        ]
        sides = [(total // 2, total - total // 2) for total in totals]
    else:
        sides = [(side, side) for side in layer.padding]
    edges = (*sides[1], *sides[0])
    if layer.padding_mode == "zeros":
        return nn.functional.pad(inputs, edges)
    return nn.functional.pad(inputs, edges, mode=layer.padding_mode)
