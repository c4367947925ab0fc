"""The model between two rounds, on disk: written whole or not at all, checked when read.

Laws:
- Temporary file, fsync, rename, fsync of the folder; then all but the newest `keep` are removed, and what another
  one of the same round says.
- A file's name carries its round and the SHA-256 of its bytes; a file that does not match is passed over, with a
  warning.
- A file says what its numbers are of (`form`: names and shapes in order, what the optimizer carries): a whole file of
  another form is refused, never taken for this one's.
- safetensors only: nothing in a checkpoint can run.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import re
from dataclasses import dataclass
from pathlib import Path

import safetensors.torch
import torch
from safetensors import SafetensorError
from torch import Tensor

from node.errors import StoreError
from node.learning.learner import TrainState

KEEP = 2
_NAME = re.compile(r"round-(\d{12})-([0-9a-f]{64})\.safetensors")
_WRITING = "writing.tmp"

log = logging.getLogger("hedgerow.store")


@dataclass(frozen=True, slots=True, eq=False)
class Checkpoint:
    """What is needed to start `round`: params (d,) float32 and what training carries over.

    Attributes:
        accuracy: how good the model was, for one that is kept for that; else None.
    """

    round: int
    params: Tensor
    state: TrainState
    accuracy: float | None = None


class CheckpointFolder:
    """The newest checkpoints of one node.

    Args:
        folder: where; must exist.
        dimension: d; None: any.
        form: what a model is of, in words without meaning but for equality; "": anything.
        keep: how many.
    """

    def __init__(self, folder: Path, dimension: int | None, form: str = "", keep: int = KEEP) -> None:
        self._folder = folder
        self._dimension = dimension
        self._form = form
        self._keep = keep

    def save(self, round: int, params: Tensor, state: TrainState | None, accuracy: float | None = None) -> None:
        """Write a checkpoint, durable on return.

        Raises:
            StoreError: the disk refuses; older checkpoints stay as they are.
        """
        content = _pack(params, state or TrainState(), self._form, accuracy)
        try:
            self._put(content, round)
        except OSError as error:
            raise StoreError(f"cannot write a checkpoint to {self._folder}: {error.strerror}") from error

    def copy(self, other: CheckpointFolder, round: int) -> None:
        """Take the newest of another folder, as it is, for the start of this round; durable on return.

        Raises:
            StoreError: there is none, or the disk refuses.
        """
        try:
            path = other._paths()[0]
            self._put(path.read_bytes(), round)
        except IndexError:
            raise StoreError(f"there is no model in {other._folder}") from None
        except OSError as error:
            raise StoreError(f"cannot write a checkpoint to {self._folder}: {error.strerror}") from error

    def hand_over(self, where: Path) -> int | None:
        """Copy the newest that holds into another folder, though a node saves meanwhile: its round, or None.

        Raises:
            OSError: it cannot be written there.
        """
        for _ in range(KEEP + 1):  # a node that saves meanwhile removes old ones
            paths = self._paths() if self._folder.is_dir() else []
            for path in paths:
                try:
                    content = path.read_bytes()
                except FileNotFoundError:
                    break
                if hashlib.sha256(content).hexdigest() == path.name[19:83]:
                    (where / path.name).write_bytes(content)
                    return _round(path)
            else:
                return None
        return None

    def load(self) -> Checkpoint | None:
        """The newest checkpoint that holds, or None; damaged ones are named in the log and passed over.

        Raises:
            StoreError: it is of another model, or its optimizer carries something else.
        """
        for path in self._paths():
            try:
                return self._read(path)
            except (OSError, SafetensorError, KeyError, ValueError) as error:
                log.warning("damaged checkpoint=%s reason=%s: falling back to the one before", path.name[:18], error)
        return None

    def newest(self) -> int | None:
        """Round of the newest file, whether it holds or not."""
        paths = self._paths()
        return _round(paths[0]) if paths else None

    def clear(self) -> None:
        """Remove all.

        Raises:
            StoreError: the disk refuses.
        """
        try:
            for path in self._paths():
                path.unlink(missing_ok=True)
        except OSError as error:
            raise StoreError(f"cannot remove the checkpoints in {self._folder}: {error.strerror}") from error

    def _paths(self) -> list[Path]:
        """Newest first."""
        return sorted((p for p in self._folder.iterdir() if _NAME.fullmatch(p.name)), key=_round, reverse=True)

    def _put(self, content: bytes, round: int) -> None:
        name = f"round-{round:012d}-{hashlib.sha256(content).hexdigest()}.safetensors"
        self._write(content, name)
        paths = self._paths()
        again = [path for path in paths if _round(path) == round]
        for path in {*paths[self._keep :], *again} - {self._folder / name}:
            path.unlink(missing_ok=True)

    def _write(self, content: bytes, name: str) -> None:
        temporary = self._folder / _WRITING
        with temporary.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(self._folder / name)
        handle = os.open(self._folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)

    def _read(self, path: Path) -> Checkpoint:
        match = _NAME.fullmatch(path.name)
        assert match is not None
        content = path.read_bytes()
        if hashlib.sha256(content).hexdigest() != match[2]:
            raise ValueError("checksum does not match")
        tensors = safetensors.torch.load(content)
        params = tensors["params"]
        notes = _notes(content)
        form = notes.get("form", "")
        if self._form and form and form != self._form:
            raise StoreError(other_model(self._folder))
        wanted = len(params) if self._dimension is None else self._dimension
        if params.shape != (wanted,) or not bool(torch.isfinite(params).all()):
            raise ValueError(f"params of shape {tuple(params.shape)}, wanted finite ({wanted},)")
        accuracy = float(notes["accuracy"]) if "accuracy" in notes else None
        return Checkpoint(int(match[1]), params, _unpack_state(tensors), accuracy)


def other_model(where: Path) -> str:
    """What to tell somebody whose task has changed."""
    return (
        f"what is kept in {where} was trained with another model or optimizer: take that one again, begin in a new "
        "folder, or begin the training anew with the same key: --forget-training (in Python: forget_training=True)"
    )


def _round(path: Path) -> int:
    return int(path.name[6:18])


def _notes(content: bytes) -> dict[str, str]:
    """What a file says of itself beside its tensors."""
    length = int.from_bytes(content[:8], "little")  # the layout of safetensors: a length, JSON, the tensors
    notes: dict[str, str] = json.loads(content[8 : 8 + length]).get("__metadata__", {})
    return notes


def _pack(params: Tensor, state: TrainState, form: str, accuracy: float | None) -> bytes:
    tensors = {"params": params, "steps": torch.tensor(state.steps)}
    tensors |= {f"moment.{position}": moment for position, moment in enumerate(state.moments)}
    tensors |= {f"buffer.{name}": buffer for name, buffer in state.buffers.items()}
    whole = {name: tensor.detach().clone().contiguous() for name, tensor in tensors.items()}
    notes = ({"form": form} if form else {}) | ({} if accuracy is None else {"accuracy": repr(accuracy)})
    return safetensors.torch.save(whole, metadata=notes or None)


def _unpack_state(tensors: dict[str, Tensor]) -> TrainState:
    moments = sorted((int(name[7:]), tensor) for name, tensor in tensors.items() if name.startswith("moment."))
    buffers = {name[7:]: tensor for name, tensor in tensors.items() if name.startswith("buffer.")}
    return TrainState(tuple(moment for _, moment in moments), int(tensors["steps"]), buffers)
