"""The cases of the comparison of evaluations; run as a script, it measures one of them.

The limit is reading: every chunk of both maps decoded once by the same readers and the same
threads, and nothing done with it. Importing is not timed.
"""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness import answer, seconds_of

if TYPE_CHECKING:
    from collections.abc import Callable

    import numpy as np
    import xarray as xr

MAPS = ("map", "reference")
SUFFIXES = {"cog": ".tif", "zarr": ".zarr"}
_CHUNK = 2048
_CLASSES = 8
# Pixels of a class hang together over about so many, as fields and woods do at 10 m.
_PATCH = 24
_STEP = 4
_RAGGED = 0.03
_SALT = 0.02


@dataclass(frozen=True)
class Setup:
    """Two maps in two formats."""

    folder: str
    size: int

    def path(self, name: str, form: str) -> Path:
        """Where a map lies."""
        return Path(self.folder) / f"{name}{SUFFIXES[form]}"


def prepare(setup: Setup) -> dict[str, float]:
    """Write both maps in both formats."""
    from seg4eo_xr.maps.cog import write_cog
    from seg4eo_xr.maps.store import open_map, write_zarr

    for seed, name in enumerate(MAPS):
        path = write_zarr(_made(setup.size, seed), setup.path(name, "zarr"))
        write_cog(open_map(path), setup.path(name, "cog"))
    return {}


def _made(size: int, seed: int) -> xr.Dataset:
    """Map of classes in blobs with ragged edges, and single pixels of others, lazily."""
    import dask.array as da
    import numpy as np
    from affine import Affine

    from seg4eo_xr.scenes.classes import ClassTable
    from seg4eo_xr.scenes.grid import place

    sides = da.core.normalize_chunks((_CHUNK, _CHUNK), (size, size))
    codes = da.map_blocks(
        _made_block, seed=seed, chunks=sides, dtype=np.uint8, meta=np.empty((0, 0), np.uint8)
    )
    placed = place(codes, "EPSG:32633", Affine(10, 0, 4e5, 0, -10, 5.3e6))
    table = ClassTable.from_codes(range(1, _CLASSES + 1))
    layer = placed.assign_attrs(table.to_attrs() | {"_FillValue": 255})
    return layer.to_dataset(name="classes")


def _made_block(seed: int, block_info: Any = None) -> np.ndarray:
    import numpy as np
    from scipy.ndimage import gaussian_filter

    (top, bottom), (left, right) = block_info[None]["array-location"]
    shape = bottom - top, right - left
    # Both maps share a landscape, and differ in its details.
    coarse = np.random.default_rng([top, left]).standard_normal(
        [-(-side // _STEP) for side in shape], np.float32
    )
    details = np.random.default_rng([top, left, seed + 1])
    smooth = gaussian_filter(coarse, _PATCH / _STEP / 3, mode="wrap")
    smooth = (smooth / smooth.std()).repeat(_STEP, 0).repeat(_STEP, 1)[: shape[0], : shape[1]]
    smooth += _RAGGED * details.standard_normal(shape, np.float32)
    edges = np.array([-1.15, -0.67, -0.32, 0, 0.32, 0.67, 1.15], np.float32)
    codes = (np.searchsorted(edges, smooth) + 1).astype(np.uint8)
    salt = details.random(shape, np.float32) < _SALT
    codes[salt] = details.integers(1, _CLASSES + 1, int(salt.sum()), np.uint8)
    return codes


def read(setup: Setup, form: str) -> dict[str, float]:
    """Decode every chunk of both maps once."""
    import dask.array as da
    import numpy as np

    from seg4eo_xr.maps.store import class_layer

    def work() -> None:
        layers = [class_layer(setup.path(name, form)).data for name in MAPS]
        da.map_blocks(
            _corner,
            *layers,
            chunks=tuple((1,) * count for count in layers[0].numblocks),
            dtype=np.uint8,
            meta=np.empty((0, 0), np.uint8),
        ).compute()

    return {form: seconds_of(work)}


def _corner(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    return one[:1, :1] + other[:1, :1]


def ours(setup: Setup, form: str) -> dict[str, float]:
    """Evaluate one map against the other."""
    from seg4eo_xr.evaluation.confusion import evaluate

    def work() -> None:
        evaluation = evaluate(*(setup.path(name, form) for name in MAPS))
        if evaluation.pixels != setup.size**2:
            raise RuntimeError(f"{evaluation.pixels} of {setup.size**2} pixels were counted")

    return {form: seconds_of(work)}


def rounds_of(setup: Setup) -> dict[str, float]:
    """Read and evaluate once untimed parts are warm: both in one process, one after the other."""
    seconds = {}
    for form in SUFFIXES:
        # a first look loads modules and fills the page cache
        ours(setup, form)
        seconds[f"read, {form}"] = read(setup, form)[form]
        seconds[f"ours, {form}"] = ours(setup, form)[form]
    return seconds


# Each returns the seconds of every way in which it was tried.
CASES: dict[str, Callable[[Setup], dict[str, float]]] = {
    "prepare": prepare,
    "compare": rounds_of,
}


if __name__ == "__main__":
    answer({"seconds": CASES[sys.argv[1]](Setup(**json.loads(sys.argv[2])))})
