"""An error of a user's code is one sentence that names the user's file, line and function."""

from __future__ import annotations

import re
import threading
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import hedgerow
from gossip.protocol.errors import LocalFault
from node.errors import NodeError
from node.learning.blame import REPORT, reported, users_code
from node.learning.dataset import Dataset
from node.learning.errors import TaskError, UsersError
from node.learning.task import Task

DRAW = torch.Generator().manual_seed(3)
DATA = Dataset(torch.randn(60, 8, generator=DRAW), torch.arange(60) % 3)
PLAY = {"nodes": 4, "rounds": 3, "rules": ["mean"], "attack": "none"}


def line_of(text: str) -> int:
    """Where a text stands in this file, for the first time."""
    return next(number for number, line in enumerate(Path(__file__).read_text().splitlines(), 1) if text in line)


class Asking(nn.Linear):
    def forward(self, inputs: Tensor) -> Tensor:
        return super().forward(inputs.input_ids)  # type: ignore[attr-defined]


class Demanding(nn.Linear):
    def forward(self, inputs: Tensor) -> Tensor:
        assert inputs.dim() == 4, "want (b, 3, 32, 32)"
        return super().forward(inputs)


class Looking(nn.Linear):
    def forward(self, inputs: Tensor) -> Tensor:
        return super().forward({"a": inputs}["b"])


class Refusing(nn.Linear):
    def reset_parameters(self) -> None:
        if hasattr(self, "made"):
            raise NotImplementedError("no second time")
        self.made = True
        super().reset_parameters()


class Locked(nn.Linear):
    def __init__(self) -> None:
        super().__init__(8, 3)
        self.lock = threading.Lock()


def unmade() -> nn.Module:
    raise FileNotFoundError("weights.bin")


def harsh(logits: Tensor, labels: Tensor) -> Tensor:
    raise ZeroDivisionError


@pytest.mark.parametrize(
    ("model", "loss", "says", "at"),
    [
        (Asking(8, 3), None, "AttributeError: 'Tensor' object has no attribute 'input_ids'", ".input_ids)"),
        (Demanding(8, 3), None, r"AssertionError: want \(b, 3, 32, 32\)", "assert inputs.dim()"),
        (Looking(8, 3), None, "KeyError: 'b'", '["b"]'),
        (Refusing(8, 3), None, "cannot be drawn afresh: NotImplementedError: no second time", "raise NotImpl"),
        (unmade, None, "the model function fails: FileNotFoundError: weights.bin", "raise FileNot"),
        (nn.Linear(8, 3), harsh, "the loss fails .*: ZeroDivisionError", "raise ZeroDiv"),
    ],
    ids=["attribute", "assertion", "key", "reset", "function", "loss"],
)
def test_a_task_names_file_line_and_function(model, loss, says, at) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(TaskError, match=says) as caught:
        Task(model, DATA, DATA, loss=loss)
    assert f"(line {line_of(at)} of {__file__}, in " in str(caught.value)
    assert isinstance(caught.value, UsersError)
    assert type(caught.value.__cause__).__name__ in str(caught.value)


def test_a_module_that_cannot_be_copied_is_answered_with_a_function() -> None:
    with pytest.raises(TaskError, match=r"cannot be copied: TypeError.*lock.*a function that makes the model"):
        Task(Locked(), DATA, DATA)
    assert Task(Locked, DATA, DATA).classes == 3


def test_data_that_fails_when_it_is_read_is_named() -> None:
    class Rows:
        def __len__(self) -> int:
            return 4

        def __getitem__(self, row: int) -> list[float]:
            return [0.0, 1 / (row - 2)]

    with pytest.raises(TaskError, match=r"train: inputs cannot be read.*ZeroDivisionError.*in __getitem__\)"):
        Task(nn.Linear(2, 3), (Rows(), [0, 1, 2, 0]), DATA)  # type: ignore[arg-type]


def test_torchs_own_words_stand_where_no_line_is_the_users() -> None:
    with pytest.raises(TaskError, match="RuntimeError: mat1 and mat2 shapes cannot be multiplied") as caught:
        Task(nn.Linear(5, 3), DATA, DATA)
    assert "(line" not in str(caught.value)


def test_a_lack_of_memory_is_nobodys_fault() -> None:
    with pytest.raises(MemoryError), users_code("the model fails"):
        raise MemoryError


class Tiring(nn.Module):
    """Goes through any trial, and then no further."""

    def __init__(self) -> None:
        super().__init__()
        self.out = nn.Linear(8, 3)

    def forward(self, inputs: Tensor) -> Tensor:
        if self.training and float(self.out.bias.detach().abs().sum()) > 1.2:
            raise LookupError("too far")
        return self.out(inputs)


def tiring(**settings: object) -> Task:
    return Task(Tiring, DATA, DATA, optimizer=hedgerow.Sgd(lr=30.0), batch_size=4, **settings)  # type: ignore[arg-type]


def traceback_in(sentence: str) -> str:
    path = Path(re.search(r"traceback is in (\S+)$", sentence)[1])  # type: ignore[index]
    text = path.read_text()
    if not path.name.startswith("traceback"):
        path.unlink()
    return text


@pytest.mark.parametrize("engine", ["fast", "world"])
def test_a_simulation_that_fails_in_the_middle_says_the_same_sentence(engine: str) -> None:
    with pytest.raises(UsersError, match="LookupError: too far") as caught:
        hedgerow.simulate(tiring(), engine=engine, **PLAY)
    assert f"(line {line_of('raise LookupError')} of {__file__}, in forward)" in str(caught.value)
    assert 'raise LookupError("too far")' in traceback_in(str(caught.value))
    assert isinstance(caught.value.__cause__, LookupError)


def test_a_node_that_fails_in_the_middle_leaves_its_traceback_in_its_folder(tmp_path: Path) -> None:
    quick = {"round": {"pace": 0.0}, "status": {"listen": ""}}
    with pytest.raises(NodeError, match="LookupError: too far") as caught:
        hedgerow.run(tiring(), folder=tmp_path, rounds=3, overrides=quick, say=lambda line: None)
    assert f"(line {line_of('raise LookupError')} of {__file__}, in forward)" in str(caught.value)
    assert str(tmp_path) in str(caught.value)
    assert "LookupError: too far" in traceback_in(str(caught.value))


def test_a_named_task_leaves_its_traceback_in_its_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from simulator.study.scenario import Scenario
    from simulator.work.sweep import sweep

    (tmp_path / "own_tiring.py").write_text("from tests.unit.node.learning.test_blame import tiring\ntask = tiring()\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.syspath_prepend(str(Path(__file__).parents[4]))
    scenario = Scenario.of({"name": "own", **PLAY, "task": "own_tiring:task"})
    with pytest.raises(UsersError, match="LookupError") as caught:
        sweep(scenario, folder=tmp_path / "out")
    assert "too far" in traceback_in(str(caught.value))
    assert (tmp_path / "out" / "traceback.txt").is_file()


def test_one_address_as_text_is_one_address() -> None:
    said: list[str] = []
    quick = {"round": {"pace": 0.0}, "network": {"gather": 0.2}, "status": {"listen": ""}}
    task = Task(nn.Linear(8, 3), DATA, DATA)
    outcome = hedgerow.run(task, join="127.0.0.1:9", rounds=1, overrides=quick, say=said.append)
    assert outcome.round == 1
    assert np.isfinite(outcome.params.numpy()).all()


def test_an_error_of_our_own_is_no_error_in_the_users_code(tmp_path: Path) -> None:
    with pytest.raises(LocalFault, match="port in use"), reported(tmp_path):
        raise LocalFault("port in use")  # this very frame is a user's
    assert not (tmp_path / REPORT).exists()
    with pytest.raises(UsersError, match="KeyError"), reported(tmp_path):
        raise KeyError("x")
    assert (tmp_path / REPORT).exists()
