"""`python -m benchmarks [--json | --markdown] [--only NAME ...]`: every measurement; json: an object, row -> number."""

from __future__ import annotations

import argparse
import importlib
import json
import sys
from contextlib import redirect_stdout

from hedgerow_registry import UnknownName, choose

MODULES = ("simulation", "rivals", "roofline", "slope", "memory", "wire", "daemon", "world")


def main() -> None:
    """Run the modules and print their rows."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    form = parser.add_mutually_exclusive_group()
    form.add_argument("--json", action="store_true", help="one JSON object on stdout")
    form.add_argument("--markdown", action="store_true", help="one table on stdout, to paste into docs")
    parser.add_argument("--only", nargs="+", metavar="NAME", default=MODULES, help=f"of {', '.join(MODULES)}")
    options = parser.parse_args()
    try:
        for name in options.only:
            choose("module of benchmarks", name, dict.fromkeys(MODULES))
    except UnknownName as error:
        parser.error(f"{error} Write for example: python -m benchmarks --only {' '.join(MODULES[:2])}")
    rows: dict[str, float] = {}
    for name in options.only:
        print(f"{name} ...", file=sys.stderr)
        with redirect_stdout(sys.stderr):  # stdout is for the rows alone
            found: dict[str, float] = importlib.import_module(f"benchmarks.{name}").run()
        rows |= found
        if not options.json and not options.markdown:
            for row, number in found.items():
                print(f"{row:32} {number:.4g}", flush=True)
    if options.markdown:
        print("| row | number |\n|---|---|")
        for row, number in rows.items():
            print(f"| {row} | {number:.3g} |")
    if options.json:
        print(json.dumps(rows, indent=1))


if __name__ == "__main__":
    main()
