"""Training paths of the array engine: all train as the plain loop does, whatever the cut and the number of threads."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from aggregation.kernels import rows as kernels
from node.learning.learner import Learner
from node.learning.models import lenet, mlp, softmax
from node.learning.optimizers import Adam, Optimizer, Sgd
from node.learning.task import Task
from simulator.fast.choose import choose_trainer
from simulator.fast.plain import Plain
from simulator.fast.trainer import Job, Trainer
from simulator.fast.workers import Workers

SHAPE = (1, 12, 12)
SIZES = (5, 0, 40, 33, 40, 40, 7)
CHAIN = ["fused", "compiled"] if kernels.available() else ["fused"]

DATA = np.random.default_rng(0).integers(0, 256, size=(300, *SHAPE), dtype=np.uint8)
LABELS = np.arange(300) % 10


def job(model: Callable[[], nn.Module], workers: Workers, optimizer: Optimizer, **changes: object) -> Job:
    settings = {"batch_size": 16, "local_epochs": 2} | changes
    task = Task(model, (DATA, LABELS), (DATA, LABELS), optimizer=optimizer, **settings)  # type: ignore[arg-type]
    draw = np.random.default_rng(2)
    samples = tuple(torch.from_numpy(draw.permutation(300)[:size]) for size in SIZES)
    addresses = draw.integers(0, 2**63, size=len(SIZES)).astype(np.uint64)
    return Job(Learner(task), task.train, samples, addresses, 9, workers)


def start_of(of: Job) -> Tensor:
    return torch.stack([of.learner.initial(node) for node in range(len(of.samples))])


def trained(trainer: Trainer, start: Tensor, rounds: int = 2) -> Tensor:
    out, rows = torch.zeros(len(start) + 2, start.shape[1]), torch.arange(len(start)).flip(0) + 2
    for round in range(rounds):
        trainer.train(start, out, rows, round)
        start = out[rows].clone()
    return start


def small() -> nn.Module:
    return softmax(SHAPE, 10)


def wide() -> nn.Module:
    return mlp(SHAPE, 10, hidden=21)


def deep() -> nn.Module:
    return nn.Sequential(
        nn.Flatten(), nn.Linear(144, 70), nn.Tanh(), nn.Linear(70, 9, bias=False), nn.Sigmoid(), nn.Linear(9, 10)
    )


def image() -> nn.Module:
    return lenet(SHAPE, 10)


def other() -> nn.Module:
    return nn.Sequential(nn.Flatten(), nn.Linear(144, 8), nn.LayerNorm(8), nn.GELU(), nn.Linear(8, 10))


OPTIMIZERS = [
    Sgd(0.1),
    Sgd(0.1, weight_decay=1e-2),
    Sgd(0.05, momentum=0.9, weight_decay=1e-3, keep_state=True),
    Adam(1e-3, weight_decay=1e-3),
]


@pytest.mark.parametrize("optimizer", OPTIMIZERS, ids=str)
@pytest.mark.parametrize("model", [small, wide, deep])
@pytest.mark.parametrize("path", CHAIN)
def test_chains_train_as_the_plain_loop_does(path: str, model: Callable[[], nn.Module], optimizer: Optimizer) -> None:
    with Workers(2) as workers, workers.single_threaded():
        of = job(model, workers, optimizer)
        start = start_of(of)
        fast = choose_trainer(of, start, path=path)
        assert fast.name == path
        tolerance = 2e-4 if isinstance(optimizer, Adam) else 1e-6
        torch.testing.assert_close(trained(fast, start), trained(Plain(of), start), rtol=0, atol=tolerance)


@pytest.mark.parametrize(
    ("path", "model", "optimizer"),
    [
        ("grouped", image, Sgd(0.05, momentum=0.9, keep_state=True)),
        ("mapped", other, Sgd(0.1)),
        ("mapped", other, Adam()),
    ],
)
def test_images_and_other_models_train_as_the_plain_loop_does(
    path: str, model: Callable[[], nn.Module], optimizer: Optimizer
) -> None:
    with Workers(2) as workers, workers.single_threaded():
        of = job(model, workers, optimizer)
        start = start_of(of)
        fast = choose_trainer(of, start, compiled=False)
        assert fast.name == path
        tolerance = 2e-4 if isinstance(optimizer, Adam) else 1e-5
        torch.testing.assert_close(trained(fast, start), trained(Plain(of), start), rtol=0, atol=tolerance)


@pytest.mark.parametrize("path", CHAIN)
@pytest.mark.parametrize("changes", [{"local_steps": 5}, {"local_update": "cwr"}], ids=["steps", "cwr"])
def test_steps_and_own_columns_count_as_in_the_plain_loop(path: str, changes: dict[str, object]) -> None:
    with Workers(2) as workers, workers.single_threaded():
        of = job(wide, workers, Sgd(0.1), **changes)
        start = start_of(of)
        fast = choose_trainer(of, start, path=path)
        torch.testing.assert_close(trained(fast, start), trained(Plain(of), start), rtol=0, atol=1e-6)


@pytest.mark.parametrize("path", [*CHAIN, "grouped", "mapped", "plain"])
def test_any_number_of_threads_gives_the_same_bits(path: str) -> None:
    model = {"grouped": image, "mapped": other}.get(path, wide)
    found = []
    for threads in (1, 2, 3):
        with Workers(threads) as workers, workers.single_threaded():
            of = job(model, workers, Sgd(0.1))
            found.append(trained(choose_trainer(of, start_of(of), path=path), start_of(of), rounds=1))
    assert torch.equal(found[0], found[1])
    assert torch.equal(found[0], found[2])


@pytest.mark.parametrize("path", CHAIN)
def test_a_node_alone_trains_to_the_bits_it_has_in_company(path: str) -> None:
    with Workers(1) as workers, workers.single_threaded():
        of = job(wide, workers, Sgd(0.1))
        start = start_of(of)
        whole = trained(choose_trainer(of, start, path=path), start, rounds=1)
        for node in (2, 3):
            one = Job(of.learner, of.data, (of.samples[node],), of.addresses[node : node + 1], of.seed, workers)
            alone = trained(choose_trainer(one, start[node : node + 1], path=path), start[node : node + 1], rounds=1)
            assert torch.equal(alone[0], whole[node])


def test_a_model_that_diverges_comes_back_not_finite_on_every_path() -> None:
    for path in CHAIN:
        with Workers(1) as workers, workers.single_threaded():
            of = job(small, workers, Sgd(0.1))
            start = start_of(of)
            fast = choose_trainer(of, start, path=path)
            start[2] = torch.nan
            found = trained(fast, start, rounds=1)
            assert not torch.isfinite(found[2]).any()
            assert torch.isfinite(found[[0, 1, 3, 4, 5, 6]]).all()


@pytest.mark.parametrize("optimizer", [Sgd(0.05, momentum=0.9, keep_state=True), Adam(1e-3, keep_state=True)], ids=str)
@pytest.mark.parametrize("path", [*CHAIN, "grouped", "mapped"])
def test_a_training_that_diverges_leaves_no_trace_in_what_lives_on(path: str, optimizer: Optimizer) -> None:
    model = {"grouped": image, "mapped": other}.get(path, wide)
    with Workers(2) as workers, workers.single_threaded():
        of = job(model, workers, optimizer)
        start, found = start_of(of), []
        for trainer in (choose_trainer(of, start, path=path), Plain(of)):
            out, rows = torch.zeros_like(start), torch.arange(len(start))
            for round, wrong in enumerate((None, 2, None)):
                begin = start.clone()
                if wrong is not None:
                    begin[wrong] = torch.nan
                trainer.train(begin, out, rows, round)
            found.append(out)
        assert torch.isfinite(found[0]).all()
        torch.testing.assert_close(*found, rtol=0, atol=2e-4 if isinstance(optimizer, Adam) else 1e-5)


def test_a_model_whose_code_fails_under_vmap_is_trained_by_the_plain_loop() -> None:
    class Picky(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.last = nn.Linear(144, 10)

        def forward(self, inputs: Tensor) -> Tensor:
            if "Batched" in repr(inputs):
                raise KeyError("inputs")
            return self.last(inputs.flatten(1))  # type: ignore[no-any-return]

    with Workers(1) as workers, workers.single_threaded():
        of = job(Picky, workers, Sgd(0.1))
        trainer = choose_trainer(of, start_of(of))
        assert trainer.name == "plain"
        assert "vmap cannot trace it (KeyError)" in trainer.why


def test_a_path_that_does_not_fit_says_why() -> None:
    with Workers(1) as workers:
        of = job(image, workers, Sgd(0.1))
        with pytest.raises(ValueError, match="Conv2d is no linear layer"):
            choose_trainer(of, start_of(of), path="fused")


@pytest.mark.filterwarnings("ignore::node.learning.errors.TaskWarning")
def test_a_model_with_running_statistics_is_trained_by_the_plain_loop() -> None:
    def model() -> nn.Module:
        return nn.Sequential(nn.Flatten(), nn.Linear(144, 8), nn.BatchNorm1d(8), nn.Linear(8, 10))

    with Workers(1) as workers, workers.single_threaded():
        of = job(model, workers, Sgd(0.1), batch_size=20)
        of = replace(of, samples=of.samples[:1], addresses=of.addresses[:1])
        assert choose_trainer(of, start_of(of)).name == "plain"


def test_however_many_samples_a_node_has_paths_are_compared_on_few() -> None:
    with Workers(1) as workers, workers.single_threaded():
        few = job(wide, workers, Sgd(0.1))
        draw = np.random.default_rng(3)
        samples = tuple(torch.from_numpy(draw.integers(0, 300, size)) for size in (6_000, 30, 6_000))
        of = replace(few, samples=samples, addresses=few.addresses[:3])
        assert [len(rows) for rows in of.probe().samples] == [49, 30]  # more would let rounding pass the tolerance
        assert choose_trainer(of, start_of(of), compiled=False).name == "fused"


def test_what_a_model_that_diverged_leaves_behind_does_not_reach_the_next_node() -> None:
    shape, picks = (1, 11, 13), slice(0, 11)  # 143 features: rows end in padding
    inputs = DATA[:, :, picks].repeat(2, axis=3)[:, :, :, :13]

    def model() -> nn.Module:
        return mlp(shape, 10, hidden=21)

    for path in CHAIN:
        with Workers(1) as workers, workers.single_threaded():
            of = job(wide, workers, Sgd(0.1))
            task = Task(model, (inputs, LABELS), (inputs, LABELS), optimizer=Sgd(0.1), batch_size=16)
            of = Job(Learner(task), task.train, of.samples, of.addresses, of.seed, workers)
            start = start_of(of)
            whole = trained(choose_trainer(of, start, path=path), start, rounds=1)
            fast = choose_trainer(of, start, path=path)
            start[2] = torch.nan
            found = trained(fast, start, rounds=1)
            assert not torch.isfinite(found[2]).any()
            assert torch.equal(found[[0, 1, 3, 4, 5, 6]], whole[[0, 1, 3, 4, 5, 6]])


def test_without_numba_chains_are_fused() -> None:
    code = """
import sys
sys.modules["numba"] = None
sys.modules["llvmlite"] = None
import numpy as np, torch
from node.learning.learner import Learner
from node.learning.models import softmax
from node.learning.task import Task
from simulator.fast.choose import choose_trainer
from simulator.fast.trainer import Job
from simulator.fast.workers import Workers
data = np.zeros((40, 1, 4, 4), np.uint8), np.arange(40) % 3
task = Task(lambda: softmax((1, 4, 4), 3), data, data)
with Workers(1) as workers:
    job = Job(Learner(task), task.train, (torch.arange(40),) * 2, np.arange(2, dtype=np.uint64), 1, workers)
    start = torch.stack([job.learner.initial(node) for node in range(2)])
    print(choose_trainer(job, start).name)
    try:
        choose_trainer(job, start, path="compiled")
    except ValueError as error:
        print(error)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout.split("\n")[:2] == ["fused", "training path compiled: numba is not installed"]


def test_a_kernel_that_cannot_be_kept_on_disk_is_compiled_for_much_work_only(monkeypatch: pytest.MonkeyPatch) -> None:
    with Workers(1) as workers, workers.single_threaded():
        of = job(small, workers, Sgd(0.1))
        usual = choose_trainer(of, start_of(of)).name
        monkeypatch.setattr("simulator.fast.choose.kept_on_disk", lambda: False)
        assert choose_trainer(of, start_of(of)).name == "fused"
        monkeypatch.setattr("simulator.fast.choose.MUCH", 1)
        assert choose_trainer(of, start_of(of)).name == usual
