"""Rounds as lines: whole ones, two files at most, and no fault of the disk that ends a node."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from node.errors import StoreError
from node.store.journal import Journal, latest_record
from node.store.record import NodeRecord


def record(round: int) -> NodeRecord:
    return NodeRecord(round, round + 1, "mean", None, (), 0, 1.0, 0.0, 1.0, 0.5, 0.1, "alone")


def rounds(path: Path) -> list[int]:
    return [json.loads(line)["round"] for line in path.read_text().splitlines()]


def test_a_line_that_was_torn_costs_itself_only(tmp_path: Path) -> None:
    path = tmp_path / "rounds.jsonl"
    path.write_text('{"round": 1')
    journal = Journal(path)
    journal.write(record(2))
    journal.write(record(3))
    journal.close()
    journal.close()
    torn, *whole = path.read_text().splitlines()
    assert (torn, [json.loads(line)["round"] for line in whole]) == ('{"round": 1', [2, 3])
    found = latest_record(path)
    assert found is not None
    assert found["round"] == 3


def test_two_files_are_kept_at_most(tmp_path: Path) -> None:
    path = tmp_path / "rounds.jsonl"
    journal = Journal(path, most=1000)
    for round in range(40):
        journal.write(record(round))
    journal.close()
    assert sorted(file.name for file in tmp_path.iterdir()) == ["rounds.jsonl", "rounds.jsonl.1"]
    kept = rounds(tmp_path / "rounds.jsonl.1") + rounds(path)
    assert kept == list(range(kept[0], 40))
    assert all(file.stat().st_size <= 1000 for file in tmp_path.iterdir())
    path.write_text("")
    found = latest_record(path)
    assert found is not None
    assert found["round"] == rounds(tmp_path / "rounds.jsonl.1")[-1]


def test_a_full_disk_is_one_sentence_each_time_and_a_folder_that_comes_back_is_used(tmp_path: Path) -> None:
    full = Journal(Path("/dev/full"))
    for _ in range(2):
        with pytest.raises(StoreError, match="cannot write records to /dev/full: No space left on device"):
            full.write(record(1))
    full.close()
    journal = Journal(tmp_path / "gone" / "rounds.jsonl")
    with pytest.raises(StoreError, match="cannot write records"):
        journal.write(record(1))
    (tmp_path / "gone").mkdir()
    journal.write(record(2))
    journal.close()
    assert rounds(tmp_path / "gone" / "rounds.jsonl") == [2]
