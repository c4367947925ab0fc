"""What every test process starts with.

- One torch thread, so that parallel test processes do not fight for cores; no test asserts a time.
- Ctrl-C counts, here and in the processes that tests start: whoever runs the tests in the background may have had it
  ignored.
"""

from __future__ import annotations

import signal

import torch
from hypothesis import settings

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)
torch.set_num_threads(1)
settings.register_profile("untimed", deadline=None)
settings.load_profile("untimed")
