"""Builders for tests, the demo and benchmarks: synthetic scenes, dask schedulers, strategies.

A synthetic scene is a pure function of seed and pixel position: every random number is a hash of
the integer coordinates it belongs to. A scene made lazily, chunk by chunk, therefore equals the one
made at once, bit for bit, and may be larger than memory.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NoReturn

import numpy as np
from affine import Affine

from seg4eo_xr.scenes.contract import Contract, Normalization
from seg4eo_xr.scenes.grid import place
from seg4eo_xr.testing.landscape import IGNORE, SENTINEL2_BANDS, World, label_block, scene_block

if TYPE_CHECKING:
    from collections.abc import Sequence

    import xarray as xr
    from hypothesis import strategies as st

    from seg4eo_xr.models.checkpoint import Checkpoint
    from seg4eo_xr.scenes.classes import ClassTable

__all__ = [
    "SENTINEL2_BANDS",
    "chunkings",
    "plain_contract",
    "raising_scheduler",
    "stored_blocks",
    "synthetic_sentinel2",
    "untrained_checkpoint",
]


def synthetic_sentinel2(
    shape: tuple[int, int],
    *,
    seed: int = 0,
    classes: int = 6,
    nodata_wedge: bool = True,
    clouds: bool = False,
    noise: float = 0.004,
    chunks: int | None = None,
) -> tuple[xr.DataArray, xr.DataArray]:
    """Make a Sentinel-2-like scene and its land cover.

    Fields are parcels of one crop; woods, towns, lakes and rivers lie among them. Borders hold
    mixed pixels, the six 20 m bands are repeated to 10 m, relief and a slow gradient change the
    illumination.

    Parameters
    ----------
    shape
        Height and width in pixels of 10 m.
    seed
        The same seed gives the same scene.
    classes
        6 (water, forest, grassland, cropland, bare soil, built-up; codes 1..6) or 2 (other, forest;
        codes 0 and 1).
    nodata_wedge
        Whether the swath's slanted edge cuts off a corner: stored number 0, label 255.
    clouds
        Whether clouds and their shadows cover part of the scene; labels are 255 there.
    noise
        Standard deviation of the sensor's noise, in reflectance.
    chunks
        Side of a dask chunk in pixels; None makes NumPy arrays.

    Returns
    -------
    scene : DataArray (band, y, x), uint16
        Reflectance × 10000 of ten named bands in EPSG:32633, nodata 0, ``scales`` 0.0001.
    labels : DataArray (y, x), uint8
        Class codes, 255 where unknown.

    Examples
    --------
    >>> scene, labels = synthetic_sentinel2((64, 96), seed=1)
    >>> scene.shape, str(scene.dtype), labels.rio.crs.to_epsg()
    ((10, 64, 96), 'uint16', 32633)
    """
    if classes not in (2, 6):
        raise ValueError(f"classes must be 2 or 6, got {classes}")
    if len(shape) != 2 or min(shape) < 1:
        raise ValueError(f"shape must be (height, width) of at least 1 pixel, got {shape}")
    height, width = (int(side) for side in shape)
    world = World((height, width), int(seed), classes, nodata_wedge, clouds, float(noise))
    if chunks is None:
        window = ((0, height), (0, width))
        bands, codes = scene_block(world, *window), label_block(world, *window)
    else:
        bands, codes = _lazy_blocks(world, chunks)
    return _as_data_arrays(world, bands, codes)


def plain_contract(
    bands: Sequence[str], classes: ClassTable, *, bright: float = 1.0, **changes: Any
) -> Contract:
    """Make a contract without any training: every band runs from 0 to `bright`.

    Parameters
    ----------
    bands
        Names of the bands.
    classes
        The classes.
    bright
        Physical value that becomes the network's 1.
    **changes
        Other fields of `Contract`; by default uint16 without scaling, 0 as nodata and 10 m pixels.

    Examples
    --------
    >>> from seg4eo_xr.scenes.classes import ClassTable
    >>> plain_contract(["red"], ClassTable.from_codes([0, 1]), bright=3000.0).maximum
    (3000.0,)
    """

    def each(number: float) -> tuple[float, ...]:
        return (number,) * len(bands)

    fields: dict[str, Any] = {
        "dtype": "uint16",
        "scale": each(1.0),
        "offset": each(0.0),
        "nodata": 0.0,
        "nodata_rule": "any",
        "ground_sample_distance": (10.0, 10.0),
        "minimum": each(0.0),
        "maximum": each(bright),
        "normalization": Normalization("percentile", each(0.0), each(bright)),
    }
    return Contract(bands=tuple(bands), classes=classes, **fields | changes)


def untrained_checkpoint(
    scene: xr.DataArray, labels: xr.DataArray, *, patch_size: int = 64, seed: int = 0
) -> Checkpoint:
    """Make a checkpoint of a small network that was never trained, for a scene and its labels.

    Parameters
    ----------
    scene, labels
        What the contract is taken from.
    patch_size
        Side of the windows in pixels.
    seed
        Of the network's weights.

    Examples
    --------
    >>> scene, labels = synthetic_sentinel2((64, 64))
    >>> untrained_checkpoint(scene, labels).spec.encoder_name
    'resnet18'
    """
    import torch

    from seg4eo_xr.models.checkpoint import Checkpoint
    from seg4eo_xr.models.zoo import ModelSpec, build_model
    from seg4eo_xr.scenes.classes import ClassTable
    from seg4eo_xr.scenes.statistics import make_contract, scene_histogram

    classes = ClassTable.from_attrs(labels.attrs)
    if classes is None:
        raise ValueError("labels have no class table; set one with attrs.update(table.to_attrs())")
    contract = make_contract(scene_histogram(scene), scene, classes)
    spec = ModelSpec("unet", "resnet18", len(contract.bands), len(classes))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = build_model(spec)
    return Checkpoint(network.state_dict(), spec, contract, patch_size, "multiclass")


def raising_scheduler(graph: object, keys: object, **options: object) -> NoReturn:
    """Refuse to compute: a dask scheduler that proves that a graph is only built.

    Examples
    --------
    >>> import dask, dask.array
    >>> with dask.config.set(scheduler=raising_scheduler):
    ...     doubled = dask.array.ones((4, 4)) * 2
    """
    raise AssertionError("a graph was computed where it should only have been built")


def chunkings(size: int, *, most: int = 5) -> st.SearchStrategy[tuple[int, ...]]:
    """Draw ways of cutting an axis of `size` pixels into at most `most` chunks (hypothesis)."""
    from hypothesis import strategies as st

    cuts = st.sets(st.integers(1, size - 1), max_size=most - 1) if size > 1 else st.just(set())
    return cuts.map(lambda inner: tuple(np.diff([0, *sorted(inner), size]).tolist()))


def stored_blocks(
    dtype: str, *, most_bands: int = 3, most_pixels: int = 6
) -> st.SearchStrategy[np.ndarray]:
    """Draw arrays ``(band, y, x)`` of any number that `dtype` can store (hypothesis)."""
    from hypothesis import strategies as st
    from hypothesis.extra import numpy as hnp

    sides = st.tuples(
        st.integers(1, most_bands), st.integers(1, most_pixels), st.integers(1, most_pixels)
    )
    return hnp.arrays(np.dtype(dtype), sides)


def _as_data_arrays(world: World, bands: Any, codes: Any) -> tuple[xr.DataArray, xr.DataArray]:
    transform = Affine(10.0, 0.0, 399960.0, 0.0, -10.0, 5300040.0)
    scene = place(bands, "EPSG:32633", transform).assign_coords(band=list(SENTINEL2_BANDS))
    scene = scene.rename("scene").assign_attrs(
        long_name=SENTINEL2_BANDS,
        scales=(0.0001,) * len(SENTINEL2_BANDS),
        offsets=(0.0,) * len(SENTINEL2_BANDS),
    )
    labels = place(codes, "EPSG:32633", transform).rename("labels")
    labels = labels.assign_attrs(world.table.to_attrs())
    return scene.rio.write_nodata(0), labels.rio.write_nodata(IGNORE)


def _lazy_blocks(world: World, chunks: int) -> tuple[Any, Any]:
    import dask.array as da
    from dask.base import tokenize

    sides = da.core.normalize_chunks((chunks, chunks), world.shape)
    token = tokenize(world, chunks)

    def bands(block_info: Any = None) -> np.ndarray:
        _, rows, cols = block_info[None]["array-location"]
        return scene_block(world, rows, cols)

    def codes(block_info: Any = None) -> np.ndarray:
        return label_block(world, *block_info[None]["array-location"])

    count = len(SENTINEL2_BANDS)
    scene = da.map_blocks(
        bands,
        chunks=((count,), *sides),
        dtype=np.uint16,
        meta=np.empty((0, 0, 0), np.uint16),
        name=f"synthetic-scene-{token}",
    )
    labels = da.map_blocks(
        codes,
        chunks=sides,
        dtype=np.uint8,
        meta=np.empty((0, 0), np.uint8),
        name=f"synthetic-labels-{token}",
    )
    return scene, labels
