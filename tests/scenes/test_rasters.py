"""Laws of `seg4eo_xr.scenes.rasters`."""

from __future__ import annotations

import numpy as np
import pytest
import rasterio
from hypothesis import given
from hypothesis import strategies as st

from seg4eo_xr.scenes.open import open_scene
from seg4eo_xr.scenes.rasters import read_scene
from seg4eo_xr.scenes.statistics import band_statistics
from seg4eo_xr.testing import synthetic_sentinel2

SHAPE = (10, 40, 56)


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    scene, _ = synthetic_sentinel2(SHAPE[1:])
    target = tmp_path_factory.mktemp("rasters") / "scene.tif"
    scene.rio.to_raster(target, tiled=True, blockxsize=16, blockysize=16)
    return target


def indices(length):
    """A slice, one place, or several places of an axis."""
    place = st.integers(0, length - 1)
    return st.slices(length) | place | st.lists(place, min_size=1, max_size=4, unique=True)


@given(bands=indices(10), rows=indices(40), cols=indices(56), chunks=st.integers(8, 60))
def test_what_is_selected_lazily_is_what_the_file_holds(path, bands, rows, cols, chunks):
    with rasterio.open(path) as file:
        whole = file.read()
    lazy = read_scene(path, chunks=chunks).data
    for axis, index in reversed(list(enumerate((bands, rows, cols)))):
        place = (slice(None),) * axis + (index,)
        lazy, whole = lazy[place], whole[place]
    np.testing.assert_array_equal(np.asarray(lazy), whole)


def test_a_file_that_changes_after_it_was_opened_is_not_read(path, tmp_path):
    copy = tmp_path / "scene.tif"
    copy.write_bytes(path.read_bytes())
    scene = read_scene(copy)
    np.testing.assert_array_equal(scene, read_scene(path))
    with rasterio.open(copy, "r+") as file:
        file.write(file.read() + 1)
    with pytest.raises(OSError, match="has changed since it was opened"):
        scene.compute()
    assert read_scene(copy).compute().equals(read_scene(path) + 1)


@pytest.mark.parametrize(
    ("source", "remedy"),
    [
        ("/vsicurl/http://127.0.0.1:9/none.tif", "check the address and the network$"),
        ("/vsis3/bucket/none.tif", r"check the address, the network.*AWS_S3_ENDPOINT"),
    ],
)
def test_what_does_not_come_over_the_network_is_no_damaged_file(source, remedy):
    nowhere = {"AWS_S3_ENDPOINT": "127.0.0.1:9", "AWS_HTTPS": "NO", "AWS_VIRTUAL_HOSTING": "FALSE"}
    with (
        rasterio.Env(**nowhere, AWS_NO_SIGN_REQUEST="YES"),
        pytest.raises(OSError, match=remedy) as caught,
    ):
        read_scene(source)
    assert "truncated" not in str(caught.value)


@pytest.mark.parametrize("nodata", [-3.4028234663852886e38, 3.4e38, -9999.9])
def test_usual_nodata_values_of_real_numbers_mark_pixels_in_silence(nodata, tmp_path, caplog):
    with caplog.at_level("WARNING"):
        scene, _ = synthetic_sentinel2((16, 20), nodata_wedge=False)
        numbers = scene.astype("float32").drop_attrs(deep=False)
        numbers[:, :, :4] = nodata
        numbers.rio.write_nodata(nodata).rio.to_raster(tmp_path / "real.tif")
        opened = open_scene(tmp_path / "real.tif")
    assert not caplog.records
    assert (band_statistics(opened)["count"] == 16 * 16).all()


def test_gdal_itself_writes_nothing_of_a_file_with_tags_out_of_order(tmp_path, capfd):
    path = tmp_path / "scene.tif"
    synthetic_sentinel2((64, 64), seed=1)[0].rio.to_raster(path)
    content = bytearray(path.read_bytes())
    directory = int.from_bytes(content[4:8], "little")
    count = int.from_bytes(content[directory : directory + 2], "little")
    last = directory + 2 + 12 * (count - 2)
    content[last : last + 24] = content[last + 12 : last + 24] + content[last : last + 12]
    path.write_bytes(content)
    open_scene(path).load()
    assert capfd.readouterr().err == ""
