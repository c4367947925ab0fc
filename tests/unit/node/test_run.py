"""`run_task`: a node on a task in hand, in the caller's process, as `hedgerow.run` calls it."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

import hedgerow
from identity.keys import SigningKey, format_peer
from node.daemon import init_node, run_node, run_task
from node.errors import ConfigError, NodeError
from node.learning.optimizers import Adam, Sgd
from node.learning.task import Task
from node.run import Outcome, Run, memory_there
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
    assert [line.partition(":")[0] for line in said if not line.startswith("round ")] == ["join", "status"]
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


def test_unequal_votes_say_what_they_cannot_do_and_a_name_that_nobody_has_is_one_sentence() -> None:
    friend = format_peer(SigningKey.generate().peer)
    said: list[str] = []

    def votes(**weights: float) -> dict[str, dict[str, object]]:
        return {**QUICK, "network": {"weights": weights, "known": [friend]}}

    hedgerow.run(small_task(), rounds=1, rule="hedgerow-known", overrides=votes(self=1.0), say=said.append)
    assert not any("weights" in line for line in said)
    hedgerow.run(small_task(), rounds=1, rule="hedgerow-known", overrides=votes(self=2.0), say=said.append)
    assert "[network] weights: this node has more than half of all votes; no rule can bound what it says" in said
    hedgerow.run(small_task(), rounds=1, rule="mean", overrides=votes(self=1.0), say=said.append)
    assert "[network] weights: rule mean counts all votes alike; hedgerow-known does not" in said
    with pytest.raises(ConfigError, match="nobody is called 'dave' here"):
        hedgerow.run(small_task(), rounds=1, overrides=votes(dave=2.0), say=said.append)


def quick(task: Task, rounds: int, **options: Any) -> Outcome:
    return run_task(task, rounds=rounds, overrides=QUICK, **{"say": lambda line: None, **options})


def test_a_changed_model_or_optimizer_is_one_sentence_and_the_training_can_begin_anew(tmp_path: Path) -> None:
    data = small_task().train
    wide = Task(nn.Sequential(nn.Linear(8, 4), nn.Linear(4, 2)), data, data)
    first = quick(small_task(), 3, folder=tmp_path)
    with pytest.raises(NodeError, match=r"trained with another model or optimizer.*forget_training=True"):
        quick(wide, 5, folder=tmp_path)
    said: list[str] = []
    anew = quick(wide, 5, folder=tmp_path, forget_training=True, say=said.append)
    assert said[:2] == ["the training begins anew; key and chain stay", "resuming at round 3"]
    assert (anew.peer, anew.round, anew.params.shape) == (first.peer, 5, (46,))
    kept = Task(nn.Sequential(nn.Linear(8, 4), nn.Linear(4, 2)), data, data, optimizer=Adam(keep_state=True))
    with pytest.raises(NodeError, match="another model or optimizer"):
        quick(kept, 6, folder=tmp_path)
    faster = Task(nn.Sequential(nn.Linear(8, 4), nn.Linear(4, 2)), data, data, optimizer=Sgd(lr=0.5))
    assert quick(faster, 6, folder=tmp_path).round == 6  # other steps over the same numbers


def test_of_a_payload_of_another_model_without_a_checkpoint_the_same_is_said(tmp_path: Path) -> None:
    data = small_task().train
    quick(small_task(), 2, folder=tmp_path)
    for path in (tmp_path / "state" / "checkpoints").iterdir():
        path.unlink()
    with pytest.raises(NodeError, match="trained with another model"):
        quick(Task(nn.Sequential(nn.Linear(8, 4), nn.Linear(4, 2)), data, data), 3, folder=tmp_path)


def test_a_tilde_is_home_and_a_place_that_cannot_be_is_one_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    quick(small_task(), 1, folder="~/node")
    assert (tmp_path / "node" / "key").exists()
    (tmp_path / "file").write_text("")
    with pytest.raises(NodeError, match=r"cannot use .*file"):
        quick(small_task(), 1, folder="~/file/node")


def test_records_that_cannot_be_written_stop_no_node() -> None:
    said: list[str] = []
    overrides = {**QUICK, "store": {"records": "/dev/full"}}
    assert run_task(small_task(), rounds=3, overrides=overrides, say=said.append).round == 3
    assert sum("cannot write records to /dev/full" in line for line in said) == 1


def test_so_many_more_rounds_are_played_each_time(tmp_path: Path) -> None:
    folder = tmp_path / "node"
    init_node(folder, {"network": {"listen": "127.0.0.1:0"}})
    rounds = [run_node(folder, QUICK, lambda line: None, more=2).round for _ in range(2)]
    assert rounds == [2, 4]


async def test_in_a_running_loop_a_node_and_a_simulation_just_run() -> None:
    assert hedgerow.run(small_task(), rounds=1, overrides=QUICK, say=lambda line: None).round == 1
    report = hedgerow.simulate(small_task(), nodes=3, rounds=1, rules=["mean"], topology="complete", engine="world")
    assert len(report.records["mean"]) == 1


async def test_a_program_that_awaits_a_node_can_stop_it() -> None:
    assert (await hedgerow.arun(small_task(), rounds=1, overrides=QUICK, say=lambda line: None)).round == 1
    loop, begun = asyncio.get_running_loop(), asyncio.Event()

    def tell(run: Run) -> None:
        loop.call_soon_threadsafe(begun.set)

    running = asyncio.create_task(hedgerow.arun(small_task(), overrides=QUICK, say=lambda line: None, begun=tell))
    await begun.wait()
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running


def test_a_container_has_the_memory_that_it_may_use(tmp_path: Path) -> None:
    whole = memory_there(tmp_path / "not there")
    assert whole > 1 << 20
    limit = tmp_path / "memory.max"
    limit.write_text("max\n")
    assert memory_there(limit) == whole
    limit.write_text("1048576\n")
    assert memory_there(limit) == 1 << 20
