"""`python -m benchmarks [--json | --markdown] [--only NAME ...] [--rows FILE | --resume FILE]`: every measurement.

`--json` ends with one object, row -> number. With a file, rows are in it as soon as their module is done, a line of
JSON each, and a line that says that it is; `--resume` takes the finished modules' rows from there and measures the
others.
What a module needs is looked for before anything is measured.
"""

from __future__ import annotations

import argparse
import importlib
import json
import sys
from collections.abc import Mapping, Sequence
from contextlib import redirect_stdout
from pathlib import Path

from hedgerow_registry import UnknownName, choose
from node.learning.errors import TaskError
from node.learning.tasks import make_task

MODULES = ("simulation", "rivals", "roofline", "slope", "memory", "wire", "daemon", "world")
NEEDS: Mapping[str, str] = {"world": "fashion-mnist"}
"""The data sets of modules that want one."""


def main() -> None:
    """Run the modules and print their rows."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    form = parser.add_mutually_exclusive_group()
    form.add_argument("--json", action="store_true", help="one JSON object on stdout")
    form.add_argument("--markdown", action="store_true", help="one table on stdout, to paste into docs")
    parser.add_argument("--only", nargs="+", metavar="NAME", default=MODULES, help=f"of {', '.join(MODULES)}")
    kept = parser.add_mutually_exclusive_group()
    kept.add_argument("--rows", type=Path, metavar="FILE", help="write rows there too, as they come; a new file")
    kept.add_argument("--resume", type=Path, metavar="FILE", help="go on with such a file")
    options = parser.parse_args()
    try:
        for name in options.only:
            choose("module of benchmarks", name, dict.fromkeys(MODULES))
    except UnknownName as error:
        parser.error(f"{error} Write for example: python -m benchmarks --only {' '.join(MODULES[:2])}")
    if options.rows is not None and options.rows.exists():
        parser.error(f"{options.rows} is there already: go on with it by --resume, or name another file")
    found = {} if options.resume is None else finished(options.resume)
    missing = lacking([name for name in options.only if name not in found])
    if missing:
        parser.error(missing)
    rows: dict[str, float] = {}
    for name in options.only:
        if name not in found:
            print(f"{name} ...", file=sys.stderr)
            with redirect_stdout(sys.stderr):  # stdout is for the rows alone
                found[name] = importlib.import_module(f"benchmarks.{name}").run()
            keep(options.rows or options.resume, name, found[name])
        rows |= found[name]
        whole = options.json or options.markdown  # then stdout waits for the end, and rows are seen on stderr
        for row, number in found[name].items():
            print(f"{row:32} {number:.4g}", file=sys.stderr if whole else sys.stdout, flush=True)
    if options.markdown:
        print("| row | number |\n|---|---|")
        for row, number in rows.items():
            print(f"| {row} | {number:.3g} |")
    if options.json:
        print(json.dumps(rows, indent=1))


def lacking(modules: Sequence[str]) -> str | None:
    """What these modules need and is not to be had, in one sentence; None: nothing."""
    for name in modules:
        if name in NEEDS:
            try:
                make_task(NEEDS[name])
            except TaskError as error:
                others = " ".join(each for each in modules if each not in NEEDS)
                rest = f" Or leave it out: --only {others}" if others else ""
                return f"module {name} needs {NEEDS[name]}: {str(error).rstrip('.')}.{rest}"
    return None


def keep(path: Path | None, module: str, rows: Mapping[str, float]) -> None:
    """Append a module's rows, a line each, and a line that says that it is done."""
    if path is not None:
        lines = [{"module": module, "row": row, "number": number} for row, number in rows.items()]
        with path.open("a", encoding="utf-8") as file:
            file.write("".join(f"{json.dumps(line)}\n" for line in (*lines, {"module": module, "done": len(lines)})))


def finished(path: Path) -> dict[str, dict[str, float]]:
    """Rows of the modules that are done in such a file, by module; a file that is not there has none."""
    rows: dict[str, dict[str, float]] = {}
    done: set[str] = set()
    for line in path.read_text(encoding="utf-8").splitlines() if path.exists() else ():
        try:
            said = json.loads(line)
        except ValueError:  # torn by a crash: its module is not done
            continue
        if "done" in said:
            done.add(said["module"])
        else:
            rows.setdefault(said["module"], {})[said["row"]] = said["number"]
    return {name: rows.get(name, {}) for name in MODULES if name in done}


if __name__ == "__main__":
    main()
