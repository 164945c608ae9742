from __future__ import annotations

import dask
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from seg4eo_xr.scenes.composites import Composite, composite, composite_block
from seg4eo_xr.scenes.cubes import open_cube
from seg4eo_xr.testing import chunkings, raising_scheduler, synthetic_sentinel2

NUMPY = {"median": np.median, "mean": np.mean, "minimum": np.min, "maximum": np.max}
SHAPES = st.tuples(st.integers(1, 6), st.integers(1, 3), st.integers(1, 3), st.integers(1, 3))


def _expected(values, nodata, how):
    """One pixel after the other."""
    result = np.full(values.shape[1:], nodata, values.dtype)
    for row, col in np.ndindex(values.shape[2:]):
        dates = values[:, :, row, col]
        dates = dates[(dates != nodata).all(axis=1)]
        if len(dates) and how in ("first", "last"):
            result[:, row, col] = dates[0 if how == "first" else -1]
        elif len(dates):
            numbers = NUMPY[how](dates.astype(np.float64), axis=0)
            if values.dtype.kind in "ui":
                numbers = np.rint(numbers)
                numbers[numbers == nodata] = nodata + 1
            result[:, row, col] = numbers
    return result


@settings(deadline=None, max_examples=40)
@given(
    SHAPES.flatmap(lambda shape: hnp.arrays(np.int16, shape, elements=st.integers(-4, 4))),
    st.sampled_from([-4, 0, 3]),
)
@pytest.mark.parametrize("how", Composite.__args__)
def test_each_pixel_is_made_of_its_valid_dates(how, values, nodata):
    assert np.array_equal(composite_block(values, nodata, how), _expected(values, nodata, how))


@given(SHAPES.flatmap(lambda shape: hnp.arrays(np.uint8, shape)))
@pytest.mark.parametrize("how", Composite.__args__)
def test_numbers_without_nodata_all_count(how, values):
    found = composite_block(values, None, how)
    assert found.dtype == np.uint8
    assert np.array_equal(found, _expected(values.astype(np.int32), -1, how))


@pytest.mark.parametrize("how", Composite.__args__)
def test_nan_is_missing(how):
    values = np.array([np.nan, 3, 5, np.nan, 4, np.nan], np.float32).reshape(3, 1, 1, 2)
    found = composite_block(values, None, how)
    wanted = {"median": 4.5, "mean": 4.5, "minimum": 4, "maximum": 5, "first": 5, "last": 4}
    assert found.dtype == np.float32
    assert (found[0, 0, 0], found[0, 0, 1]) == (wanted[how], 3)
    assert np.isnan(composite_block(values * np.nan, None, how)).all()


@settings(deadline=None, max_examples=5)
@given(chunkings(3), chunkings(40), chunkings(50))
@pytest.mark.parametrize("how", ["median", "last"])
def test_chunks_do_not_matter_and_building_reads_nothing(how, times, rows, cols):
    scenes = [synthetic_sentinel2((40, 50), seed=seed)[0] for seed in range(3)]
    cube = open_cube(scenes, ["2021-06-03", "2021-06-13", "2021-07-01"])
    lazy = cube.chunk({"time": times, "band": 4, "y": rows, "x": cols})
    with dask.config.set(scheduler=raising_scheduler):
        made = composite(lazy, how)
        assert made.data.name == composite(lazy, how).data.name
    assert made.identical(composite(cube, how))
    assert (made.dtype, made.rio.nodata, made.name) == (np.uint16, 0, "scene")
    assert made.rio.transform() == cube.rio.transform()
    assert made.attrs == scenes[0].attrs


def test_other_ways_and_scenes_are_refused():
    scene = synthetic_sentinel2((8, 8))[0]
    with pytest.raises(ValueError, match=r"how must be one of median.*'best'"):
        composite(scene, "best")
    with pytest.raises(ValueError, match=r"one scene already.*open_cube\("):
        composite(scene)
