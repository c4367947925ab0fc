"""`python -m benchmarks [--json | --markdown] [--only NAME ...]`: every measurement; json: an object, row -> number."""

from __future__ import annotations

import argparse
import importlib
import importlib.util
import json
import sys

MODULES = ("simulation", "rivals", "roofline", "slope", "wire", "daemon", "world")


def main() -> None:
    """Run the modules that are there and print their rows."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--json", action="store_true", help="one JSON object on stdout")
    parser.add_argument("--markdown", action="store_true", help="one table on stdout, to paste into docs")
    parser.add_argument("--only", nargs="*", choices=MODULES, default=list(MODULES), help="modules to run")
    options = parser.parse_args()
    rows: dict[str, float] = {}
    for name in options.only:
        if importlib.util.find_spec(f"benchmarks.{name}") is None:
            continue
        print(f"{name} ...", file=sys.stderr)
        found: dict[str, float] = importlib.import_module(f"benchmarks.{name}").run()
        rows |= found
        if not options.json and not options.markdown:
            for row, number in found.items():
                print(f"{row:32} {number:.4g}")
    if options.markdown:
        print("| row | number |\n|---|---|")
        for row, number in rows.items():
            print(f"| {row} | {number:.3g} |")
    if options.json:
        print(json.dumps(rows, indent=1))


if __name__ == "__main__":
    main()
