from __future__ import annotations

import math

import dask
import numpy as np
import pytest
import xarray as xr

from seg4eo_xr.maps.layers import checked_map, nodata_of, plain_attrs
from seg4eo_xr.testing import raising_scheduler


def test_checking_computes_nothing(make_map):
    with dask.config.set(scheduler=raising_scheduler):
        checked = checked_map(make_map())
    assert set(checked.coords) == {"y", "x", "spatial_ref"}


def test_transform_follows_a_crop_and_a_stride(make_map):
    prediction = make_map()
    whole = prediction.rio.transform()
    cropped = checked_map(prediction.isel(y=slice(10, 90), x=slice(20, None))).rio.transform()
    assert (cropped.c, cropped.f) == pytest.approx((whole.c + 20 * whole.a, whole.f + 10 * whole.e))
    thinned = checked_map(prediction.isel(y=slice(None, None, 2), x=slice(None, None, 2)))
    assert thinned.rio.transform().a == pytest.approx(2 * whole.a)


def test_numpy_layers_and_swapped_dimensions_become_lazy_y_x(make_map):
    prediction = make_map((40, 30)).compute().transpose("x", "y")
    checked = checked_map(prediction)
    assert checked["classes"].dims == ("y", "x")
    assert checked["classes"].chunks is not None


def test_tiny_blocks_are_merged(make_map):
    assert checked_map(make_map(chunks=16))["classes"].data.npartitions == 1


@pytest.mark.parametrize(
    ("broken", "error", "says"),
    [
        (lambda m: m["classes"], TypeError, "to_dataset"),
        (lambda m: m.drop_vars(["classes", "confidence"]), ValueError, "no layer"),
        (lambda m: m.isel(x=0), ValueError, "'y' and 'x'"),
        (lambda m: m.isel(x=slice(0, 0)), ValueError, "at least one pixel"),
        (lambda m: m.drop_vars("spatial_ref"), ValueError, "write_crs"),
    ],
)
def test_what_is_no_map_is_refused(make_map, broken, error, says):
    with pytest.raises(error, match=says):
        checked_map(broken(make_map()))


@pytest.mark.parametrize(
    ("dtype", "attrs", "nodata"),
    [
        ("uint8", {}, 255),
        ("int16", {}, None),
        ("int16", {"_FillValue": np.int16(-1)}, -1),
        ("uint8", {"missing_value": 0}, 0),
    ],
)
def test_nodata_of_integers(dtype, attrs, nodata):
    assert nodata_of(xr.DataArray(np.zeros(1, dtype), attrs=attrs)) == nodata


def test_nodata_of_floats_is_nan():
    assert math.isnan(nodata_of(xr.DataArray(np.zeros(1, np.float32))) or 0)


def test_plain_attrs_are_fit_for_json():
    attrs = {"a": np.int64(3), "b": (1, np.float32(0.5)), "c": np.arange(2), "_FillValue": 3}
    assert plain_attrs(attrs) == {"a": 3, "b": [1, 0.5], "c": [0, 1]}
