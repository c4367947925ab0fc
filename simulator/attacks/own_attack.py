"""An attack of a user's own, as a stage: whatever has `craft` or `poison`, or a plain function of (view, models).

Law: what it crafts is checked at its first answer; after that it is called as it is.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import partial

from torch import Tensor

from hedgerow_registry import signature_of
from simulator.attacks.attack import (
    Attack,
    AttackError,
    AttackSpec,
    AttackView,
    Craft,
    DataStage,
    Flip,
    Knowledge,
    Stage,
    TimeStage,
)

_WANTED = (
    "an Attack, a function (view, models) that returns the models sent, or a class or object with such a method "
    "`craft`, or with `poison(data, rows, generator)`"
)
_ALL = frozenset(Knowledge)


def stage_of(name: str, thing: object) -> AttackSpec:
    """The stage that a thing stands for.

    Args:
        name: as users write it.
        thing: an AttackSpec; an Attack; a function (view, models, ...) -> models; a class or a function whose arguments
            all have defaults, which makes one of these or a stage; or an object with `craft(view, models)`,
            `poison(data, rows, generator)` or both, and perhaps `measure`.

    Raises:
        ValueError: it is none of these; the message ends the sentence "attack 'x' is ...".
    """
    if isinstance(thing, AttackSpec):
        return replace(thing, name=name)
    if not isinstance(thing, type) and not inspect.isroutine(thing):
        made = _made(name, thing)
        return AttackSpec(name, _acts(made), _ALL, lambda: made)
    assert callable(thing)
    required, defaults = signature_of(thing)
    if not required:
        return AttackSpec(name, _acts(_made(name, thing())), _ALL, partial(_build, name, thing), defaults)
    if len(required) != 2 or isinstance(thing, type):
        raise ValueError(f"a function or class that needs {', '.join(required)}; wanted {_WANTED}")
    return AttackSpec(name, Stage.MODEL, _ALL, partial(_craft, name, thing), defaults)


def _craft(name: str, function: Callable[..., Tensor], **parameters: object) -> Craft:
    return _Checked(name, partial(function, **parameters))


def _build(name: str, make: Callable[..., object], **parameters: object) -> object:
    return _made(name, make(**parameters))


def _made(name: str, thing: object) -> object:
    """A stage as `build_attack` knows them: an Attack, a DataStage, a TimeStage or a frame fault."""
    if isinstance(thing, Attack):
        return replace(thing, crafts=tuple(_Checked(name, each) for each in thing.crafts))
    if isinstance(thing, DataStage | TimeStage) or hasattr(thing, "act"):
        return thing
    craft, poison = getattr(thing, "craft", None), getattr(thing, "poison", None)
    if craft is None and poison is None:
        raise ValueError(f"a {type(thing).__name__}; wanted {_WANTED}")
    data = DataStage(poison, getattr(thing, "measure", Flip()))
    return Attack(name, data, () if craft is None else (_Checked(name, craft),))


def _acts(made: object) -> Stage:
    """Where a stage acts."""
    if isinstance(made, TimeStage):
        return Stage.TIME
    if isinstance(made, DataStage) or (isinstance(made, Attack) and made.data.poison is not None and not made.crafts):
        return Stage.DATA
    return Stage.WIRE if hasattr(made, "act") else Stage.MODEL


@dataclass(slots=True)
class _Checked:
    """A craft whose first answer is looked at."""

    name: str
    craft: Craft
    heard: bool = field(default=False, init=False)

    def __call__(self, view: AttackView, models: Tensor) -> Tensor:
        sent = self.craft(view, models)
        if not self.heard:
            wanted = tuple(models.shape)
            if not isinstance(sent, Tensor):
                raise AttackError(
                    f"attack '{self.name}' returned a {type(sent).__name__}; wanted a tensor of shape {wanted}: one "
                    "model for each Sybil"
                )
            if tuple(sent.shape) != wanted or sent.dtype != models.dtype:
                raise AttackError(
                    f"attack '{self.name}' returned {sent.dtype} of shape {tuple(sent.shape)}; wanted {models.dtype} "
                    f"of shape {wanted}: one model for each Sybil"
                )
            self.heard = True
        return sent
