"""The cases of the comparison of extractions; run as a script, it measures one of them.

The floor is what nobody can leave out: reading scene and labels once, and writing the bytes of the
store once. Importing is not timed.
"""

from __future__ import annotations

import json
import os
import sys
import warnings
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from itertools import product
from pathlib import Path
from shutil import rmtree
from typing import TYPE_CHECKING, Any

from harness import answer, seconds_of

if TYPE_CHECKING:
    from collections.abc import Callable

BLOCK = 512  # pixels; side of the files' tiles
READ_SIDE = 1024
# Cloud-optimised GeoTIFFs of Sentinel-2 are tiled, deflated and differenced (predictor 2).
COMPRESSIONS: dict[str, dict[str, Any]] = {
    "deflate": {"compress": "deflate", "predictor": 2, "zlevel": 1},
    "uncompressed": {},
}


@dataclass(frozen=True)
class Setup:
    """One scene with labels, cut into one grid of patches.

    Parameters
    ----------
    folder
        Of all files of this run.
    size
        Side of the scene in pixels.
    patch_size
        Side of a patch in pixels.
    compression
        Of the files, one of `COMPRESSIONS`.
    seed_size
        Side of the synthetic scene that is repeated to fill the files, at most.
    """

    folder: str
    size: int
    patch_size: int
    compression: str
    seed_size: int = 4096

    @property
    def corners(self) -> list[tuple[int, int]]:
        """Row and column of each patch; the size is a multiple of the patch size."""
        return list(product(range(0, self.size, self.patch_size), repeat=2))

    @property
    def store(self) -> Path:
        """The patch store that `ours` writes."""
        return self.path("patches.zarr")

    def path(self, name: str) -> Path:
        """A file of this size and compression."""
        return Path(self.folder, f"{self.compression}_{self.size}_{name}")


def prepare(setup: Setup) -> dict[str, float]:
    """Write scene and labels: a synthetic scene, repeated where it is too small."""
    from seg4eo_xr.testing import synthetic_sentinel2

    side = min(setup.size, setup.seed_size)
    # Without missing data all patches are of use in every way of extracting.
    scene, labels = synthetic_sentinel2((side, side), nodata_wedge=False, chunks=BLOCK)
    for name, array in (("scene", scene), ("labels", labels)):
        _write_repeated(setup, name, array.load())
    return {}


def _write_repeated(setup: Setup, name: str, array: Any) -> None:
    import rasterio
    from rasterio.windows import Window

    numbers = array.to_numpy().reshape(-1, *array.shape[-2:])
    side = numbers.shape[-1]
    starts = range(0, setup.size, BLOCK)
    with rasterio.open(
        setup.path(f"{name}.tif"),
        "w",
        driver="GTiff",
        width=setup.size,
        height=setup.size,
        count=len(numbers),
        dtype=array.dtype,
        crs=array.rio.crs,
        transform=array.rio.transform(),
        nodata=array.rio.nodata,
        tiled=True,
        blockxsize=BLOCK,
        blockysize=BLOCK,
        bigtiff="if_safer",
        num_threads="all_cpus",
        **_creation_options(setup, name),
    ) as file:
        if name == "scene":
            file.descriptions = tuple(map(str, array["band"].to_numpy()))
        for y, x in product(starts, starts):
            block = numbers[:, y % side : y % side + BLOCK, x % side : x % side + BLOCK]
            file.write(block, window=Window(x, y, BLOCK, BLOCK))


def _creation_options(setup: Setup, name: str) -> dict[str, Any]:
    options = dict(COMPRESSIONS[setup.compression])
    if name == "labels":
        options.pop("predictor", None)  # differences of codes mean nothing
    return options


def baseline(_: Setup) -> dict[str, float]:
    """Import what `ours` imports and do nothing: the memory that it starts from."""
    from seg4eo_xr import extract_patches  # noqa: F401

    return {}


def read(setup: Setup) -> dict[str, float]:
    """Read scene and labels once, in whole tiles of the files."""
    import rasterio
    from rasterio.windows import Window

    starts = range(0, setup.size, READ_SIDE)
    blocks = [Window(x, y, READ_SIDE, READ_SIDE) for y, x in product(starts, starts)]

    def read_share(share: list[Window]) -> None:
        scene, labels = (setup.path(f"{name}.tif") for name in ("scene", "labels"))
        with rasterio.open(scene) as images, rasterio.open(labels) as codes:
            for block in share:
                images.read(window=block)
                codes.read(window=block)

    def work(threads: int) -> None:
        with ThreadPoolExecutor(threads) as pool:
            list(pool.map(read_share, [blocks[first::threads] for first in range(threads)]))

    cores = os.cpu_count() or 1
    return {f"{n} threads": seconds_of(partial(work, n)) for n in sorted({1, cores})}


def write(setup: Setup) -> dict[str, float]:
    """Write the bytes of the store that `ours` made once more, from memory."""
    contents = [path.read_bytes() for path in setup.store.rglob("*") if path.is_file()]
    return _write_seconds(setup, "again", contents)


def write_raw(setup: Setup) -> dict[str, float]:
    """Write as many bytes as the patches have unencoded, in as many files."""
    shards = len(list((setup.store / "images" / "c").iterdir()))
    share = setup.size**2 * 21 // shards  # ten bands of two bytes, and a label
    content = b"x" * share
    return _write_seconds(setup, "raw", [content] * shards)


def _write_seconds(setup: Setup, name: str, contents: list[bytes]) -> dict[str, float]:
    folder = setup.path(name)

    def work(threads: int) -> None:
        folder.mkdir(exist_ok=True)
        with ThreadPoolExecutor(threads) as pool:
            list(pool.map(write_file, enumerate(contents)))

    def write_file(numbered: tuple[int, bytes]) -> None:
        (folder / f"{numbered[0]}.bin").write_bytes(numbered[1])

    cores, seconds = os.cpu_count() or 1, {}
    for threads in sorted({1, cores}):
        seconds[f"{threads} threads"] = seconds_of(partial(work, threads))
        rmtree(folder)
    return seconds


def ours(setup: Setup) -> dict[str, float]:
    """Extract with the defaults, which deal the patches to the splits at random."""
    import shapely  # noqa: F401  (importing is not timed)
    import tifffile  # noqa: F401

    from seg4eo_xr import extract_patches
    from seg4eo_xr.patches.extract import LeakageWarning

    # A scene that is repeated has the same patches in several splits.
    warnings.simplefilter("ignore", LeakageWarning)
    rmtree(setup.store, ignore_errors=True)
    scene, labels = (setup.path(f"{name}.tif") for name in ("scene", "labels"))

    def work() -> None:
        extract_patches(scene, labels, setup.store, patch_size=setup.patch_size, progress=False)

    return {"end to end": seconds_of(work)}


def scripts(setup: Setup) -> dict[str, float]:
    """Extract as scripts do: mask image and labels with a polygon, and write a GeoTIFF of each."""
    import rasterio
    import rasterio.mask
    from rasterio.transform import array_bounds
    from rasterio.windows import Window
    from shapely.geometry import box

    side = setup.patch_size
    with rasterio.open(setup.path("scene.tif")) as file:
        frames = [file.window_transform(Window(x, y, side, side)) for y, x in setup.corners]
    polygons = [box(*array_bounds(side, side, frame)) for frame in frames]
    target = setup.path("scripts")

    def work() -> None:
        for kind in ("scene", "labels"):
            (target / kind).mkdir(parents=True)
            with rasterio.open(setup.path(f"{kind}.tif")) as file:
                for number, polygon in enumerate(polygons):
                    patch, transform = rasterio.mask.mask(file, [polygon], crop=True)
                    profile = {**file.profile, "driver": "GTiff", "transform": transform}
                    for option in ("predictor", "blockxsize", "blockysize", "tiled"):
                        profile.pop(option, None)
                    profile |= {"width": side, "height": side, "compress": "lzw"}
                    assert patch.shape[1:] == (side, side)
                    with rasterio.open(target / kind / f"{number}.tif", "w", **profile) as out:
                        out.write(patch)

    seconds = {"end to end": seconds_of(work)}
    rmtree(target)
    return seconds


# Each returns the seconds of every way in which it was tried.
CASES: dict[str, Callable[[Setup], dict[str, float]]] = {
    "prepare": prepare,
    "baseline": baseline,
    "read": read,
    "ours": ours,
    "write": write,
    "write_raw": write_raw,
    "scripts": scripts,
}


if __name__ == "__main__":
    answer({"seconds": CASES[sys.argv[1]](Setup(**json.loads(sys.argv[2])))})
