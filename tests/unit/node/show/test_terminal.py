"""What commands say about their progress where nobody watches a terminal."""

from __future__ import annotations

import pytest

from node.show import terminal


@pytest.mark.parametrize(("every", "lines"), [(0.0, 10), (1e9, 0)])
def test_without_a_terminal_progress_is_a_line_now_and_then(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], every: float, lines: int
) -> None:
    said: list[str] = []
    monkeypatch.setattr(terminal, "EVERY", every)
    monkeypatch.setattr(terminal, "tell", said.append)
    with terminal.progress() as bar:
        job = bar.add_task("cells", total=10, left="-:--")
        for done in range(1, 11):
            bar.update(job, completed=done, description=f"cell {done}", left="0:30")
    assert said == [f"cell {done}: {10 * done} %, 0:30 left" for done in range(1, 11)][:lines]
    shown = capsys.readouterr()
    assert shown.out == ""
    assert "\x1b" not in shown.err
