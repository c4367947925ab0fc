"""What a user's module is made of: trainable and frozen parameters, its output layer, its initial weights."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Collection, Iterator

import torch
from torch import Tensor, nn

from aggregation.evidence import HeadLayout
from node.learning.errors import TaskError
from node.learning.layout import Layout


def trainable(module: nn.Module) -> Iterator[tuple[str, Tensor]]:
    """Parameters that are exchanged: those with requires_grad, tied ones once, in the module's own order."""
    return ((name, value) for name, value in module.named_parameters() if value.requires_grad)


def frozen(module: nn.Module) -> Iterator[tuple[str, Tensor]]:
    """Parameters that are not exchanged: those without requires_grad."""
    return ((name, value) for name, value in module.named_parameters() if not value.requires_grad)


def pin(module: nn.Module, extractor_digest: bytes | None, running: Collection[str] = ()) -> bytes:
    """SHA-256 over all that is not exchanged but must be the same everywhere, or b"" when nothing is.

    Args:
        module: its frozen parameters count, by name, shape and little-endian bytes, and then its buffers.
        extractor_digest: digest of the module that made the inputs, or None.
        running: buffers that training changes (running statistics): these differ from node to node and do not count.
    """
    parts = list(frozen(module))
    parts += [(f"buffer {name}", value) for name, value in module.named_buffers() if name not in running]
    if not parts and extractor_digest is None:
        return b""
    digest = hashlib.sha256(extractor_digest or b"")
    for name, value in parts:
        digest.update(f"\n{name} {tuple(value.shape)} {value.dtype}\n".encode())
        digest.update(value.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.digest()


def output_layer(module: nn.Module, classes: int, name: str | None) -> str | None:
    """Name of the output layer, or None when there is none to be found.

    Args:
        module: the model.
        classes: number of its outputs.
        name: what the user wrote, or None: the last nn.Linear with `classes` outputs whose weight is trainable.

    Raises:
        TaskError: the name leads to no trainable nn.Linear with `classes` outputs.
    """
    fitting = [
        path
        for path, layer in module.named_modules()
        if isinstance(layer, nn.Linear) and layer.out_features == classes and layer.weight.requires_grad
    ]
    if name is None:
        return fitting[-1] if fitting else None
    if name not in fitting:
        known = ", ".join(f"'{path}'" for path in fitting) or "none"
        raise TaskError(f"head '{name}' is no trainable nn.Linear with {classes} outputs; those are: {known}")
    return name


def head_layout(module: nn.Module, layout: Layout, path: str | None) -> HeadLayout | None:
    """Where the output layer at `path` lies in a flat vector, or None when there is none (or tied to another name)."""
    if path is None:
        return None
    layer = module.get_submodule(path)
    assert isinstance(layer, nn.Linear)
    starts = dict(zip(layout.names, layout.offsets, strict=True))
    prefix = f"{path}." if path else ""
    weight = starts.get(f"{prefix}weight")
    if weight is None:
        return None
    return HeadLayout(weight, starts.get(f"{prefix}bias"), layer.in_features, layer.out_features)


def redraw(module: nn.Module) -> None:
    """Draw all trainable layers afresh from torch's global generator; frozen ones stay.

    Raises:
        TaskError: a layer with trainable parameters of its own knows no way to draw them.
    """
    for path, layer in module.named_modules():
        own = list(layer.parameters(recurse=False))
        if any(value.requires_grad for value in own):
            draw = _drawer(layer)
            if draw is None:
                raise TaskError(
                    f"layer '{path}' ({type(layer).__name__}) has no reset_parameters(), so its weights cannot be "
                    "drawn from the network's seed: give a function that makes the model anew each time, or "
                    "pretrained=True to start from the weights as they are"
                )
            kept = [(value, value.detach().clone()) for value in own if not value.requires_grad]
            draw()
            with torch.no_grad():
                for value, before in kept:
                    value.copy_(before)


def _drawer(layer: nn.Module) -> Callable[[], object] | None:
    for name in ("reset_parameters", "_reset_parameters"):  # the second is nn.MultiheadAttention's
        draw = getattr(layer, name, None)
        if callable(draw):
            return draw  # type: ignore[no-any-return]
    return None
