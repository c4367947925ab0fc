"""A data set: inputs and labels, kept once and shared by every node of a process.

Laws:
- Rows are named by number; a node's share of the data is a list of row numbers, never a copy.
- uint8 inputs stay uint8 in memory (a quarter of float32) and are fed to the model as value / 255.
- What cannot be trained on is refused when the data set is made: no samples, missing values in any spelling (NaN, a
  masked array's mask, pandas' NA), labels that are not whole numbers; the message names the row.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from node.learning.blame import users_code
from node.learning.errors import TaskError

Array = Tensor | NDArray[np.generic] | Sequence[object]


@dataclass(frozen=True, slots=True, eq=False, init=False, repr=False)
class Dataset:
    """Inputs with one label each.

    Attributes:
        inputs: (S, ...) uint8 (fed as value / 255), float32, or int64 (fed as it is: token numbers).
        labels: (S,) int64, from 0.
    """

    inputs: Tensor
    labels: Tensor

    def __init__(self, inputs: Array, labels: Array) -> None:
        """Check and keep; tensors of the right type are shared, not copied.

        Raises:
            TaskError: empty, different lengths, missing values or infinity, negative or fractional labels, unusable
                dtype, or an object of the user's that fails when it is read.
        """
        taken = _inputs(inputs)
        classes = _labels(labels)
        if len(taken) != len(classes):
            raise TaskError(f"{len(taken)} inputs but {len(classes)} labels: every input needs one label")
        object.__setattr__(self, "inputs", taken)
        object.__setattr__(self, "labels", classes)

    def __repr__(self) -> str:
        """One line, without data."""
        kind = str(self.inputs.dtype).removeprefix("torch.")
        return f"Dataset({len(self)} samples of shape {self.shape}, {kind}; labels 0 to {self.classes - 1})"

    def __len__(self) -> int:
        """Number of samples."""
        return len(self.labels)

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of one input."""
        return tuple(self.inputs.shape[1:])

    @property
    def classes(self) -> int:
        """Largest label + 1."""
        return int(self.labels.max()) + 1

    def feed(self, samples: Tensor | slice) -> Tensor:
        """Inputs of these rows as the model wants them: (..., k) row numbers -> (..., k, *shape), float32 or int64."""
        return feed(self.inputs[samples])

    def take(self, samples: Tensor) -> Dataset:
        """The data set of these rows alone, in their order (copied)."""
        return Dataset(self.inputs[samples], self.labels[samples])

    def joined(self, other: Dataset) -> Dataset:
        """This data set's rows, then the other's; row numbers of this one stay valid.

        Raises:
            TaskError: inputs of another shape or dtype.
        """
        if self.shape != other.shape or self.inputs.dtype != other.inputs.dtype:
            raise TaskError(
                f"cannot join inputs {other.inputs.dtype} of shape {other.shape} to "
                f"inputs {self.inputs.dtype} of shape {self.shape}"
            )
        return Dataset(torch.cat([self.inputs, other.inputs]), torch.cat([self.labels, other.labels]))


def feed(inputs: Tensor) -> Tensor:
    """Stored inputs as the model wants them: uint8 as float32 value / 255, everything else unchanged."""
    return inputs.to(torch.float32).div_(255.0) if inputs.dtype == torch.uint8 else inputs


def _tensor(values: Array, what: str) -> Tensor:
    if isinstance(values, Tensor):
        if values.layout != torch.strided:
            raise TaskError(f"{what} are a sparse tensor; give {what}.to_dense()")
        return values.detach().cpu()
    with users_code(f"{what} cannot be read as an array"):
        array = _unmasked(values, what) if isinstance(values, np.ma.MaskedArray) else np.asarray(values)
    if array.dtype == object:
        array = _numbers(array, what)
    try:
        return torch.from_numpy(np.require(array, requirements=["C", "W"]))
    except (TypeError, ValueError) as error:
        raise TaskError(f"{what} are not an array of numbers: {error}") from None


def _unmasked(values: np.ma.MaskedArray, what: str) -> NDArray[np.generic]:
    hidden = np.ma.getmaskarray(values)
    if hidden.any():
        raise _missing(what, "masked", int(np.argwhere(hidden)[0][0]))
    return np.asarray(values.data)


def _numbers(array: NDArray[np.generic], what: str) -> NDArray[np.generic]:
    """Numbers out of Python objects, as nullable columns of pandas give them."""
    for place, value in np.ndenumerate(array):
        row = place[0] if place else 0
        try:
            absent = value is None or bool(value != value)
            float(0 if absent else value)
        except (TypeError, ValueError):
            if isinstance(value, str | bytes) or hasattr(value, "__len__"):
                raise TaskError(f"{what} hold {_short(value)} in row {row}, which is no number") from None
            absent = True  # pandas' NA is neither true nor a number
        if absent:
            raise _missing(what, _short(value), row)
    return np.asarray(array.tolist())


def _missing(what: str, spelling: str, row: int) -> TaskError:
    return TaskError(f"{what} hold a missing value ({spelling}), first in row {row}: fill it in, or leave the row out")


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 40 else f"{text[:37]}..."


def _inputs(values: Array) -> Tensor:
    inputs = _tensor(values, "inputs")
    if inputs.dim() < 2:
        raise TaskError(f"inputs have shape {tuple(inputs.shape)}; wanted (samples, ...), so at least two dimensions")
    if inputs.numel() == 0:
        raise TaskError(f"inputs have shape {tuple(inputs.shape)}: there is nothing to train on")
    if inputs.dtype in (torch.uint8, torch.int64):
        return inputs
    if not inputs.dtype.is_floating_point:
        raise TaskError(f"inputs are {inputs.dtype}; wanted uint8 (pixels), a floating-point type, or int64 (tokens)")
    inputs = inputs.to(torch.float32)
    if not bool(torch.isfinite(inputs).all()):
        row = int((~torch.isfinite(inputs)).flatten(1).any(dim=1).nonzero()[0])
        raise TaskError(f"inputs hold a NaN or an infinity, first in row {row}")
    return inputs


def _labels(values: Array) -> Tensor:
    labels = _tensor(values, "labels")
    if labels.dim() != 1:
        raise TaskError(f"labels have shape {tuple(labels.shape)}; wanted (samples,): one class number per input")
    if len(labels) == 0:
        raise TaskError("labels are empty: there is nothing to train on")
    if labels.dtype == torch.bool or labels.dtype.is_complex:
        raise TaskError(f"labels are {labels.dtype}; wanted whole numbers from 0")
    whole = labels.to(torch.int64)
    if labels.dtype.is_floating_point and not bool((whole.to(labels.dtype) == labels).all()):
        row = int((whole.to(labels.dtype) != labels).nonzero()[0])
        raise TaskError(f"labels hold fractions or NaN, first in row {row}; wanted whole numbers from 0")
    if int(whole.min()) < 0:
        row = int((whole < 0).nonzero()[0])
        raise TaskError(f"labels hold {int(whole[row])}, first in row {row}; classes are numbered from 0")
    return whole
