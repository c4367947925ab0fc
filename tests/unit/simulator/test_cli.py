"""The table of commands: short, in order, true to the modules, and all that `--help` reads."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from simulator.cli import COMMANDS, command

ROOT = Path(__file__).parents[3]


def hedgerow(*words: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "hedgerow", *words],
        cwd=ROOT,
        env=os.environ | {"COLUMNS": "80"} | environment,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def test_help_prints_the_whole_table_in_its_order_at_80_columns() -> None:
    said = hedgerow("--help").stdout
    lines = said[said.index("Commands:\n") :].splitlines()[1:]
    assert lines == [f"  {name:10}  {line.summary}" for name, line in COMMANDS.items()]
    assert all(len(line.summary) <= 45 for line in COMMANDS.values())


def test_every_module_of_a_command_is_in_the_table() -> None:
    found = {
        f"{package}.commands.{path.stem}"
        for package in ("node", "simulator")
        for path in (ROOT / package / "commands").glob("[!_]*.py")
    }
    assert found == {line.module for line in COMMANDS.values()}


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_says_what_it_does_and_shows_an_example(name: str) -> None:
    made = command(name)
    said = hedgerow(name, "--help").stdout
    _, example, shown = said.partition("\nExample:\n")
    assert example
    assert shown.splitlines() == [f"  {line}" for line in (made.epilog or "").splitlines()]
    assert all(line.startswith(f"  hedgerow {name}") for line in shown.splitlines()[:1])
    assert all(len(line) <= 80 for line in said.splitlines())
    assert all(getattr(each, "help", None) for each in made.params)


def test_help_and_completion_of_names_import_no_command_and_nothing_heavy() -> None:
    code = """
import sys, hedgerow
sys.argv = ["hedgerow", "--help"]
try:
    hedgerow.main()
finally:
    heavy = {"torch", "numpy", "rich", "pydantic", "asyncio", "node.commands.init", "simulator.commands.simulate"}
    print(sorted(heavy & set(sys.modules)), file=sys.stderr)
"""
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=60, check=False
    )
    assert (done.returncode, done.stderr) == (0, "[]\n")


def test_the_version_is_told() -> None:
    import hedgerow as public

    assert hedgerow("--version").stdout == f"hedgerow {public.__version__}\n"


@pytest.mark.parametrize(
    ("typed", "offered"),
    [
        ("hedgerow sta", {"status"}),
        ("hedgerow simulate --partition s", {"shards"}),
        ("hedgerow simulate --engine w", {"world"}),
        ("hedgerow simulate --rule hedgerow-b", {"hedgerow-bristle"}),
        ("hedgerow simulate --attack label-flip+clo", {"label-flip+clones"}),
        ("hedgerow simulate --topology ri", {"ring"}),
        ("hedgerow simulate dig", {"digits", "digits-head"}),
        ("hedgerow init n --task np", {"npz"}),
        ("hedgerow attack n --suite sy", {"sybil"}),
        ("hedgerow matrix with", {"withstands"}),
        ("hedgerow nonsense x", set()),
    ],
)
def test_the_shell_completes_commands_and_values(typed: str, offered: set[str]) -> None:
    done = hedgerow(_HEDGEROW_COMPLETE="complete_bash", COMP_WORDS=typed, COMP_CWORD=str(len(typed.split()) - 1))
    assert set(done.stdout.split()) == offered
    assert done.stderr == ""
