"""A task is tried by a training step when it is made: what would end a run in its first round is said there."""

from __future__ import annotations

import warnings
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from node.learning.dataset import Dataset
from node.learning.errors import TaskError, TaskWarning
from node.learning.learner import Learner
from node.learning.optimizers import Sgd
from node.learning.task import Task

DRAW = torch.Generator().manual_seed(3)
DATA = Dataset(torch.randn(60, 8, generator=DRAW), torch.arange(60) % 3)
IMAGES = Dataset(torch.randint(0, 256, (12, 6, 6, 3), dtype=torch.uint8, generator=DRAW), torch.arange(12) % 3)
quiet = pytest.mark.filterwarnings("ignore::node.learning.errors.TaskWarning")


def normed() -> nn.Module:
    return nn.Sequential(nn.Linear(8, 16), nn.BatchNorm1d(16), nn.ReLU(), nn.Linear(16, 3))


class Calls(nn.Module):
    """A linear layer around which something is done."""

    def __init__(self) -> None:
        super().__init__()
        self.out = nn.Linear(8, 3)


class Squeezing(Calls):
    def forward(self, inputs: Tensor) -> Tensor:
        return self.out(inputs).squeeze()


class Auxiliary(Calls):
    def forward(self, inputs: Tensor) -> object:
        return (self.out(inputs), self.out(inputs)) if self.training else self.out(inputs)


class Pairs(Calls):
    def forward(self, inputs: Tensor) -> Tensor:
        if self.training:
            inputs = inputs.view(len(inputs) // 2, 2, 8).flip(1).reshape(-1, 8)
        return self.out(inputs)


class Growing(Calls):
    def forward(self, inputs: Tensor) -> Tensor:
        self.register_buffer("seen", inputs[:, :1].detach(), persistent=False)
        return self.out(inputs)


class InPlace(Calls):
    def forward(self, inputs: Tensor) -> Tensor:
        hidden = self.out(inputs).sigmoid()
        return hidden.add_(1) if self.training else hidden


@quiet
def test_a_lone_last_sample_is_left_out_for_a_model_that_cannot_take_it() -> None:
    task = Task(normed, DATA, DATA, batch_size=8)
    assert not task.takes_one
    learner = Learner(task)
    start = learner.initial(0)
    _, state = learner.train(start, DATA, torch.arange(17), 1, 2, 0)
    assert int(state.buffers["1.num_batches_tracked"]) == 2
    _, state = learner.train(start, DATA, torch.arange(18), 1, 2, 0)
    assert int(state.buffers["1.num_batches_tracked"]) == 3
    counted = Learner(replace(task, local_steps=5))
    assert int(counted.train(start, DATA, torch.arange(9), 1, 2, 0)[1].buffers["1.num_batches_tracked"]) == 5
    for steps in (None, 4):
        alone, state = Learner(replace(task, local_steps=steps)).train(start, DATA, torch.arange(1), 1, 2, 0)
        assert torch.equal(alone, start)
        assert not state.buffers


def test_every_epoch_leaves_out_another_sample() -> None:
    seen: list[Tensor] = []

    class Watching(nn.BatchNorm1d):
        def forward(self, inputs: Tensor) -> Tensor:
            seen.append(inputs[:, 0].detach().clone())
            return super().forward(inputs)

    with pytest.warns(TaskWarning, match="running statistics"):
        task = Task(lambda: nn.Sequential(Watching(8), nn.Linear(8, 3)), DATA, DATA, batch_size=4, local_epochs=6)
    seen.clear()
    learner = Learner(task)
    learner.train(learner.initial(0), DATA, torch.arange(9), 1, 2, 0)
    batches = [batch for batch in seen if len(batch) == 4]
    assert len(batches) == 12
    assert len(torch.cat(batches).unique()) == 9


def test_models_that_take_one_sample_are_fed_all() -> None:
    fed: list[int] = []

    class Counting(Calls):
        def forward(self, inputs: Tensor) -> Tensor:
            fed.append(len(inputs))
            return self.out(inputs)

    task = Task(Counting, DATA, DATA, batch_size=8)
    assert task.takes_one
    learner = Learner(task)
    fed.clear()
    learner.train(learner.initial(0), DATA, torch.arange(17), 1, 2, 0)
    assert fed == [8, 8, 1]


@pytest.mark.parametrize(
    ("model", "settings", "says"),
    [
        (Auxiliary, {}, r"in training the model gives tuple for 16 inputs; wanted logits \(16, 3\)"),
        (Squeezing, {}, r"shape \(3,\) for 1 input; .*flatten\(1\)"),
        (Pairs, {}, "a batch of 3: the last batch of an epoch may have any size"),
        (Growing, {}, "buffer 'seen' comes, goes or changes its shape"),
        (InPlace, {}, "fails when gradients are computed: RuntimeError.*modified by an inplace operation"),
        (lambda: nn.Sequential(nn.BatchNorm1d(8, track_running_stats=False), nn.Linear(8, 3)), {}, "one sample alone"),
        (normed, {"batch_size": 1}, "a batch of one sample: with BatchNorm give a batch_size of 2 or more"),
        (lambda: nn.Sequential(nn.Linear(8, 2049)), {}, "2049 outputs; an update's header has room for 2048"),
        (lambda: nn.Sequential(nn.LazyLinear(3)), {}, "'0.weight' has no shape yet"),
    ],
    ids=["auxiliary", "squeeze", "pairs", "buffer", "in place", "no statistics", "batch of one", "classes", "lazy"],
)
@quiet
@pytest.mark.filterwarnings("ignore:Lazy modules")
def test_what_fails_in_training_fails_when_the_task_is_made(model, settings, says) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(TaskError, match=says):
        Task(model, DATA, DATA, **settings)


def test_as_many_classes_as_a_header_can_carry_are_taken() -> None:
    assert Task(lambda: nn.Linear(8, 2048), DATA, DATA).classes == 2048


def test_a_trial_leaves_no_trace() -> None:
    module = nn.Sequential(nn.Linear(8, 8), nn.Dropout(), nn.Linear(8, 3))
    before = [value.detach().clone() for value in module.parameters()]
    torch.manual_seed(1)
    drawn = torch.rand(3)
    torch.manual_seed(1)
    Task(module, DATA, DATA)
    assert torch.equal(torch.rand(3), drawn)
    assert all(torch.equal(value, old) for value, old in zip(module.parameters(), before, strict=True))
    assert module.training


def test_settings_of_a_scenario_are_tried_too() -> None:
    import hedgerow

    with pytest.warns(TaskWarning):
        task = Task(normed, DATA, DATA)
    with pytest.raises(TaskError, match="a batch_size of 2 or more"):
        hedgerow.simulate(task, nodes=4, rounds=1, rules=["mean"], attack="none", batch=1)


def test_running_statistics_are_warned_of_once_where_the_task_is_made() -> None:
    import hedgerow

    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        task = Task(normed, DATA, DATA)
        hedgerow.simulate(task, nodes=4, rounds=1, rules=["mean"], attack="none", batch=8)
    assert [(warning.filename, warning.category) for warning in caught] == [(__file__, TaskWarning)]
    assert "GroupNorm or LayerNorm" in str(caught[0].message)
    assert hedgerow.TaskWarning is TaskWarning
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        Task(lambda: nn.Sequential(nn.Linear(8, 8), nn.GroupNorm(2, 8), nn.Linear(8, 3)), DATA, DATA)


@pytest.mark.parametrize(
    ("last", "loss"),
    [(nn.Softmax(1), None), (nn.LogSoftmax(1), nn.CrossEntropyLoss()), (nn.Sigmoid(), nn.functional.cross_entropy)],
)
def test_a_softmax_before_cross_entropy_is_warned_of(last: nn.Module, loss: object) -> None:
    with pytest.warns(TaskWarning, match=f"ends in {type(last).__name__}, .*return logits"):
        Task(nn.Sequential(nn.Linear(8, 3), last), DATA, DATA, loss=loss)  # type: ignore[arg-type]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        Task(nn.Sequential(nn.Linear(8, 3), last), DATA, DATA, loss=lambda out, labels: out[:, 0].mean() + labels[0])


def test_images_whose_channels_come_last_are_recognised() -> None:
    net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Flatten(), nn.Linear(64, 3))
    with pytest.raises(TaskError, match=r"3 channels come last .*permute\(0, 3, 1, 2\)"):
        Task(net, IMAGES, IMAGES)
    right = Dataset(IMAGES.inputs.permute(0, 3, 1, 2), IMAGES.labels)
    assert Task(net, right, right).classes == 3


@pytest.mark.parametrize(
    ("optimizer", "says"),
    [
        (lambda net: torch.optim.SGD(net.parameters(), lr=0.05), r"torch.optim.SGD.*hedgerow.Sgd\(lr=0.05\)"),
        (lambda net: torch.optim.AdamW(net.parameters(), lr=0.01), r"torch.optim.AdamW.*hedgerow.Adam\(lr=0.01\)"),
        (lambda net: torch.optim.SGD, r"hedgerow.Sgd\(lr=...\)"),
        (lambda net: Sgd, "optimizer is a Sgd; wanted Sgd"),
    ],
)
def test_an_optimizer_of_torch_is_answered_with_ours(optimizer, says) -> None:  # type: ignore[no-untyped-def]
    net = nn.Linear(8, 3)
    with pytest.raises(TaskError, match=says):
        Task(net, DATA, DATA, optimizer=optimizer(net))


def test_counts_may_be_numpys() -> None:
    counts = {name: np.int64(3) for name in ("batch_size", "local_epochs", "local_steps", "familiar")}
    task = Task(nn.Linear(8, 3), DATA, DATA, **counts)
    assert all(type(getattr(task, name)) is int for name in counts)
    for wrong in (np.float32(3), np.bool_(True), np.int64(0), "3"):
        with pytest.raises(TaskError, match="wanted a whole number"):
            Task(nn.Linear(8, 3), DATA, DATA, batch_size=wrong)  # type: ignore[arg-type]


def test_tasks_and_data_sets_are_one_line() -> None:
    assert repr(DATA) == "Dataset(60 samples of shape (8,), float32; labels 0 to 2)"
    said = repr(Task(nn.Linear(8, 3), DATA, DATA, name="small"))
    assert said.startswith("Task('small', Linear: (8,) -> 3 classes, 60 training and 60 test samples, Sgd(lr=0.1")
    assert "\n" not in said
