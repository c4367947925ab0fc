"""What does not fit in a scenario or a matrix, in words of its file: what is wanted, and how to write it."""

from __future__ import annotations

import json

from pydantic_core import ErrorDetails

_WANTED = {
    "int_type": "a whole number",
    "int_parsing": "a whole number",
    "int_from_float": "a whole number",
    "float_type": "a number",
    "float_parsing": "a number",
    "finite_number": "a finite number",
    "bool_type": "true or false",
    "bool_parsing": "true or false",
    "string_type": "text",
    "model_type": "a table of keys and values",
    "model_attributes_type": "a table of keys and values",
    "dict_type": "a table of keys and values",
    "string_pattern_mismatch": "letters, digits, dots, dashes, underscores and plus signs, 64 at most",
    "greater_than_equal": "at least {ge:g}",
    "greater_than": "a number above {gt:g}",
    "less_than_equal": "at most {le:g}",
    "less_than": "a number below {lt:g}",
    "literal_error": "{expected}",
}
"""What is wanted where a value has this fault, in words; fields in braces come from the fault."""


def worded(fault: ErrorDetails) -> str:
    """What is wrong with a value, in words of the file: what is wanted, and how to write it."""
    if fault["type"] == "tuple_type":
        inner = json.dumps(fault["input"]) if isinstance(fault["input"], str | int | float) else "..."
        return f"wanted a list: {fault['loc'][-1]} = [{inner}]"
    if fault["type"] == "missing":
        return "it is missing"
    if fault["type"] in _WANTED:
        return f"wanted {_WANTED[fault['type']].format(**fault.get('ctx', {}))}, not {fault['input']!r}"
    return fault["msg"].removeprefix("Value error, ").rstrip(".")
