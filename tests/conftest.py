"""One torch thread per test process, so that parallel test processes do not fight for cores."""

from __future__ import annotations

import torch

torch.set_num_threads(1)
