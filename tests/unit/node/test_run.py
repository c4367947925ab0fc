"""`run_task`: a node on a task in hand, in the caller's process, as `hedgerow.run` calls it."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

import hedgerow
from node.daemon import run_task
from node.errors import NodeError
from node.learning.task import Task
from node.show.status import FOUND_IN

QUICK: dict[str, dict[str, object]] = {"round": {"pace": 0.0}, "status": {"listen": "127.0.0.1:0"}}


def small_task() -> Task:
    generator = np.random.default_rng(1)
    inputs = generator.normal(size=(200, 8)).astype(np.float32)
    labels = (inputs[:, 0] > 0).astype(np.int64)
    return Task(nn.Linear(8, 2), (inputs, labels), (inputs, labels))


def test_a_task_in_hand_is_learned_and_a_folder_goes_on_where_it_was(tmp_path: Path) -> None:
    said: list[str] = []
    first = run_task(small_task(), folder=tmp_path / "a", rounds=4, overrides=QUICK, say=said.append)
    assert first.round == 4
    assert first.accuracy is not None
    assert first.accuracy > 0.8
    assert first.params.shape == (18,)
    assert [line.partition(":")[0] for line in said] == ["join", "status"]
    state = tmp_path / "a" / "state"
    assert not (state / FOUND_IN).exists()
    records = [json.loads(line) for line in (state / "rounds.jsonl").read_text().splitlines()]
    assert [record["round"] for record in records] == [0, 1, 2, 3]

    said.clear()
    again = run_task(small_task(), folder=tmp_path / "a", rounds=6, overrides=QUICK, say=said.append)
    assert said[0] == "resuming at round 4"  # the last checkpoint was on disk before the first run returned
    assert (again.peer, again.round) == (first.peer, 6)
    over = run_task(small_task(), folder=tmp_path / "a", rounds=6, overrides=QUICK, say=said.append)
    assert torch.equal(over.params, again.params)


def test_without_a_folder_nothing_is_kept_and_what_is_wrong_is_one_sentence() -> None:
    task = small_task()
    outcome = hedgerow.run(task, rounds=1, rule="mean", overrides=QUICK, say=lambda line: None)
    other = hedgerow.run(task, rounds=1, rule="mean", overrides=QUICK, say=lambda line: None)
    assert outcome.peer != other.peer
    with pytest.raises(NodeError, match="did you mean 'mean'"):
        hedgerow.run(task, rule="maen")
    with pytest.raises(NodeError, match="part = 2 of parts = 2"):
        run_task(task, part=2, parts=2)
