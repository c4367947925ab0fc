"""A device that is not there: its tensors compute on the processor, and refuse what CUDA refuses.

`with elsewhere():` makes torch hand out such tensors for the device `NAME`. What fails with a GPU's tensors raises:
operands on two devices (single numbers and indices aside, as in CUDA), and `numpy()` of what was not brought back.
`meta` is the one name for which torch asks no hardware.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map

NAME = "meta"
_INDEXED = {"index": 1, "index_put": 1, "index_put_": 1, "_index_put_impl_": 1, "_unsafe_index": 1}
"""Operations that take indices from the processor too: place of the indices among the arguments."""
_MOVES = {"_to_copy", "copy_"}


class Astray(RuntimeError):
    """Tensors of two devices met."""


class Elsewhere(Tensor):
    """A tensor of the device that is not there.

    Attributes:
        here: the same numbers on the processor.
    """

    here: Tensor

    @staticmethod
    def __new__(cls, here: Tensor) -> Elsewhere:
        made = Tensor._make_wrapper_subclass(  # type: ignore[attr-defined]
            cls, here.size(), strides=here.stride(), dtype=here.dtype, device=NAME
        )
        made.here = here
        return made  # type: ignore[no-any-return]

    @classmethod
    def __torch_dispatch__(
        cls, func: Any, types: Any, args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        return _run(func, args, kwargs or {})


def _run(func: Any, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
    """Compute on the processor; what comes out is where CUDA's answer would be."""
    name = func.overloadpacket.__name__
    away = [each for each in tree_leaves((args, kwargs)) if isinstance(each, Elsewhere)]
    wanted = kwargs.get("device")
    if away and name not in _MOVES:
        bound = [each for place, each in enumerate(args) if place != _INDEXED.get(name)]
        tensors = [each for each in tree_leaves((bound, kwargs)) if isinstance(each, Tensor)]
        if any(each.dim() > 0 and not isinstance(each, Elsewhere) for each in tensors):
            raise Astray(f"{func}: {[(type(each).__name__, tuple(each.shape)) for each in tensors]}")
    out = func(*tree_map(_here, args), **tree_map(_here, dict(kwargs)))
    stays = isinstance(args[0], Elsewhere) if name == "copy_" else bool(away) and wanted is None
    if not stays and (wanted is None or torch.device(wanted).type != NAME):
        return out
    same = {id(each.here): each for each in away}  # what was changed in place is the same object still
    return tree_map(lambda each: same.get(id(each), Elsewhere(each)) if isinstance(each, Tensor) else each, out)


def _here(each: Any) -> Any:
    if isinstance(each, Elsewhere):
        return each.here
    return torch.device("cpu") if isinstance(each, torch.device) else each


class _Operations(TorchDispatchMode):
    def __torch_dispatch__(
        self, func: Any, types: Any, args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        return _run(func, args, kwargs or {})


class _Functions(TorchFunctionMode):
    """What torch does without asking its dispatcher."""

    def __torch_function__(
        self, func: Any, types: Any, args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        given = dict(kwargs or {})
        made = func in (torch.tensor, torch.as_tensor) and not isinstance(args[0], Tensor)
        if made and given.get("device") is not None and torch.device(given["device"]).type == NAME:
            return Elsewhere(func(*args, **given | {"device": "cpu"}))
        if args and isinstance(args[0], Elsewhere):
            if func == Tensor.data.__set__:  # type: ignore[attr-defined]
                args[0].here = args[1].here
                return None
            if func is Tensor.tolist:
                return args[0].here.tolist()
            if func is Tensor.numpy:
                raise Astray("numpy() of a tensor that was not brought back")
        return func(*args, **given)


@contextmanager
def elsewhere() -> Iterator[None]:
    """Tensors of the device `NAME` hold numbers within this block (in this thread)."""
    with _Functions(), _Operations():
        yield
