"""The `hedgerow` command as a person types it: in processes of its own, right words and wrong ones."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SMALL = (
    "--nodes",
    "6",
    "--rounds",
    "3",
    "--sybils",
    "3",
    "--topology",
    "ring",
    "--rule",
    "mean",
    "--rule",
    "sybilwall",
)


def hedgerow(*words: str, cwd: Path | None = None, code: int = 0) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(
        [sys.executable, "-m", "hedgerow", *words],
        cwd=cwd,
        env=os.environ | {"PYTHONPATH": str(ROOT), "COLUMNS": "100", "NO_COLOR": "1"},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == code, (done.returncode, done.stdout, done.stderr)
    return done


def test_json_is_one_object_and_the_same_for_the_same_seed(tmp_path: Path) -> None:
    first, second = (
        hedgerow("simulate", *SMALL, "--json", "--seed", "7", "--out", name, cwd=tmp_path) for name in ("a", "b")
    )
    found = json.loads(first.stdout)
    assert set(found["rules"]) == {"mean", "sybilwall"}
    assert set(found["rules"]["mean"]) == {
        "accuracy",
        "attack_success",
        "weight",
        "bytes_per_node_round",
        "rounds",
        "seconds",
    }
    again = json.loads(second.stdout)
    for rules in (found["rules"], again["rules"]):
        for numbers in rules.values():
            del numbers["seconds"]
    assert found == again


def test_finished_cells_are_kept_and_another_seed_is_another_result(tmp_path: Path) -> None:
    first = hedgerow("simulate", *SMALL, "--json", "--out", "x", cwd=tmp_path).stdout
    again = hedgerow("simulate", *SMALL, "--json", "--out", "x", cwd=tmp_path).stdout
    assert first == again  # seconds too: nothing was run again
    other = hedgerow("simulate", *SMALL, "--json", "--seed", "8", cwd=tmp_path).stdout
    assert json.loads(other)["rules"]["mean"]["accuracy"] != json.loads(first)["rules"]["mean"]["accuracy"]
    assert (tmp_path / "x" / "report.html").is_file()


def test_a_scenario_file_runs_and_flags_win_over_it(tmp_path: Path) -> None:
    (tmp_path / "tiny.toml").write_text('nodes = 5\nrounds = 9\ntopology = "complete"\nrules = ["median"]\n')
    done = hedgerow("simulate", "tiny.toml", "--rounds", "2", "--attack", "none", "--json", cwd=tmp_path)
    assert json.loads(done.stdout)["rules"]["median"]["rounds"] == 2


def test_only_the_demo_attacks_by_itself_and_the_first_line_says_so(tmp_path: Path) -> None:
    (tmp_path / "tiny.toml").write_text('nodes = 5\nrounds = 1\ntopology = "complete"\nrules = ["mean"]\n')
    small = ("--nodes", "5", "--rounds", "1", "--topology", "complete", "--rule", "mean")
    attacked, calm = "; 3 Sybils attack with label-flip at phi 3", "; no attack"
    typed = {
        small: attacked,
        (*small, "--task", "digits"): calm,
        ("tiny.toml",): calm,
        ("tiny.toml", "--sybils", "3"): attacked,
        (*small, "--attack", "none"): calm,
    }
    for number, (words, end) in enumerate(typed.items()):
        done = hedgerow("simulate", *words, "--out", str(number), cwd=tmp_path)
        assert done.stdout.splitlines()[0] == f"5 nodes learn digits (dirichlet 0.5, complete graph of degree 4){end}"


def test_what_cannot_fit_is_refused_and_a_folder_keeps_its_report(tmp_path: Path) -> None:
    done = hedgerow("simulate", "--sybils", "1000000", "--nodes", "5", cwd=tmp_path, code=2)
    assert "of memory, and the machine has" in done.stderr
    assert "take fewer sybils" in done.stderr
    hedgerow("simulate", *SMALL, "--out", "x", cwd=tmp_path)
    done = hedgerow("simulate", *SMALL, "--alpha", "0.3", "--out", "x", cwd=tmp_path, code=2)
    assert done.stderr.startswith("hedgerow: x holds the report of ")


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (("simulate", "--rule", "sybilwal"), "did you mean 'sybilwall'?"),
        (("simulate", "--task", "digit"), "did you mean 'digits'?"),
        (("simulate", "--topology", "rign"), "did you mean 'ring'?"),
        (("simulate", "--attack", "label-flop"), "did you mean 'label-flip'?"),
        (("simulate", "--nodes", "0"), "nodes"),
        (("simulate", "nowhere.toml"), "nowhere.toml"),
        (("simulate", "wrong.toml"), "did you mean 'rounds'?"),
        (("simulate", "--task", "idx"), "data_dir"),
        (("simulate", "--task", "fashion-mnist", "--data-dir", "nowhere"), "nowhere"),
        (("run", "nowhere"), "hedgerow init nowhere"),
        (("status", "nonsense"), "HOST:PORT"),
        (("attack", "nonsense"), "HOST:PORT"),
        (("attack", "127.0.0.1:1", "--suite", "wires"), "did you mean 'wire'?"),
        (("attack", "127.0.0.1:1", "--task", "digit"), "did you mean 'digits'?"),
        (("init", "n", "--part", "3"), "0/3"),
        (("init", "n", "--rule", "krumm"), "did you mean 'krum'?"),
        (("init", "n", "--task", "digitz"), "did you mean 'digits'?"),
    ],
)
def test_wrong_words_give_one_sentence_and_exit_2(tmp_path: Path, words: tuple[str, ...], sentence: str) -> None:
    (tmp_path / "wrong.toml").write_text("round = 3\n")
    done = hedgerow(*words, cwd=tmp_path, code=2)
    assert sentence in " ".join(done.stderr.replace("│", " ").split())
    assert "Traceback" not in done.stderr
    assert done.stdout == ""


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("nodes", "0"),
        ("rounds", "0"),
        ("alpha", "0"),
        ("sybils", "-1"),
        ("phi", "-1"),
        ("strangers", "-1"),
        ("known", "2"),
    ],
)
def test_a_number_that_cannot_be_is_refused_before_anything_heavy_is_imported(option: str, value: str) -> None:
    light = "import sys; sys.modules['torch'] = None; sys.argv[0] = 'hedgerow'; import hedgerow; hedgerow.main()"
    words = [sys.executable, "-c", light, "simulate", f"--{option}={value}"]
    done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert done.returncode == 2, done.stderr
    assert f"--{option}" in done.stderr


def test_what_the_machine_refuses_gives_one_sentence_and_exit_1(tmp_path: Path) -> None:
    hedgerow("init", "n", cwd=tmp_path)
    (tmp_path / "n" / "key").chmod(0o644)
    done = hedgerow("run", "n", cwd=tmp_path, code=1)
    assert "chmod 600" in done.stderr
    (tmp_path / "n" / "key").chmod(0o600)
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        done = hedgerow("run", "n", "--listen", address, cwd=tmp_path, code=1)
        assert "in use" in done.stderr
        assert address in done.stderr
    for command in ("status", "attack"):
        done = hedgerow(command, "127.0.0.1:1", cwd=tmp_path, code=1)
        assert "nobody answers" in done.stderr
        done = hedgerow(command, "n", cwd=tmp_path, code=1)
        assert "start it with `hedgerow run n`" in done.stderr
        assert done.stdout == ""
    done = hedgerow("attack", "n", "--key", "n/nothing", cwd=tmp_path, code=1)
    assert "n/nothing" in done.stderr
    done = hedgerow("simulate", *SMALL, "--out", str(tmp_path / "n" / "key"), cwd=tmp_path, code=1)
    assert "Traceback" not in done.stderr


def test_init_never_overwrites_a_key(tmp_path: Path) -> None:
    hedgerow("init", "n", cwd=tmp_path)
    before = (tmp_path / "n" / "key").read_bytes()
    done = hedgerow("init", "n", cwd=tmp_path, code=2)
    assert "never overwritten" in done.stderr
    assert (tmp_path / "n" / "key").read_bytes() == before


@pytest.mark.parametrize("what", ["rules", "attacks", "tasks", "topologies"])
def test_lists_have_one_line_each_with_a_source(what: str) -> None:
    lines = hedgerow(what).stdout.splitlines()
    assert len(lines) >= 5
    assert all(line.split("  ")[0] and line.rstrip().endswith("]") and not line.endswith("[]") for line in lines)


@pytest.mark.parametrize("what", ["rules", "attacks", "tasks", "topologies"])
def test_lists_are_one_object_for_programs(what: str) -> None:
    found = json.loads(hedgerow(what, "--json").stdout)
    assert list(found) == [line.split("  ")[0] for line in hedgerow(what).stdout.splitlines()]
    assert all(set(each) == {"summary", "source", "parameters"} and each["source"] for each in found.values())
    if what == "rules":
        assert found["hedgerow"]["parameters"]["clip"] == 2.0


def test_help_needs_no_heavy_import() -> None:
    code = "import sys, hedgerow; assert 'torch' not in sys.modules and 'matplotlib' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True, timeout=60)
    assert "simulate" in hedgerow("--help").stdout


def test_the_imported_packages_are_ours() -> None:
    code = (
        "import identity, gossip, aggregation, node, simulator, hedgerow, pathlib;"
        "mine = (identity, gossip, aggregation, node, simulator);"
        "print(*{pathlib.Path(m.__file__).resolve().parents[1] for m in mine})"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, check=True, timeout=60, capture_output=True, text=True
    )
    assert done.stdout.strip() == str(ROOT)


def test_the_example_runs() -> None:
    done = subprocess.run(
        [sys.executable, "examples/own_task.py"],
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=200,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "sybilwall" in done.stdout


def test_any_number_of_workers_gives_the_same_json_and_the_profile_says_where_time_went(tmp_path: Path) -> None:
    words = ("simulate", *SMALL, "--rule", "krum(f=1)", "--topology", "ring()", "--json", "--profile")
    one, two = (hedgerow(*words, "--workers", n, "--out", n, cwd=tmp_path) for n in ("1", "2"))
    results = [json.loads(done.stdout)["rules"] for done in (one, two)]
    for result in results:
        for numbers in result.values():
            del numbers["seconds"]
    assert results[0] == results[1]
    assert set(results[0]) == {"mean", "sybilwall", "krum(f=1)"}
    for done, folder in ((one, tmp_path / "1"), (two, tmp_path / "2")):
        lines = [line for line in done.stderr.splitlines() if line]
        assert lines[0].startswith("fast engine (synchronous scenario); ")
        assert "training: " in lines[0]
        assert sum("engine" in line for line in lines) == 1
        assert any(line.split()[0] == "train" for line in lines)
        assert any("rest: what no phase counts" in line for line in lines)
        profile = json.loads((folder / "profile.json").read_text())
        assert set(profile["rules"]) == set(results[0])
        assert profile["rules"]["mean"]["rounds"] == 3
        assert {"prepare", "train", "mix", "evaluate"} <= set(profile["rules"]["mean"]["seconds"])
        assert json.loads((folder / "scenario.json").read_text())["engine"] == "fast"


def test_engine_auto_goes_to_the_world_where_frames_get_lost_and_fast_is_refused(tmp_path: Path) -> None:
    (tmp_path / "bad.toml").write_text('nodes = 4\nrounds = 1\nrules = ["mean"]\ntopology = "ring"\nloss = 0.01\n')
    done = hedgerow("simulate", "bad.toml", "--engine", "auto", cwd=tmp_path)
    assert done.stderr.startswith("world engine (loss matters); 4 node services in virtual time")
    done = hedgerow("simulate", "bad.toml", "--engine", "fast", cwd=tmp_path, code=2)
    assert done.stderr.strip() == 'hedgerow: loss: the fast engine has no network; set engine = "world"'
    done = hedgerow("simulate", "--rule", "krum(f=1", cwd=tmp_path, code=2)
    assert "'krum(f=1' is not of the form NAME or NAME(key=value, ...)" in " ".join(done.stderr.split())


def test_a_node_that_never_ran_is_copied_and_has_nothing_to_go_back_to(tmp_path: Path) -> None:
    hedgerow("init", "n", cwd=tmp_path)
    done = hedgerow("backup", "n", "copy.tar", cwd=tmp_path)
    assert done.stdout == "copy.tar: key, settings, 0 signed headers, no model yet\n"
    done = hedgerow("backup", "n", "copy.tar", cwd=tmp_path, code=1)
    assert "exists already: a backup never writes over anything" in done.stderr
    done = hedgerow("rollback", "n", cwd=tmp_path, code=1)
    assert "no node has run in n: there is no model to go back to" in done.stderr
    for command in (("backup", "nowhere", "copy"), ("rollback", "nowhere")):
        done = hedgerow(*command, cwd=tmp_path, code=2)
        assert "hedgerow init nowhere" in done.stderr
