"""Local files whose time has changed and whose content has not.

Chunks are named after the size and time of their file. A job that goes on knows a digest of its
files as well, so that a file that was only touched keeps its name.
"""

from __future__ import annotations

from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path
from typing import TYPE_CHECKING

import rasterio
import xxhash

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

# Sizes, times and digests, by the digest of the file's name.
Sources = dict[str, tuple[int, int, str]]

# Formats that keep all pixels in the file itself; the file of a VRT says nothing about them.
_WHOLE = ("GTiff", "JP2OpenJPEG")
_PART = 1 << 24  # bytes
_KNOWN: ContextVar[Mapping[str, tuple[int, int, str]] | None] = ContextVar("known", default=None)


@contextmanager
def known(sources: Mapping[str, tuple[int, int, str]]) -> Iterator[None]:
    """Let files that are opened in the block keep the time they are known by, if only touched."""
    token = _KNOWN.set({**(_KNOWN.get() or {}), **sources})
    try:
        yield
    finally:
        _KNOWN.reset(token)


def known_version(file: Path, version: tuple[int, int]) -> tuple[int, int]:
    """Size and time by which a file is known that has the same content, else those it has now."""
    size, time, digest = (_KNOWN.get() or {}).get(key_of(file), (*version, ""))
    if size != version[0] or time == version[1] or content_of(file) != digest:
        return version
    return size, time


def key_of(file: Path) -> str:
    """Digest of a file's name: maps are handed on and should not show the paths of a machine."""
    return xxhash.xxh3_64_hexdigest(str(file.absolute()).encode())


def content_of(file: Path) -> str | None:
    """Digest of a raster file; None where other files may hold a part of the raster."""
    with rasterio.open(file) as raster:
        if raster.driver not in _WHOLE or [Path(name) for name in raster.files] != [file]:
            return None
    digest = xxhash.xxh3_128()
    with file.open("rb") as stream:
        while part := stream.read(_PART):
            digest.update(part)
    return digest.hexdigest()
