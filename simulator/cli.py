"""The `hedgerow` command: the table of its commands, and how one is imported when it is typed.

Laws:
- A command is a function of its own name in a module of its own name; a module is imported when its command is typed,
  and imports what is heavy when it is called. `--help` reads the table only.
- A command reads what was typed, calls one function, and shows what it returns.
- Standard output is for data, standard error for people. `node.exits` has the exit codes.

To add a command: write its module, and a line in COMMANDS. Its docstring is its help: sentences, then examples.
"""

from __future__ import annotations

import importlib
import inspect
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from functools import wraps
from io import TextIOWrapper
from typing import Annotated, Final, NamedTuple, Protocol

import typer
from typer.core import TyperCommand, TyperGroup

from node.exits import STOPPED, code_of


class Line(NamedTuple):
    """A line of the table: where a command is, and what it does in at most 45 characters."""

    module: str
    summary: str


COMMANDS: Final[Mapping[str, Line]] = {
    "simulate": Line("simulator.commands.simulate", "Simulate many nodes here, and compare rules"),
    "init": Line("node.commands.init", "Make a node: its key and its settings"),
    "run": Line("node.commands.run", "Run a node until Ctrl-C"),
    "status": Line("node.commands.status", "Show how a node is, and whom it believes"),
    "rollback": Line("node.commands.rollback", "Go back to a node's last good model"),
    "backup": Line("node.commands.backup", "Copy a node, also while it runs"),
    "invite": Line("node.commands.invite", "Print one line by which somebody joins"),
    "people": Line("node.commands.people", "List whom a node knows, and who asks"),
    "trust": Line("node.commands.trust", "Let a node know a peer"),
    "distrust": Line("node.commands.distrust", "Let a node give a peer no say at all"),
    "attack": Line("simulator.commands.attack", "Attack a live node of yours, and keep score"),
    "matrix": Line("simulator.commands.matrix", "Try rules against attacks, on one page"),
    "pretrain": Line("node.commands.pretrain", "Train a feature extractor, and freeze it"),
    "tasks": Line("node.commands.tasks", "List what can be learned"),
    "rules": Line("simulator.commands.rules", "List the rules that weigh neighbours"),
    "attacks": Line("simulator.commands.attacks", "List the attacks"),
    "topologies": Line("simulator.commands.topologies", "List the graphs between nodes"),
}
"""In the order of a person's day."""


class _Formatter(Protocol):
    """What is needed of click's formatter of help."""

    def section(self, name: str) -> AbstractContextManager[None]: ...
    def write_dl(self, rows: Sequence[tuple[str, str]]) -> None: ...
    def write_text(self, text: str) -> None: ...


class _Command(TyperCommand):
    """A command whose help ends with examples: its epilog, a line each."""

    def format_epilog(self, ctx: object, formatter: _Formatter) -> None:
        with formatter.section("Example"):
            formatter.write_text(f"\b\n{self.epilog}")


class _Commands(TyperGroup):
    """The table as a group: it lists names without importing anything."""

    def list_commands(self, ctx: object) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: object, cmd_name: str) -> TyperCommand | None:
        if cmd_name in COMMANDS:
            return command(cmd_name)
        if cmd_name.startswith("-") or getattr(ctx, "resilient_parsing", False):
            return None
        from hedgerow_registry import UnknownName

        raise UnknownName("command", cmd_name, COMMANDS)

    def format_commands(self, ctx: object, formatter: _Formatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, line.summary) for name, line in COMMANDS.items()])


def command(name: str) -> TyperCommand:
    """A command of the table, imported now."""
    function = getattr(importlib.import_module(COMMANDS[name].module), name)
    words, _, examples = inspect.cleandoc(function.__doc__).partition("\n\nExample:\n")
    app = typer.Typer(add_completion=False, rich_markup_mode=None)
    app.command(name, cls=_Command, help=words, epilog=inspect.cleandoc(examples))(_stoppable(function))
    made = typer.main.get_command(app)
    assert isinstance(made, TyperCommand)
    return made


def _stoppable(function: Callable[..., None]) -> Callable[..., None]:
    """The command, with one line for a Ctrl-C that it has nothing to say about."""

    @wraps(function)
    def run(*args: object, **options: object) -> None:
        try:
            function(*args, **options)
        except KeyboardInterrupt:
            typer.echo("Stopped", err=True)
            raise typer.Exit(STOPPED) from None

    return run


app = typer.Typer(cls=_Commands, no_args_is_help=True, pretty_exceptions_enable=False, rich_markup_mode=None)


def _version(asked: bool) -> None:
    if asked:
        from hedgerow import __version__

        typer.echo(f"hedgerow {__version__}")
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version and exit.")
    ] = False,
) -> None:
    """A learning node without a server: run one, simulate many, attack them.

    `hedgerow COMMAND --help` explains a command. `hedgerow simulate` is a good first one.
    """


def main() -> None:
    """Run what was typed; faults become one sentence and an exit code."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors="replace")  # what its encoding lacks becomes a question mark
    try:
        app(prog_name="hedgerow")
    except Exception as error:
        code = code_of(error)
        if code is None:
            raise
        typer.secho(f"hedgerow: {_sentence(error)}", fg="red", err=True)
        sys.exit(code)


def _sentence(error: Exception) -> str:
    """What to tell: errors of our own say it themselves, the system's name a file and a reason."""
    if type(error).__module__ == "builtins" and isinstance(error, OSError) and error.filename is not None:
        return f"cannot use {error.filename}: {error.strerror}; choose another place"
    return str(error)
