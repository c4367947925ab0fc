"""One torch thread per test process, so that parallel test processes do not fight for cores; no test asserts a time."""

from __future__ import annotations

import torch
from hypothesis import settings

torch.set_num_threads(1)
settings.register_profile("untimed", deadline=None)
settings.load_profile("untimed")
