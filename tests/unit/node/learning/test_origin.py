"""Every process starts from the same weights, or the task is refused: nothing is believed, the model is made twice."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import hedgerow
from node.learning.dataset import Dataset
from node.learning.errors import TaskError
from node.learning.learner import Learner
from node.learning.task import Task

DRAW = torch.Generator().manual_seed(3)
DATA = Dataset(torch.randn(60, 8, generator=DRAW), torch.arange(60) % 3)


class Scaled(nn.Linear):
    """A layer whose parent's reset_parameters does not know the scale."""

    def __init__(self, inputs: int, outputs: int, scale: Tensor | None = None) -> None:
        super().__init__(inputs, outputs)
        self.scale = nn.Parameter(torch.randn(inputs) if scale is None else scale)

    def forward(self, inputs: Tensor) -> Tensor:
        return super().forward(inputs * self.scale)


def own_numbers() -> nn.Module:
    net = nn.Linear(8, 3)
    with torch.no_grad():
        net.bias.copy_(torch.from_numpy(np.random.default_rng().normal(size=3)))
    return net


def tasks_start_alike(make) -> bool:  # type: ignore[no-untyped-def]
    first, second = (Learner(Task(make(), DATA, DATA)).initial(7) for _ in range(2))
    return torch.equal(first, second)


def test_a_parameter_that_its_layer_does_not_draw_is_named() -> None:
    with pytest.raises(TaskError, match=r"parameter '0.scale' is not drawn .*a function that makes the model anew"):
        Task(nn.Sequential(Scaled(8, 4), nn.Linear(4, 3)), DATA, DATA)
    assert Task(Scaled(8, 3), DATA, DATA, pretrained=True).classes == 3
    assert tasks_start_alike(lambda: lambda: Scaled(8, 3))


@pytest.mark.parametrize("scale", [torch.ones(8), torch.full((8,), 0.3), torch.zeros(())])
def test_a_constant_is_the_same_everywhere_and_is_taken(scale: Tensor) -> None:
    assert tasks_start_alike(lambda: Scaled(8, 3, scale.clone()))


def test_normalisation_is_drawn_as_ones() -> None:
    assert tasks_start_alike(lambda: nn.Sequential(nn.Linear(8, 4), nn.LayerNorm(4), nn.Linear(4, 3)))


def test_a_function_that_draws_from_elsewhere_is_refused() -> None:
    with pytest.raises(TaskError, match=r"gives 'bias' other values each time, from one seed.*Draw it with torch"):
        Task(own_numbers, DATA, DATA)
    sizes = iter(range(4, 40))
    with pytest.raises(TaskError, match=r"'0\.weight' other values each time"):
        Task(lambda: nn.Sequential(nn.Linear(8, n := next(sizes)), nn.Linear(n, 3)), DATA, DATA)


def test_a_function_that_hands_out_one_module_counts_as_the_module() -> None:
    net = nn.Linear(8, 3)
    before = net.weight.detach().clone()
    task, given = Task(lambda: net, DATA, DATA), Task(net, DATA, DATA)
    assert task.build(1) is not task.build(1)
    assert torch.equal(Learner(task).initial(1), Learner(given).initial(1))
    assert not torch.equal(Learner(task).initial(1), Learner(task).initial(2))
    settings = {"nodes": 4, "rounds": 2, "rules": ["mean"], "attack": "none", "engine": "world"}
    first, second = (hedgerow.simulate(task, **settings).records["mean"] for _ in range(2))
    assert [r.accuracy.tolist() for r in first] == [r.accuracy.tolist() for r in second]  # type: ignore[union-attr]
    assert torch.equal(net.weight, before)


def test_a_function_around_layers_that_it_keeps_counts_as_its_module() -> None:
    body = nn.Linear(8, 4)
    task = Task(lambda: nn.Sequential(body, nn.Linear(4, 3)), DATA, DATA)
    first, second = task.build(1), task.build(2)
    assert not torch.equal(first[0].weight, second[0].weight)  # type: ignore[index]


def test_a_frozen_body_that_a_function_keeps_is_copied() -> None:
    body = nn.Linear(8, 4).requires_grad_(False)

    def make() -> nn.Module:
        return nn.Sequential(body, nn.Linear(4, 3))

    task = Task(make, DATA, DATA)
    first, second = task.build(1), task.build(2)
    assert torch.equal(first[0].weight, body.weight)  # type: ignore[index]
    assert first[0].weight.data_ptr() != second[0].weight.data_ptr() != body.weight.data_ptr()  # type: ignore[index]
    torch.manual_seed(1)
    drawn = make()[1].weight  # type: ignore[index]
    assert torch.equal(first[1].weight, drawn)  # type: ignore[index]
