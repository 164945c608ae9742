"""Samples of maps: the same for any chunks, at random, and what cannot be drawn."""

from __future__ import annotations

from itertools import pairwise

import dask
import dask.array as da
import numpy as np
import pytest
from affine import Affine
from hypothesis import given, settings
from hypothesis import strategies as st

from seg4eo_xr.areas import drawing
from seg4eo_xr.areas.drawing import merge_draws
from seg4eo_xr.areas.estimators import normal_quantile
from seg4eo_xr.areas.sample_options import SampleWarning
from seg4eo_xr.areas.sample_table import classes_of, strata_of
from seg4eo_xr.areas.sampling import draw_sample
from seg4eo_xr.scenes.classes import ClassTable
from seg4eo_xr.scenes.grid import place
from seg4eo_xr.scenes.pixel_areas import AREA_UNITS, PixelAreas
from seg4eo_xr.scenes.resampling import Grid

SHAPE = (150, 170)
TABLE = ClassTable.from_codes([1, 4, 7], ["forest", "water", "town"])
UTM = Affine(10, 0, 5e5, 0, -10, 5e6)


def a_map(seed=0, shape=SHAPE, dtype=np.uint8, chunks=None, crs=32633, transform=UTM):
    """Three classes, the last of them rare, and a corner without data."""
    codes = np.random.default_rng(seed).choice(
        np.array(TABLE.codes, dtype), shape, p=[0.7, 0.28, 0.02]
    )
    codes[:20, :30] = 255
    data = codes if chunks is None else da.from_array(codes, chunks=chunks)
    return place(data, crs, transform).assign_attrs({"_FillValue": 255, **TABLE.to_attrs()})


def ids(sample):
    return sample["id"].tolist()


def test_a_sample_lies_where_it_says_and_waits_for_people():
    mapped = a_map()
    sample = draw_sample(mapped, size=120, minimum=20)
    rows, cols = sample["row"], sample["col"]
    assert sample["map"].tolist() == mapped.values[rows, cols].tolist()
    assert (sample["stratum"] == sample["map"]).all()
    np.testing.assert_allclose(sample.geometry.x, mapped.x.values[cols])
    np.testing.assert_allclose(sample.geometry.y, mapped.y.values[rows])
    assert sample.crs == mapped.rio.crs
    assert ids(sample) == [f"{row}_{col}" for row, col in zip(rows, cols, strict=True)]
    assert sample["id"].is_unique
    assert sample[["reference", "interpreter", "remarks"]].isna().all(axis=None)
    assert classes_of(sample) == TABLE


def test_the_sizes_of_the_strata_are_those_of_the_map():
    mapped = a_map()
    strata = strata_of(draw_sample(mapped, size=80, minimum=10))
    assert strata.names == TABLE.names
    assert strata.pixels == tuple(int((mapped.values == code).sum()) for code in TABLE.codes)
    assert strata.weights.sum() == pytest.approx(1)
    # UTM at its central meridian is 0.9996 of the ground
    np.testing.assert_allclose(strata.areas, np.array(strata.pixels) * 100 / 0.9996**2, rtol=1e-4)


@settings(max_examples=25)
@given(
    st.integers(1, 160),
    st.integers(1, 180),
    st.integers(0, 50),
    st.sampled_from([np.uint8, np.uint16, np.int32]),
)
def test_any_chunks_give_the_same_sample(rows, cols, seed, dtype):
    rows, cols = max(rows, 15), max(cols, 15)
    with dask.config.set(scheduler="sync"):
        lazy = draw_sample(
            a_map(seed, dtype=dtype, chunks=(rows, cols)), size=90, minimum=12, seed=seed
        )
    whole = draw_sample(a_map(seed, dtype=dtype), size=90, minimum=12, seed=seed)
    assert ids(lazy) == ids(whole)
    assert lazy.attrs == whole.attrs
    assert lazy.drop(columns="geometry").equals(whole.drop(columns="geometry"))


def test_each_block_is_read_once_and_leaves_no_more_than_its_points(monkeypatch):
    read, left = [], []

    def note(codes, block_id):
        read.append(block_id)
        return codes

    def merge(parts, count):
        merged = merge_draws(parts, count)
        left.append(max((len(drawn.points) for drawn in merged.values()), default=0))
        return merged

    monkeypatch.setattr(drawing, "merge_draws", merge)
    mapped = a_map(chunks=50)
    noted = da.map_blocks(note, mapped.data, dtype=np.uint8, meta=np.empty((0, 0), np.uint8))
    draw_sample(mapped.copy(data=noted), size=60, minimum=10)
    assert sorted(read) == [(row, col) for row in range(3) for col in range(4)]
    assert max(left) <= 60


def test_codes_below_0_are_strata_like_any_other():
    mapped = a_map(dtype=np.int16, chunks=64)
    strata = mapped.copy(data=mapped.data - 5)
    strata.attrs = {"_FillValue": 250}
    sample = draw_sample(mapped, strata=strata, size=60, minimum=10)
    assert (sample["stratum"] == sample["map"] - 5).all()
    assert strata_of(sample).codes == (-4, -1, 2)


def test_the_same_seed_draws_the_same_and_a_larger_sample_holds_the_smaller():
    small, large = (draw_sample(a_map(), size=size, minimum=20) for size in (100, 300))
    assert ids(small) == ids(draw_sample(a_map(), size=100, minimum=20))
    assert set(ids(small)) <= set(ids(large))
    assert set(ids(small)) != set(ids(draw_sample(a_map(), size=100, minimum=20, seed=1)))


def test_every_larger_sample_holds_the_smaller():
    samples = [set(ids(draw_sample(a_map(), size=size, minimum=4))) for size in range(30, 60)]
    assert all(small < large for small, large in pairwise(samples))


def test_points_come_in_an_order_that_does_not_tell_the_class():
    stratum = draw_sample(a_map(), size=300, allocation="equal")["stratum"].to_numpy()
    changes = np.count_nonzero(np.diff(stratum))
    assert changes == pytest.approx(200, abs=35)


def test_every_pixel_of_a_stratum_is_drawn_as_often_as_any_other():
    mapped = a_map(shape=(40, 40))
    drawn = np.zeros((40, 40), int)
    for seed in range(150):
        sample = draw_sample(mapped, size=160, minimum=2, allocation="equal", seed=seed)
        drawn[sample["row"], sample["col"]] += 1
    assert not drawn[mapped.values == 255].any()
    for code in (1, 4):
        counts = drawn[mapped.values == code]
        mean = counts.mean()
        assert counts.var() == pytest.approx(mean * (1 - mean / 150), rel=0.25)
        assert counts.max() < mean + 5.5 * np.sqrt(mean)


def test_in_degrees_a_point_stands_for_the_same_area_everywhere():
    steep = Affine(0.5, 0, 0, 0, -0.5, 80)
    mapped = a_map(shape=(150, 40), crs=4326, transform=steep)
    mapped.values[:] = 1
    mapped.attrs = {}
    rows = np.concatenate(
        [draw_sample(mapped, size=150, seed=seed)["row"].to_numpy() for seed in range(40)]
    )
    _, _, units = PixelAreas(Grid.of(mapped)).block((0, 150), (0, 40))
    areas = (units[:, 0] / AREA_UNITS).astype(float)
    share = areas[:50].sum() / areas.sum()
    assert share < 0.25
    width = normal_quantile(0.9999) * np.sqrt(share * (1 - share) / len(rows))
    assert (rows < 50).mean() == pytest.approx(share, abs=width)


def test_the_standard_error_sets_the_size():
    sample = draw_sample(a_map(), standard_error=0.03, accuracy=0.9, minimum=2)
    assert len(sample) == 100
    named = draw_sample(
        a_map(), standard_error=0.03, accuracy=0.9, accuracies={"water": 0.5}, minimum=2
    )
    assert len(named) > 100
    many = draw_sample(a_map(), standard_error=0.1, minimum=60)
    assert len(many) == 180


def test_a_stratum_of_few_pixels_is_drawn_as_a_whole():
    mapped = a_map()
    mapped.values[mapped.values == 7] = 1
    mapped.values[-1, -2:] = 7
    sample = draw_sample(mapped, size=200)
    town = sample[sample["stratum"] == 7]
    assert sorted(town["col"]) == [SHAPE[1] - 2, SHAPE[1] - 1]
    assert len(sample) == 200


def test_strata_of_their_own_leave_out_what_either_lacks():
    mapped, strata = a_map(), a_map(dtype=np.uint16)
    strata.values[:] = np.where(np.arange(SHAPE[1]) < 90, 1000, 3)
    strata.values[-10:] = 0
    strata.attrs = {"_FillValue": 0}
    sample = draw_sample(mapped, strata=strata, size=200, minimum=20)
    assert strata_of(sample).names == ("stratum 3", "stratum 1000")
    assert sum(strata_of(sample).pixels) == (SHAPE[0] - 10) * SHAPE[1] - 600
    assert sample["row"].max() < SHAPE[0] - 10
    assert set(sample["map"]) <= set(TABLE.codes)


def test_a_class_without_pixels_is_told():
    mapped = a_map()
    table = ClassTable.from_codes([1, 4, 7, 9], [*TABLE.names, "ice"])
    with pytest.warns(SampleWarning, match=r"ice \(9\) have no pixel"):
        sample = draw_sample(mapped, classes=table, size=100, minimum=10)
    assert 9 not in strata_of(sample).codes
    assert classes_of(sample) == table


def test_what_cannot_be_drawn_is_told():
    mapped = a_map()
    with pytest.raises(ValueError, match="holds the codes 7, which are not among the classes"):
        draw_sample(mapped, classes=TABLE.without([7]), size=100, minimum=10)
    with pytest.raises(ValueError, match="no pixel to draw"):
        draw_sample(mapped.copy(data=np.full(SHAPE, 255, np.uint8)))
    with pytest.raises(ValueError, match="the strata and the map have different shapes"):
        draw_sample(mapped, strata=mapped.isel(y=slice(50)))
    with pytest.raises(ValueError, match="accuracies speak of bog"):
        draw_sample(mapped, accuracies={"bog": 0.5})
    with pytest.raises(ValueError, match="raise size to that"):
        draw_sample(mapped, size=100, minimum=50)
    with pytest.raises(ValueError, match="the map has no CRS"):
        draw_sample(mapped.drop_vars("spatial_ref"))
    with pytest.raises(ValueError, match="the raster of strata has no CRS"):
        draw_sample(mapped, strata=mapped.drop_vars("spatial_ref"))
    with pytest.raises(TypeError, match="did you mean 'size'"):
        draw_sample(mapped, sise=100)
