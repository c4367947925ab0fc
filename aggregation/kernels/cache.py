"""How numba compiles here: what its arithmetic may reorder, and whether machine code can be kept between runs.

Laws:
- The cache lies beside the code or in the user's own cache folder, never in a shared temporary one (it holds machine
  code); where neither can be written there is none.
- A kernel has the same bits in the process that compiles it and in those that find it on disk: what it calls says
  `forceinline`. A function that is called stands in the kernel's machine code a second time, optimized once more, and
  with `reassoc` its sums may then have another order; the process that compiles would run the first copy, one that
  loads the second.
"""

from __future__ import annotations

import numba

FAST = {"contract", "reassoc", "nsz", "arcp"}


def cache_works() -> bool:
    """Whether numba may cache: it raises when neither the package's nor the user's cache folder can be written."""
    try:
        numba.njit(cache=True)(_nothing)
    except RuntimeError:
        return False
    return True


def _nothing() -> int:
    return 0
