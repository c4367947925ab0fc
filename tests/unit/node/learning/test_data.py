"""Data sets are checked when they are made, and files are never believed."""

import gzip
import hashlib
import struct
from collections.abc import Iterable

import numpy as np
import pytest
import torch

from node.learning.dataset import Dataset
from node.learning.errors import DataError, DataMissing, TaskError
from node.learning.idx import MAX_BYTES, read_idx
from node.learning.sources import FASHION_FILES, digits, fashion_mnist, idx_folder, npz


def idx_bytes(array, code=0x08):
    return b"\0\0" + bytes([code, array.ndim]) + struct.pack(f">{array.ndim}I", *array.shape) + array.tobytes()


def four_files(samples=12):
    draw = np.random.default_rng(0)
    images = draw.integers(0, 256, (samples, 4, 4), dtype=np.uint8)
    labels = np.arange(samples, dtype=np.uint8) % 3
    return dict(zip(FASHION_FILES, map(idx_bytes, (images, labels, images[:6], labels[:6])), strict=True))


def test_pixels_stay_uint8_and_are_fed_as_shares_of_255():
    data = Dataset(torch.tensor([[0, 51], [255, 102]], dtype=torch.uint8), [0, 1])
    assert data.inputs.dtype == torch.uint8
    assert torch.allclose(data.feed(torch.tensor([1, 0])), torch.tensor([[1.0, 0.4], [0.0, 0.2]]))
    assert (len(data), data.shape, data.classes) == (2, (2,), 2)


def test_tensors_are_shared_and_numpy_is_taken():
    inputs = torch.zeros(3, 2)
    assert Dataset(inputs, torch.arange(3)).inputs.data_ptr() == inputs.data_ptr()
    data = Dataset(np.ones((2, 2), dtype=np.float64), np.array([0.0, 1.0]))
    assert data.inputs.dtype == torch.float32
    assert data.labels.dtype == torch.int64


def test_tokens_are_fed_as_they_are():
    data = Dataset(torch.tensor([[3, 4]]), [0])
    assert data.feed(slice(None)).tolist() == [[3, 4]]


@pytest.mark.parametrize(
    ("inputs", "labels", "says"),
    [
        (torch.zeros(2), [0, 1], "at least two dimensions"),
        (torch.zeros(0, 2), [], "nothing to train on"),
        (torch.zeros(2, 2), [0], "2 inputs but 1 labels"),
        (torch.tensor([[0.0], [float("nan")]]), [0, 1], "row 1"),
        (torch.zeros(2, 2, dtype=torch.bool), [0, 1], "torch.bool"),
        (torch.zeros(2, 2), [[0], [1]], "one class number"),
        (torch.zeros(2, 2), torch.zeros(0), "labels are empty"),
        (torch.zeros(2, 2), [0, -1], "numbered from 0"),
        (torch.zeros(2, 2), [0, 0.5], "fractions"),
        (torch.zeros(2, 2), [True, False], "whole numbers"),
        (torch.zeros(2, 2), ["a", "b"], "not an array of numbers"),
    ],
)
def test_what_cannot_be_trained_on_is_refused(inputs, labels, says):
    with pytest.raises(TaskError, match=says):
        Dataset(inputs, labels)


class Absent:
    """As pandas' NA: neither true nor a number, equal to nothing."""

    def __ne__(self, other):
        return self

    def __eq__(self, other):
        return self

    def __bool__(self):
        raise TypeError("boolean value of NA is ambiguous")

    def __repr__(self):
        return "<NA>"


class Column:
    """A column of a data frame, as NumPy meets one."""

    def __init__(self, *values):
        self.values = values

    def __len__(self):
        return len(self.values)

    def __array__(self, dtype=None, copy=None):
        out = np.empty(len(self.values), dtype=object)
        out[:] = self.values
        return out


def masked(row):
    values = np.ma.masked_array(np.ones((4, 2), np.float32), mask=np.zeros((4, 2), bool))
    values[row, 1] = np.ma.masked
    return values


@pytest.mark.parametrize(
    ("inputs", "labels", "says"),
    [
        (masked(2), [0, 1, 0, 1], r"inputs hold a missing value \(masked\), first in row 2"),
        (
            np.ones((4, 2)),
            np.ma.masked_equal([0, 1, 9, 1], 9),
            r"labels hold a missing value \(masked\), first in row 2",
        ),
        (np.ones((3, 2)), Column(0, Absent(), 1), r"labels hold a missing value \(<NA>\), first in row 1"),
        (np.ones((3, 2)), Column(0, 1, None), r"\(None\), first in row 2"),
        (np.ones((3, 2)), Column(float("nan"), 1, 2), r"\(nan\), first in row 0"),
        (
            np.array([[1.0, 2], [3, Absent()]], dtype=object),
            [0, 1],
            r"inputs hold a missing value \(<NA>\), first in row 1",
        ),
        (np.ones((3, 2)), Column(0, "cat", 1), "labels hold 'cat' in row 1, which is no number"),
        (np.ones((3, 2)), [0, float("nan"), 1], "fractions or NaN, first in row 1"),
        (np.ones((3, 2)), [0, 1, -3], "labels hold -3, first in row 2"),
        (torch.eye(3).to_sparse(), [0, 1, 2], "to_dense"),
    ],
)
def test_missing_values_in_any_spelling_are_refused_with_their_row(inputs, labels, says):
    with pytest.raises(TaskError, match=says):
        Dataset(inputs, labels)


def test_masks_without_a_masked_value_and_objects_that_are_numbers_are_taken():
    whole = np.ma.masked_array(np.ones((2, 3), np.float32), mask=False)
    data = Dataset(whole, Column(np.int64(1), 0))
    assert data.inputs.tolist() == [[1, 1, 1]] * 2
    assert data.labels.tolist() == [1, 0]
    assert Dataset(np.array([[1, 2.5], [3, 4]], dtype=object), [0, 1]).inputs.dtype == torch.float32


def test_rows_keep_their_numbers_when_data_is_joined():
    first, second = Dataset(torch.zeros(2, 3), [0, 1]), Dataset(torch.ones(1, 3), [2])
    joined = first.joined(second)
    assert joined.labels.tolist() == [0, 1, 2]
    assert joined.take(torch.tensor([2])).inputs.tolist() == [[1, 1, 1]]
    with pytest.raises(TaskError, match="cannot join"):
        first.joined(Dataset(torch.zeros(1, 4), [0]))


@pytest.mark.parametrize("zipped", [False, True])
@pytest.mark.parametrize(("code", "dtype"), [(0x08, ">u1"), (0x0B, ">i2"), (0x0D, ">f4")])
def test_idx_comes_back_as_written(tmp_path, zipped, code, dtype):
    array = np.arange(24).reshape(2, 3, 4).astype(dtype)
    content = idx_bytes(array, code)
    (tmp_path / "file").write_bytes(gzip.compress(content) if zipped else content)
    back = read_idx(tmp_path / "file")
    assert np.array_equal(back, array)
    assert back.dtype.isnative


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"", "not an IDX file"),
        (b"\x89PNG rest", "not an IDX file"),
        (b"\0\0\x08\x09" + bytes(36), "9 dimensions"),
        (b"\0\0\x08\x02\0\0", "within its header"),
        (b"\0\0\x08\x01\0\0\0\x05abc", "holds 3"),
        (b"\0\0\x08\x01\0\0\0\x02abc", "more than"),
        (b"\0\0\x0e\x02" + struct.pack(">2I", 2**32 - 1, MAX_BYTES), "limit"),
        (gzip.compress(b"\0\0\x08\x01\0\0\0\x08abcdefgh", mtime=0)[:-12], "cannot be read"),
        (b"\x1f\x8bnot gzip at all", "cannot be read"),
    ],
)
def test_a_damaged_idx_file_is_named(tmp_path, content, says):
    (tmp_path / "broken").write_bytes(content)
    with pytest.raises(DataError, match=says) as caught:
        read_idx(tmp_path / "broken")
    assert "broken" in str(caught.value)


def test_a_folder_of_idx_files_is_read_in_either_spelling(tmp_path):
    for number, (name, content) in enumerate(four_files().items()):
        path = tmp_path / (name.replace("-idx", ".idx") if number % 2 else f"{name}.gz")
        path.write_bytes(content if number % 2 else gzip.compress(content))
    train, test = idx_folder(tmp_path)
    assert (train.inputs.shape, test.inputs.shape) == ((12, 1, 4, 4), (6, 1, 4, 4))
    with pytest.raises(DataMissing, match="lacks train-images-idx3-ubyte"):
        fashion_mnist(tmp_path / "nowhere")


def mirror(folder):
    return f"{folder.as_uri()}/"


def expected(contents):
    return {name: (len(content), hashlib.sha256(content).hexdigest()) for name, content in contents.items()}


def test_fashion_mnist_is_downloaded_once_and_checked(tmp_path):
    contents = four_files()
    source, cache = tmp_path / "mirror", tmp_path / "cache"
    source.mkdir()
    for name, content in contents.items():
        (source / f"{name}.gz").write_bytes(gzip.compress(content))
    places = (tmp_path / "nowhere", cache)
    mirrors = (mirror(tmp_path / "gone"), mirror(source))
    train, _ = fashion_mnist(None, places, mirrors, expected(contents))
    assert len(train) == 12
    again, _ = fashion_mnist(None, places, ())
    assert torch.equal(again.inputs, train.inputs)


@pytest.mark.parametrize("content", [gzip.compress(b"other bytes", mtime=0), b"no gzip"])
def test_a_download_that_is_not_the_real_thing_is_thrown_away(tmp_path, content):
    source, cache = tmp_path / "mirror", tmp_path / "cache"
    source.mkdir()
    for name in FASHION_FILES:
        (source / f"{name}.gz").write_bytes(content)
    with pytest.raises(DataMissing, match="dataset-fashion-mnist") as caught:
        fashion_mnist(None, (cache,), (mirror(source),))
    assert str(cache) in str(caught.value)
    assert not cache.exists()


def test_digits_are_those_of_scikit_learn():
    from sklearn.datasets import load_digits

    theirs = load_digits()
    mine = sorted((*image.flatten().mul(16).tolist(), int(label)) for part in digits() for image, label in rows(part))
    assert mine == sorted(map(tuple, np.column_stack([theirs.data, theirs.target]).tolist()))


def rows(part: Dataset) -> Iterable[tuple[torch.Tensor, torch.Tensor]]:
    return zip(part.inputs, part.labels, strict=True)


def test_digits_split_is_fixed_and_holds_every_class():
    train, test = digits()
    assert len(train) + len(test) == 1797
    assert 0.18 < len(test) / 1797 < 0.22
    assert set(test.labels.tolist()) == set(range(10))
    assert torch.equal(digits()[1].inputs, test.inputs)
    assert float(train.inputs.max()) == 1.0


def test_npz_is_read_in_every_form(tmp_path):
    x, y = np.arange(40, dtype=np.float32).reshape(20, 2), np.arange(20) % 2
    np.savez(tmp_path / "four.npz", train_inputs=x, train_labels=y, test_inputs=x[:4], test_labels=y[:4])
    np.savez(tmp_path / "keras.npz", x_train=x, y_train=y, x_test=x[:4], y_test=y[:4])
    np.savez(tmp_path / "two.npz", inputs=x, labels=y)
    (tmp_path / "folder").mkdir()
    for name in ("train", "test"):
        np.savez(tmp_path / "folder" / f"{name}.npz", inputs=x, labels=y)
    assert [tuple(map(len, npz(tmp_path / name))) for name in ("four.npz", "keras.npz", "two.npz", "folder")] == [
        (20, 4),
        (20, 4),
        (16, 4),
        (20, 20),
    ]


def test_npz_with_other_content_is_refused(tmp_path):
    np.savez(tmp_path / "names.npz", pictures=np.zeros((2, 2)))
    np.savez(tmp_path / "objects.npz", inputs=np.array([{}, {}], dtype=object), labels=np.zeros(2))
    np.savez(tmp_path / "few.npz", inputs=np.zeros((2, 2)), labels=np.arange(2))
    np.save(tmp_path / "single.npy", np.zeros(3))
    (tmp_path / "text.npz").write_text("hello")
    for name, says in (
        ("names.npz", "holds pictures"),
        ("objects.npz", "plain arrays"),
        ("few.npz", "too few"),
        ("single.npy", "single array"),
        ("text.npz", "not a NumPy archive"),
    ):
        with pytest.raises(DataError, match=says):
            npz(tmp_path / name)
    with pytest.raises(DataMissing, match="no such file"):
        npz(tmp_path / "none.npz")
