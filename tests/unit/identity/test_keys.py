"""Keys: one text for one id, a private file or none, no weak ids."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from identity.errors import BadPeerId, KeyFileError
from identity.keys import (
    PeerId,
    SigningKey,
    format_peer,
    is_weak,
    parse_peer,
    peer_id,
    short,
    verify,
)

SEED = bytes(range(32))
PRIME = 2**255 - 19
CURVE_D = (-121665 * pow(121666, -1, PRIME)) % PRIME


def test_a_key_is_the_key_of_rfc_8032() -> None:
    key = SigningKey(bytes.fromhex("9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60"))
    assert key.peer.hex() == "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a"
    assert key.sign(b"").hex().startswith("e5564300c360ac729086e2cc806e828a84877f1eb8e5d974d873e06522490155")


def test_what_a_key_signs_verifies_and_nothing_else_does() -> None:
    key, other = SigningKey.generate(), SigningKey.generate()
    signature = key.sign(b"digest")
    assert verify(key.peer, signature, b"digest")
    assert not verify(key.peer, signature, b"digesT")
    assert not verify(other.peer, signature, b"digest")
    assert not verify(key.peer, signature[:-1], b"digest")
    assert not verify(PeerId(key.peer[:-1]), signature, b"digest")


def test_a_seed_of_another_length_is_refused() -> None:
    with pytest.raises(ValueError, match="32 bytes, not 31"):
        SigningKey(bytes(31))


def test_a_key_never_shows_its_seed() -> None:
    key = SigningKey(SEED)
    assert repr(key) == f"SigningKey(peer={short(key.peer)})"
    assert SEED.hex() not in repr(key)


@given(st.binary(min_size=32, max_size=32))
def test_text_and_back_is_the_same_id(raw: bytes) -> None:
    if is_weak(raw):
        return
    text = format_peer(PeerId(raw))
    assert len(text) == 52
    assert text == text.lower()
    assert parse_peer(text) == raw
    assert parse_peer(f" {text.upper()}\n") == raw
    assert text.startswith(short(raw))


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "has 0"),
        ("abc", "has 3"),
        ("1" * 52, "not 1"),
        ("a" * 51 + "é", "not É"),
        (format_peer(PeerId(SEED))[:-1] + "b", "mistyped"),
        ("a" * 52, "small order"),
    ],
)
def test_a_mistyped_id_is_refused_with_the_reason(text: str, says: str) -> None:
    with pytest.raises(BadPeerId, match=says):
        parse_peer(text)


def test_an_id_of_another_length_is_refused() -> None:
    with pytest.raises(BadPeerId, match="not 31"):
        peer_id(bytes(31))
    assert peer_id(SEED) == SEED


def on_curve(y: int) -> tuple[int, int] | None:
    """The point with this y, if there is one (RFC 8032, 5.1.3)."""
    square = (y * y - 1) * pow(CURVE_D * y * y + 1, -1, PRIME) % PRIME
    root = pow(square, (PRIME + 3) // 8, PRIME)
    if root * root % PRIME != square:
        root = root * pow(2, (PRIME - 1) // 4, PRIME) % PRIME
    return (root, y) if root * root % PRIME == square else None


def double(point: tuple[int, int]) -> tuple[int, int]:
    x, y = point
    product = CURVE_D * x * x * y * y
    return (
        2 * x * y * pow(1 + product, -1, PRIME) % PRIME,
        (y * y + x * x) * pow(1 - product, -1, PRIME) % PRIME,
    )


def test_weak_ids_are_exactly_the_points_whose_order_divides_eight() -> None:
    # every encoding (canonical or not) of a point P with 8 P = 0: solve by walking the 8-torsion
    ys = {0, 1, PRIME - 1}
    ys |= {
        int.from_bytes(bytes.fromhex(text), "little")
        for text in (
            "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05",
            "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a",
        )
    }
    for y in ys:
        point = on_curve(y)
        assert point is not None
        assert double(double(double(point))) == (0, 1)
        for encoded in {y, y + PRIME}:
            if encoded < 2**255:
                raw = encoded.to_bytes(32, "little")
                assert is_weak(raw)
                assert is_weak(raw[:-1] + bytes([raw[-1] | 0x80]))
    assert not is_weak(SigningKey(SEED).peer)


def test_a_weak_id_verifies_nothing() -> None:
    # for the identity point, R = identity and S = 0 is a signature of every message
    weak = PeerId(b"\x01" + bytes(31))
    assert not verify(weak, weak + bytes(32), b"anything")
    with pytest.raises(BadPeerId, match="small order"):
        peer_id(weak)


def test_a_saved_key_loads_again_and_is_private(tmp_path: Path) -> None:
    path = tmp_path / "key"
    old = os.umask(0o077)
    try:
        SigningKey(SEED).save(path)
    finally:
        os.umask(old)
    assert path.stat().st_mode & 0o777 == 0o600
    assert SigningKey.load(path).peer == SigningKey(SEED).peer


def test_a_key_is_never_overwritten(tmp_path: Path) -> None:
    path = tmp_path / "key"
    SigningKey(SEED).save(path)
    with pytest.raises(KeyFileError, match="never overwritten"):
        SigningKey.generate().save(path)
    assert SigningKey.load(path).peer == SigningKey(SEED).peer
    with pytest.raises(KeyFileError, match="cannot create"):
        SigningKey.generate().save(tmp_path / "nowhere" / "key")


def test_only_0600_and_0400_of_all_512_modes_load(tmp_path: Path) -> None:
    path = tmp_path / "key"
    SigningKey(SEED).save(path)
    passed = []
    for mode in range(0o1000):
        path.chmod(mode)
        try:
            SigningKey.load(path)
        except KeyFileError:
            continue
        passed.append(mode)
    path.chmod(0o600)
    assert passed == [0o400, 0o600]


@pytest.mark.parametrize("mode", [0o4600, 0o2600, 0o1600])
def test_special_bits_are_refused(tmp_path: Path, mode: int) -> None:
    path = tmp_path / "key"
    SigningKey(SEED).save(path)
    path.chmod(mode)
    with pytest.raises(KeyFileError, match="chmod 600"):
        SigningKey.load(path)


def test_a_symlink_a_folder_a_fifo_and_nothing_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "key"
    SigningKey(SEED).save(path)
    link = tmp_path / "link"
    link.symlink_to(path)
    with pytest.raises(KeyFileError, match="symbolic link"):
        SigningKey.load(link)
    with pytest.raises(KeyFileError, match="not a regular file"):
        SigningKey.load(tmp_path)
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo, 0o600)
    with pytest.raises(KeyFileError, match="not a regular file"):
        SigningKey.load(fifo)
    with pytest.raises(KeyFileError, match="no key file"):
        SigningKey.load(tmp_path / "missing")
    with pytest.raises(KeyFileError, match="cannot open"):
        SigningKey.load(path / "below")


def test_a_file_of_another_user_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "key"
    SigningKey(SEED).save(path)
    mine = os.geteuid()
    monkeypatch.setattr(os, "geteuid", lambda: mine + 1)
    with pytest.raises(KeyFileError, match="belongs to user"):
        SigningKey.load(path)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"x" * 79,
        b"hedgerow-key-1 " + b"g" * 64 + b"\n",
        b"hedgerow-key-1 " + SEED.hex().encode(),
        b"hedgerow-key-1 " + SEED.hex().encode() + b"\n\n",
        b"hedgerow-key-1 " + b"\xff" * 64 + b"\n",
        b"hedgerow-key-1 " + b"00 " * 21 + b"0\n",
    ],
)
def test_other_contents_are_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "key"
    path.write_bytes(content)
    path.chmod(0o600)
    with pytest.raises(KeyFileError, match="not a hedgerow key file"):
        SigningKey.load(path)
