"""Running statistics: a model is judged with those it was trained with, wherever it is judged."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn

from gossip.protocol.codec import schema_digest
from node.learning.dataset import Dataset
from node.learning.errors import TaskError
from node.learning.learner import Learner, TrainState
from node.learning.optimizers import Adam, Sgd
from node.learning.partition import Shard
from node.learning.probe import LocalProbe
from node.learning.task import Task

pytestmark = pytest.mark.filterwarnings("ignore::node.learning.errors.TaskWarning")

DRAW = torch.Generator().manual_seed(0)
CENTRES = 3 * torch.randn(3, 8, generator=DRAW)


def clouds(count: int = 300, offset: float = 5.0) -> Dataset:
    """Far from where a fresh BatchNorm thinks that its inputs lie."""
    labels = torch.arange(count) % 3
    return Dataset(CENTRES[labels] + torch.randn(count, 8, generator=DRAW) + offset, labels)


DATA = clouds()
SHARD = Shard(torch.arange(200), torch.arange(200, 300))


def normed() -> nn.Module:
    return nn.Sequential(nn.BatchNorm1d(8), nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, 3))


def trained(learner: Learner, rounds: int = 6) -> tuple[Tensor, TrainState]:
    params, state = learner.initial(1), None
    for round in range(rounds):
        params, state = learner.train(params, DATA, SHARD.train, 7, 1, round, state)
    assert state is not None
    return params, state


class Features(nn.Module):
    """Random features, drawn from nothing that a network shares."""

    def __init__(self, seed: int) -> None:
        super().__init__()
        self.register_buffer("waves", torch.randn(8, 32, generator=torch.Generator().manual_seed(seed)))
        self.head = nn.Linear(32, 3)

    def forward(self, inputs: Tensor) -> Tensor:
        return self.head(torch.cos(inputs @ self.waves))  # type: ignore[operator, no-any-return]


def test_a_probe_judges_with_the_buffers_of_the_node_that_judges() -> None:
    learner = Learner(Task(normed, DATA, DATA))
    params, state = trained(learner)
    probe = LocalProbe(learner, DATA, SHARD)
    own = probe.under(params, [state.buffers])
    rows = SHARD.held_out
    wanted = learner.logits(params, DATA.inputs[rows], state.buffers)
    right = (wanted.argmax(dim=-1) == DATA.labels[rows]).double().mean()
    assert right > 0.95
    assert own.scores(params[None]).min() > 0.9
    assert probe.scores(params[None]).min() < 0.8
    losses = nn.functional.cross_entropy(wanted, DATA.labels[rows])
    assert torch.allclose(own.loss(params[None])[0], losses, atol=1e-5)
    shown = learner.logits(params, DATA.inputs[SHARD.train[torch.arange(64) * 200 // 64]], state.buffers)
    assert torch.allclose(own.outputs(params[None])[0], shown, atol=1e-5)


def test_nodes_of_a_batch_judge_each_with_its_own() -> None:
    learner = Learner(Task(normed, DATA, DATA))
    params, state = trained(learner)
    shards = [SHARD, Shard(torch.arange(0, 200, 2), torch.arange(200, 300, 3))]
    buffers = [state.buffers, trained(learner, 1)[1].buffers]
    models = torch.stack([params, learner.initial(2)])
    batch = LocalProbe(learner, DATA, shards).under(models, buffers)
    for node, shard in enumerate(shards):
        alone = LocalProbe(learner, DATA, shard).under(models[node], [buffers[node]])
        assert torch.equal(batch.scores(models[:, None])[node], alone.scores(models[node][None]))
        assert torch.equal(batch.activity()[node], alone.activity())
        picked = batch.select(torch.tensor([node]))
        assert torch.equal(picked.scores(models[node][None, None])[0], alone.scores(models[node][None]))


def test_activity_does_not_depend_on_what_was_trained_before() -> None:
    learner = Learner(Task(normed, DATA, DATA))
    start = learner.initial(1)
    before = learner.activity(start, DATA.inputs[:20])
    _, state = trained(learner)
    assert torch.equal(learner.activity(start, DATA.inputs[:20]), before)
    assert not torch.equal(learner.activity(start, DATA.inputs[:20], buffers=state.buffers), before)


def test_statistics_of_a_model_of_others_are_taken_from_own_samples() -> None:
    learner = Learner(Task(normed, DATA, DATA))
    params, state = trained(learner)
    settled = learner.settled(params, DATA, SHARD.train)
    assert settled.keys() == state.buffers.keys()
    assert learner.accuracy(params, DATA, settled) > 0.95 > learner.accuracy(params, DATA)
    plain = Learner(Task(lambda: nn.Linear(8, 3), DATA, DATA))
    assert not plain.settled(plain.initial(0), DATA, SHARD.train)


def test_buffers_that_training_does_not_change_are_pinned() -> None:
    digests = {seed: schema_digest(Learner(Task(Features(seed), DATA, DATA)).schema) for seed in (1, 2)}
    assert digests[1] != digests[2]
    assert schema_digest(Learner(Task(Features(1), DATA, DATA)).schema) == digests[1]
    assert Task(Features(1), DATA, DATA).running == frozenset()


def test_running_statistics_are_not_pinned_and_frozen_ones_are() -> None:
    class Frozen(nn.BatchNorm1d):
        def train(self, mode: bool = True) -> Frozen:
            super().train(False)
            return self

    def frozen(mean: float) -> nn.Module:
        net = nn.Sequential(Frozen(8, affine=False), nn.Linear(8, 3))
        nn.init.constant_(net[0].running_mean, mean)  # type: ignore[arg-type]
        return net

    running = Task(normed, DATA, DATA)
    assert running.running == {"0.running_mean", "0.running_var", "0.num_batches_tracked"}
    assert Learner(running).schema.extractor == b""
    still = [Task(frozen(mean), DATA, DATA) for mean in (5.0, 6.0)]
    assert still[0].running == frozenset()
    assert Learner(still[0]).schema.extractor != Learner(still[1]).schema.extractor


def test_statistics_that_come_out_as_they_were_still_count_as_running() -> None:
    dark = Dataset(torch.zeros(40, 8), torch.arange(40) % 3)
    assert "0.running_mean" in Task(normed, dark, dark).running


def test_a_state_of_another_model_or_optimizer_is_refused() -> None:
    task = Task(normed, DATA, DATA, optimizer=Sgd(0.1, momentum=0.9, keep_state=True))
    learner = Learner(task)
    params, state = trained(learner, 1)
    learner.check(state)
    learner.check(TrainState())
    renamed = {name.replace("0.", "norm."): value for name, value in state.buffers.items()}
    smaller = {**state.buffers, "0.running_mean": torch.zeros(4)}
    halved = {**state.buffers, "0.running_var": state.buffers["0.running_var"].half()}
    for buffers, says in (
        (renamed, "buffer '0.num_batches_tracked' that was kept is missing; wanted int64"),
        (smaller, r"'0.running_mean' that was kept is float32 \(4,\); wanted float32 \(8,\)"),
        (halved, "'0.running_var' that was kept is float16"),
    ):
        with pytest.raises(TaskError, match=f"{says}.*new folder"):
            learner.train(params, DATA, SHARD.train, 7, 1, 1, replace(state, buffers=buffers))
    for moments in ((torch.zeros(3),), state.moments * 2):
        with pytest.raises(TaskError, match="moments of shapes"):
            learner.check(replace(state, moments=moments))
    for optimizer in (Adam(keep_state=True), Sgd(0.1, momentum=0.9)):
        with pytest.raises(TaskError, match=r"wanted [02] of"):
            Learner(replace(task, optimizer=optimizer)).check(state)
