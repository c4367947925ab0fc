"""Your own model and data, simulated with thirty nodes: python examples/own_task.py"""

import torch
from torch import nn

import hedgerow

draw = torch.Generator().manual_seed(0)
centres = 3 * torch.randn(5, 16, generator=draw)
labels = torch.arange(6000) % 5
inputs = centres[labels] + torch.randn(6000, 16, generator=draw)

model = nn.Sequential(nn.Linear(16, 32), nn.ReLU(), nn.Linear(32, 5))
task = hedgerow.Task(model, train=(inputs[:5000], labels[:5000]), test=(inputs[5000:], labels[5000:]))

if __name__ == "__main__":
    print(hedgerow.simulate(task, nodes=30, rounds=10))
