"""Where data comes from: folders of IDX files, NumPy archives, scikit-learn's digits, Fashion-MNIST.

Every reader returns (train, test). Pickles are never read.
"""

from __future__ import annotations

import hashlib
import importlib.util
import os
import tempfile
import urllib.error
import urllib.request
import zipfile
from collections.abc import Mapping, Sequence
from gzip import BadGzipFile, GzipFile
from io import BytesIO
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from platformdirs import user_cache_path

from node.draws import Purpose, generator
from node.learning.dataset import Dataset
from node.learning.errors import DataError, DataMissing
from node.learning.idx import read_idx
from node.learning.partition import hold_out

Split = tuple[Dataset, Dataset]

TEST_SHARE = 0.2  # of each class, where a source has no test split of its own
DOWNLOAD_SECONDS = 60  # without a byte, before a download is given up
DOWNLOAD_BYTES = 64 * 1024**2  # of one compressed file; the largest is 26 MB

# Uncompressed size and SHA-256 of the four files, so that a recompressed copy passes too.
FASHION_FILES = {
    "train-images-idx3-ubyte": (
        47_040_016,
        "c59f468a2f672dc815687fe0f83887768d799fd8a3f3276145d20f83aa44d888",
    ),
    "train-labels-idx1-ubyte": (60_008, "bad3541b69d912435c50bb6ba87bec294ff4f6a2e1246121d8633921760443d9"),
    "t10k-images-idx3-ubyte": (7_840_016, "5b4141f0afbad91edebe8549f8fcffe087ea10ca49f1dbef5c9a5cd8815ce37b"),
    "t10k-labels-idx1-ubyte": (10_008, "0402a96d92fd2663957122ceb108a494c5af83dab82d92729df917d7dec38c34"),
}
FASHION_MIRRORS = (
    "https://raw.githubusercontent.com/zalandoresearch/fashion-mnist/master/data/fashion/",
    "https://fashion-mnist.s3.eu-central-1.amazonaws.com/",
)


def cache_folder() -> Path:
    """Where downloads and extractors are kept between runs.

    Raises:
        DataMissing: nobody knows where the user's files are (a container with an unknown user and no HOME).
    """
    try:
        return user_cache_path("hedgerow")
    except (RuntimeError, KeyError):
        raise DataMissing("there is no home folder to keep data in: set HOME or XDG_CACHE_HOME") from None


def idx_folder(folder: Path) -> Split:
    """A folder with the four files of MNIST (train-images-idx3-ubyte, ..., each plain or .gz).

    Raises:
        DataMissing: a file is not there.
        DataError: a file is damaged.
    """
    found = [_find(folder, name) for name in FASHION_FILES]
    missing = [name for name, path in zip(FASHION_FILES, found, strict=True) if path is None]
    if missing:
        raise DataMissing(f"{folder} lacks {', '.join(missing)} (plain or with .gz)")
    arrays = [read_idx(path) for path in found if path is not None]
    images = [array[:, None] if array.ndim == 3 else array for array in (arrays[0], arrays[2])]
    return Dataset(images[0], arrays[1]), Dataset(images[1], arrays[3])


def fashion_mnist(
    folder: Path | None = None,
    places: Sequence[Path] | None = None,
    mirrors: Sequence[str] = FASHION_MIRRORS,
    files: Mapping[str, tuple[int, str]] = FASHION_FILES,
) -> Split:
    """Fashion-MNIST: 60 000 training and 10 000 test images 1x28x28 uint8, ten classes.

    Args:
        folder: where the user says it is; nowhere else is looked then.
        places: where it may be; a download goes to the last one; None: Debian's folder, then the user's cache.
        mirrors: base addresses to download from, in this order.
        files: name of each file -> size in bytes and SHA-256, both uncompressed.

    Raises:
        DataMissing: not found and not to be had; the message says where was looked and how to get it.
        DataError: a file is damaged.

    Source: Xiao, Rasul, Vollgraf, "Fashion-MNIST" (2017), arXiv 1708.07747.
    """
    if folder is not None:
        return idx_folder(folder)
    if places is None:
        places = (Path("/usr/share/datasets/fashion-mnist"), cache_folder() / "fashion-mnist")
    for place in places:
        if all(_find(place, name) for name in FASHION_FILES):
            return idx_folder(place)
    try:
        _download(places[-1], mirrors, files)
    except DataMissing as error:
        looked = ", ".join(str(place) for place in places)
        raise DataMissing(
            f"Fashion-MNIST is not in {looked}, and the download failed: {error}. "
            "Install the Debian package dataset-fashion-mnist, or put the four files "
            f"({', '.join(f'{name}.gz' for name in FASHION_FILES)}) into a folder and name it."
        ) from None
    return idx_folder(places[-1])


def digits() -> Split:
    """1 797 handwritten digits 8x8 that come with scikit-learn, values 0 to 1, split 80 : 20 in a fixed way.

    Source: Alpaydin, Kaynak, "Optical recognition of handwritten digits" (UCI, 1998), the file that
    sklearn.datasets.load_digits reads: one line a sample, 64 values 0 to 16, then the label.

    Raises:
        DataMissing: scikit-learn is not installed.
    """
    lines = _digits_lines()
    return _split(lines[:, :-1].reshape(-1, 1, 8, 8) / np.float32(16), lines[:, -1].astype(np.int64))


def _digits_lines() -> NDArray[np.float32]:
    """(1797, 65) float32. Importing scikit-learn takes a second, so its file is read without it where it is found."""
    package = importlib.util.find_spec("sklearn")
    if package is None or package.origin is None:
        raise DataMissing("the digits come with scikit-learn: pip install scikit-learn")
    path = Path(package.origin).parent / "datasets" / "data" / "digits.csv.gz"
    if path.is_file():
        return np.loadtxt(path, delimiter=",", dtype=np.float32)
    from sklearn.datasets import load_digits

    bunch = load_digits()
    return np.column_stack([bunch.data, bunch.target]).astype(np.float32)


def npz(path: Path) -> Split:
    """A NumPy archive, or a folder with train.npz and test.npz.

    One archive holds train_inputs, train_labels, test_inputs, test_labels (or x_train, y_train, x_test, y_test); or
    just inputs and labels, which are split 80 : 20 by class in a fixed way. Archives of a folder hold inputs and
    labels each.

    Raises:
        DataMissing: no such file.
        DataError: not an archive, pickled objects in it, or other names.
    """
    if path.is_dir():
        train, test = _archive(path / "train.npz"), _archive(path / "test.npz")
        return Dataset(*_pair(train, path / "train.npz")), Dataset(*_pair(test, path / "test.npz"))
    arrays = _archive(path)
    for names in (
        ("train_inputs", "train_labels", "test_inputs", "test_labels"),
        ("x_train", "y_train", "x_test", "y_test"),
    ):
        if all(name in arrays for name in names):
            first, second, third, fourth = (arrays[name] for name in names)
            return Dataset(first, second), Dataset(third, fourth)
    return _split(*_pair(arrays, path))


def _find(folder: Path, name: str) -> Path | None:
    spellings = (name, name.replace("-idx", ".idx"))
    candidates = (folder / f"{spelling}{suffix}" for spelling in spellings for suffix in ("", ".gz"))
    return next((path for path in candidates if path.is_file()), None)


def _archive(path: Path) -> dict[str, NDArray[np.generic]]:
    if not path.is_file():
        raise DataMissing(f"{path}: no such file")
    try:
        archive = np.load(path, allow_pickle=False)
        if isinstance(archive, np.ndarray):
            raise DataError(f"{path}: a single array; wanted an archive made by numpy.savez")
        with archive:
            return {name: archive[name] for name in archive.files}
    except DataError:
        raise
    except (OSError, ValueError, EOFError, zipfile.BadZipFile) as error:
        raise DataError(f"{path}: not a NumPy archive of plain arrays: {error}") from error


def _pair(arrays: dict[str, NDArray[np.generic]], path: Path) -> tuple[NDArray[np.generic], NDArray[np.generic]]:
    if "inputs" not in arrays or "labels" not in arrays:
        raise DataError(
            f"{path}: holds {', '.join(sorted(arrays)) or 'nothing'}; wanted train_inputs, train_labels, test_inputs, "
            "test_labels, or inputs and labels"
        )
    return arrays["inputs"], arrays["labels"]


def _split(inputs: NDArray[np.generic], labels: NDArray[np.generic]) -> Split:
    whole = Dataset(inputs, labels)
    parts = hold_out(whole.labels, torch.arange(len(whole)), TEST_SHARE, generator(0, Purpose.EVALUATION))
    if len(parts.held_out) == 0:
        raise DataError("too few samples a class to set a test split aside; give test_inputs and test_labels")
    return whole.take(parts.train), whole.take(parts.held_out)


def _download(folder: Path, mirrors: Sequence[str], files: Mapping[str, tuple[int, str]]) -> None:
    reasons = []
    for mirror in mirrors:
        try:
            for name, (size, digest) in files.items():
                if _find(folder, name) is None:
                    _store(folder / f"{name}.gz", _fetch(f"{mirror}{name}.gz", size, digest))
            return
        except (OSError, EOFError, DataError) as error:
            reason = error.reason if isinstance(error, urllib.error.URLError) else error
            reasons.append(f"{mirror}: {reason}")
    raise DataMissing("; ".join(reasons) or "no address to download from")


def _fetch(url: str, size: int, digest: str) -> bytes:
    with urllib.request.urlopen(url, timeout=DOWNLOAD_SECONDS) as response:
        packed = bytes(response.read(DOWNLOAD_BYTES + 1))
    if len(packed) > DOWNLOAD_BYTES:
        raise DataError(f"more than {DOWNLOAD_BYTES} bytes")
    try:
        content = GzipFile(fileobj=BytesIO(packed)).read(size + 1)
    except BadGzipFile as error:
        raise DataError(str(error)) from error
    if hashlib.sha256(content).hexdigest() != digest:
        raise DataError("its SHA-256 is not the one expected")
    return packed


def _store(path: Path, content: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(dir=path.parent)
    with os.fdopen(handle, "wb") as file:
        file.write(content)
    os.replace(temporary, path)
