"""Maps of other tools that state no nodata value: 255 is a class of them, with a warning."""

from __future__ import annotations

import numpy as np
import pytest

import seg4eo_xr as seg
from seg4eo_xr.maps.layers import nodata_of
from seg4eo_xr.testing import synthetic_sentinel2

_, LABELS = synthetic_sentinel2((48, 64), nodata_wedge=False)
PLAIN = LABELS.drop_attrs(deep=False).rename("classes")
MASK = PLAIN.copy(data=np.where(LABELS.values > 3, 255, 0).astype(np.uint8))
FOREGROUND = int((MASK == 255).sum())
TOLD = rf"255 in {FOREGROUND:,} of 3,072 pixels.*-a_nodata 255"


@pytest.fixture(params=["tif", "zarr", "array"])
def mask(request, tmp_path):
    path = tmp_path / f"mask.{request.param}"
    if request.param == "array":
        return MASK
    if request.param == "tif":
        MASK.rio.to_raster(path)
    else:
        dataset = MASK.to_dataset()
        for name in ("classes", "x", "y"):
            dataset[name].encoding["_FillValue"] = None
        dataset.to_zarr(path, zarr_format=2)
    return path


def quiet(mask):
    """Open the mask once, as a map that is known to have no nodata value."""
    if not isinstance(mask, type(MASK)):
        with pytest.warns(seg.LabelWarning, match=TOLD):
            return seg.open_map(mask)
    return MASK.assign_attrs(seg.ClassTable.from_codes([0, 255]).to_attrs()).to_dataset()


def test_a_mask_is_evaluated_with_its_foreground(mask):
    with pytest.warns(seg.LabelWarning, match=TOLD):
        found = seg.evaluate(mask, MASK.rio.write_nodata(99))
    assert found.matrix.tolist() == [[3072 - FOREGROUND, 0], [0, FOREGROUND]]


def test_change_finds_the_foreground(mask):
    with pytest.warns(seg.LabelWarning, match=TOLD):
        change = seg.map_change(mask, (MASK * 0).rio.write_nodata(99))
    assert change.pixels.tolist() == [[3072 - FOREGROUND, 0], [FOREGROUND, 0]]


def test_a_lazy_mask_is_counted_where_figures_are_made():
    lazy, other = MASK.chunk({"y": 20}), (MASK * 0).rio.write_nodata(99)
    with pytest.warns(seg.LabelWarning, match=TOLD):
        assert seg.map_statistics(lazy).pixels == (3072 - FOREGROUND, FOREGROUND)
    with pytest.warns(seg.LabelWarning, match=TOLD):
        assert seg.map_change(lazy, other).pixels.tolist()[1] == [FOREGROUND, 0]
    with pytest.warns(seg.LabelWarning, match=TOLD):
        found = seg.evaluate(lazy, MASK.rio.write_nodata(99))
    assert found.matrix.tolist() == [[3072 - FOREGROUND, 0], [0, FOREGROUND]]
    with pytest.warns(seg.LabelWarning, match=TOLD):
        assert set(seg.draw_sample(lazy, size=100)["map"]) == {0, 255}


def test_statistics_polygons_filters_and_files_keep_it(mask, tmp_path):
    opened = quiet(mask)
    assert nodata_of(opened["classes"]) is None
    assert seg.map_statistics(opened).pixels == (3072 - FOREGROUND, FOREGROUND)
    assert set(seg.to_polygons(opened)["code"]) == {0, 255}
    for filtered in (seg.sieve(opened, 4), seg.majority_filter(opened, 3)):
        assert 255 in filtered["classes"].values
    seg.write_cog(opened, tmp_path / "again.tif")
    seg.write_zarr(opened, tmp_path / "again.zarr")
    for name in ("again.tif", "again.zarr"):
        again = seg.open_map(tmp_path / name)["classes"]
        assert nodata_of(again) is None
        assert (again == 255).sum() == FOREGROUND


def test_255_is_missing_where_the_file_says_so_and_free_where_it_does_not_occur(tmp_path):
    MASK.rio.write_nodata(255).rio.to_raster(tmp_path / "stated.tif")
    PLAIN.rio.to_raster(tmp_path / "plain.tif")
    for name in ("stated.tif", "plain.tif"):
        assert nodata_of(seg.open_map(tmp_path / name)["classes"]) == 255
