"""Laws of `seg4eo_xr.plotting.reading`: a picture of a scene of any size reads few pixels."""

from __future__ import annotations

import dask.array as da
import numpy as np
import pytest
import rasterio
from affine import Affine
from hypothesis import given
from hypothesis import strategies as st

import seg4eo_xr as seg
from seg4eo_xr.plotting import plot_map, plot_overlay, plot_scene
from seg4eo_xr.plotting.reading import LARGEST_SIDE, read_thinned, thinned
from seg4eo_xr.scenes import rasters
from seg4eo_xr.scenes.grid import place

GRID = Affine(10, 0, 4e5, 0, -10, 5e6)


@given(st.integers(1, 5000), st.integers(1, 5000))
def test_a_picture_fits_and_holds_the_middles_of_equal_steps(height, width):
    array = place(da.zeros((height, width), chunks=2500), 32633, GRID)
    small = thinned(array)
    step = -(-max(height, width) // LARGEST_SIDE)
    assert max(small.sizes.values()) <= LARGEST_SIDE
    assert small.sizes["x"] == len(range(min(step, width) // 2, width, step))


@pytest.fixture(scope="module")
def large(tmp_path_factory):
    """A scene and a map of 2048² pixels as files, the map with overviews."""
    folder = tmp_path_factory.mktemp("large")
    rows, cols = np.indices((2048, 2048)) // 256
    codes = (rows + cols) % 3 + 1
    labels = place(codes.astype(np.uint8), 32633, GRID).rio.write_nodata(255)
    table = seg.ClassTable.from_codes([1, 2, 3], ["water", "forest", "town"])
    labels.attrs.update(table.to_attrs())
    labels.to_dataset(name="classes").seg4eo.to_cog(folder / "map.tif")
    scene = place(np.stack([codes * 100, codes * 50]).astype(np.uint16), 32633, GRID)
    scene.rio.to_raster(folder / "scene.tif", tiled=True, compress="deflate")
    return folder


class Counter:
    """Counts the chunks that are read, and the files that are opened for a picture."""

    def __init__(self, monkeypatch):
        self.chunks = self.pictures = 0
        of_chunk, opened = rasters._Reader.__getitem__, rasterio.open

        def read_chunk(reader, key):
            self.chunks += 1
            return of_chunk(reader, key)

        def open_file(*arguments, **options):
            self.pictures += 1
            return opened(*arguments, **options)

        monkeypatch.setattr(rasters._Reader, "__getitem__", read_chunk)
        monkeypatch.setattr("seg4eo_xr.plotting.reading.rasterio.open", open_file)


def test_a_picture_of_a_file_reads_no_chunk(large, monkeypatch):
    scene = seg.open_scene(large / "scene.tif", chunks=512)
    prediction = seg.open_map(large / "map.tif")
    count = Counter(monkeypatch)
    for ax in (
        plot_scene(scene, bands=["band_1"]),
        plot_map(prediction["classes"]),
        plot_overlay(scene, prediction, bands=["band_2"]),
    ):
        for image in ax.images:
            assert max(image.get_array().shape) <= LARGEST_SIDE
    assert count.chunks == 0
    assert count.pictures == 4


def test_a_file_is_drawn_as_its_pixels_are(large):
    prediction = seg.open_map(large / "map.tif")["classes"]
    read, computed = read_thinned(prediction), thinned(prediction).values
    assert read.shape == computed.shape
    assert (read == computed).mean() > 0.99
    scene = seg.open_scene(large / "scene.tif")
    np.testing.assert_array_equal(read_thinned(scene, [1, 0])[0] * 2, read_thinned(scene, [0])[0])


def test_what_was_changed_is_computed_and_not_read_from_its_file(large):
    prediction = seg.open_map(large / "map.tif")["classes"]
    scene = seg.open_scene(large / "scene.tif")
    half = prediction.where(prediction != 1, 2).assign_attrs(prediction.attrs)
    half.encoding = dict(prediction.encoding)
    assert set(np.unique(read_thinned(half))) == {2, 3}
    flipped, part = prediction[::-1], prediction[:, 512:]
    for changed in (flipped, part, part[::-1]):
        np.testing.assert_array_equal(read_thinned(changed), thinned(changed).values)
    swapped = scene.isel(band=[1, 0])
    np.testing.assert_array_equal(read_thinned(swapped, [0]), read_thinned(scene, [1]))
    dimmed = scene // 2
    dimmed.encoding = dict(scene.encoding)
    np.testing.assert_array_equal(read_thinned(dimmed, [0]), thinned(scene)[:1].values // 2)


def test_a_lazy_array_is_never_held_whole():
    held = 0

    def block(block_info=None):
        nonlocal held
        shape = block_info[None]["chunk-shape"]
        held = max(held, int(np.prod(shape)))
        return np.ones(shape, np.uint8)

    codes = da.map_blocks(block, chunks=((1000,) * 6,) * 2, dtype=np.uint8)
    ax = plot_map(place(codes, 32633, GRID))
    assert held == 1_000_000
    assert max(ax.images[0].get_array().shape) <= LARGEST_SIDE
