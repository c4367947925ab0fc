"""Worker processes on systems that lack what Linux has."""

from __future__ import annotations

import multiprocessing
import os

import pytest

from simulator.work.nursery import NoFork, cores, foresee, open_nursery, several


def test_without_a_count_of_usable_processors_all_are_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(os, "sched_getaffinity", raising=False)
    assert cores() == os.cpu_count()


def test_where_nothing_can_be_forked_this_process_works_alone_or_says_why(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(multiprocessing, "get_all_start_methods", lambda: ["spawn"])
    assert cores() == 1
    assert not several(None)
    assert not several(4)
    assert not foresee({"nodes": 1000}, None)
    with pytest.raises(NoFork, match="leave out --workers"):
        open_nursery()
