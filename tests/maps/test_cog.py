from __future__ import annotations

import os
import subprocess
import sys
import textwrap
import time
from xml.etree import ElementTree

import dask
import dask.array as da
import numpy as np
import pytest
import rasterio
import rasterio.shutil
import tifffile
from affine import Affine
from peaks import last_line_of_child

from seg4eo_xr.maps.cog import verify_cog, write_cog
from seg4eo_xr.maps.store import open_map
from seg4eo_xr.scenes.classes import ClassTable
from seg4eo_xr.scenes.grid import place


def pixels(path):
    with rasterio.open(path) as file:
        return file.read(1)


def write_layer_of(path, shape, chunks):
    """Statements that write a map of 0..6 by position, in a process of its own."""
    return textwrap.dedent(f"""
        import warnings
        warnings.simplefilter("ignore")
        import dask.array as da, numpy as np
        from affine import Affine
        from seg4eo_xr.maps import cog
        from seg4eo_xr.scenes.grid import place

        def block(values, block_info=None):
            (top, bottom), (left, right) = block_info[None]["array-location"]
            y, x = np.ogrid[top:bottom, left:right]
            return ((y // 3 + x // 5) % 7).astype(values.dtype)

        def layer(dtype):
            empty = da.zeros({shape}, chunks={chunks}, dtype=dtype)
            values = da.map_blocks(block, empty, dtype=dtype)
            return place(values, 32633, Affine(10, 0, 4e5, 0, -10, 5e6))

        prediction = layer("u1").to_dataset(name="classes").assign(confidence=layer("f4"))
        path = {str(path)!r}
    """)


def expected_codes(shape):
    y, x = np.ogrid[: shape[0], : shape[1]]
    return ((y // 3 + x // 5) % 7).astype(np.uint8)


@pytest.fixture(autouse=True)
def _many_blocks(monkeypatch):
    monkeypatch.setattr("seg4eo_xr.maps.layers.SMALLEST_BLOCK", 1)


def test_it_is_a_cog_with_colours_names_and_overviews(make_map, tmp_path):
    path = write_cog(make_map((1100, 1030), chunks=600), tmp_path / "map.tif")
    with rasterio.open(path) as file:
        assert file.tags(ns="IMAGE_STRUCTURE")["LAYOUT"] == "COG"
        assert file.block_shapes == [(512, 512)]
        assert file.overviews(1) == [2, 4]
        assert file.colormap(1)[1] == (0x00, 0x9E, 0x73, 255)
        assert file.tags(1)["class_names"] == "sea & lake; forêt; built-up"
    assert {entry.name for entry in tmp_path.iterdir()} == {"map.tif", "map.tif.aux.xml"}


def test_codes_of_two_bytes_come_back_with_names_and_colours(make_map, tmp_path):
    prediction = make_map((1100, 1030), chunks=600, codes=(111, 312, 523))
    assert prediction["classes"].dtype == np.uint16
    opened = open_map(write_cog(prediction, tmp_path / "map.tif"))["classes"]
    assert (opened.dtype, opened.rio.nodata) == (np.uint16, 65535)
    np.testing.assert_array_equal(opened, prediction["classes"])
    assert ClassTable.from_attrs(opened.attrs) == ClassTable.from_attrs(prediction["classes"].attrs)
    with rasterio.open(tmp_path / "map.tif") as file:
        assert file.colormap(1)[312] == (0xE6, 0x9F, 0x00, 255)
    with rasterio.open(tmp_path / "map.tif", overview_level=0) as file:
        assert set(np.unique(file.read(1))) <= {111, 312, 523, 65535}


def test_negative_codes_come_back(make_map, tmp_path):
    prediction = make_map(codes=(-5, 0, 300))
    opened = open_map(write_cog(prediction, tmp_path / "map.tif"))["classes"]
    assert (opened.dtype, opened.rio.nodata) == (np.int16, -32768)
    np.testing.assert_array_equal(opened, prediction["classes"])
    assert ClassTable.from_attrs(opened.attrs).codes == (-5, 0, 300)


def test_overviews_hold_no_class_that_the_map_lacks(make_map, tmp_path):
    path = write_cog(make_map((1100, 1030), chunks=600), tmp_path / "map.tif")
    for level in range(2):
        with rasterio.open(path, overview_level=level) as file:
            overview = file.read(1)
        assert set(np.unique(overview)) <= {1, 4, 7, 255}
    # Patches of 8 px: at half size the mode of four equal pixels is the pixel.
    with rasterio.open(path, overview_level=0) as file:
        np.testing.assert_array_equal(file.read(1), pixels(path)[::2, ::2])


def test_each_block_of_both_layers_is_computed_once(make_map, tmp_path, count_blocks):
    prediction, evaluations = count_blocks(make_map())
    write_cog(prediction, tmp_path / "map.tif", confidence=tmp_path / "confidence.tif")
    assert sorted(evaluations) == sorted(np.ndindex(*prediction["classes"].data.numblocks))


def test_only_the_layers_asked_for_are_written(make_map, tmp_path):
    write_cog(make_map(), tmp_path / "map.tif")
    assert {entry.name for entry in tmp_path.iterdir()} == {"map.tif", "map.tif.aux.xml"}


def test_the_only_layer_is_the_map(make_map, tmp_path):
    prediction = make_map()
    write_cog(prediction[["confidence"]], tmp_path / "confidence.tif")
    np.testing.assert_array_equal(pixels(tmp_path / "confidence.tif"), prediction["confidence"])


@pytest.mark.parametrize("scheduler", ["synchronous", "threads", "processes"])
def test_pixels_do_not_depend_on_scheduler_and_chunks(make_map, tmp_path, scheduler):
    chunks = {"synchronous": 150, "threads": 64, "processes": (75, 130)}[scheduler]
    with dask.config.set(scheduler=scheduler, num_workers=2):
        write_cog(make_map(chunks=chunks), tmp_path / "map.tif")
    np.testing.assert_array_equal(pixels(tmp_path / "map.tif"), make_map()["classes"])


def test_a_cluster_of_processes_writes_the_same_files(make_map, tmp_path):
    from distributed import Client, LocalCluster

    prediction = make_map()
    names = ("map.tif", "confidence.tif")
    write_cog(prediction, tmp_path / names[0], confidence=tmp_path / names[1])
    (tmp_path / "cluster").mkdir()
    with (
        LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=":0") as cluster,
        Client(cluster),
    ):
        there = [tmp_path / "cluster" / name for name in names]
        write_cog(prediction, there[0], confidence=there[1])
    for name in names:
        assert (tmp_path / "cluster" / name).read_bytes() == (tmp_path / name).read_bytes()


def test_an_error_while_computing_leaves_nothing(make_map, tmp_path, break_block):
    with pytest.raises(RuntimeError, match="broken block"):
        write_cog(break_block(make_map()), tmp_path / "map.tif", confidence=tmp_path / "c.tif")
    assert list(tmp_path.iterdir()) == []


def test_an_error_while_finishing_leaves_nothing(make_map, tmp_path, monkeypatch):
    def damaged(path):
        os.truncate(path, path.stat().st_size // 2)
        verify_cog(path)

    monkeypatch.setattr("seg4eo_xr.maps.cog.verify_cog", damaged)
    with pytest.raises(OSError, match=r"map\.tif could not be written completely"):
        write_cog(make_map(), tmp_path / "map.tif")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("delay", [0.0, 0.05, 0.2])
def test_a_killed_process_leaves_nothing_that_looks_finished(tmp_path, delay):
    shape = (3000, 3000)
    code = write_layer_of(tmp_path / "map.tif", shape, 1024)
    process = subprocess.Popen([sys.executable, "-c", f"{code}\ncog.write_cog(prediction, path)"])
    while not list(tmp_path.glob(".map.tif.*.part/finished.tif")) and process.poll() is None:
        time.sleep(0.002)
    time.sleep(delay)
    process.kill()
    process.wait()
    if (tmp_path / "map.tif").exists():
        np.testing.assert_array_equal(pixels(tmp_path / "map.tif"), expected_codes(shape))
    else:
        assert [path.suffix for path in tmp_path.iterdir()] == [".part"]


PEAK = """
from harness import peak_megabytes
small = prediction.isel(y=slice(256), x=slice(256))
cog._CACHE_BYTES = 16 * 2**20
others = {"confidence": path + ".confidence.tif"}
cog.write_cog(small, path, **others)
before = peak_megabytes()
import dask
with dask.config.set(num_workers=2):
    cog.write_cog(prediction, path, overwrite=True, **others)
print(peak_megabytes() - before, peak_megabytes())
"""


def growth_and_peak_in_mb(tmp_path, side):
    tmp_path.mkdir(exist_ok=True)
    code = write_layer_of(tmp_path / "map.tif", (side, side), 1024)
    growth, peak = map(float, last_line_of_child(code + PEAK).split())
    return growth, peak


def test_memory_does_not_hold_the_map(tmp_path):
    side = 8192
    growth, _ = growth_and_peak_in_mb(tmp_path, side)
    assert growth < side * side * 5 / 1e6


@pytest.mark.slow
def test_memory_does_not_grow_with_the_map(tmp_path):
    peaks = [growth_and_peak_in_mb(tmp_path / f"{side}", side)[1] for side in (10240, 20480)]
    assert peaks[1] <= 1.2 * peaks[0]


@pytest.fixture
def cog(make_map, tmp_path):
    return write_cog(make_map((1100, 1030), chunks=600), tmp_path / "map.tif")


def tile_spans(path, page):
    with tifffile.TiffFile(path) as tiff:
        return list(zip(tiff.pages[page].dataoffsets, tiff.pages[page].databytecounts, strict=True))


@pytest.mark.parametrize("share", [0.02, 0.3, 0.7, 0.99])
def test_a_truncated_file_is_caught(cog, share):
    verify_cog(cog)
    os.truncate(cog, int(cog.stat().st_size * share))
    with pytest.raises(ValueError, match=r"map\.tif"):
        verify_cog(cog)


@pytest.mark.parametrize(("page", "tile"), [(0, 0), (0, 5), (1, 2), (2, 0)])
def test_a_zeroed_tile_is_caught(cog, page, tile):
    offset, count = tile_spans(cog, page)[tile]
    with cog.open("r+b") as file:
        file.seek(offset)
        file.write(bytes(count))
    with pytest.raises(ValueError, match="damaged"):
        verify_cog(cog)


def test_a_tile_that_was_never_written_is_caught(tmp_path):
    path = tmp_path / "sparse.tif"
    with rasterio.open(
        path, "w", driver="GTiff", height=64, width=64, count=1, dtype="uint8", tiled=True,
        blockxsize=32, blockysize=32, sparse_ok=True, crs=32633,
        transform=rasterio.Affine(2, 0, 0, 0, -2, 0),
    ) as file:  # fmt: skip
        file.write(np.ones((32, 32), np.uint8), 1, window=((0, 32), (0, 32)))
    with pytest.raises(ValueError, match="3 tiles are missing"):
        verify_cog(path)


def test_what_is_no_tiff_is_told(tmp_path):
    with pytest.raises(FileNotFoundError, match="none"):
        verify_cog(tmp_path / "none.tif")
    for content in (b"", b"no tiff at all"):
        (tmp_path / "text.tif").write_bytes(content)
        with pytest.raises(ValueError, match=r"text\.tif"):
            verify_cog(tmp_path / "text.tif")


def test_an_output_that_cannot_be_written_is_told_before_anything_is_computed(make_map, tmp_path):
    prediction = make_map()

    def never(values):
        raise AssertionError("computed")

    layer = prediction["classes"]
    prediction["classes"] = layer.copy(data=da.map_blocks(never, layer.data, dtype=np.uint8))
    (tmp_path / "map.tif").touch()
    with pytest.raises(FileExistsError, match="overwrite=True"):
        write_cog(prediction, tmp_path / "map.tif")
    with pytest.raises(FileNotFoundError, match="does not exist"):
        write_cog(prediction, tmp_path / "none" / "map.tif")
    with pytest.raises(FileNotFoundError, match="does not exist"):
        write_cog(prediction, tmp_path / "new.tif", confidence=tmp_path / "none" / "c.tif")
    with pytest.raises(ValueError, match="a file of its own"):
        write_cog(prediction, tmp_path / "new.tif", confidence=tmp_path / "new.tif")
    with pytest.raises(ValueError, match="no layer 'entropy'"):
        write_cog(prediction, tmp_path / "new.tif", entropy=tmp_path / "e.tif")
    with pytest.raises(ValueError, match="int64"):
        write_cog(prediction.astype("int64"), tmp_path / "new.tif")
    assert [path.name for path in tmp_path.iterdir()] == ["map.tif"]


def test_replacing_a_map_removes_what_belonged_to_the_old_one(make_map, tmp_path):
    path = write_cog(make_map(seed=1), tmp_path / "map.tif")
    for suffix in (".ovr", ".msk"):
        (tmp_path / f"map.tif{suffix}").touch()
    write_cog(make_map(seed=2), path, overwrite=True)
    assert {entry.name for entry in tmp_path.iterdir()} == {"map.tif", "map.tif.aux.xml"}
    np.testing.assert_array_equal(open_map(path)["classes"], make_map(seed=2)["classes"])


@pytest.mark.parametrize("shape", [(700, 512), (1100, 1024), (700, 256), (600, 300), (513, 513)])
def test_no_large_level_is_one_tile_wide(shape, tmp_path):
    codes = place(np.zeros(shape, np.uint8), 32633, Affine(10, 0, 4e5, 0, -10, 5e6))
    write_cog(codes.to_dataset(name="classes"), tmp_path / "map.tif")
    with tifffile.TiffFile(tmp_path / "map.tif") as tiff:
        levels = [page for page in tiff.pages if max(page.shape[:2]) > 512]
        assert levels
        assert all(page.is_tiled and page.tilewidth != page.shape[1] for page in levels)


def test_gdal_finds_the_names_of_classes_by_their_codes(tmp_path):
    table = ClassTable.from_codes([1, 3], ["Wälder & Moore", "Seen"])
    codes = place(np.ones((64, 64), np.uint8), 32633, Affine(10, 0, 4e5, 0, -10, 5e6))
    plain = codes.to_dataset(name="classes")
    named = codes.assign_attrs(table.to_attrs()).to_dataset(name="classes")
    path = write_cog(named, tmp_path / "m.tif")
    # GDAL's own translation to a VRT says what it has found
    rasterio.shutil.copy(path, tmp_path / "m.vrt", driver="VRT")
    found = ElementTree.parse(tmp_path / "m.vrt").findall(".//CategoryNames/Category")
    assert [category.text or "" for category in found] == ["", "Wälder & Moore", "", "Seen"]
    write_cog(plain, path, overwrite=True)
    assert [file.name for file in tmp_path.glob("m.tif*")] == ["m.tif"]
