from __future__ import annotations

import json

import numpy as np
import pytest
import rasterio
from hypothesis import given
from hypothesis import strategies as st

from seg4eo_xr.maps.layers import checked_map
from seg4eo_xr.maps.mosaic import compute_blocks, decode_tag, encode_tag, write_vrt
from seg4eo_xr.scenes.grid import grid_transform

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=5,
)


@given(json_values)
def test_tags_give_attributes_back(value):
    for key in ("title", "units") if isinstance(value, str) else ("title",):
        assert decode_tag(key, encode_tag(key, value)) == value


@pytest.mark.parametrize(
    ("key", "text"), [("units", "1"), ("job", '{"overlap": 8}'), ("statistics", '{"missing": 0}')]
)
def test_other_programs_read_texts_as_they_are(key, text):
    assert encode_tag(key, text) == text
    assert decode_tag(key, text) == text
    # as earlier versions wrote it
    assert decode_tag(key, json.dumps(text)) == text


@pytest.mark.parametrize("chunks", [((70, 60, 20), (90, 40)), 1000])
def test_the_mosaic_shows_the_layer_with_all_it_carries(make_map, tmp_path, monkeypatch, chunks):
    monkeypatch.setattr("seg4eo_xr.maps.layers.SMALLEST_BLOCK", 1)
    prediction = make_map(chunks=chunks)
    layer = checked_map(prediction[["classes"]])["classes"]
    compute_blocks(layer.to_dataset(), {"classes": tmp_path})
    assert len(list(tmp_path.iterdir())) == layer.data.npartitions
    with rasterio.open(write_vrt(layer, {"model": "a & b"}, tmp_path)) as file:
        np.testing.assert_array_equal(file.read(1), prediction["classes"])
        assert file.crs == prediction.rio.crs
        assert file.transform == grid_transform(prediction["classes"], "map")
        assert (file.nodata, file.descriptions) == (255, ("classes",))
        assert file.tags()["model"] == "a & b"
        assert file.colormap(1)[4][:3] == (0xE6, 0x9F, 0x00)


def test_a_block_that_is_lost_is_an_error_and_no_hole(make_map, tmp_path):
    layer = checked_map(make_map()[["classes"]])["classes"]
    compute_blocks(layer.to_dataset(), {"classes": tmp_path})
    path = write_vrt(layer, {}, tmp_path)
    (tmp_path / "0.0.tif").unlink()
    with rasterio.open(path) as file, pytest.raises(rasterio.errors.RasterioIOError):
        file.read(1)
