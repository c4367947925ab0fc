"""What can be wrong with a user's task: one root, so that a command line can print one sentence.

TaskError(ValueError)
├── DataError: a file of data is there but is not what it says it is
│   └── DataMissing: the data is not there; the message says what was looked for and how to get it
└── UsersError: the user's own code raised; the message names its file, line and function
TaskWarning(UserWarning): a task that runs, but hardly as its author thinks
"""

from __future__ import annotations


class TaskError(ValueError):
    """A task cannot be built from what the user gave; the message says what to change."""


class DataError(TaskError):
    """A data file is damaged, too large or of another format than it should be."""


class DataMissing(DataError):
    """Data was not found and could not be had; the message names every place that was looked at."""


class UsersError(TaskError):
    """The user's own code raised (a model, a loss, a data set); the original is the cause."""


class TaskWarning(UserWarning):
    """A task runs, but will hardly do what its author expects; the message names the remedy."""
