"""What commands say about their progress where nobody watches a terminal."""

from __future__ import annotations

import threading

import pytest

from node.show import terminal


@pytest.mark.parametrize("moves", [True, False])
def test_without_a_terminal_progress_is_a_line_now_and_then_whether_anything_moves_or_not(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], moves: bool
) -> None:
    said: list[str] = []
    heard = threading.Event()

    def hear(line: str) -> None:
        said.append(line)
        heard.set()

    monkeypatch.setattr(terminal, "EVERY", 0.001)
    monkeypatch.setattr(terminal, "tell", hear)
    with terminal.progress() as bar:
        job = bar.add_task("cells", total=10, left="-:--")
        assert heard.wait()
        if moves:
            bar.update(job, completed=4, description="cell 4", left="0:30")
        heard.clear()
        assert heard.wait()
        heard.clear()
        assert heard.wait()
    assert said[0] == "cells: 0 %, -:-- left"
    assert said[-1] == ("cell 4: 40 %, 0:30 left" if moves else "cells: 0 %, -:-- left")
    shown = capsys.readouterr()
    assert shown.out == ""
    assert "\x1b" not in shown.err


def test_what_is_over_soon_says_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[str] = []
    monkeypatch.setattr(terminal, "tell", said.append)
    with terminal.progress() as bar:
        bar.update(bar.add_task("cells", total=10, left="-:--"), completed=10)
    assert said == []
    assert not any(thread.name == "progress" and thread.is_alive() for thread in threading.enumerate())
