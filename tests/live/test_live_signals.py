"""A daemon told to go in the middle of training goes, and told twice goes at once."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

from daemons import ROOT, Daemon, until

from node.errors import NodeError
from node.show.status import fetch_status

ENDLESS = ["network.listen=127.0.0.1:0", "task.local_epochs=1000000"]


def training(daemon: Daemon) -> bool:
    try:
        return str(fetch_status(daemon.folder)["phase"]) == "training"
    except NodeError:
        return False


def test_told_once_it_leaves_in_the_middle_of_training_and_told_twice_at_once(tmp_path: Path) -> None:
    daemon = Daemon(tmp_path / "a", *ENDLESS)
    daemon.start()
    until(lambda: training(daemon))
    code, seconds = daemon.terminate()
    assert code == 0, daemon.said()
    assert seconds < 10
    assert "SIGTERM: saying goodbye" in daemon.said()
    assert not training(daemon)  # nor does the folder say where a page was

    daemon.start()
    until(lambda: training(daemon))
    assert daemon.process is not None
    began = time.monotonic()
    # stopped meanwhile, so that the second comes before it has left; two of one kind would arrive as one
    for number in (signal.SIGSTOP, signal.SIGTERM, signal.SIGINT, signal.SIGCONT):
        daemon.process.send_signal(number)
    assert daemon.process.wait(10) in (128 + signal.SIGTERM, 128 + signal.SIGINT), daemon.said()
    assert time.monotonic() - began < 5


def test_a_reader_of_its_words_that_goes_away_stops_no_node(tmp_path: Path) -> None:
    daemon = Daemon(tmp_path / "a", "network.listen=127.0.0.1:0", "round.pace=0")
    reading, writing = os.pipe()
    command = [sys.executable, "-m", "node.daemon", "run", str(daemon.folder)]
    daemon.process = subprocess.Popen(command, stdout=writing, stderr=writing, cwd=ROOT)
    os.close(writing)
    os.close(reading)
    until(lambda: daemon.round() >= 60)
    assert daemon.terminate()[0] == 0
