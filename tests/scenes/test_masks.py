from __future__ import annotations

import pickle

import dask
import numpy as np
import pytest
from affine import Affine
from hypothesis import given, settings
from hypothesis import strategies as st

from seg4eo_xr.scenes.cubes import open_cube
from seg4eo_xr.scenes.grid import place
from seg4eo_xr.scenes.masks import Hidden, landsat_qa, mask_scene, sentinel2_scl
from seg4eo_xr.testing import chunkings, raising_scheduler, synthetic_sentinel2

DAYS = ["2021-06-03", "2021-06-13"]


@pytest.fixture(scope="module")
def scene():
    return synthetic_sentinel2((40, 50), seed=1, nodata_wedge=False)[0]


def _flags(scene, *, coarser=1, seed=0):
    shape = tuple(side // coarser for side in scene.shape[-2:])
    values = np.random.default_rng(seed).integers(0, 12, shape, dtype=np.uint8)
    return place(values, scene.rio.crs, scene.rio.transform() @ Affine.scale(coarser))


@settings(deadline=None, max_examples=10)
@given(chunkings(40), chunkings(50), st.sets(st.integers(0, 11), min_size=1))
def test_hidden_pixels_are_nodata_and_no_others_change(scene, rows, cols, values):
    flags = _flags(scene)
    hidden = np.isin(flags.values, list(values))
    lazy = scene.chunk({"band": 3, "y": rows, "x": cols})
    with dask.config.set(scheduler=raising_scheduler):
        masked = mask_scene(lazy, flags.chunk(16), sorted(values))
        assert masked.data.name == mask_scene(lazy, flags.chunk(16), sorted(values)).data.name
    assert (masked.values[:, hidden] == 0).all()
    assert np.array_equal(masked.values[:, ~hidden], scene.values[:, ~hidden])
    assert masked.compute().identical(mask_scene(scene, flags, values))


def test_a_coarser_mask_hides_all_pixels_below(scene, tmp_path):
    flags = _flags(scene, coarser=2)
    hidden = np.isin(flags.values, sentinel2_scl().values).repeat(2, axis=0).repeat(2, axis=1)
    flags.rio.to_raster(tmp_path / "scl.tif")
    for mask in (flags, tmp_path / "scl.tif", str(tmp_path / "scl.tif")):
        masked = mask_scene(scene.chunk(17), mask, sentinel2_scl())
        assert np.array_equal((masked == 0).all("band"), hidden)
    assert pickle.loads(pickle.dumps(masked)).identical(masked)


@given(st.integers(0, 2**16 - 1))
def test_a_bit_hides_where_it_is_set(number):
    mask = np.array([number], np.uint16)
    for bits in ((3,), (0, 15), (1, 2, 4)):
        assert Hidden(bits=bits)(mask)[0] == any(number >> bit & 1 for bit in bits)
    both = Hidden(values=(number,), bits=(3,))
    assert both(mask).all()


def test_presets():
    assert sentinel2_scl().values == (0, 1, 3, 8, 9, 10)
    assert sentinel2_scl("snow").values == (11,)
    assert landsat_qa().bits == (0, 1, 2, 3, 4)
    clear, cloud, shadow, fill = (np.array([n], np.uint16) for n in (21824, 22280, 23888, 1))
    assert not landsat_qa()(clear).any()
    for number in (cloud, shadow, fill):
        assert landsat_qa()(number).all()
    with pytest.raises(ValueError, match=r"'fog' is no class of SCL; known: nodata"):
        sentinel2_scl("fog")
    with pytest.raises(ValueError, match="nothing would be hidden"):
        Hidden()
    with pytest.raises(ValueError, match="bits must lie in"):
        Hidden(bits=(-1,))


def test_series_take_one_mask_or_one_a_date(scene):
    cube = open_cube([scene, scene.copy(data=scene.values + 1)], DAYS)
    flags = [_flags(scene, seed=seed) for seed in range(2)]
    times = np.array(DAYS[::-1], "datetime64[ns]")
    dated = open_cube(flags[::-1], times).isel(band=0, drop=True)
    for series in (cube, cube.chunk({"time": 1, "y": 13})):
        masked = mask_scene(series, dated, [3, 8])
        for index in range(2):
            expected = mask_scene(cube[index], flags[index], [3, 8])
            assert np.array_equal(masked[index], expected)
            once = mask_scene(series, flags[0], [3, 8])
            assert np.array_equal(once[index], mask_scene(cube[index], flags[0], [3, 8]))
    with pytest.raises(ValueError, match=r"lacks 1 of the 2 dates.*2021-06-13"):
        mask_scene(cube, dated.isel(time=[0]), [3])
    with pytest.raises(ValueError, match=r"mask has dates.*isel"):
        mask_scene(scene, dated, [3])


def test_real_numbers_become_nan_and_integers_need_a_nodata_value(scene):
    bare = scene.drop_attrs(deep=False)
    flags = _flags(scene)
    masked = mask_scene(bare.astype(np.float32), flags, [3])
    assert np.array_equal(np.isnan(masked[0]), flags == 3)
    with pytest.raises(ValueError, match=r"uint16.*no nodata value.*nodata="):
        mask_scene(bare, flags, [3])
    assert mask_scene(bare, flags, [3], nodata=65535).rio.nodata == 65535
    with pytest.raises(ValueError, match="nodata is 7, but the scene has nodata 0"):
        mask_scene(scene, flags, [3], nodata=7)


def test_masks_that_do_not_fit_are_refused(scene):
    flags = _flags(scene)
    away = place(flags.values, scene.rio.crs, scene.rio.transform() @ Affine.translation(99, 0))
    with pytest.raises(ValueError, match=r"the mask do not overlap the scene.*EPSG:32633"):
        mask_scene(scene, away, [3])
    with pytest.raises(ValueError, match="mask has 10 bands"):
        mask_scene(scene, scene, [3])
    with pytest.raises(ValueError, match="integers, got float32"):
        mask_scene(scene, flags.astype(np.float32), [3])


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.int16, np.uint32, np.int64])
@pytest.mark.parametrize("nodata", [None, 0])
def test_what_lies_outside_the_mask_is_hidden(scene, dtype, nodata):
    flags = _flags(scene)
    hidden = mask_scene(scene, flags, [3, 8])
    part = flags[5:30, 10:].astype(dtype)
    if nodata is not None:  # which hides nothing by itself
        part = part.rio.write_nodata(nodata)
    bare = scene.drop_attrs(deep=False)
    masks = mask_scene(scene, part, [3, 8]), mask_scene(bare.chunk(17), part, [3, 8], nodata=0)
    for masked in masks:
        assert np.array_equal(masked[:, 5:30, 10:], hidden[:, 5:30, 10:])
        assert (masked.sum() - masked[:, 5:30, 10:].sum()) == 0
    real = mask_scene(bare.astype(np.float32), part, [3, 8])
    assert np.array_equal(np.isnan(real), masks[0] == 0)


@pytest.mark.parametrize("bits", [(0,), (3,)])
def test_bits_count_inside_a_smaller_mask(scene, bits):
    flags, rule = _flags(scene).astype(np.uint16), Hidden(bits=bits)
    inside = mask_scene(scene, flags[:20], rule)[:, :20]
    assert np.array_equal(inside, mask_scene(scene, flags, rule)[:, :20])


@pytest.mark.parametrize(
    ("hidden", "message"),
    [
        (sentinel2_scl, r"function sentinel2_scl itself; call it, as in sentinel2_scl\(\)"),
        (3, r"numbers of the mask.*got 3"),
        (["cloud"], r"numbers of the mask.*sentinel2_scl\(\).*got \['cloud'\]"),
    ],
)
def test_what_hides_nothing_is_told(scene, hidden, message):
    with pytest.raises(TypeError, match=message):
        mask_scene(scene, _flags(scene), hidden)
