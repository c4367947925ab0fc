"""Many models at once give what each gives alone, whichever way they are run."""

import pytest
import torch
from torch import nn
from torch.func import functional_call

from node.learning.dataset import Dataset
from node.learning.errors import TaskError
from node.learning.layout import Layout
from node.learning.learner import Learner
from node.learning.models import lenet, mlp, softmax
from node.learning.registry import MODELS
from node.learning.task import Task

DRAW = torch.Generator().manual_seed(5)
DATA = Dataset(torch.randint(0, 256, (40, 1, 12, 12), dtype=torch.uint8, generator=DRAW), torch.arange(40) % 3)


class Attention(nn.Module):
    def __init__(self):
        super().__init__()
        self.mix = nn.MultiheadAttention(12, 2, batch_first=True)
        self.norm = nn.LayerNorm(12)
        self.out = nn.Linear(12, 3)

    def forward(self, inputs):
        rows = inputs[:, 0]
        return self.out(self.norm(rows + self.mix(rows, rows, rows, need_weights=False)[0]).mean(dim=1))


class Branching(nn.Module):
    def __init__(self):
        super().__init__()
        self.out = nn.Linear(144, 3)

    def forward(self, inputs):
        flat = inputs.flatten(1)
        return self.out(flat if flat.sum() > 0 else -flat)


def nested():
    body = nn.Sequential(nn.Linear(144, 9), nn.Tanh(), nn.Dropout(0.3))
    return nn.Sequential(nn.Flatten(), body, nn.Linear(9, 5, bias=False), nn.LeakyReLU(), nn.Linear(5, 3))


def half_frozen():
    net = nested()
    net[1][0].weight.requires_grad_(False)
    return net


def shared_twice():
    layer = nn.Linear(144, 144)
    return nn.Sequential(nn.Flatten(), layer, nn.ReLU(), layer, nn.Linear(144, 3))


def hooked():
    net = nested()
    net[1][0].register_forward_hook(lambda layer, given, out: out * 2)
    return net


def normed():
    return nn.Sequential(nn.Flatten(), nn.Linear(144, 8), nn.LayerNorm(8), nn.Linear(8, 3))


class Tied(nn.Module):
    def __init__(self):
        super().__init__()
        self.first, self.second, self.out = nn.Linear(144, 144), nn.Linear(144, 144), nn.Linear(144, 3)
        self.second.weight = self.first.weight

    def forward(self, inputs):
        return self.out(self.second(self.first(inputs.flatten(1)).relu()))


CASES = {
    "softmax": (lambda: softmax((1, 12, 12), 3), "chain"),
    "mlp": (lambda: mlp((1, 12, 12), 3, 16), "chain"),
    "nested": (nested, "chain"),
    "half frozen": (half_frozen, "chain"),
    "shared twice": (shared_twice, "vmap"),
    "hooked": (hooked, "vmap"),
    "attention": (Attention, "loop"),
    "normed": (normed, "vmap"),
    "tied": (Tied, "vmap"),
    "branching": (Branching, "loop"),
    "lenet": (lambda: lenet((1, 12, 12), 3), "loop"),
}


def learner(case):
    return Learner(Task(CASES[case][0], DATA, DATA))


def one(case, own, params, inputs):
    module = own.task.build().eval()
    fed = inputs.float() / 255
    with torch.no_grad():
        return functional_call(module, own.layout.read(params), (fed,))


@pytest.mark.parametrize("case", CASES)
def test_models_are_run_the_way_they_can_be(case):
    assert learner(case).path == CASES[case][1]


@pytest.mark.parametrize("case", CASES)
def test_many_models_give_what_each_gives_alone(case):
    own = learner(case)
    params = torch.stack([own.initial(seed) for seed in range(6)])
    inputs = DATA.inputs[:10]
    alone = torch.stack([one(case, own, row, inputs) for row in params])
    assert torch.allclose(own.logits(params, inputs), alone, atol=1e-5)
    assert torch.allclose(own.logits(params[0], inputs), alone[0], atol=1e-5)
    grid = own.logits(params.view(2, 3, -1), inputs)
    assert torch.allclose(grid, alone.view(2, 3, 10, 3), atol=1e-5)


@pytest.mark.parametrize("case", CASES)
def test_leading_dimensions_broadcast(case):
    own = learner(case)
    params = torch.stack([own.initial(seed) for seed in range(6)]).view(2, 3, -1)
    inputs = DATA.inputs[:8].view(2, 1, 4, 1, 12, 12)
    wanted = torch.stack(
        [torch.stack([one(case, own, params[n, k], inputs[n, 0]) for k in range(3)]) for n in range(2)]
    )
    assert torch.allclose(own.logits(params, inputs), wanted, atol=1e-5)
    each = own.logits(params, inputs.expand(2, 3, 4, 1, 12, 12).contiguous())
    assert torch.allclose(each, wanted, atol=1e-5)
    single = own.logits(params[0, 0], inputs)
    assert torch.allclose(single[1, 0], one(case, own, params[0, 0], inputs[1, 0]), atol=1e-5)


@pytest.mark.parametrize("case", ["mlp", "attention", "lenet"])
def test_predictions_in_chunks_are_the_argmax_of_the_whole(case, monkeypatch):
    own = learner(case)
    params = torch.stack([own.initial(seed) for seed in range(5)])
    whole = own.logits(params, DATA.inputs).argmax(dim=-1)
    monkeypatch.setattr("node.learning.learner.CHUNK_FLOATS", 2 * own.dimension)
    monkeypatch.setattr("node.learning.learner.CHAIN_SAMPLES", 16)
    monkeypatch.setattr("node.learning.learner.CHAIN_FLOATS", 2 * 16 * own.width)
    assert torch.equal(own.predict(params, DATA.inputs), whole)
    assert torch.equal(own.predict(params[0], DATA.inputs), whole[0])
    right = (whole == DATA.labels).double().mean(dim=1)
    assert torch.equal(own.accuracy(params, DATA), right)


def test_a_layout_reads_back_what_it_wrote():
    named = {"a": torch.arange(6.0).view(2, 3), "b": torch.tensor(7.0), "c": torch.tensor([8.0, 9.0])}
    layout = Layout.of(named.items())
    assert (layout.offsets, layout.dimension) == ((0, 6, 7), 9)
    flat = layout.flatten(named)
    assert flat.tolist() == list(map(float, [0, 1, 2, 3, 4, 5, 7, 8, 9]))
    assert all(torch.equal(value, named[name]) for name, value in layout.read(flat).items())
    stacked = layout.read(torch.stack([flat, flat + 1]))
    assert stacked["a"].shape == (2, 2, 3)
    assert torch.equal(layout.flatten(stacked)[1], flat + 1)
    layout.read(flat)["c"].zero_()
    assert flat[-2:].tolist() == [0, 0]
    with pytest.raises(ValueError, match="tensor 'a'"):
        layout.flatten({**named, "a": torch.zeros(3, 2)})


@pytest.mark.parametrize(("name", "dimension"), [("softmax", 7850), ("mlp", 101_770), ("lenet", 61_706)])
def test_shipped_models_have_the_sizes_of_the_literature(name, dimension):
    module = MODELS[name].build((1, 28, 28), 10)
    assert sum(value.numel() for value in module.parameters()) == dimension


def test_lenet_says_what_it_needs():
    with pytest.raises(TaskError, match="at least 12x12"):
        lenet((1, 8, 8), 10)
    with pytest.raises(TaskError, match="needs images"):
        lenet((64,), 10)


def test_the_head_is_the_last_linear_layer():
    own = learner("mlp")
    assert own.head is not None
    flat = torch.arange(own.dimension, dtype=torch.float32)
    named = own.layout.read(flat)
    columns = own.head.read(flat)
    assert torch.equal(columns[:-1].T, named["3.weight"])
    assert torch.equal(columns[-1], named["3.bias"])


def test_a_model_may_have_no_head_or_one_that_is_tied_to_another_name():
    plain = nn.Sequential(nn.Flatten(), nn.Linear(144, 8), nn.Linear(8, 3), nn.Unflatten(1, (3, 1)), nn.Flatten())
    assert Learner(Task(plain, DATA, DATA)).head is not None
    bent = nn.Sequential(nn.Unflatten(3, (4, 3)), nn.Flatten(2, 3), nn.Flatten(), nn.Linear(144, 6), nn.MaxPool1d(2))
    assert Learner(Task(bent, DATA, DATA)).head is None
    square = nn.Sequential(nn.Flatten(), nn.Linear(144, 3), nn.Linear(3, 3), nn.ReLU(), nn.Linear(3, 3))
    square[4].weight = square[2].weight
    assert Learner(Task(square, DATA, DATA)).head is None


def unfolded(layer, given):
    """Mean squares of what each weight multiplies, from the definition: gradients of the outputs' sums."""
    total, count = torch.zeros_like(layer.weight), 0
    out = layer(given)
    for position in torch.cartesian_prod(*(torch.arange(size) for size in (len(out), out.shape[2], out.shape[3]))):
        n, y, x = position.tolist()
        # every output channel at this position: the gradient of channel o is the patch that weight[o] multiplies
        gradient = torch.autograd.grad(layer(given)[n, :, y, x].sum(), layer.weight)[0]
        total += gradient.square()
        count += 1
    return (total / count).sqrt()


@pytest.mark.parametrize(
    "settings",
    [
        {"padding": 1},
        {"padding": 0, "stride": 2},
        {"padding": "same", "dilation": 2},
        {"padding": "valid", "groups": 2},
        {"padding": 1, "padding_mode": "circular"},
    ],
)
def test_activity_of_a_convolution_is_that_of_its_patches(settings):
    first = nn.Conv2d(2, 4, 3, bias=True, **settings)
    size = first(torch.zeros(1, 2, 6, 6)).numel()
    net = nn.Sequential(first, nn.ReLU(), nn.Flatten(), nn.Linear(size, 2))
    data = Dataset(torch.rand(6, 2, 6, 6, generator=DRAW), torch.arange(6) % 2)
    own = Learner(Task(net, data, data, pretrained=True))
    found = own.layout.read(own.activity(own.initial(0), data.inputs))
    assert torch.allclose(found["0.weight"], unfolded(first, data.inputs), atol=1e-5)
    assert bool((found["0.bias"] == 1).all())
    with torch.no_grad():
        fed = first(data.inputs).relu().flatten(1)
    assert torch.allclose(found["3.weight"][1], fed.square().mean(dim=0).sqrt(), atol=1e-5)


@pytest.mark.parametrize("case", ["mlp", "nested", "half frozen", "lenet", "attention", "shared twice"])
def test_activity_counts_only_inputs_that_are_there(case):
    own = learner(case)
    params = torch.stack([own.initial(seed) for seed in range(3)])
    inputs = DATA.inputs[:15].view(3, 5, 1, 12, 12)
    mask = torch.tensor([[True] * 5, [True, True, False, True, False], [False] * 5])
    together = own.activity(params, inputs, mask)
    assert together.shape == params.shape
    assert torch.allclose(together[0], own.activity(params[0], inputs[0]), atol=1e-6)
    assert torch.allclose(together[1], own.activity(params[1], inputs[1][mask[1]]), atol=1e-6)
    assert bool((together[2] == 1).all())
    assert bool((own.activity(params[0], inputs[0][:0]) == 1).all())


def test_activity_of_a_first_layer_is_the_root_mean_square_of_the_features():
    own = learner("softmax")
    found = own.layout.read(own.activity(own.initial(0), DATA.inputs))["1.weight"]
    wanted = (DATA.inputs.float() / 255).flatten(1).square().mean(dim=0).sqrt()
    assert torch.allclose(found, wanted.expand(3, -1), atol=1e-6)


@pytest.mark.parametrize("model", ["softmax", "mlp"])
def test_of_equal_outputs_the_lowest_class_is_predicted(model):
    task = Task(lambda: MODELS[model].build((1, 12, 12), 3), DATA, DATA)
    learner = Learner(task)
    params = torch.zeros(3, learner.dimension)
    params[1, -2:] = 1.0  # the last tensor is the bias of the output layer
    params[2, -3:] = torch.tensor([float("nan"), 2.0, 2.0])
    assert learner.path == "chain"
    wanted = torch.tensor([[0], [1], [0]]).expand(3, len(DATA))
    assert torch.equal(learner.predict(params, DATA.inputs), wanted)
    assert torch.equal(learner.logits(params, DATA.inputs).argmax(dim=-1), wanted)
