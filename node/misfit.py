"""What does not fit in a `node.toml`, in one sentence: what stands there, and what was wanted."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal, get_args, get_origin

from pydantic import BaseModel, JsonValue, ValidationError
from pydantic.fields import FieldInfo

from hedgerow_registry import UnknownName

SECONDS: dict[str, JsonValue] = {"unit": "seconds"}
"""Marks a field whose number is of seconds."""
_KINDS: dict[object, str] = {
    tuple: "a list of texts",
    dict: "a table",
    bool: "true or false",
    float: "a number",
    int: "a whole number",
    str: "a text",
    Path: "a path",
}
_BOUNDS = {"ge": "at least", "gt": "above", "le": "at most", "lt": "below"}


def sentence(whole: type[BaseModel], error: ValidationError) -> str:
    """What is wrong first, in our words: what stands there, and what was wanted.

    Args:
        whole: the model that was validated; its fields are sections.
        error: what pydantic says.
    """
    fault = error.errors()[0]
    where = [str(part) for part in fault["loc"]]
    kind: Any = whole
    named = whole.model_fields[where[0]] if where[0] in whole.model_fields else FieldInfo()
    for part in where[: -1 if fault["type"] == "extra_forbidden" else None]:
        field = kind.model_fields.get(part) if isinstance(kind, type) and issubclass(kind, BaseModel) else None
        if field is None:
            break
        kind, named = field.annotation, field
    if fault["type"] == "extra_forbidden":
        place = f"key in [{where[0]}]" if len(where) > 1 else "section"
        return str(UnknownName(place, where[-1], kind.model_fields))
    message = fault["msg"].removeprefix("Value error, ")
    if len(where) < 2 or fault["type"] == "value_error":
        place = f"[{where[0]}] {where[1]}: " if len(where) > 1 else f"[{where[0]}] "
        return (
            f"{place}{message}" if fault["type"] == "value_error" else f"{place}is {fault['input']!r}; wanted a table"
        )
    return f"[{where[0]}] {where[1]} is {fault['input']!r}; wanted {_wanted(named)}"


def _wanted(field: FieldInfo) -> str:
    """A field's kind and bounds, in words."""
    if get_origin(field.annotation) is Literal:
        return " or ".join(f'"{word}"' for word in get_args(field.annotation))
    kinds = get_args(field.annotation) or (field.annotation,)
    names = [word for kind, word in _KINDS.items() if kind in kinds or get_origin(field.annotation) is kind]
    bounds = []
    for rule in field.metadata:
        for attribute, word in _BOUNDS.items():
            if hasattr(rule, attribute):
                bounds.append(f"{word} {getattr(rule, attribute):g}")
    seconds = " of seconds" if (field.json_schema_extra == SECONDS) else ""
    least = ["not empty"] if any(getattr(rule, "min_length", 0) for rule in field.metadata) else []
    return ", ".join([(names or ["something else"])[0] + seconds, *bounds, *least])
