"""Patches as the bytes of Zarr's shards: encoded each for itself, then joined.

The bytes are those that Zarr's sharding codec would write. Encoding apart from writing lets workers
encode a few patches at a time and forget their numbers: a shard is put together from bytes alone.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import google_crc32c
import numpy as np
from numcodecs import Blosc  # type: ignore[import-untyped]
from zarr.codecs import BloscCodec

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

_NAME: Literal["lz4"] = "lz4"
_LEVEL = 5
_ENTRY = 16  # bytes of a chunk's offset and length in a shard's index
_CHECKSUM = 4  # bytes
_MISSING = np.iinfo(np.uint64).max


def zarr_codec(dtype: str) -> BloscCodec:
    """Return the codec of a patch's chunk, as the array's metadata state it."""
    return BloscCodec(
        typesize=np.dtype(dtype).itemsize, cname=_NAME, clevel=_LEVEL, shuffle="bitshuffle"
    )


def encode_patches(patches: np.ndarray, dtype: str) -> list[bytes]:
    """Encode patches as the chunks of an array.

    Parameters
    ----------
    patches
        ``(patch, ..., y, x)``.
    dtype
        NumPy name of the array's dtype.

    Returns
    -------
    list of bytes
        One chunk a patch.
    """
    stored = np.dtype(dtype).newbyteorder("<")
    codec = Blosc(cname=_NAME, clevel=_LEVEL, shuffle=Blosc.BITSHUFFLE)
    return [codec.encode(np.ascontiguousarray(patch, stored)) for patch in patches]


def shard_parts(chunks: Sequence[bytes], shard_size: int) -> list[bytes]:
    """Return what a shard consists of: the chunks, then their index and its checksum.

    Parameters
    ----------
    chunks
        At most `shard_size`; the last shard of an array may hold fewer.
    shard_size
        Patches a shard.

    Examples
    --------
    >>> shard = b"".join(shard_parts([b"first", b"second"], 4))
    >>> split_shard(shard, 4, 2)
    [b'first', b'second']
    """
    lengths = np.array([len(chunk) for chunk in chunks], np.uint64)
    index = np.full((shard_size, 2), _MISSING, "<u8")
    index[: len(chunks), 1] = lengths
    index[: len(chunks), 0] = np.cumsum(lengths) - lengths
    return [*chunks, index.tobytes(), _checksum(index)]


def split_shard(shard: bytes, shard_size: int, count: int) -> list[bytes]:
    """Take the first `count` chunks out of a shard.

    Raises
    ------
    ValueError
        If the shard is damaged or holds fewer.
    """
    size = shard_size * _ENTRY
    body = len(shard) - size - _CHECKSUM
    index = np.frombuffer(shard[max(body, 0) :][:size], "<u8")
    if body < 0 or _checksum(index) != shard[-_CHECKSUM:]:
        raise ValueError("the shard is damaged: its index does not match its checksum")
    places = index.reshape(-1, 2)[:count]
    if (places == _MISSING).any():
        raise ValueError(f"the shard lacks some of its first {count} patches")
    return [shard[start : start + length] for start, length in places.tolist()]


def _checksum(index: NDArray[np.uint64]) -> bytes:
    return int(google_crc32c.value(index.tobytes())).to_bytes(_CHECKSUM, "little")
