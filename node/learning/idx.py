"""Reader of IDX files, plain or gzipped: the format of MNIST and its relatives.

Laws:
- The header is checked before anything is allocated; no more than the bytes it announces are read, so a gzip bomb
  ends early.
- A file that is too short or too long is refused.

Source: "The IDX file format", yann.lecun.com/exdb/mnist: two zero bytes, a type byte, the number of dimensions, then
each dimension as a big-endian uint32, then the values, big-endian, the last dimension fastest.
"""

from __future__ import annotations

import gzip
import zlib
from math import prod
from pathlib import Path
from typing import BinaryIO, cast

import numpy as np
from numpy.typing import NDArray

from node.learning.errors import DataError

MAX_BYTES = 2 * 1024**3  # of values in one file; MNIST's largest is 47 MB
MAX_DIMENSIONS = 4  # samples, channels, rows, columns

_TYPES = {0x08: ">u1", 0x09: ">i1", 0x0B: ">i2", 0x0C: ">i4", 0x0D: ">f4", 0x0E: ">f8"}
_GZIP = b"\x1f\x8b"


def read_idx(path: Path) -> NDArray[np.generic]:
    """The array in an IDX file, in native byte order; gzip is recognised by its first bytes, whatever the name.

    Raises:
        DataError: not an IDX file, damaged, or larger than MAX_BYTES.
    """
    try:
        with path.open("rb") as raw:
            zipped = raw.read(2) == _GZIP
            raw.seek(0)
            if not zipped:
                return _read(raw, path)
            with gzip.GzipFile(fileobj=raw) as unzipped:
                return _read(cast(BinaryIO, unzipped), path)
    except (OSError, EOFError, zlib.error) as error:
        raise DataError(f"{path}: cannot be read: {error}") from error


def _read(file: BinaryIO, path: Path) -> NDArray[np.generic]:
    magic = file.read(4)
    if len(magic) < 4 or magic[:2] != b"\0\0" or magic[2] not in _TYPES:
        raise DataError(f"{path}: not an IDX file (it starts with {magic.hex()})")
    if not 1 <= magic[3] <= MAX_DIMENSIONS:
        raise DataError(f"{path}: {magic[3]} dimensions; wanted 1 to {MAX_DIMENSIONS}")
    sizes = file.read(4 * magic[3])
    if len(sizes) < 4 * magic[3]:
        raise DataError(f"{path}: ends within its header")
    shape = tuple(int(size) for size in np.frombuffer(sizes, dtype=">u4"))
    dtype = np.dtype(_TYPES[magic[2]])
    wanted = prod(shape) * dtype.itemsize
    if wanted > MAX_BYTES:
        raise DataError(f"{path}: announces {wanted} bytes of values; the limit is {MAX_BYTES}")
    values = file.read(wanted)
    if len(values) < wanted:
        raise DataError(f"{path}: announces {wanted} bytes of values but holds {len(values)}")
    if file.read(1):
        raise DataError(f"{path}: holds more than the {wanted} bytes of values that it announces")
    return np.frombuffer(values, dtype=dtype).astype(dtype.newbyteorder("="), copy=True).reshape(shape)
