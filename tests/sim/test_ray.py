"""Ray is an extra: who has not got it is told in one sentence what to install, and nobody else notices."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from simulator.study.scenario import Scenario
from simulator.work.cells import cells_of
from simulator.work.pool import PoolError
from simulator.work.ray_pool import RayPool

ROOT = Path(__file__).parents[2]


def test_without_ray_one_sentence_says_what_to_install(tmp_path: Path) -> None:
    (tmp_path / "ray.py").write_text("raise ImportError('not here')\n")  # found before an installed one
    done = subprocess.run(
        [sys.executable, "-m", "hedgerow", "simulate", "--nodes", "4", "--rounds", "1", "--ray", "local"],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": f"{tmp_path}{os.pathsep}{ROOT}", "NO_COLOR": "1"},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.strip() == "hedgerow: Ray is not installed: pip install hedgerow[ray]"


@pytest.mark.parametrize(
    ("address", "sentence"),
    [
        ("127.0.0.1:1", r"^nobody answers at Ray's address 127\.0\.0\.1:1: "),
        (
            "ray://127.0.0.1:1",
            r"^Ray's address is local or HOST:PORT of a running cluster, not 'ray://127\.0\.0\.1:1'$",
        ),
        ("lokal", r"^Ray's address is local or HOST:PORT of a running cluster, not 'lokal'$"),
    ],
)
def test_an_address_where_no_ray_is_gives_one_sentence_at_once(address: str, sentence: str) -> None:
    with pytest.raises(PoolError, match=sentence):
        list(RayPool(address).run(cells_of(Scenario())))
    assert list(RayPool(address).run([])) == []
