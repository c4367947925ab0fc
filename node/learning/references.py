"""`module:name` -> the user's task."""

from __future__ import annotations

import importlib
import sys
from difflib import get_close_matches
from pathlib import Path

from node.learning.errors import TaskError, TaskReferenceError
from node.learning.task import Task


def load_task(reference: str) -> Task:
    """The task that `module:name` stands for; the working folder is searched first.

    Args:
        reference: such as "own_task:task" or "package.module:make"; the name is a Task, or a function without
            arguments that makes one.

    Raises:
        TaskReferenceError: no such module or name, or not a task, or the module fails when it is imported.
    """
    module_name, colon, name = reference.partition(":")
    if not colon or not all(part.isidentifier() for part in (*module_name.split("."), name)):
        raise TaskReferenceError(f"'{reference}' is not a reference; wanted module:name, such as own_task:task")
    here = str(Path.cwd())
    if here not in sys.path:
        sys.path.insert(0, here)
    importlib.invalidate_caches()
    try:
        module = importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        if error.name is None or not f"{module_name}.".startswith(f"{error.name}."):
            raise TaskReferenceError(f"module '{module_name}' needs '{error.name}', which is not installed") from error
        raise TaskReferenceError(f"no module '{module_name}' in {here} or among the installed packages") from error
    except TaskError:
        raise
    except Exception as error:
        raise TaskReferenceError(f"module '{module_name}' fails: {type(error).__name__}: {error}") from error
    if not hasattr(module, name):
        near = get_close_matches(name, dir(module), n=1)
        hint = f"; did you mean '{near[0]}'?" if near else ""
        raise TaskReferenceError(f"module '{module_name}' has no '{name}'{hint}")
    found = getattr(module, name)
    task = found() if callable(found) else found
    if not isinstance(task, Task):
        raise TaskReferenceError(
            f"'{reference}' is a {type(task).__name__}; wanted a Task or a function that makes one"
        )
    return task
