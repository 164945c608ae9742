from __future__ import annotations

import dask
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import seg4eo_xr as seg
from seg4eo_xr.scenes.bands import select_bands
from seg4eo_xr.scenes.classes import ClassTable
from seg4eo_xr.scenes.contract import normalize, valid_mask
from seg4eo_xr.scenes.statistics import (
    BandHistogram,
    band_statistics,
    class_counts,
    make_contract,
    merge_histograms,
    scene_histogram,
)
from seg4eo_xr.testing import chunkings, stored_blocks, synthetic_sentinel2

EXACT = ["uint8", "int8", "uint16", "int16"]
WIDE = ["int32", "uint32", "float32", "float64"]


def _everything(values):
    return np.ones(values.shape[1:], bool)


def _moderate(dtype):
    """Numbers whose squares do not overflow."""
    if dtype.startswith("float"):
        numbers = st.floats(-1e6, 1e6, width=32)
    else:
        low = 0 if dtype.startswith("u") else -(10**6)
        numbers = st.integers(low, 10**6)
    return st.lists(numbers, min_size=1, max_size=30).map(
        lambda drawn: np.array(drawn, dtype).reshape(1, 1, -1)
    )


@pytest.mark.parametrize("dtype", EXACT)
def test_short_integers_are_counted_exactly(dtype):
    @given(stored_blocks(dtype), st.floats(0, 100))
    @settings(max_examples=30, deadline=None)
    def law(values, q):
        histogram = BandHistogram.of_block(values, _everything(values))
        flat = values.reshape(len(values), -1).astype(np.float64)
        assert np.array_equal(histogram.count, np.full(len(values), flat.shape[1]))
        assert np.array_equal(histogram.minimum, flat.min(axis=1))
        assert np.array_equal(histogram.maximum, flat.max(axis=1))
        assert np.allclose(histogram.mean, flat.mean(axis=1))
        assert np.allclose(histogram.std, flat.std(axis=1))
        assert np.allclose(histogram.percentile(q), np.percentile(flat, q, axis=1))

    law()


@pytest.mark.parametrize("dtype", WIDE)
def test_other_dtypes_are_right_to_the_width_of_a_bin(dtype):
    @given(_moderate(dtype), st.integers(0, 100))
    @settings(max_examples=50, deadline=None)
    def law(values, q):
        histogram = BandHistogram.of_block(values, _everything(values))
        flat = values.ravel().astype(np.float64)
        assert histogram.minimum[0] == flat.min()
        assert histogram.maximum[0] == flat.max()
        assert np.allclose(histogram.mean[0], flat.mean())
        assert np.allclose(histogram.std[0], flat.std(), atol=1e-6)
        # interpolation weighs two numbers, each right to 0.4 %
        rank = (flat.size - 1) * q / 100
        pair = np.sort(flat)[[int(np.floor(rank)), int(np.ceil(rank))]]
        error = abs(histogram.percentile(q)[0] - np.percentile(flat, q))
        assert error <= 0.004 * np.abs(pair).max() + 1e-37

    law()


@pytest.mark.parametrize("dtype", [*EXACT, "float32", "int32"])
def test_the_sum_of_parts_is_the_whole(dtype):
    @given(st.data())
    @settings(max_examples=30, deadline=None)
    def law(data):
        values = data.draw(_moderate(dtype) if dtype in WIDE else stored_blocks(dtype))
        cuts = np.cumsum(data.draw(chunkings(values.shape[-1])))[:-1]
        whole = BandHistogram.of_block(values, _everything(values))
        parts = [
            BandHistogram.of_block(part, _everything(part))
            for part in np.split(values, cuts, axis=-1)
        ]
        order = data.draw(st.permutations(parts))
        total = order[0]
        for part in order[1:]:
            total = total + part
        for name, array in whole.to_arrays().items():
            exact = ("dtype", "counts", "minimum", "maximum")
            if dtype in EXACT or name in exact or name.startswith("fine"):
                assert np.array_equal(total.to_arrays()[name], array), name
            else:
                assert np.allclose(total.to_arrays()[name], array, rtol=1e-9, atol=1e-3), name

    law()


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_numbers_that_lie_close_together_are_told_apart(dtype):
    draw = np.random.default_rng(0).normal
    for centre, spread in ((300, 1), (-20, 0.05), (101_325, 5), (1e-3, 1e-6)):
        values = draw(centre, spread, (1, 60, 80)).astype(dtype)
        values[0, 0, :3] = 0, centre / 2, 2 * centre  # a few that lie apart change little
        parts = np.split(values, [7, 31], axis=1)
        whole, first, *others = (
            BandHistogram.of_block(one, _everything(one)) for one in (values, *parts)
        )
        for total in (whole, merge_histograms([*others, first])):
            for q in (1, 50, 99):
                expected = np.percentile(values.astype(np.float64), q)
                assert abs(total.percentile(q)[0] - expected) < 0.02 * spread
        assert whole.counts.sum() == sum(fine.counts.sum() for fine in whole.fine) == 4800


def test_an_empty_block_changes_nothing():
    values = np.arange(12, dtype=np.float32).reshape(1, 3, 4)
    some = BandHistogram.of_block(values, _everything(values))
    none = BandHistogram.of_block(values, np.zeros((3, 4), bool))
    assert np.isnan(none.percentile(50)).all()
    assert np.isnan(none.std).all()
    for total in (some + none, none + some):
        for name, array in some.to_arrays().items():
            assert np.array_equal(total.to_arrays()[name], array), name
    assert (none + none).count.tolist() == [0]


def test_leading_dimensions_are_patches():
    values = np.arange(2 * 3 * 4 * 4, dtype=np.uint16).reshape(2, 3, 4, 4)
    valid = np.zeros((2, 4, 4), bool)
    valid[0], valid[1, 0] = True, True
    histogram = BandHistogram.of_block(values, valid)
    assert histogram.count.tolist() == [20, 20, 20]
    assert histogram.minimum.tolist() == [0, 16, 32]


def test_histograms_survive_plain_arrays():
    values = np.array([[[1.5, np.nan], [-2, 7]]], np.float32)
    histogram = BandHistogram.of_block(values, _everything(values))
    copy = BandHistogram.from_arrays(histogram.to_arrays())
    assert copy.dtype == "float32"
    assert copy.count.tolist() == [3]
    assert copy.percentile(99) == histogram.percentile(99)


def test_unlike_histograms_cannot_be_added():
    one, other = (
        BandHistogram.of_block(np.zeros((1, 2, 2), dtype), np.ones((2, 2), bool))
        for dtype in ("uint8", "uint16")
    )
    with pytest.raises(ValueError, match="uint8 and of 1 bands of uint16"):
        one + other
    with pytest.raises(ValueError, match=r"0\.\.100"):
        one.percentile(101)


@pytest.mark.parametrize("rule", ["any", "all"])
def test_nodata_is_never_counted(rule):
    values = np.array([[[0, 1], [2, 3]], [[4, 0], [5, 0]], [[0, 0], [6, 0]]], np.uint16)
    scene, _ = synthetic_sentinel2((2, 2), nodata_wedge=False)
    scene = scene.isel(band=[0, 1, 2]).copy(data=values)
    found = scene_histogram(scene, nodata_rule=rule)
    whole = valid_mask(values, 0, rule)
    expected = [plane[whole & (plane != 0)].size for plane in values]
    assert found.count.tolist() == expected
    assert found.minimum.min() > 0


@pytest.mark.parametrize("chunks", [16, 50, {"band": 3, "y": 20, "x": 80}])
def test_statistics_do_not_depend_on_chunks(chunks):
    scene, _ = synthetic_sentinel2((60, 80), seed=1)
    sides = chunks if isinstance(chunks, dict) else {"y": chunks, "x": chunks}
    expected = band_statistics(scene)
    assert band_statistics(scene.chunk(sides)).identical(expected)
    valid = (scene.values != 0).all(axis=0)
    assert np.allclose(expected.p99, np.percentile(scene.values[:, valid], 99, axis=1))
    assert expected["count"].values.tolist() == [valid.sum()] * 10
    assert expected.band.values.tolist() == scene.band.values.tolist()


def test_each_chunk_is_made_once():
    made = []
    scene, _ = synthetic_sentinel2((60, 80), chunks=20)
    counted = scene.copy(data=scene.data.map_blocks(lambda block: made.append(1) or block))
    made.clear()  # dask tries the function once when the graph is built
    with dask.config.set(scheduler="sync"):
        band_statistics(counted)
    assert len(made) == 12


def test_class_counts_leave_out_what_is_ignored():
    _, labels = synthetic_sentinel2((60, 80), seed=1)
    codes, counts = np.unique(labels.values[labels.values != 255], return_counts=True)
    expected = dict(zip(codes.tolist(), counts.tolist(), strict=True))
    assert class_counts(labels) == class_counts(labels.chunk({"y": 17})) == expected
    signed = labels.astype("int16").copy()
    signed[0] = -7
    assert class_counts(signed.rio.write_nodata(-7)).keys() <= expected.keys() | {255}
    with pytest.raises(ValueError, match="16 bits"):
        class_counts(labels.astype("int64"))


class TestContract:
    classes = ClassTable.from_codes([1, 2])

    def _make(self, values, kind="percentile", scale=1.0, offset=0.0, nodata=None):
        values = np.asarray(values)
        shape = values.shape if values.ndim == 2 else (4, 5)
        scene, _ = synthetic_sentinel2(shape, nodata_wedge=False)
        scene = scene.isel(band=[0]).copy(data=values.reshape(1, *shape))
        scene = scene.assign_attrs(scales=(scale,), offsets=(offset,)).rio.write_nodata(nodata)
        return make_contract(scene_histogram(scene), scene, self.classes, kind=kind)

    def test_percentile(self):
        values = np.arange(20, dtype=np.uint8)
        rule = self._make(values, scale=0.5).normalization
        assert (rule.kind, rule.lower) == ("percentile", (0.0,))
        assert rule.upper == pytest.approx((np.percentile(values, 99) * 0.5,))

    def test_negative_values_start_at_their_first_percentile(self):
        values = np.arange(-10, 10, dtype=np.int16)
        contract = self._make(values)
        assert contract.normalization.lower == pytest.approx((np.percentile(values, 1),))
        assert (contract.minimum, contract.maximum) == ((-10.0,), (9.0,))

    @pytest.mark.parametrize(
        ("centre", "spread", "dtype", "scale"),
        [
            (300, 1, "float32", 1.0),
            (-20, 0.05, "float64", 1.0),
            (30_000, 100, "uint16", 0.01),
            (30_000, 100, "int32", 1.0),
            (1300, 40, "int16", 1.0),
        ],
    )
    def test_numbers_far_from_0_take_the_whole_range(self, centre, spread, dtype, scale):
        values = np.random.default_rng(1).normal(centre, spread, (40, 50)).astype(dtype)
        contract = self._make(values, scale=scale)
        expected = np.percentile(values.astype(np.float64), (1, 99)) * scale
        bounds = np.array([*contract.normalization.lower, *contract.normalization.upper])
        assert bounds == pytest.approx(expected, abs=0.01 * spread * scale)
        given = normalize(values[None], contract)
        assert given.std() > 0.15
        assert np.mean((given == 0) | (given == 1)) < 0.03

    def test_mostly_one_number_far_from_0_is_spread_to_the_largest(self):
        values = np.full((40, 50), 300, np.float32)
        values[0, :3] = 310
        rule = self._make(values).normalization
        assert (*rule.lower, *rule.upper) == pytest.approx((300.0, 310.0), rel=1e-5)
        still = self._make(np.full((40, 50), 300, np.float32))
        assert still.normalization.lower == (0.0,)
        assert (normalize(np.full((1, 4, 4), 300, np.float32), still) == 1).all()

    @pytest.mark.parametrize(
        ("low", "high", "dtype", "scale", "offset"),
        [
            (0.01, 0.4, "float32", 1.0, 0.0),  # reflectance
            (0.25, 0.45, "float32", 1.0, 0.0),  # of a desert
            (-0.01, 0.4, "float32", 1.0, 0.0),
            (100, 4000, "uint16", 1e-4, 0.0),  # Sentinel-2
            (1100, 1500, "uint16", 1.0, 0.0),  # raised
            (1100, 5000, "uint16", 1e-4, -0.1),
            (7500, 20_000, "uint16", 1.0, 0.0),  # Landsat
            (7500, 20_000, "uint16", 2.75e-5, -0.2),
            (200, 230, "uint8", 1.0, 0.0),  # a picture in haze
        ],
    )
    def test_reflectances_and_pictures_are_normalised_as_ever(
        self, low, high, dtype, scale, offset
    ):
        values = np.random.default_rng(2).uniform(low, high, (40, 50)).astype(dtype)
        rule = self._make(values, scale=scale, offset=offset).normalization
        histogram = BandHistogram.of_block(values[None], np.ones((40, 50), bool))
        before = [histogram.rounded_percentile(q)[0] * scale + offset for q in (1, 99)]
        assert rule.upper == (before[1],)
        negative = values.min() * scale + offset < 0
        assert rule.lower == ((before[0],) if negative else (0.0,))

    def test_a_negative_scale_turns_the_range_round(self):
        contract = self._make(np.arange(20, dtype=np.uint8), scale=-1.0, offset=5.0)
        assert (contract.minimum, contract.maximum) == ((-14.0,), (5.0,))
        assert contract.normalization.lower[0] < contract.normalization.upper[0]

    def test_standard(self):
        values = np.arange(20, dtype=np.uint8)
        rule = self._make(values, "standard", scale=0.1, offset=1.0).normalization
        physical = values * 0.1 + 1
        assert rule.lower == pytest.approx((physical.mean(),))
        assert rule.upper == pytest.approx((physical.mean() + physical.std(),))

    def test_none(self):
        rule = self._make(np.arange(20, dtype=np.uint8), "none").normalization
        assert (rule.lower, rule.upper) == ((0.0,), (1.0,))

    def test_metadata_come_from_the_scene(self):
        contract = self._make(np.arange(20, dtype=np.uint8), scale=0.5, nodata=0)
        assert contract.bands == ("B02",)
        assert contract.scale == (0.5,)
        assert contract.nodata == 0.0
        assert contract.ground_sample_distance == pytest.approx((10, 10), rel=1e-2)
        assert contract.minimum == (0.5,)

    def test_all_nodata_is_refused(self):
        with pytest.raises(ValueError, match=r"no valid number in the bands \['B02'\]"):
            self._make(np.zeros(20, np.uint8), nodata=0)


class TestNumbersThatMarkMissingPixels:
    @pytest.mark.parametrize(
        ("dtype", "number"), [("int16", -9999), ("float32", -9999), ("float32", -3.4028235e38)]
    )
    def test_are_told_with_their_count(self, dtype, number, tmp_path):
        scene, labels = synthetic_sentinel2((64, 64), nodata_wedge=False)
        scene = select_bands(scene, ["B02", "B03"]).astype(dtype)
        scene[:, 3:8, 10:20] = number
        told = r"holds .* in 50 of 4,096 pixels of B02 \(1.2 %\) and in 1 more bands.*--nodata -"
        with pytest.warns(seg.SceneWarning, match=told) as caught:
            seg.band_statistics(scene)
        assert caught[-1].filename == __file__
        options = {"patch_size": 32, "split": seg.RandomSplit(1, 0, 0), "progress": False}
        with pytest.warns(seg.SceneWarning, match=told):
            seg.extract_patches(scene, labels, tmp_path / "a.zarr", **options)
        stated = scene.rio.write_nodata(number)
        seg.extract_patches(stated, labels, tmp_path / "b.zarr", **options)
        assert seg.band_statistics(stated)["minimum"].min() > 0
