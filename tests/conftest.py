"""One torch thread per test process, so that parallel test processes do not fight for cores; Ray only where it is."""

from __future__ import annotations

import importlib.util

import torch

torch.set_num_threads(1)

collect_ignore = [] if importlib.util.find_spec("ray") else ["sim/test_ray_local.py"]
