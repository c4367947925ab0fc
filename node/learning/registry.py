"""The registries of what a node learns: tasks, models of the shipped tasks, and partitions of data."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from hedgerow_registry import BadReference, Entry, Registry, signature_of
from node.learning.errors import TaskError

if TYPE_CHECKING:
    from pathlib import Path

    from torch import nn

    from node.learning.task import Task


@dataclass(frozen=True, slots=True)
class TaskSpec:
    """A task that users can name.

    Attributes:
        name: as users write it.
        model: the model if none is named; "" = the task brings its own model and data.
        build: (model name, data folder or file or None, extractor file or None) -> task.
        needs_data: a folder or file must be named.
    """

    name: str
    model: str
    build: Callable[[str, Path | None, Path | None], Task]
    needs_data: bool = False


@dataclass(frozen=True, slots=True)
class ModelSpec:
    """A model of the shipped tasks.

    Attributes:
        name: as users write it.
        build: (shape of an input, classes) -> module.
    """

    name: str
    build: Callable[[tuple[int, ...], int], nn.Module]


@dataclass(frozen=True, slots=True)
class PartitionSpec:
    """A way to split data.

    Attributes:
        name: as users write it.
        split: (labels (S,), nodes, generator, **parameters) -> one array of rows a node; may leave some empty.
        parameters: name -> default.
    """

    name: str
    split: Callable[..., list[Any]]
    parameters: Mapping[str, float | int | None]


def _task(name: str, thing: object) -> TaskSpec:
    """A Task, or a function without arguments that makes one, when it is asked for."""
    from node.learning.task import Task

    if isinstance(thing, TaskSpec):
        return thing
    if not isinstance(thing, Task) and (not callable(thing) or signature_of(thing)[0]):
        raise ValueError(f"a {type(thing).__name__}; wanted a Task or a function without arguments that makes one")

    def build(model: str, data: Path | None, extractor: Path | None) -> Task:
        task = thing if isinstance(thing, Task) else thing()
        if not isinstance(task, Task):
            raise BadReference(f"'{name}' returned a {type(task).__name__}; wanted a Task")
        return task

    return TaskSpec(name, "", build)


def _model(name: str, thing: object) -> ModelSpec:
    if not callable(thing):
        raise ValueError(f"a {type(thing).__name__}; wanted a function (shape, classes) that returns a torch module")
    return ModelSpec(name, thing)


def _partition(name: str, thing: object) -> PartitionSpec:
    wanted = "a function (labels, nodes, generator, ...) that returns one array of row numbers a node"
    if not callable(thing):
        raise ValueError(f"a {type(thing).__name__}; wanted {wanted}")
    required, defaults = signature_of(thing)
    if len(required) != 3:
        raise ValueError(f"a function of ({', '.join(required)}); wanted {wanted}")
    return PartitionSpec(name, thing, defaults)


TASKS: Registry[TaskSpec] = Registry(
    "task",
    (
        Entry(
            "digits",
            "node.learning.tasks:DIGITS",
            "1 797 handwritten digits 8x8; no download",
            "scikit-learn (UCI optical recognition of handwritten digits)",
        ),
        Entry(
            "fashion-mnist",
            "node.learning.tasks:FASHION_MNIST",
            "70 000 pictures of clothes 28x28",
            "Xiao, Rasul, Vollgraf, arXiv 1708.07747; Debian package dataset-fashion-mnist",
        ),
        Entry(
            "idx",
            "node.learning.tasks:IDX",
            "MNIST or any relative of it",
            "a folder with train-images-idx3-ubyte, train-labels-idx1-ubyte, t10k-... (plain or .gz)",
        ),
        Entry(
            "npz",
            "node.learning.tasks:NPZ",
            "your own arrays",
            "a NumPy archive with train_inputs, train_labels, test_inputs, test_labels (or inputs, labels)",
        ),
        Entry(
            "digits-head",
            "node.learning.tasks:DIGITS_HEAD",
            "digits, only the output layer on a frozen extractor",
            "as digits; extractor from even classes of the other half",
        ),
        Entry(
            "fashion-mnist-head",
            "node.learning.tasks:FASHION_MNIST_HEAD",
            "clothes, only the output layer on a frozen extractor",
            "as fashion-mnist; extractor from even classes of the first 30 000 (arXiv 2110.11006)",
        ),
    ),
    _task,
    group="hedgerow.tasks",
    through=(TaskError,),
)

MODELS: Registry[ModelSpec] = Registry(
    "model",
    (
        Entry("softmax", "node.learning.models:softmax", "softmax regression: one linear layer", ""),
        Entry("mlp", "node.learning.models:mlp", "one hidden layer of 128 ReLU", ""),
        Entry("lenet", "node.learning.models:lenet", "LeNet-5: two convolutions, three linear layers", ""),
    ),
    _model,
)

PARTITIONS: Registry[PartitionSpec] = Registry(
    "partition",
    (
        Entry(
            "iid",
            "node.learning.partition:iid",
            "every node gets a random sample of everything",
            "uniform without replacement",
        ),
        Entry(
            "dirichlet",
            "node.learning.partition:dirichlet",
            "each class is split over the nodes by one draw of Dirichlet(alpha)",
            "Hsu, Qi, Brown, arXiv 1909.06335 (2019)",
        ),
        Entry(
            "drawn",
            "node.learning.partition:drawn",
            "every node draws `samples` rows for itself, classes by Dirichlet(alpha); nodes may hold the same rows",
            "as dirichlet, for networks with more nodes than one data set can be divided among",
        ),
        Entry(
            "classes",
            "node.learning.partition:classes",
            "every node gets k classes, chosen so that classes have about equally many holders",
            "pathological non-iid split",
        ),
        Entry(
            "ring",
            "node.learning.partition:ring",
            "node i gets the classes i to i + k - 1, wrapping around",
            "Verbraeken, de Vos, Pouwelse, arXiv 2110.11006 (2021)",
        ),
        Entry(
            "shards",
            "node.learning.partition:shards",
            "samples sorted by label are cut into k x nodes pieces; every node gets k of them",
            "McMahan et al., arXiv 1602.05629 (2017)",
        ),
    ),
    _partition,
    group="hedgerow.partitions",
)
