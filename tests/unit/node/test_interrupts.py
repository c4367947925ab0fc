"""Ctrl-C is heard once, in one line, and never swallowed; each case in a process of its own."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[3]
PROLOGUE = """
import signal, sys, time
from node.interrupts import as_python_does, end_at_once, meanwhile, raising
def interrupt():
    signal.raise_signal(signal.SIGINT)
def wait():
    while True:
        time.sleep(0.01)
class Finaliser:
    def __del__(self):
        interrupt()
"""


def told(code: str) -> tuple[int, str, str]:
    done = subprocess.run(
        [sys.executable, "-c", PROLOGUE + code], cwd=ROOT, capture_output=True, text=True, timeout=60, check=False
    )
    return done.returncode, done.stdout, done.stderr


def test_before_the_work_it_ends_the_process_at_once_whoever_catches_what() -> None:
    code = "end_at_once()\ntry:\n    interrupt()\nexcept BaseException:\n    print('caught')\nprint('went on')"
    assert told(code) == (130, "", "Stopped\n")


def test_before_the_work_it_says_what_there_is_and_afterwards_no_more() -> None:
    assert told("end_at_once()\nmeanwhile('nothing in ä')\ninterrupt()") == (130, "", "Stopped: nothing in ä\n")
    assert told("end_at_once()\nmeanwhile('nothing')\nwith raising(): pass\ninterrupt()") == (130, "", "Stopped\n")


def test_it_stays_ignored_where_it_was_ignored() -> None:
    code = """
signal.signal(signal.SIGINT, signal.SIG_IGN)
end_at_once()
with raising():
    interrupt()
with as_python_does():
    interrupt()
print('went on')
"""
    assert told(code) == (0, "went on\n", "")


def test_during_the_work_it_is_an_exception_and_afterwards_what_it_was_before() -> None:
    code = """
end_at_once()
try:
    with raising():
        interrupt()
except KeyboardInterrupt:
    print('caught', flush=True)
interrupt()
"""
    assert told(code) == (130, "caught\n", "Stopped\n")


def test_in_a_finaliser_it_is_put_off_until_that_is_over() -> None:
    code = """
try:
    with raising():
        Finaliser()
        print('swallowed by nobody', flush=True)
        wait()
except KeyboardInterrupt:
    print('caught')
"""
    assert told(code) == (0, "swallowed by nobody\ncaught\n", "")


def test_in_an_import_it_is_put_off_until_that_is_over(tmp_path: Path) -> None:
    (tmp_path / "slow.py").write_text(
        "from __main__ import interrupt\ntry:\n    interrupt()\nexcept BaseException:\n    pass\n"
    )
    code = f"""
sys.path.insert(0, {str(tmp_path)!r})
try:
    with raising():
        import slow
        print('imported', flush=True)
        wait()
except KeyboardInterrupt:
    print('caught')
"""
    assert told(code) == (0, "imported\ncaught\n", "")


def test_the_second_one_ends_the_process_at_once() -> None:
    code = """
with raising():
    try:
        interrupt()
    finally:
        interrupt()
        print('cleaned up')
"""
    assert told(code) == (130, "", "Stopped\n")


def test_asyncio_takes_it_for_an_order_to_cancel() -> None:
    code = """
import asyncio
async def work():
    try:
        interrupt()
        await asyncio.sleep(60)
    except asyncio.CancelledError:
        print('cancelled')
        raise
end_at_once()
try:
    with as_python_does():
        asyncio.run(work())
except KeyboardInterrupt:
    print('caught')
"""
    assert told(code) == (0, "cancelled\ncaught\n", "")
