"""A task is checked when it is made; shipped ones are found by name, users' own by reference."""

import sys
from dataclasses import replace

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from hedgerow_registry import NameFault, UnknownName
from node.learning.dataset import Dataset
from node.learning.errors import DataError, DataMissing, TaskError
from node.learning.learner import Learner
from node.learning.optimizers import Adam, Sgd
from node.learning.pretraining import load_extractor, pretrain, save_extractor
from node.learning.registry import TASKS
from node.learning.sources import digits
from node.learning.task import Task
from node.learning.tasks import make_task, pretraining_data

X, Y = torch.rand(12, 4, generator=torch.Generator().manual_seed(1)), torch.arange(12) % 3


def make(model=None, train=(X, Y), test=(X, Y), **settings):
    return Task(model or nn.Linear(4, 3), train, test, **settings)


class Mute(nn.Module):
    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(4, 3))

    def forward(self, inputs):
        return inputs @ self.weight.detach()


class Bare(Mute):
    def forward(self, inputs):
        return inputs @ self.weight


WHOLE = torch.ones(3, 4, dtype=torch.int64), torch.arange(3)


class Wide(nn.Module):
    def __init__(self):
        super().__init__()
        self.out = nn.Linear(4, 3)

    def forward(self, inputs):
        return self.out(inputs), 1


@pytest.mark.parametrize(
    ("model", "settings", "says"),
    [
        ("softmax", {}, "neither a torch module"),
        (lambda: 3, {}, "returned a int"),
        (nn.Flatten(), {}, "no trainable parameters"),
        (nn.Linear(4, 3).double(), {}, "float64.*float\\(\\)"),
        (nn.Linear(5, 3), {}, "fails on inputs of shape \\(2, 4\\)"),
        (nn.Linear(4, 2), {}, "labels go up to 2 but the model has 2 outputs; labels are numbered from 0"),
        (nn.Linear(4, 3), {"train": WHOLE, "test": WHOLE}, "give float32 or uint8"),
        (nn.Sequential(nn.Linear(4, 3), nn.Unflatten(1, (3, 1))), {}, "wanted logits"),
        (Wide(), {}, "gives tuple"),
        (Mute, {}, "does not depend"),
        (Bare(), {}, "reset_parameters"),
        (None, {"head": "out"}, "head 'out'.*''"),
        (Bare, {"local_update": "cwr"}, "needs a head"),
        (None, {"local_update": "cwrstar"}, "'plain' or 'cwr'"),
        (None, {"optimizer": "sgd"}, "wanted Sgd"),
        (None, {"batch_size": 0}, "batch_size is 0"),
        (None, {"local_epochs": 1.5}, "local_epochs is 1.5"),
        (None, {"local_steps": True}, "local_steps is True"),
        (None, {"held_out": 0.95}, "held_out is 0.95"),
        (None, {"loss": lambda logits, labels: logits}, "one number"),
        (None, {"loss": lambda logits: logits}, "the loss fails"),
        (None, {"train": X}, "train is neither"),
        (None, {"test": (X, Y[:3])}, "test: 12 inputs but 3 labels"),
        (None, {"test": (X[:, :3], Y)}, "must be alike"),
    ],
    ids=lambda value: None if isinstance(value, dict | str) else type(value).__name__,
)
def test_what_would_fail_later_fails_when_the_task_is_made(model, settings, says):
    with pytest.raises(TaskError, match=says):
        make(model, **settings)


@pytest.mark.parametrize(
    ("optimizer", "settings"),
    [
        (Sgd, {"lr": 0.0}),
        (Sgd, {"lr": float("nan")}),
        (Sgd, {"lr": 0.1, "momentum": 1.0}),
        (Sgd, {"lr": 0.1, "weight_decay": -1.0}),
        (Adam, {"betas": (0.9, 1.0)}),
        (Adam, {"eps": 0.0}),
    ],
)
def test_optimizers_refuse_numbers_out_of_range(optimizer, settings):
    with pytest.raises(TaskError, match="wanted"):
        optimizer(**settings)


def test_numpy_factories_and_modules_are_taken_alike():
    given = make(lambda: nn.Linear(4, 3), (X.numpy(), Y.numpy()), Dataset(X, Y))
    assert given.classes == 3
    assert torch.equal(Learner(given).initial(2), Learner(make()).initial(2))


def test_a_module_starts_from_the_seed_unless_it_is_pretrained():
    module = nn.Sequential(nn.Linear(4, 5), nn.MultiheadAttention(5, 1), nn.Linear(5, 3))
    del module[1]
    fresh, kept = Learner(make(module)), Learner(make(module, pretrained=True))
    own = torch.cat([value.detach().flatten() for value in module.parameters()])
    assert not torch.equal(fresh.initial(0), own)
    assert torch.equal(kept.initial(0), own)
    assert torch.equal(kept.initial(1), own)
    assert make(Bare(), pretrained=True).classes == 3


def test_half_frozen_layers_keep_their_frozen_half():
    layer = nn.Linear(4, 3)
    layer.bias.requires_grad_(False)
    with torch.no_grad():
        layer.bias.fill_(7)
    built = make(layer).build(3)
    assert built.bias.tolist() == [7, 7, 7]
    assert not torch.equal(built.weight, layer.weight)


def test_a_task_can_be_replaced_in_part():
    task = replace(make(), batch_size=5, name="other")
    assert (task.batch_size, task.name, task.classes) == (5, "other", 3)
    with pytest.raises(TaskError):
        replace(task, batch_size=-1)


def test_shipped_tasks_take_overrides():
    task = make_task("digits", "mlp", lr=0.3, batch_size=7, local_epochs=3)
    assert (task.optimizer, task.batch_size, task.local_epochs) == (Sgd(0.3), 7, 3)
    assert make_task("digits", local_steps=4).local_steps == 4
    assert Learner(task).dimension == 64 * 128 + 128 + 128 * 10 + 10
    assert all(spec.summary and spec.source for spec in TASKS.entries.values())


@pytest.mark.parametrize(
    ("arguments", "error", "says"),
    [
        ({"name": "digit"}, UnknownName, "did you mean 'digits'"),
        ({"name": "digits", "model": "mlpp"}, UnknownName, "did you mean 'mlp'"),
        ({"name": "digits", "data_dir": "/"}, TaskError, "takes no data_dir"),
        ({"name": "digits", "extractor": "x"}, TaskError, "no extractor"),
        ({"name": "digits-head", "model": "mlp"}, TaskError, "has one model"),
        ({"name": "npz"}, TaskError, "needs data_dir"),
        ({"name": "fashion-mnist", "data_dir": "/nowhere"}, DataMissing, "lacks"),
        ({"name": "idx", "data_dir": "/nowhere"}, DataMissing, "lacks"),
        ({"name": "a:b", "model": "mlp"}, TaskError, "leave out model"),
    ],
)
def test_options_that_do_not_fit_are_refused(arguments, error, says):
    with pytest.raises(error, match=says):
        make_task(**arguments)


def test_own_arrays_become_a_task(tmp_path):
    np.savez(tmp_path / "own.npz", inputs=X.numpy().repeat(2, 0), labels=Y.numpy().repeat(2, 0))
    task = make_task("npz", data_dir=tmp_path / "own.npz")
    assert task.classes == 3
    assert len(task.train) + len(task.test) == 24


@pytest.fixture
def module(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))

    def write(name, text):
        (tmp_path / f"{name}.py").write_text(text)

    yield write
    for name in [name for name in sys.modules if name.startswith("own_")]:
        del sys.modules[name]


HEADER = "import torch\nfrom torch import nn\nfrom node.learning.task import Task\n"
MAKE = "Task(nn.Linear(4, 3), (torch.rand(6, 4), torch.arange(6) % 3), (torch.rand(6, 4), torch.arange(6) % 3))\n"


def test_a_reference_leads_to_a_task_or_a_function_that_makes_one(module):
    module("own_a", f"{HEADER}task = {MAKE}\ndef make():\n    return {MAKE}")
    assert isinstance(make_task("own_a:task"), Task)
    assert make_task("own_a:make", lr=0.7).optimizer.lr == 0.7


@pytest.mark.parametrize(
    ("reference", "text", "says"),
    [
        ("own_b", "", "there is a module of this name: write own_b:NAME"),
        ("own_b:1", "", "wanted module:name"),
        ("own_gone:task", "", "no module 'own_gone'"),
        ("own_b:tusk", "task = 1", "did you mean 'task'"),
        ("own_c:task", "other_thing = 1", "has no 'task'"),
        ("own_d:task", "task = 1", "is a int"),
        ("own_e:task", "1 / 0", "ZeroDivisionError"),
        ("own_f:task", "import own_missing_thing", "needs 'own_missing_thing'"),
        ("own_g:task", "from node.learning.errors import TaskError\nraise TaskError('labels')", "labels"),
    ],
)
def test_a_reference_that_leads_nowhere_says_why(module, reference, text, says):
    name = reference.partition(":")[0]
    if name != "own_gone":
        module(name, text)
    error = TaskError if "TaskError" in text else NameFault
    with pytest.raises(error, match=says):
        make_task(reference)


@pytest.fixture(scope="module")
def extractor():
    data, classes = pretraining_data("digits-head")
    seen = []
    made = pretrain(data, classes, epochs=3, progress=lambda epoch, accuracy: seen.append((epoch, accuracy)))
    assert [epoch for epoch, _ in seen] == [1, 2, 3]
    assert seen[-1][1] > 0.8
    return made


def test_an_extractor_is_the_same_each_time_and_survives_the_disk(extractor, tmp_path):
    data, classes = pretraining_data("digits")
    assert classes == (0, 2, 4, 6, 8)
    assert pretrain(data, classes, epochs=3).digest == extractor.digest
    assert pretrain(data, classes, epochs=1, seed=1).digest != extractor.digest
    save_extractor(extractor, tmp_path / "deep" / "it.safetensors")
    back = load_extractor(tmp_path / "deep" / "it.safetensors", extractor.digest)
    assert torch.equal(back.apply(data).inputs, extractor.apply(data).inputs)
    assert [path.name for path in (tmp_path / "deep").iterdir()] == ["it.safetensors"]


def test_features_have_unit_size(extractor):
    data, classes = pretraining_data("digits")
    rows = torch.isin(data.labels, torch.tensor(classes)).nonzero()[:, 0]
    features = extractor.apply(data.take(rows)).inputs
    assert features.shape[1] == extractor.features == 200
    assert float(features.square().mean().sqrt()) == pytest.approx(1, rel=0.01)


def test_a_wrong_extractor_file_is_refused(extractor, tmp_path):
    path = tmp_path / "it.safetensors"
    save_extractor(extractor, path)
    with pytest.raises(DataError, match="wanted 0000"):
        load_extractor(path, bytes(32))
    named = {name: value.detach().clone() for name, value in extractor.module.named_parameters()}
    notes = {"format": "hedgerow-extractor-1", "shape": "1,8,8", "digest": extractor.digest.hex()}
    for tensors, metadata, says in (
        ({**named, "first.bias": named["first.bias"] + 1}, notes, "damaged"),
        ({"first.bias": named["first.bias"]}, notes, "its tensors"),
        (named, {**notes, "shape": "1,x"}, "not an extractor"),
        (named, None, "not an extractor"),
    ):
        save_file(tensors, path, metadata)
        with pytest.raises(DataError, match=says):
            load_extractor(path)
    path.write_bytes(b"anything")
    with pytest.raises(DataError, match="not a safetensors file"):
        load_extractor(path)
    with pytest.raises(DataMissing, match="hedgerow pretrain"):
        load_extractor(tmp_path / "none")
    with pytest.raises(TaskError, match="was made for"):
        extractor.apply(Dataset(X, Y))


def test_pretraining_needs_two_classes_and_images():
    data, _ = pretraining_data("digits")
    with pytest.raises(TaskError, match="two classes"):
        pretrain(data, [3])
    with pytest.raises(TaskError, match="needs images"):
        pretrain(Dataset(X, Y), [0, 1])


def test_a_head_is_all_that_is_exchanged(extractor, tmp_path):
    save_extractor(extractor, tmp_path / "it.safetensors")
    task = make_task("digits-head", extractor=tmp_path / "it.safetensors")
    learner = Learner(task)
    assert learner.dimension == 200 * 10
    assert learner.head is not None
    assert learner.head.bias is None
    assert not learner.initial(3).any()
    assert task.local_update == "cwr"
    assert len(task.train) == len(digits()[0]) - len(digits()[0]) // 2
    other = make_task("digits-head", extractor=tmp_path / "it.safetensors")
    assert Learner(other).schema == learner.schema
    assert len(learner.schema.extractor) == 32


def test_a_head_task_makes_its_extractor_once(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    first = make_task("digits-head")
    files = list(tmp_path.rglob("*.safetensors"))
    assert len(files) == 1
    written = files[0].stat().st_mtime_ns
    assert make_task("digits-head").extractor_digest == first.extractor_digest
    assert files[0].stat().st_mtime_ns == written
