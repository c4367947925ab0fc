"""Ed25519 keys: the public half is a peer's name, the private half never leaves a 0600 file.

Laws:
- A peer id is the 32 raw bytes of an Ed25519 public key; its text form is 52 lower-case base32 letters
  without padding.
- One id has one text: `parse_peer` accepts only what `format_peer` writes (upper case is folded).
- The eleven encodings of the points of small order are nobody's id: any message has a signature that such a
  "key" verifies.
- A key file is created with O_EXCL and mode 0600 and is loaded only if it is a regular file of ours with
  mode 0600 or
  0400, checked on the open descriptor so that nothing can be swapped in between.

Source: RFC 8032; small-order points as in libsodium's ge25519_has_small_order; file rules as OpenSSH's for
private keys.
"""

from __future__ import annotations

import base64
import binascii
import errno
import os
import stat
from pathlib import Path
from typing import NewType

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from identity.errors import BadPeerId, KeyFileError

PeerId = NewType("PeerId", bytes)
"""The 32-byte Ed25519 public key of a peer: its only name."""

PEER_ID_BYTES = 32
SEED_BYTES = 32
SIGNATURE_BYTES = 64
TEXT_LETTERS = 52  # 256 bits in base32 without padding
SAFE_MODES = frozenset({0o600, 0o400})

_HEADER = b"hedgerow-key-1 "  # then the seed in hex and a newline: a person can tell what the file is
_FILE_BYTES = len(_HEADER) + 2 * SEED_BYTES + 1

_NEEDED = ("O_NOFOLLOW", "O_CLOEXEC", "O_NONBLOCK", "fchmod", "geteuid")  # of the module os

_SIGN_BIT = 0x80
_SMALL_ORDER = frozenset(
    bytes.fromhex(point)
    for point in (
        "0000000000000000000000000000000000000000000000000000000000000000",
        "0100000000000000000000000000000000000000000000000000000000000000",
        "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05",
        "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a",
        "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
        "edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
        "eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
    )
)
"""y coordinates (sign bit cleared) of the points of order 1, 2, 4 and 8, canonical or not."""


class SigningKey:
    """A private key. It signs digests (see `identity.envelope`), and it never shows itself in text."""

    __slots__ = ("_key", "_seed", "peer")

    peer: PeerId

    def __init__(self, seed: bytes) -> None:
        """Make the key of a 32-byte secret seed.

        Raises:
            ValueError: the seed is not 32 bytes long.
        """
        if len(seed) != SEED_BYTES:
            raise ValueError(f"an Ed25519 seed has {SEED_BYTES} bytes, not {len(seed)}")
        self._seed = bytes(seed)
        self._key = Ed25519PrivateKey.from_private_bytes(self._seed)
        self.peer = PeerId(self._key.public_key().public_bytes_raw())

    @classmethod
    def generate(cls) -> SigningKey:
        """A new key from the operating system's randomness."""
        return cls(os.urandom(SEED_BYTES))

    @classmethod
    def load(cls, path: Path) -> SigningKey:
        """Read a key file.

        Raises:
            KeyFileError: no such file, a symlink, not a regular file, another user's, a mode other than 0600
                or 0400, contents that are no key, or a system that cannot keep it private.
        """
        _check_system(path)
        try:
            handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK)
        except OSError as error:
            raise KeyFileError(_why_not_open(path, error)) from error
        try:
            _check_file(path, os.fstat(handle))
            raw = os.read(handle, _FILE_BYTES + 1)
        finally:
            os.close(handle)
        return cls(_parse_file(path, raw))

    def save(self, path: Path) -> None:
        """Create the key file, durable, with mode 0600; an existing file is never overwritten.

        Raises:
            KeyFileError: the file exists or cannot be written, or the system cannot keep it private.
        """
        _check_system(path)
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        try:
            handle = os.open(path, flags, 0o600)
        except FileExistsError as error:
            raise KeyFileError(f"{path} exists, and a key is never overwritten: load it") from error
        except OSError as error:
            raise KeyFileError(f"cannot create the key file {path}: {error.strerror}") from error
        with os.fdopen(handle, "wb") as file:
            os.fchmod(handle, 0o600)  # whatever the umask
            file.write(_HEADER + self._seed.hex().encode() + b"\n")
            file.flush()
            os.fsync(handle)

    def sign(self, digest: bytes) -> bytes:
        """The 64-byte signature of a digest. Only envelopes are sealed with it."""
        return self._key.sign(digest)

    def __repr__(self) -> str:
        """Name the public half only."""
        return f"SigningKey(peer={short(self.peer)})"


def verify(peer: PeerId, signature: bytes, digest: bytes) -> bool:
    """Whether `peer` signed `digest`. Wrong lengths and weak ids are False, never an error."""
    if len(peer) != PEER_ID_BYTES or len(signature) != SIGNATURE_BYTES or is_weak(peer):
        return False
    try:
        Ed25519PublicKey.from_public_bytes(peer).verify(signature, digest)
    except (InvalidSignature, ValueError):
        return False
    return True


def is_weak(peer: bytes) -> bool:
    """Whether these 32 bytes are a point of small order, for which signatures prove nothing."""
    return peer[:-1] + bytes([peer[-1] & ~_SIGN_BIT & 0xFF]) in _SMALL_ORDER


def peer_id(raw: bytes) -> PeerId:
    """Check that bytes can be a peer id.

    Raises:
        BadPeerId: not 32 bytes, or a point of small order.
    """
    if len(raw) != PEER_ID_BYTES:
        raise BadPeerId(f"a peer id has {PEER_ID_BYTES} bytes, not {len(raw)}")
    if is_weak(raw):
        raise BadPeerId("these 32 bytes are a point of small order: nobody's key")
    return PeerId(bytes(raw))


def format_peer(peer: PeerId) -> str:
    """The 52 lower-case base32 letters of a peer id."""
    return base64.b32encode(peer).decode().rstrip("=").lower()


def parse_peer(text: str) -> PeerId:
    """The peer id that a text names.

    Raises:
        BadPeerId: wrong length, a letter outside base32, stray bits at the end, or a point of small order.
    """
    word = text.strip().upper()
    if len(word) != TEXT_LETTERS:
        raise BadPeerId(f"a peer id has {TEXT_LETTERS} letters (a-z, 2-7), '{text[:60]}' has {len(word)}")
    try:
        raw = base64.b32decode(word + "====")
    except (binascii.Error, ValueError):
        wrong = sorted({letter for letter in word if letter not in "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567"})
        raise BadPeerId(f"a peer id is written with a-z and 2-7 only, not {' '.join(wrong)}") from None
    peer = peer_id(raw)
    if format_peer(peer) != word.lower():
        raise BadPeerId("the last letter of this peer id carries stray bits: it was mistyped")
    return peer


def short(peer: bytes) -> str:
    """The first eight letters of a peer's text form: for logs and tables, not for looking anybody up."""
    return base64.b32encode(peer[:5]).decode().lower()


def _why_not_open(path: Path, error: OSError) -> str:
    if error.errno == errno.ELOOP:
        return f"{path} is a symbolic link: refused, name the key file itself"
    if error.errno == errno.ENOENT:
        return f"there is no key file {path}"
    return f"cannot open the key file {path}: {error.strerror}"


def _check_system(path: Path) -> None:
    """Linux, macOS and the BSDs have all that a private file needs; Windows has none of it."""
    lacking = [name for name in _NEEDED if not hasattr(os, name)]
    if lacking:
        raise KeyFileError(
            f"the key file {path} cannot be kept private here: this system lacks {', '.join(lacking)}; "
            "run nodes on Linux or macOS, on Windows inside WSL"
        )


def _check_file(path: Path, status: os.stat_result) -> None:
    if not stat.S_ISREG(status.st_mode):
        raise KeyFileError(f"{path} is not a regular file")
    if status.st_uid != os.geteuid():
        raise KeyFileError(f"{path} belongs to user {status.st_uid}, not to us ({os.geteuid()})")
    mode = stat.S_IMODE(status.st_mode)
    if mode not in SAFE_MODES:
        raise KeyFileError(f"{path} has mode {mode:04o}, which lets others in; run: chmod 600 {path}")


def _parse_file(path: Path, raw: bytes) -> bytes:
    text = raw[len(_HEADER) : -1]
    well_formed = len(raw) == _FILE_BYTES and raw.startswith(_HEADER) and raw.endswith(b"\n")
    if not well_formed or set(text) - set(b"0123456789abcdef"):
        raise KeyFileError(f"{path} is not a hedgerow key file")
    return bytes.fromhex(text.decode("ascii"))
