"""Local training is what torch.optim does, from the same batches; nothing but its address decides its draws."""

import pytest
import torch
from torch import nn

from node.draws import orders
from node.learning.dataset import Dataset
from node.learning.learner import Learner
from node.learning.models import lenet, mlp, softmax
from node.learning.optimizers import Adam, Sgd
from node.learning.task import Task

DRAW = torch.Generator().manual_seed(5)
DATA = Dataset(torch.randint(0, 256, (50, 1, 12, 12), dtype=torch.uint8, generator=DRAW), torch.arange(50) % 3)
SAMPLES = torch.arange(3, 40)


def task(model=mlp, **settings):
    return Task(lambda: model((1, 12, 12), 3), DATA, DATA, **{"batch_size": 8, **settings})


def reference(built, params, learner, rounds, optimizer, fresh_each_round, steps=None):
    module = built.build(0).train()
    with torch.no_grad():
        for name, value in learner.layout.read(params.clone()).items():
            module.get_parameter(name).copy_(value)
    opt = optimizer(module.parameters())
    for round in range(rounds):
        if fresh_each_round:
            opt = optimizer(module.parameters())
        done = 0
        for epoch in range(20):
            if epoch == built.local_epochs and steps is None:
                break
            order = torch.from_numpy(orders(7, 9, round, epoch, len(SAMPLES))[0])
            for batch in SAMPLES[order].split(8):
                if done == steps:
                    break
                opt.zero_grad()
                inputs = DATA.inputs[batch].float() / 255
                nn.functional.cross_entropy(module(inputs), DATA.labels[batch]).backward()
                opt.step()
                done += 1
    return learner.layout.flatten({name: value.detach() for name, value in module.named_parameters()})


def run(learner, params, rounds):
    state = None
    for round in range(rounds):
        params, state = learner.train(params, DATA, SAMPLES, 7, 9, round, state)
    return params


@pytest.mark.parametrize("keep", [False, True])
@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        (Sgd, lambda p: torch.optim.SGD(p, lr=0.05)),
        (Sgd, lambda p: torch.optim.SGD(p, lr=0.05, weight_decay=0.01)),
        (Sgd, lambda p: torch.optim.SGD(p, lr=0.05, momentum=0.9, weight_decay=0.01)),
        (Adam, lambda p: torch.optim.Adam(p, lr=1e-3, betas=(0.8, 0.99), eps=1e-6, weight_decay=0.02)),
    ],
    ids=["plain", "decay", "momentum", "adam"],
)
def test_training_agrees_with_torch_optim(ours, theirs, keep):
    defaults = theirs([torch.zeros(1, requires_grad=True)]).defaults
    names = ("lr", "betas", "eps", "weight_decay") if ours is Adam else ("lr", "momentum", "weight_decay")
    built = task(optimizer=ours(**{name: defaults[name] for name in names}, keep_state=keep), local_epochs=2)
    learner = Learner(built)
    start = learner.initial(1)
    wanted = reference(built, start, learner, 3, theirs, fresh_each_round=not keep)
    got = run(learner, start, 3)
    assert torch.allclose(got, wanted, atol=1e-6, rtol=0)
    assert not torch.allclose(got, start, atol=1e-3)


@pytest.mark.parametrize("steps", [1, 4, 13])
def test_local_steps_count_batches_over_epochs(steps):
    built = task(local_steps=steps, optimizer=Sgd(0.05))
    learner = Learner(built)
    start = learner.initial(1)
    wanted = reference(built, start, learner, 1, lambda p: torch.optim.SGD(p, lr=0.05), True, steps)
    assert torch.allclose(run(learner, start, 1), wanted, atol=1e-6, rtol=0)


@pytest.mark.parametrize("model", [softmax, lenet])
def test_other_models_agree_too(model):
    built = task(model, optimizer=Sgd(0.05))
    learner = Learner(built)
    start = learner.initial(1)
    wanted = reference(built, start, learner, 1, lambda p: torch.optim.SGD(p, lr=0.05), True)
    assert torch.allclose(run(learner, start, 1), wanted, atol=1e-6, rtol=0)


def test_initial_params_belong_to_the_seed_and_leave_torchs_generator_alone():
    learner = Learner(task())
    torch.manual_seed(3)
    before = torch.get_rng_state()
    assert torch.equal(learner.initial(4), learner.initial(4))
    assert not torch.equal(learner.initial(4), learner.initial(5))
    learner.train(learner.initial(4), DATA, SAMPLES, 0, 0, 0)
    assert torch.equal(before, torch.get_rng_state())


def test_softmax_starts_within_one_over_the_root_of_its_inputs():
    learner = Learner(task(softmax))
    assert float(learner.initial(0).abs().max()) <= 1 / 12
    assert float(learner.initial(0).abs().max()) > 0.9 / 12


def test_training_is_a_function_of_seed_node_and_round_and_changes_nothing_given():
    learner = Learner(task())
    start = learner.initial(0)
    kept = start.clone()
    first, _ = learner.train(start, DATA, SAMPLES, 1, 2, 3)
    learner.train(learner.initial(8), DATA, SAMPLES, 1, 3, 3)
    again, _ = learner.train(start, DATA, SAMPLES, 1, 2, 3)
    assert torch.equal(first, again)
    assert torch.equal(start, kept)
    for address in ((2, 2, 3), (1, 3, 3), (1, 2, 4)):
        assert not torch.equal(first, learner.train(start, DATA, SAMPLES, *address)[0])


def test_no_samples_leave_params_as_they_are():
    learner = Learner(task())
    start = learner.initial(0)
    trained, state = learner.train(start, DATA, torch.empty(0, dtype=torch.int64), 0, 0, 0)
    assert torch.equal(trained, start)
    assert state.steps == 0


def test_dropout_is_drawn_from_the_address():
    net = nn.Sequential(nn.Flatten(), nn.Linear(144, 16), nn.Dropout(0.5), nn.Linear(16, 3))
    learner = Learner(Task(net, DATA, DATA))
    start = learner.initial(0)
    torch.manual_seed(1)
    first, _ = learner.train(start, DATA, SAMPLES, 1, 2, 3)
    torch.manual_seed(2)
    assert torch.equal(first, learner.train(start, DATA, SAMPLES, 1, 2, 3)[0])
    assert torch.equal(learner.logits(start, DATA.inputs), learner.logits(start, DATA.inputs))


@pytest.mark.filterwarnings("ignore::node.learning.errors.TaskWarning")
def test_buffers_stay_with_their_node():
    net = nn.Sequential(nn.Flatten(), nn.Linear(144, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 3))
    learner = Learner(Task(net, DATA, DATA))
    start = learner.initial(0)
    first, state = learner.train(start, DATA, SAMPLES, 1, 2, 0)
    learner.train(start, DATA, SAMPLES[:8], 1, 5, 0)
    assert torch.equal(first, learner.train(start, DATA, SAMPLES, 1, 2, 0)[0])
    assert int(state.buffers["2.num_batches_tracked"]) == 2
    _, later = learner.train(first, DATA, SAMPLES, 1, 2, 1, state)
    assert int(later.buffers["2.num_batches_tracked"]) == 4
    own, fresh = learner.logits(first, DATA.inputs, state.buffers), learner.logits(first, DATA.inputs)
    assert not torch.allclose(own, fresh)


def test_a_parameter_out_of_reach_stays():
    class Spare(nn.Module):
        def __init__(self):
            super().__init__()
            self.used, self.spare = nn.Linear(144, 3), nn.Linear(2, 2)

        def forward(self, inputs):
            return self.used(inputs.flatten(1))

    for optimizer in (Sgd(0.1), Adam()):
        learner = Learner(Task(Spare(), DATA, DATA, optimizer=optimizer))
        start = learner.initial(0)
        trained, _ = learner.train(start, DATA, SAMPLES, 1, 2, 3)
        before, after = learner.layout.read(start), learner.layout.read(trained)
        assert torch.equal(before["spare.weight"], after["spare.weight"])
        assert not torch.equal(before["used.weight"], after["used.weight"])


def test_frozen_layers_are_pinned_and_not_exchanged():
    net = nn.Sequential(nn.Flatten(), nn.Linear(144, 8), nn.ReLU(), nn.Linear(8, 3))
    net[1].requires_grad_(False)
    built = Task(net, DATA, DATA)
    learner = Learner(built)
    assert learner.layout.names == ("3.weight", "3.bias")
    assert [tensor.shape for tensor in learner.schema.tensors] == [(3, 8), (3,)]
    assert len(learner.schema.extractor) == 32
    with torch.no_grad():
        net[1].bias[0] += 1
    assert Learner(built).schema.extractor != learner.schema.extractor
    assert Learner(task()).schema.extractor == b""


def test_cwr_trains_without_foreign_columns_keeps_them_and_centres_own_ones():
    built = task(softmax, local_update="cwr")
    plain, learner = Learner(task(softmax)), Learner(built)
    start = learner.initial(0)
    own = SAMPLES[DATA.labels[SAMPLES] != 1]
    trained, _ = learner.train(start, DATA, own, 1, 2, 3)
    head = learner.head
    alone = head.read(start).clone()
    alone[:, 1] = 0
    usual, _ = plain.train(head.write(start, alone), DATA, own, 1, 2, 3)
    before, after, free = head.read(start), head.read(trained), head.read(usual)
    assert torch.equal(before[:, 1], after[:, 1])
    assert torch.allclose(after[:-1, [0, 2]].mean(dim=0), torch.zeros(2), atol=1e-6)
    assert torch.allclose(after[:-1, 0], free[:-1, 0] - free[:-1, 0].mean(), atol=1e-6)
    assert torch.equal(after[-1, [0, 2]], free[-1, [0, 2]])


def test_a_loss_of_ones_own_is_used():
    learner = Learner(task(softmax, optimizer=Sgd(1e-3), loss=lambda logits, labels: logits.square().mean()))
    start = learner.initial(0)
    trained, _ = learner.train(start, DATA, SAMPLES, 1, 2, 3)
    assert learner.logits(trained, DATA.inputs).square().mean() < learner.logits(start, DATA.inputs).square().mean()
