from __future__ import annotations

import warnings

import dask
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from seg4eo_xr.scenes.cubes import open_cube
from seg4eo_xr.scenes.harmonize import (
    OffsetWarning,
    check_offsets,
    dark_numbers,
    harmonize,
    lower_block,
    probable_shift,
    stored_shift,
)
from seg4eo_xr.scenes.missing import SceneWarning
from seg4eo_xr.scenes.mosaics import open_mosaic
from seg4eo_xr.scenes.open import band_scaling, open_scene
from seg4eo_xr.scenes.statistics import scene_histogram
from seg4eo_xr.testing import raising_scheduler, stored_blocks, synthetic_sentinel2

NEW = "S2B_MSIL2A_20220301T101031_N0400_R022_T33UUP_20220301T120000.SAFE"
OLD = "S2B_MSIL2A_20210301T101031_N0214_R022_T33UUP_20210301T120000.SAFE"


@pytest.fixture(scope="module")
def scene():
    return synthetic_sentinel2((64, 80), seed=2)[0]


@pytest.fixture(scope="module")
def raised(scene):
    return scene.copy(data=np.where(scene.values == 0, 0, scene.values + 1000).astype(np.uint16))


@pytest.mark.parametrize(
    ("metadata", "shift"),
    [
        (NEW, 1000),
        (OLD, 0),
        (f"/data/{NEW}/GRANULE/IMG_DATA/R10m/T33UUP_20220301T101031_B02_10m.jp2", 1000),
        ("scene.tif", None),
        ({}, None),
        ({"s2:processing_baseline": "04.00"}, 1000),
        ({"s2:processing_baseline": "03.01"}, 0),
        ({"PROCESSING_BASELINE": "05.11"}, 1000),
        ({"processing_baseline": "N0511"}, 1000),
        ({"processing_baseline": "N0214"}, 0),
        ({"processing_baseline": "0301"}, 0),
        ({"processing_baseline": 4.0}, 1000),
        ({"processing_baseline": "unknown"}, None),
        ({"processing_baseline": "unknown", "product_uri": NEW}, 1000),
        ({"s2:processing_baseline": "05.09", "earthsearch:boa_offset_applied": True}, 0),
        ({"s2:processing_baseline": "05.09", "earthsearch:boa_offset_applied": False}, 1000),
        ({"BOA_ADD_OFFSET": "-1000"}, 1000),
        ({"BOA_ADD_OFFSET_B02": "-1000.0", "BOA_ADD_OFFSET_B03": "-1000"}, 1000),
        ({"PRODUCT_URI": NEW}, 1000),
        ({"s2:product_uri": OLD}, 0),
    ],
)
def test_metadata_tell_the_convention(metadata, shift):
    assert stored_shift(metadata) == shift


@pytest.mark.parametrize("metadata", [NEW, {"s2:processing_baseline": "04.00"}])
def test_raised_numbers_come_down_once(scene, raised, metadata):
    with dask.config.set(scheduler=raising_scheduler):
        lazy = harmonize(raised.chunk({"band": 3, "y": 20}), metadata)
        again = harmonize(lazy)
    assert lazy.dtype == np.uint16
    assert np.array_equal(lazy, scene)
    assert np.array_equal(again, scene)
    assert lazy.rio.nodata == 0
    assert band_scaling(lazy) == band_scaling(scene)
    assert np.array_equal(harmonize(raised, metadata), scene)
    assert np.array_equal(harmonize(scene, OLD), scene)


@pytest.mark.parametrize("how", [{"metadata": NEW}, {"shift": 1000}, {}])
@pytest.mark.parametrize("first", [{"metadata": NEW}, {"shift": 1000}])
def test_numbers_are_lowered_once_however_it_is_asked_for(scene, raised, first, how):
    twice = harmonize(harmonize(raised, **first), **how)
    assert np.array_equal(twice, scene)
    cut = harmonize(raised, **first).isel(band=[2, 0], x=slice(5, 30))
    assert np.array_equal(harmonize(open_scene(cut), **how), scene[[2, 0], :, 5:30])


def test_a_shift_and_a_stated_offset_are_not_taken_off_both(scene, raised):
    stated = raised.assign_attrs(scales=(0.0001,) * 10, offsets=(-0.1,) * 10)
    assert np.array_equal(harmonize(stated, shift=1000), scene)
    assert band_scaling(harmonize(stated, shift=1000))[1] == (0.0,) * 10
    for shift in (0, 500):
        with pytest.raises(ValueError, match=rf"shift={shift} .* raised by 1000; .*--harmonize"):
            harmonize(stated, shift=shift)
    kelvins = raised.assign_attrs(scales=(0.0034,) * 10, offsets=(149.0,) * 10)
    with pytest.raises(ValueError, match=r"raise stored numbers by up to 43824.*--harmonize"):
        harmonize(kelvins)


def test_scenes_are_harmonized_as_they_are_opened(scene, raised, tmp_path):
    named, plain = tmp_path / f"{NEW.removesuffix('.SAFE')}.tif", tmp_path / "20220301.tif"
    for path in (named, plain):
        raised.rio.to_raster(path)
    assert np.array_equal(open_scene(named, harmonize="auto"), scene)
    assert np.array_equal(open_scene([named], harmonize="auto"), scene)
    assert np.array_equal(open_scene(plain, harmonize=1000), scene)
    assert np.array_equal(open_scene(plain), raised)
    assert np.array_equal(open_mosaic([named], harmonize="auto"), scene)
    for cube in (open_cube([named], harmonize="auto"), open_cube([plain], harmonize=1000)):
        assert np.array_equal(cube[0], scene)
    whole = raised.expand_dims(time=[np.datetime64("2022-03-01", "ns")])
    assert np.array_equal(open_cube(whole, harmonize=1000)[0], scene)
    with pytest.raises(ValueError, match=r"nothing tells .*--harmonize 1000"):
        open_scene(plain, harmonize="auto")
    with pytest.raises(ValueError, match="auto"):
        open_scene(plain, harmonize="yes")


def test_scenes_of_both_conventions_do_not_become_one_in_silence(scene, raised, tmp_path):
    paths = [tmp_path / f"{name.removesuffix('.SAFE')}.tif" for name in (OLD, NEW)]
    for array, path in zip((scene, raised), paths, strict=True):
        array.rio.to_raster(path)
    for joined in (open_mosaic, open_cube):
        with pytest.warns(OffsetWarning, match="of 1 of 2 scenes are raised by 1000.*--harmonize"):
            joined(paths)
        lowered = joined(paths, harmonize="auto")
        assert np.array_equal(harmonize(lowered, shift=1000), lowered)
    half = [harmonize(open_scene(paths[0])), raised.assign_attrs(PROCESSING_BASELINE="04.00")]
    with pytest.warns(OffsetWarning):
        mosaic = open_mosaic(half)
    assert "boa_offset_applied" not in mosaic.attrs


def test_an_offset_that_the_scene_states_moves_into_the_numbers(scene, raised):
    stated = raised.assign_attrs(offsets=(-0.1,) * 10)
    moved = harmonize(stated)
    assert np.array_equal(moved, scene)
    assert band_scaling(moved) == ((0.0001,) * 10, (0.0,) * 10)
    assert np.array_equal(harmonize(moved), scene)


def test_file_names_and_tags_are_remembered(raised, scene, tmp_path):
    named = tmp_path / f"{NEW.removesuffix('.SAFE')}.tif"
    raised.rio.to_raster(named)
    assert np.array_equal(harmonize(open_scene(named)), scene)
    tagged = tmp_path / "tagged.tif"
    raised.assign_attrs(PROCESSING_BASELINE="04.00").rio.to_raster(tagged)
    assert np.array_equal(harmonize(open_scene(tagged)), scene)
    harmonize(open_scene(tagged)).rio.to_raster(tmp_path / "done.tif")
    assert np.array_equal(harmonize(open_scene(tmp_path / "done.tif")), scene)


def test_series_and_layers_without_reflectance(scene, raised):
    layers = raised.isel(band=[0, 1]).assign_coords(band=["B02", "SCL"])
    lowered = harmonize(layers.assign_attrs(long_name=("B02", "SCL"), scales=(0.0001, 1.0)), NEW)
    assert np.array_equal(lowered[0], scene[0])
    assert np.array_equal(lowered[1], layers[1])
    cube = raised.expand_dims(time=2).chunk({"time": 1})
    assert np.array_equal(harmonize(cube, shift=1000), scene.expand_dims(time=2))


@given(stored_blocks("uint16"), st.sampled_from([None, 0, 65535]), st.integers(0, 2000))
def test_nodata_stays_and_nothing_becomes_it(values, nodata, shift):
    lowered = lower_block(values, nodata, (shift,) * len(values))
    assert lowered.dtype == np.uint16
    if nodata is not None and shift:
        assert np.array_equal(lowered == nodata, values == nodata)
    exact = values.astype(np.int64) - shift
    free = (exact > 0) & (exact != nodata) & (values != (-1 if nodata is None else nodata))
    assert np.array_equal(lowered[free], exact[free])
    assert (lowered[~free & (values != (-1 if nodata is None else nodata))] <= 1).all() or (
        nodata == 65535
    )


def test_what_does_not_tell_is_refused(scene, tmp_path):
    with pytest.raises(ValueError, match=r"nothing tells.*shift=1000 or shift=0"):
        harmonize(scene)
    with pytest.raises(ValueError, match=r"2022-03-01, so the offset is probably there"):
        harmonize(scene, "T33UUP_20220301T101031_B02.tif")
    with pytest.raises(ValueError, match=r"2021-03-01, so the offset is likely not"):
        harmonize(scene, "T33UUP_20210301T101031_B02.tif")
    with pytest.raises(ValueError, match="float32"):
        harmonize(scene.astype(np.float32), NEW)
    assert np.array_equal(harmonize(scene, shift=0), scene)


@pytest.mark.parametrize("pixels", [1, 2, 99, 100, 257])
def test_dark_numbers_are_first_percentiles(pixels):
    sample = np.random.default_rng(pixels).integers(1, 5000, (3, pixels)).astype(np.uint16)
    low = np.percentile(sample, 1, axis=1) if pixels > 1 else np.full(3, np.nan)
    np.testing.assert_allclose(dark_numbers(sample), low, rtol=1e-12)


def test_dark_numbers_give_a_raised_scene_away(scene, raised):
    dark, bright = (scene_histogram(one).percentile(1) for one in (scene, raised))
    other = scene_histogram(synthetic_sentinel2((64, 80), seed=7)[0]).percentile(1)
    assert probable_shift(dark, bright) == 1000
    assert probable_shift(bright, dark) == -1000
    assert probable_shift(other, bright) == 1000
    assert probable_shift(dark, other) == 0
    assert probable_shift(bright, bright) == 0
    with pytest.warns(OffsetWarning, match=r"1 of 3 scenes.*new\. Sentinel-2.*harmonize"):
        assert check_offsets({"a": dark, "new": bright, "b": other}) == ["new"]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert check_offsets({"a": dark, "b": other}) == []
        assert check_offsets({"a": bright, "b": bright + 30}) == []
        assert check_offsets({}) == []


@given(
    st.lists(st.floats(0, 3000) | st.just(np.nan), min_size=1, max_size=5),
    st.lists(st.floats(0, 3000) | st.just(np.nan), min_size=1, max_size=5),
)
def test_a_guess_is_the_same_from_both_sides(ours, theirs):
    size = min(len(ours), len(theirs))
    a, b = ours[:size], theirs[:size]
    assert probable_shift(a, b) == -probable_shift(b, a)
    assert probable_shift(a, a) == 0


def test_files_of_one_stack_follow_their_own_names(scene, raised, tmp_path):
    def written(array, band, name, position):
        path = tmp_path / name / f"T33UUP_20220301T101031_{band}_10m.tif"
        path.parent.mkdir(exist_ok=True)
        array[[position]].drop_attrs(deep=False).rio.write_nodata(0).rio.to_raster(path)
        return path

    new, old = written(raised, "B04", NEW, 2), written(scene, "B08", OLD, 6)
    flags = written(scene, "SCL", NEW, 0)  # holds no reflectance, whatever the file is called
    heights = tmp_path / "dem.tif"
    scene[[1]].astype(np.float32).drop_attrs(deep=False).rio.write_nodata(0).rio.to_raster(heights)
    for paths, positions in (((new, old), (2, 6)), ((old, new), (6, 2)), ((flags, new), (0, 2))):
        stack = open_scene(paths, harmonize="auto")
        assert np.array_equal(stack, scene[list(positions)])
        assert np.array_equal(harmonize(stack, shift=1000), stack)
    with pytest.warns(SceneWarning, match="different dtypes"):
        stack = open_scene([heights, new], harmonize="auto")
    assert np.array_equal(stack, scene[[1, 2]])
    with pytest.warns(OffsetWarning, match="of 1 of 2 scenes are raised by 1000.*--harmonize"):
        open_scene([old, new])
    unknown = tmp_path / "unknown.tif"
    raised[[3]].drop_attrs(deep=False).rio.write_nodata(0).rio.to_raster(unknown)
    with pytest.raises(ValueError, match=r"nothing tells .*unknown\.tif.*--harmonize 1000"):
        open_scene([new, unknown], harmonize="auto")
