"""Single patches out of Zarr's shards, decoded straight into the caller's memory.

A chunk of a shard takes one read and one decode here, once the shard's index is known; zarr-python
reads the index each time. It stays the oracle, and it reads what was not encoded by this package.
"""

from __future__ import annotations

import os
import struct
import sys
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Protocol

import google_crc32c
import numpy as np
from numcodecs import Blosc  # type: ignore[import-untyped]
from zarr.codecs import BloscCodec, BytesCodec, Crc32cCodec, ShardingCodec

from seg4eo_xr.patches.order import WINDOW
from seg4eo_xr.patches.writing import is_local

if TYPE_CHECKING:
    from collections.abc import Sequence

    import zarr
    from numpy.typing import NDArray
    from upath import UPath
    from zarr.abc.codec import Codec

_ENTRY = 16  # bytes of a chunk's offset and length in a shard's index
_CHECKSUM = 4  # bytes
_MISSING = np.iinfo(np.uint64).max
_BLOSC_SIZES = struct.Struct("<4xIII")  # decoded bytes, bytes of a block, encoded bytes
_KEPT_PATCHES = 2 * WINDOW  # one window is read ahead while the other is in use
_OPEN_FILES = 64  # an array; a process may often have no more than 1024


class ChunkReader(Protocol):
    """Reads single patches of one array; threads may share it."""

    def read_into(self, position: int, out: NDArray[Any]) -> None:
        """Put the patch at `position` into `out`, contiguous and of the array's dtype."""


def chunk_reader(array: zarr.Array[Any], folder: UPath, *, run_length: int = 1) -> ChunkReader:
    """Choose the fastest reader that knows how an array is encoded.

    Parameters
    ----------
    array
        One patch a chunk along the first axis.
    folder
        Where the array lies.
    run_length
        Neighbours that are read at about the same time, as `sampling_order` has them.

    Returns
    -------
    ChunkReader
        A `ShardReader` for shards as this package writes them, else a `ZarrReader`.
    """
    if ShardReader.knows(array):
        return ShardReader(array, folder, run_length=run_length)
    return ZarrReader(array)


class ZarrReader:
    """Reads patches through zarr-python, whatever their codecs.

    Parameters
    ----------
    array
        ``(patch, ...)``.
    """

    def __init__(self, array: zarr.Array[Any]) -> None:
        self._array = array

    def read_into(self, position: int, out: NDArray[Any]) -> None:
        """Put the patch at `position` into `out`."""
        out[...] = self._array[position]


class ShardReader:
    """Reads patches with one read and one decode each; the indices of the shards are kept.

    Parameters
    ----------
    array
        An array that `knows` accepts.
    folder
        Where it lies, on a file system of this machine or one of fsspec's.
    run_length
        Neighbours that one request fetches from another machine, and that are kept in their
        encoded form for a while.
    """

    def __init__(self, array: zarr.Array[Any], folder: UPath, *, run_length: int = 1) -> None:
        assert array.shards is not None  # `knows` asks for it
        self._folder = folder
        self._shard_size = array.shards[0]
        self._chunk_key = array.metadata.encode_chunk_key
        self._inner = (0,) * (array.ndim - 1)
        self._indices: dict[int, NDArray[np.uint64]] = {}
        # A method's own cache would keep all readers alive.
        self._file = lru_cache(maxsize=_OPEN_FILES)(self._open)
        # A disk's reads are cheap, and the system keeps what was read.
        self._run_length = 1 if is_local(folder) else run_length
        self._run = lru_cache(maxsize=max(1, _KEPT_PATCHES // self._run_length))(self._fetch)
        self._codec = Blosc()  # decoding goes by the header of the bytes

    @staticmethod
    def knows(array: zarr.Array[Any]) -> bool:
        """Whether an array's shards hold a patch a chunk, encoded as `encoding` does."""
        codecs = array.metadata.codecs if array.metadata.zarr_format == 3 else ()
        if len(codecs) != 1 or not isinstance(codecs[0], ShardingCodec):
            return False
        sharding = codecs[0]
        return (
            array.shards is not None
            and array.chunks == (1, *array.shape[1:])
            and array.shards[1:] == array.shape[1:]
            and _setting(sharding, "index_location") == "end"
            and _are_little_endian(sharding.codecs, BloscCodec)
            and _are_little_endian(sharding.index_codecs, Crc32cCodec)
        )

    def read_into(self, position: int, out: NDArray[Any]) -> None:
        """Put the patch at `position` into `out`.

        Raises
        ------
        OSError
            If the shard cannot be read.
        ValueError
            If the shard lacks the patch, or its index or the patch is damaged.
        """
        shard, slot = divmod(position, self._shard_size)
        start, length = self._index(shard)[slot].tolist()
        if start == length == _MISSING:
            raise ValueError(f"{self._path(shard)} does not hold it")
        if self._run_length == 1:
            chunk = self._file(shard).read(start, length)
        else:
            first, run = self._run(shard, slot // self._run_length)
            chunk = run[start - first : start - first + length]
        if len(chunk) != length or length < _BLOSC_SIZES.size:
            raise ValueError(f"{self._path(shard)} is damaged: it ends within the patch")
        decoded, _, encoded = _BLOSC_SIZES.unpack_from(chunk)
        if decoded != out.nbytes or encoded != length:
            raise ValueError(f"{self._path(shard)} is damaged: the patch has another size")
        self._codec.decode(chunk, out=out)

    def _index(self, shard: int) -> NDArray[np.uint64]:
        index = self._indices.get(shard)
        if index is None:
            tail = self._file(shard).tail(self._shard_size * _ENTRY + _CHECKSUM)
            index = self._indices[shard] = shard_index(tail, self._shard_size)
        return index

    def _fetch(self, shard: int, run: int) -> tuple[int, bytes]:
        """Read the chunks of a run; return where they begin in the shard, and their bytes."""
        places = self._index(shard)[run * self._run_length :][: self._run_length]
        held = places[places[:, 0] != _MISSING]
        start, stop = int(held[:, 0].min()), int(held.sum(axis=1).max())
        return start, self._file(shard).read(start, stop - start)

    def _open(self, shard: int) -> _File:
        path = self._path(shard)
        return _LocalFile(str(path)) if is_local(path) else _RemoteFile(path)

    def _path(self, shard: int) -> UPath:
        return self._folder / self._chunk_key((shard, *self._inner))


def shard_index(tail: bytes, shard_size: int) -> NDArray[np.uint64]:
    """Read the index at the end of a shard.

    Parameters
    ----------
    tail
        The last bytes of the shard: 16 a patch, and 4 of checksum.
    shard_size
        Patches a shard.

    Returns
    -------
    ndarray of uint64, ``(patch, 2)``
        Offset and length of each patch's chunk in bytes; all bits set where there is none.

    Raises
    ------
    ValueError
        If the index is cut off or does not match its checksum.
    """
    index, checksum = tail[:-_CHECKSUM], tail[-_CHECKSUM:]
    if (
        len(index) != shard_size * _ENTRY
        or int(google_crc32c.value(index)).to_bytes(_CHECKSUM, "little") != checksum
    ):
        raise ValueError("the shard is damaged: its index does not match its checksum")
    return np.frombuffer(index, "<u8").reshape(shard_size, 2)


def _are_little_endian(codecs: Sequence[Codec], second: type[Codec]) -> bool:
    """Whether bytes are as this machine holds them, and go through the second codec alone."""
    if [type(codec) for codec in codecs] != [BytesCodec, second]:
        return False
    endian = _setting(codecs[0], "endian")
    return endian is None or endian == "little" == sys.byteorder


def _setting(codec: Codec, name: str) -> Any:
    """Setting of a codec as metadata state it: the type of its attributes depends on zarr's age."""
    stated: Any = codec.to_dict().get("configuration", {})
    return stated.get(name)


class _File(Protocol):
    def read(self, start: int, length: int) -> bytes: ...

    def tail(self, length: int) -> bytes: ...


class _LocalFile:
    """A file that stays open as long as somebody reads from it."""

    def __init__(self, path: str) -> None:
        self._handle = -1
        self._handle = os.open(path, os.O_RDONLY | getattr(os, "O_CLOEXEC", 0))

    def __del__(self) -> None:
        if self._handle >= 0:
            os.close(self._handle)

    def read(self, start: int, length: int) -> bytes:
        return os.pread(self._handle, length, start)

    def tail(self, length: int) -> bytes:
        size = os.fstat(self._handle).st_size
        return self.read(max(0, size - length), length)


class _RemoteFile:
    """An object of an object store; each read is one request."""

    def __init__(self, path: UPath) -> None:
        self._path = path.path
        self._files = path.fs

    def read(self, start: int, length: int) -> bytes:
        return bytes(self._files.cat_file(self._path, start=start, end=start + length))

    def tail(self, length: int) -> bytes:
        return bytes(self._files.cat_file(self._path, start=-length))
