"""What stands in examples/ runs as it stands there; a package that brings a rule and an attack is one pip away."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
EXAMPLES = ROOT / "examples"


def run(*words: str, cwd: Path, env: Mapping[str, str] | None = None) -> str:
    whole = os.environ | {"PYTHONPATH": str(ROOT)} | dict(env or {})
    done = subprocess.run([sys.executable, *words], cwd=cwd, env=whole, capture_output=True, text=True, timeout=280)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize("name", ["own_task.py", "own_rule.py", "own_attack.py"])
def test_an_example_runs(name: str, tmp_path: Path) -> None:
    assert "accuracy" in run(str(EXAMPLES / name), cwd=tmp_path)


def test_names_of_ones_own_work_in_commands_matrices_and_node_toml(tmp_path: Path) -> None:
    path = {"PYTHONPATH": f"{ROOT}{os.pathsep}{EXAMPLES}"}
    own = ("-m", "hedgerow")
    words = (*own, "simulate", "--rule", "own_rule:near_half(share=0.6)", "--attack", "own_attack:Nudge", "--json")
    found = json.loads(run(*words, "--nodes", "6", "--rounds", "2", cwd=tmp_path, env=path))
    assert list(found["rules"]) == ["own_rule:near_half(share=0.6)"]
    plan = tmp_path / "mine.toml"
    plan.write_text(
        'rules = ["mean", { name = "own_rule:near_half", label = "near half" }]\n'
        'attacks = ["label-flip+own_attack:Nudge"]\n'
        "networks = [{ nodes = 6 }]\nscenario = { rounds = 2 }\n"
    )
    cells = json.loads(run(*own, "matrix", str(plan), "--json", cwd=tmp_path, env=path))["cells"]
    assert "near half" in {cell["label"] for cell in cells}
    folder = tmp_path / "node"
    run(*own, "init", str(folder), "--listen", "127.0.0.1:0", "--rule", "own_rule:near_half", cwd=tmp_path, env=path)
    run(*own, "run", str(folder), "--rounds", "2", cwd=tmp_path, env=path)
    assert 'name = "own_rule:near_half"' in (folder / "node.toml").read_text()


def test_a_package_brings_a_rule_and_an_attack(tmp_path: Path) -> None:
    site = tmp_path / "site"
    pip = ("-m", "pip", "--disable-pip-version-check", "install", "--quiet", "--no-deps", "--no-build-isolation")
    run(*pip, "--target", str(site), str(EXAMPLES / "plugin"), cwd=tmp_path)
    path = {"PYTHONPATH": f"{ROOT}{os.pathsep}{site}"}
    listed = json.loads(run("-m", "hedgerow", "rules", "--json", cwd=tmp_path, env=path))
    assert listed["near-half"]["source"] == "package hedgerow-example-plugin 0.1.0"
    words = (
        "simulate",
        "--rule",
        "near-half",
        "--attack",
        "label-flip+nudge",
        "--json",
        "--nodes",
        "6",
        "--rounds",
        "2",
    )
    assert list(json.loads(run("-m", "hedgerow", *words, cwd=tmp_path, env=path))["rules"]) == ["near-half"]
