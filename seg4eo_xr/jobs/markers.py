"""Markers: small files that say which tiles of a job are finished, and what they hold.

A marker is written after the tile's last chunk, at once or not at all. It holds a digest of the
tile's numbers, so that a chunk that was lost or changed since is found.
"""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import xxhash

from seg4eo_xr.patches.writing import is_local

if TYPE_CHECKING:
    from collections.abc import Mapping

    from upath import UPath

    from seg4eo_xr.geometry.tiles import Tile
    from seg4eo_xr.notices import Seg4EOWarning


@dataclass(frozen=True)
class TileRecord:
    """What is known of a finished tile.

    Parameters
    ----------
    digest
        Of the numbers of all its chunks; see `join_digests`.
    valid
        Pixels that hold data.
    statistics
        Figures of the tile, as `MapStatistics.to_dict` gives them.
    kept
        Whether it was found finished, and not computed.
    warned
        What its worker has warned of so far, and the categories.
    """

    digest: str
    valid: int
    statistics: dict[str, Any]
    kept: bool = False
    warned: tuple[tuple[str, type[Seg4EOWarning]], ...] = ()


def write_marker(folder: UPath, tile: Tile, record: TileRecord) -> None:
    """Mark a tile as finished.

    Parameters
    ----------
    folder
        Folder of the markers.
    tile, record
        The tile and what is known of it.

    Raises
    ------
    OSError
        If it cannot be written.
    """
    fields = asdict(record)
    # Not of the tile, but of this very run.
    del fields["kept"], fields["warned"]
    write_at_once(folder / _name(tile), json.dumps(fields).encode())


def read_marker(folder: UPath, tile: Tile) -> TileRecord | None:
    """Read the marker of a tile; None where there is none, or no whole one."""
    try:
        return TileRecord(**json.loads((folder / _name(tile)).read_bytes()), kept=True)
    except FileNotFoundError:
        return None
    except (ValueError, TypeError):
        return None  # a damaged marker marks nothing: the tile is made again


def count_markers(folder: UPath) -> int:
    """Number of tiles that are marked as finished."""
    if not folder.exists():
        return 0
    return sum(1 for file in folder.iterdir() if not file.name.endswith(_UNFINISHED))


def _name(tile: Tile) -> str:
    return f"{tile.row}.{tile.column}"


_UNFINISHED = ".part"


def write_at_once(path: UPath, content: bytes) -> None:
    """Write a small file so that it is there whole or not at all, and outlives a power cut."""
    if not is_local(path):
        path.write_bytes(content)  # one PUT
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    # Two workers may write one tile, where a scheduler has given up one of them too early.
    unfinished = path.with_name(f"{path.name}.{os.urandom(4).hex()}{_UNFINISHED}")
    try:
        with unfinished.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        unfinished.replace(path)
    finally:
        unfinished.unlink(missing_ok=True)


def digest_chunks(values: np.ndarray, origin: tuple[int, int], chunk: tuple[int, int]) -> list[str]:
    """Digest a block of a layer by the chunks that it is stored in.

    Parameters
    ----------
    values
        Numbers, ``(..., y, x)``; whole chunks.
    origin
        Row and column of the block in the map.
    chunk
        Height and width of a chunk.

    Returns
    -------
    list of str
        Place and digest of each chunk; equal for equal numbers, NaN included.
    """
    digests = []
    for top in range(0, values.shape[-2], chunk[0]):
        for left in range(0, values.shape[-1], chunk[1]):
            part = np.ascontiguousarray(values[..., top : top + chunk[0], left : left + chunk[1]])
            digest = xxhash.xxh3_128_hexdigest(part.view(np.uint8).data)
            digests.append(f"{origin[0] + top}.{origin[1] + left}.{digest}")
    return digests


def join_digests(digests: Mapping[str, list[str]]) -> str:
    """Join the digests of all chunks of a tile, by layer, into one; their order does not matter."""
    text = json.dumps({layer: sorted(digests[layer]) for layer in sorted(digests)})
    return xxhash.xxh3_128_hexdigest(text.encode())
