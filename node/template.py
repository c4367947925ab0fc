"""The text of a `node.toml`: every key that there is, with its comment."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from node.config import NodeConfig


def write_template(values: dict[str, dict[str, Any]] | None = None) -> str:
    """The text of a `node.toml`: every key with its comment; keys at their default are commented out.

    Args:
        values: section -> key -> value that shall stand in it.
    """
    values = values or {}
    lines = ["# A hedgerow node. Lines that begin with # show defaults."]
    for section, field in NodeConfig.model_fields.items():
        kind = field.annotation
        assert isinstance(kind, type)
        assert issubclass(kind, BaseModel)
        chosen = values.get(section, {})
        lines += ["", f"[{section}]"]
        for key, spec in kind.model_fields.items():
            lines += _line(key, spec, chosen)
    return "\n".join(lines) + "\n"


def _line(key: str, spec: FieldInfo, chosen: dict[str, Any]) -> list[str]:
    comment = f"# {spec.description}"
    if key in chosen:
        return [comment, f"{key} = {_toml(chosen[key])}"]
    return [comment, f"# {key} = {'' if spec.default is None else _toml(spec.default)}".rstrip()]


def _toml(value: object) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, int | float):
        return repr(value)
    if isinstance(value, tuple | list):
        return "[" + ", ".join(_toml(item) for item in value) + "]"
    if isinstance(value, dict):
        return "{ " + ", ".join(f"{_key(key)} = {_toml(item)}" for key, item in value.items()) + " }" if value else "{}"
    escaped = str(value).replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'


def _key(name: str) -> str:
    bare = name.isascii() and name.replace("-", "").replace("_", "").isalnum()
    return name if bare else _toml(name)
