"""The model between two rounds, on disk: written whole or not at all, checked when read.

Laws:
- Temporary file, fsync, rename, fsync of the folder; then all but the newest `KEEP` are removed.
- A file's name carries its round and the SHA-256 of its bytes; a file that does not match is passed over, with a
  warning.
- safetensors only: nothing in a checkpoint can run.
"""

from __future__ import annotations

import hashlib
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
    """What is needed to start `round`: params (d,) float32 and what training carries over."""

    round: int
    params: Tensor
    state: TrainState


class CheckpointFolder:
    """The newest checkpoints of one node.

    Args:
        folder: where; must exist.
        dimension: d; a checkpoint of any other is passed over.
    """

    def __init__(self, folder: Path, dimension: int) -> None:
        self._folder = folder
        self._dimension = dimension

    def save(self, round: int, params: Tensor, state: TrainState | None) -> None:
        """Write a checkpoint, durable on return.

        Raises:
            StoreError: the disk refuses; older checkpoints stay as they are.
        """
        content = _pack(params, state or TrainState())
        name = f"round-{round:012d}-{hashlib.sha256(content).hexdigest()}.safetensors"
        try:
            self._write(content, name)
            for path in self._paths()[KEEP:]:
                path.unlink(missing_ok=True)
        except OSError as error:
            raise StoreError(f"cannot write a checkpoint to {self._folder}: {error.strerror}") from error

    def load(self) -> Checkpoint | None:
        """The newest checkpoint that holds, or None; damaged ones are named in the log and passed over."""
        for path in self._paths():
            try:
                return self._read(path)
            except (OSError, SafetensorError, KeyError, ValueError) as error:
                log.warning("damaged checkpoint=%s reason=%s: falling back to the one before", path.name[:18], error)
        return None

    def _paths(self) -> list[Path]:
        """Newest first."""
        return sorted((p for p in self._folder.iterdir() if _NAME.fullmatch(p.name)), key=_round, reverse=True)

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
        if params.shape != (self._dimension,) or not bool(torch.isfinite(params).all()):
            raise ValueError(f"params of shape {tuple(params.shape)}, wanted finite ({self._dimension},)")
        return Checkpoint(int(match[1]), params, _unpack_state(tensors))


def _round(path: Path) -> int:
    return int(path.name[6:18])


def _pack(params: Tensor, state: TrainState) -> bytes:
    tensors = {"params": params, "steps": torch.tensor(state.steps)}
    tensors |= {f"moment.{position}": moment for position, moment in enumerate(state.moments)}
    tensors |= {f"buffer.{name}": buffer for name, buffer in state.buffers.items()}
    return safetensors.torch.save({name: tensor.detach().clone().contiguous() for name, tensor in tensors.items()})


def _unpack_state(tensors: dict[str, Tensor]) -> TrainState:
    moments = sorted((int(name[7:]), tensor) for name, tensor in tensors.items() if name.startswith("moment."))
    buffers = {name[7:]: tensor for name, tensor in tensors.items() if name.startswith("buffer.")}
    return TrainState(tuple(moment for _, moment in moments), int(tensors["steps"]), buffers)
