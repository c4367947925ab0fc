"""Golden vectors of `hedgerow-known`, made by the naive loop alone.

PYTHONPATH=tests python tests/golden_known.py > tests/golden/hedgerow_known.json
"""

from __future__ import annotations

import json
import sys

import numpy as np
import oracles_defence as naive

KINDS = ["plain", "plain", "outlier", "outlier", "outlier", "copies", "copies", "votes", "votes", "outlier"]


def cases() -> list[dict[str, object]]:
    """Rows at unlike distances; copies, a far row or unequal votes among them."""
    rng = np.random.default_rng(11)
    made: list[dict[str, object]] = []
    for count, kind in enumerate(KINDS, start=2):
        own = rng.normal(size=6).round(3)
        rows = [(own + rng.normal(size=6) * 10 ** rng.uniform(-0.4, 0.6)).round(3) for _ in range(count)]
        if kind == "copies":
            rows[1] = rows[0].copy()
        if kind == "outlier":
            rows[-1] = (own + 12 * rng.normal(size=6)).round(3)
        known = [True, *(bool(yes) for yes in rng.random(count - 1) < 0.6)]
        drawn = (10 ** rng.uniform(-1, 1, size=count + 1)).round(3).tolist()
        votes: list[float] | None = drawn if kind == "votes" else None
        params, kept = naive.hedgerow_known(own, rows, known, [lambda v: v], votes=votes)
        simpler, _ = naive.hedgerow_known(own, rows, known, [lambda v: v], 2.0, 0.9, 0.0, 0.25, True, votes)
        case = {"own": own.tolist(), "rows": [row.tolist() for row in rows], "known": known, "votes": votes}
        made.append(case | {"kept": kept, "params": params.round(6).tolist(), "simpler": simpler.round(6).tolist()})
    return made


if __name__ == "__main__":
    sys.stdout.write("[\n" + ",\n".join("  " + json.dumps(case) for case in cases()) + "\n]\n")
