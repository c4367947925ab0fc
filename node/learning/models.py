"""Models that come with the project; each is a factory by input shape and classes, with torch's own initial weights."""

from __future__ import annotations

from math import prod

from torch import nn

from node.learning.errors import TaskError


def softmax(shape: tuple[int, ...], classes: int) -> nn.Module:
    """Softmax regression: Flatten, Linear. Initial weights U(-1/sqrt(f), 1/sqrt(f)): U(-1/28, 1/28) for 784 inputs."""
    return nn.Sequential(nn.Flatten(), nn.Linear(prod(shape), classes))


def mlp(shape: tuple[int, ...], classes: int, hidden: int = 128) -> nn.Module:
    """One hidden layer of 128 ReLU: 784-128-10 has 101 770 params."""
    return nn.Sequential(nn.Flatten(), nn.Linear(prod(shape), hidden), nn.ReLU(), nn.Linear(hidden, classes))


def lenet(shape: tuple[int, ...], classes: int) -> nn.Module:
    """LeNet-5 with padding 2 in the first layer: 61 706 params for 28x28 and ten classes.

    Source: LeCun et al., "Gradient-based learning applied to document recognition" (1998), in today's form with ReLU
    and max pooling.
    """
    if len(shape) != 3:
        raise TaskError(f"lenet needs images (channels, rows, columns); these inputs have shape {shape}")
    channels, rows, columns = shape
    # two halvings after a 5x5 convolution without padding
    left = ((rows // 2 - 4) // 2) * ((columns // 2 - 4) // 2)
    if left < 1:
        raise TaskError(f"lenet needs images of at least 12x12; these are {rows}x{columns}")
    return nn.Sequential(
        nn.Conv2d(channels, 6, 5, padding=2),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(6, 16, 5),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Linear(16 * left, 120),
        nn.ReLU(),
        nn.Linear(120, 84),
        nn.ReLU(),
        nn.Linear(84, classes),
    )
