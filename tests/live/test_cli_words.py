"""What commands print and take, word for word: folders of any name, streams of any kind, a network's settings."""

from __future__ import annotations

import http.server
import json
import os
import shlex
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest

from identity.keys import SigningKey, format_peer
from node.config import load_config

ROOT = Path(__file__).parents[2]
ODD = ["run[bold]1", "a [/x] b", "it's", "wide" * 30, "$HOME"]
STATUS = {
    "round": 3, "accuracy": 0.5, "task": "[red]digits[/red]", "rule": "mean", "phase": "waiting",
    "neighbours": [
        {
            "peer": "a" * 52, "connected": True, "standing": "named", "round": 3, "trust": 1.0, "lag_seconds": 0.25,
            "weight": 0.5, "verdict": "similar", "remarks": ["[/x] misbehaves"],
            "history": [{"round": at, "weight": at / 8, "verdict": "taken"} for at in range(9)],
        }
    ],
}  # fmt: skip


def hedgerow(*words: str, cwd: Path, code: int = 0, encoding: str = "utf-8") -> subprocess.CompletedProcess[str]:
    done = subprocess.run(
        [sys.executable, "-m", "hedgerow", *words],
        cwd=cwd,
        env=os.environ | {"PYTHONPATH": str(ROOT), "NO_COLOR": "1", "PYTHONIOENCODING": encoding},
        capture_output=True,
        encoding=encoding,
        timeout=120,
        check=False,
    )
    assert done.returncode == code, (done.returncode, done.stdout, done.stderr)
    assert "Traceback" not in done.stderr
    return done


def printed(line: str, lines: str) -> list[str]:
    """The words of the command that is printed in a line that begins so, as a shell reads them."""
    found = [each.removeprefix(line) for each in lines.splitlines() if each.startswith(line)]
    return shlex.split(found[0])


@pytest.mark.parametrize("name", ODD)
def test_the_commands_that_init_prints_can_be_typed(tmp_path: Path, name: str) -> None:
    said = hedgerow("init", name, cwd=tmp_path).stdout
    assert printed("start it   ", said) == ["hedgerow", "run", name]
    assert printed("look at it ", said) == ["hedgerow", "status", name]
    assert f"settings   {name}/node.toml" in said.splitlines()
    assert sorted(each.name for each in (tmp_path / name).iterdir()) == ["key", "node.toml"]


@pytest.mark.parametrize("name", ODD[1:3])
def test_errors_name_folders_as_they_are_and_commands_as_they_are_typed(tmp_path: Path, name: str) -> None:
    (tmp_path / name).mkdir(parents=True)
    quoted = shlex.quote(name)
    assert f"`hedgerow init {quoted}`" in hedgerow("run", name, cwd=tmp_path, code=2).stderr
    for command in ("status", "attack"):
        assert f"`hedgerow init {quoted}`" in hedgerow(command, name, cwd=tmp_path, code=1).stderr
    hedgerow("init", name, cwd=tmp_path)
    assert f"`hedgerow run {quoted}`" in hedgerow("status", name, cwd=tmp_path, code=1).stderr


def test_simulate_and_matrix_name_their_folder_as_it_is(tmp_path: Path) -> None:
    words = ("--nodes", "4", "--rounds", "1", "--rule", "mean", "--topology", "ring", "--out", "o [/x]")
    done = hedgerow("simulate", *words, cwd=tmp_path)
    assert done.stderr.splitlines()[-1] == "Records and page: o [/x]/report.html"
    assert "[/nowhere].toml" in hedgerow("matrix", "[/nowhere].toml", cwd=tmp_path, code=2).stderr


def test_a_network_is_set_up_by_what_init_takes_and_run_uses_it(tmp_path: Path) -> None:
    peers = [format_peer(SigningKey.generate().peer) for _ in range(2)]
    draw = np.random.default_rng(0)
    arrays = {f"{part}_{what}": None for part in ("train", "test") for what in ("inputs", "labels")}
    for part in ("train", "test"):
        arrays[f"{part}_inputs"] = draw.random((90, 4), np.float32)
        arrays[f"{part}_labels"] = np.arange(90) % 3
    (tmp_path / "data").mkdir()
    np.savez(tmp_path / "data" / "own.npz", **arrays)
    words = ("--listen", "127.0.0.1:0", "--advertise", "192.0.2.7:7700", "--allow", peers[0], "--allow", peers[1])
    task = ("--task", "npz", "--data-dir", "data/own.npz", "--model", "mlp")
    said = hedgerow("init", "n", *words, *task, cwd=tmp_path).stdout
    assert "@192.0.2.7:7700" in said
    config = load_config(tmp_path / "n" / "node.toml")
    assert config.network.advertise == "192.0.2.7:7700"
    assert config.network.allow == tuple(peers)
    assert (config.task.data_dir, config.task.model) == (tmp_path / "data" / "own.npz", "mlp")
    elsewhere = tmp_path / "n" / "state"
    elsewhere.mkdir()
    ran = hedgerow("run", "..", "--rounds", "1", cwd=elsewhere)
    assert "@192.0.2.7:7700" in ran.stderr
    assert "stopped before round 1, accuracy " in ran.stderr
    refused = hedgerow("run", "..", "--model", "mpl", cwd=elsewhere, code=2)
    assert "did you mean 'mlp'?" in refused.stderr


def test_a_tasks_name_stands_where_a_scenario_may_stand(tmp_path: Path) -> None:
    words = ("--nodes", "4", "--rounds", "1", "--rule", "mean", "--topology", "ring", "--attack", "label-flip+clones")
    hedgerow("simulate", "digits", *words, cwd=tmp_path)
    assert [each.name for each in (tmp_path / "runs").iterdir()] == ["digits-label-flip+clones-1"]
    assert "<h1>digits-label-flip+clones</h1>" in (
        tmp_path / "runs" / "digits-label-flip+clones-1" / "report.html"
    ).read_text(encoding="utf-8")
    said = hedgerow("simulate", "digitz", cwd=tmp_path, code=2).stderr
    assert "there is no file digitz, and unknown task 'digitz': did you mean 'digits'?" in said
    said = hedgerow("simulate", "digits", "--task", "npz", cwd=tmp_path, code=2).stderr
    assert "two tasks: digits and npz" in said


def test_a_simulation_of_a_file_is_called_by_the_file(tmp_path: Path) -> None:
    (tmp_path / "tiny.toml").write_text('nodes = 4\nrounds = 1\ntopology = "ring"\nrules = ["mean"]\n')
    hedgerow("simulate", "tiny.toml", "--rounds", "2", cwd=tmp_path)
    assert [each.name for each in (tmp_path / "runs").iterdir()] == ["tiny-1"]


@contextmanager
def page() -> Iterator[str]:
    """The address of a status page that says STATUS."""

    class Page(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            content = json.dumps(STATUS).encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, format: str, *args: object) -> None:
            pass

    with http.server.HTTPServer(("127.0.0.1", 0), Page) as server:
        serving = threading.Thread(target=server.serve_forever)
        serving.start()
        try:
            yield f"127.0.0.1:{server.server_address[1]}"
        finally:
            server.shutdown()
            serving.join()


@pytest.mark.parametrize(
    ("encoding", "bars"), [("utf-8", "▁▂▃▄▅▅▆▇█"), ("cp1252", "012344567"), ("ascii", "012344567")]
)
def test_status_is_shown_in_any_encoding_and_nothing_in_it_is_markup(tmp_path: Path, encoding: str, bars: str) -> None:
    with page() as address:
        lines = hedgerow("status", address, cwd=tmp_path, encoding=encoding).stdout.splitlines()
    assert lines[0] == "round 3, accuracy 50.0%, [red]digits[/red] with mean, waiting"
    assert bars in lines[2]
    assert f"{'a' * 12}: [/x] misbehaves" in lines


@pytest.mark.parametrize("encoding", ["cp1252", "ascii"])
def test_tables_and_lists_are_shown_in_any_encoding(tmp_path: Path, encoding: str) -> None:
    words = ("--nodes", "4", "--rounds", "1", "--rule", "mean", "--topology", "ring", "--out", "x")
    assert "mean" in hedgerow("simulate", *words, cwd=tmp_path, encoding=encoding).stdout
    for what in ("rules", "attacks", "tasks", "topologies"):
        hedgerow(what, cwd=tmp_path, encoding=encoding)


def test_an_error_names_a_folder_whose_letters_the_encoding_lacks(tmp_path: Path) -> None:
    said = hedgerow("run", "λ", cwd=tmp_path, code=2, encoding="cp1252")
    assert "hedgerow: there is no ?/node.toml" in said.stderr


STREAMS = {
    "absent": "sys.stdout = sys.stderr = None",
    "closed": "sys.stdout = open(os.devnull, 'w'); sys.stdout.close()",
    "knows only write": """
class Log:
    def write(self, text): return len(text)
    def flush(self): pass
sys.stdout = sys.stderr = Log()
""",
}


@pytest.mark.parametrize("kind", STREAMS)
def test_importing_all_of_it_needs_no_terminal(kind: str) -> None:
    code = f"""
import importlib, os, sys
{STREAMS[kind]}
import hedgerow, node.show.terminal
from simulator.cli import COMMANDS
for line in COMMANDS.values():
    importlib.import_module(line.module)
node.show.terminal.LOG.print("said")
with node.show.terminal.progress():
    pass
"""
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True, timeout=120, capture_output=True)


@pytest.mark.parametrize("kind", ["absent", "knows only write"])
def test_a_list_is_told_to_any_stream(kind: str) -> None:
    code = f"import os, sys, hedgerow\n{STREAMS[kind]}\nsys.argv = ['hedgerow', 'tasks']\nhedgerow.main()"
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True, timeout=120)


@pytest.mark.parametrize("kind", ["no count of usable processors", "nobody's home", "no home at all"])
def test_the_digits_are_simulated_on_bare_systems(tmp_path: Path, kind: str) -> None:
    taken = {
        "no count of usable processors": "if hasattr(os, 'sched_getaffinity'): del os.sched_getaffinity",
        "nobody's home": "os.environ.pop('HOME', None)\ndef unknown(n): raise KeyError(n)\npwd.getpwuid = unknown",
        "no home at all": "os.environ['HOME'] = '/nonexistent/home'",
    }
    code = f"""
import os, pwd, sys
{taken[kind]}
import hedgerow
sys.argv[1:] = "simulate --nodes 4 --rounds 1 --rule mean --rule median --topology ring --out x".split()
hedgerow.main()
"""
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert (done.returncode, "Traceback" in done.stderr) == (0, False), done.stderr
    assert (tmp_path / "x" / "report.html").is_file()


def test_a_system_without_private_files_is_told_what_it_lacks(tmp_path: Path) -> None:
    code = """
import os, sys
del os.fchmod, os.geteuid, os.O_NOFOLLOW, os.O_NONBLOCK
import hedgerow
sys.argv[1:] = ["init", "n"]
hedgerow.main()
"""
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert "lacks O_NOFOLLOW, O_NONBLOCK, fchmod, geteuid; run nodes on Linux or macOS" in done.stderr
    assert "Traceback" not in done.stderr
    assert done.returncode == 2
