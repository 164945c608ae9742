from __future__ import annotations

import json
from dataclasses import replace

import dask.array as da
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from seg4eo_xr.scenes.classes import ClassTable
from seg4eo_xr.scenes.contract import Contract, Normalization, normalize, valid_mask
from seg4eo_xr.testing import stored_blocks

DTYPES = ["uint8", "int16", "uint16", "int32", "float32"]


def _contract(bands=3, *, kind="percentile", nodata=0.0, rule="any", dtype="uint16"):
    numbers = np.arange(1, bands + 1, dtype=np.float64)
    return Contract(
        bands=tuple(f"B{i}" for i in range(bands)),
        dtype=dtype,
        scale=tuple(numbers * 1e-4),
        offset=tuple(-numbers * 1e-3),
        nodata=nodata,
        nodata_rule=rule,
        ground_sample_distance=(10.0, 10.0),
        minimum=tuple(-numbers),
        maximum=tuple(numbers),
        normalization=Normalization(kind, tuple(-numbers * 1e-2), tuple(numbers / 2)),
        classes=ClassTable.from_codes([1, 5]),
    )


def _reference(values, contract):
    """The definition, pixel by pixel, in float64."""
    result = np.zeros(values.shape)
    rule = contract.normalization
    for index in np.ndindex(values.shape):
        band, row, col = index
        pixel = values[:, row, col].astype(np.float64)
        lost = ~np.isfinite(pixel)
        if contract.nodata is not None:
            lost |= pixel == contract.nodata
        if lost[band] or (contract.nodata_rule == "any" and lost.any()):
            continue
        number = pixel[band] * contract.scale[band] + contract.offset[band]
        if rule.kind != "none":
            number = (number - rule.lower[band]) / (rule.upper[band] - rule.lower[band])
        result[index] = np.clip(number, 0, 1) if rule.clips else number
    return result


def _numbers(dtype):
    """Blocks with magnitudes as sensors have them, zeros, and NaN where there is any."""
    if dtype == "float32":
        elements = st.one_of(st.just(0.0), st.just(np.nan), st.floats(-1e4, 1e4, width=32))
        return st.lists(elements, min_size=12, max_size=12).map(
            lambda drawn: np.array(drawn, np.float32).reshape(3, 2, 2)
        )
    if dtype == "int32":
        return stored_blocks("int16").map(lambda values: values.astype(np.int32))
    return stored_blocks(dtype)


@pytest.mark.parametrize("dtype", DTYPES)
def test_normalize_follows_its_definition_and_is_one_function_everywhere(dtype):
    torch = pytest.importorskip("torch")

    @given(
        _numbers(dtype),
        st.sampled_from(["percentile", "standard", "none"]),
        st.sampled_from(["any", "all"]),
        st.sampled_from([None, 0.0, 7.0]),
    )
    @settings(max_examples=40, deadline=None)
    def law(values, kind, rule, nodata):
        contract = _contract(len(values), kind=kind, rule=rule, nodata=nodata, dtype=dtype)
        ours = normalize(values, contract)
        assert ours.dtype == np.float32
        assert np.allclose(ours, _reference(values, contract), rtol=1e-5, atol=1e-5)
        lazy = normalize(da.from_array(values, chunks=(-1, 1, 2)), contract)
        assert isinstance(lazy, da.Array)
        assert lazy.dtype == np.float32
        assert np.array_equal(lazy.compute(scheduler="sync"), ours)
        tensor = normalize(torch.from_numpy(values), contract)
        assert tensor.dtype == torch.float32
        assert np.array_equal(tensor.numpy(), ours)

    law()


@pytest.mark.parametrize("kind", ["percentile", "patch_percentile", "patch_percentile_all_bands"])
def test_normalize_takes_batches(kind):
    contract = _contract(kind=kind)
    batch = np.random.default_rng(0).integers(0, 10000, (4, 3, 5, 6), np.uint16)
    together = normalize(batch, contract)
    for image, result in zip(batch, together, strict=True):
        assert np.array_equal(normalize(image, contract), result)


def test_a_patch_can_be_normalised_by_its_own_percentiles():
    torch = pytest.importorskip("torch")

    @given(
        st.sampled_from(DTYPES).flatmap(_numbers),
        st.sampled_from(["any", "all"]),
        st.sampled_from([None, 0.0, 7.0]),
    )
    @settings(max_examples=100, deadline=None)
    def law(values, rule, nodata):
        contract = _contract(len(values), kind="patch_percentile", rule=rule, nodata=nodata)
        ours = normalize(values, contract)
        assert ours.dtype == np.float32
        single = ~np.isfinite(values) | (False if nodata is None else values == nodata)
        missing = single.any(0) if rule == "any" else single
        for band, plane in enumerate(values.astype(np.float32)):
            lost = missing if rule == "any" else missing[band]
            upper = np.percentile(plane[~lost], 99) if not lost.all() else 0
            expected = np.clip(plane / upper, 0, 1) if upper > 0 else np.zeros_like(plane)
            np.testing.assert_allclose(ours[band], np.where(lost, 0, expected), rtol=1e-5)
        tensor = normalize(torch.from_numpy(values), contract)
        assert np.array_equal(tensor.numpy(), ours)

    law()


def test_a_patch_can_be_normalised_by_one_percentile_of_all_its_bands():
    torch = pytest.importorskip("torch")

    @given(
        st.sampled_from(DTYPES).flatmap(_numbers),
        st.sampled_from(["any", "all"]),
        st.sampled_from([None, 0.0, 7.0]),
    )
    @settings(max_examples=100, deadline=None)
    def law(values, rule, nodata):
        contract = _contract(
            len(values), kind="patch_percentile_all_bands", rule=rule, nodata=nodata
        )
        ours = normalize(values, contract)
        single = ~np.isfinite(values) | (False if nodata is None else values == nodata)
        lost = np.broadcast_to(single.any(0), values.shape) if rule == "any" else single
        numbers = values.astype(np.float32)
        upper = np.percentile(numbers[~lost], 99) if not lost.all() else 0
        expected = np.clip(numbers / upper, 0, 1) if upper > 0 else np.zeros_like(numbers)
        np.testing.assert_allclose(ours, np.where(lost, 0, expected), rtol=1e-5)
        assert np.array_equal(normalize(torch.from_numpy(values), contract).numpy(), ours)

    law()


@pytest.mark.parametrize("kind", ["patch_percentile", "patch_percentile_all_bands"])
def test_the_percentiles_of_a_patch_are_of_its_stored_numbers(kind):
    contract = _contract(kind=kind)
    values = np.random.default_rng(0).integers(1, 9000, (3, 8, 8)).astype(np.uint16)
    other = replace(contract, scale=(1.0,) * 3, offset=(5.0,) * 3)
    assert np.array_equal(normalize(values, contract), normalize(values, other))


@pytest.mark.parametrize("kind", ["patch_percentile", "patch_percentile_all_bands"])
def test_a_lazy_scene_has_no_patches_to_normalise_by(kind):
    values = da.ones((3, 8, 8), chunks=4, dtype=np.uint16)
    with pytest.raises(ValueError, match=rf"'{kind}' takes patches.*predict\(\)"):
        normalize(values, _contract(kind=kind))


def test_bounds_of_stored_numbers_leave_scale_and_offset_out():
    contract = _contract(kind="standard", nodata=None)
    rule = Normalization("standard", (1000.0,) * 3, (3000.0,) * 3, of_stored=True)
    values = np.full((3, 4, 4), 2000, np.uint16)
    assert (normalize(values, replace(contract, normalization=rule)) == 0.5).all()


def test_a_contract_written_before_bounds_of_stored_numbers_still_loads():
    contract = _contract()
    old = contract.to_dict()
    del old["normalization"]["of_stored"]
    assert Contract.from_dict(old) == contract


def test_scaling_does_not_change_what_the_network_sees():
    contract = _contract(nodata=None)
    stored = np.random.default_rng(0).integers(0, 10000, (3, 8, 8), np.uint16)
    numbers = stored.astype(np.float32) * np.array(contract.scale, np.float32)[:, None, None]
    physical = replace(contract, scale=(1.0, 1.0, 1.0))
    assert np.allclose(normalize(numbers, physical), normalize(stored, contract), atol=1e-5)


def test_a_constant_band_divides_by_nothing():
    contract = _contract(1, nodata=None)
    rule = Normalization("percentile", (0.0,), (0.0,))
    flat = replace(contract, normalization=rule, offset=(0.0,))
    assert np.isfinite(normalize(np.full((1, 2, 2), 5, np.uint16), flat)).all()


@pytest.mark.parametrize("dtype", ["uint8", "int16", "float32"])
def test_valid_mask_follows_its_definition(dtype):
    @given(stored_blocks(dtype), st.sampled_from([None, 0, 3, -9999, float("nan"), 0.5]))
    @settings(max_examples=40, deadline=None)
    def law(values, nodata):
        missing = np.zeros(values.shape, bool)
        if nodata is not None:
            missing |= values == nodata
        if dtype == "float32":
            missing |= ~np.isfinite(values)
        assert np.array_equal(valid_mask(values, nodata, "any"), ~missing.any(axis=0))
        assert np.array_equal(valid_mask(values, nodata, "all"), ~missing.all(axis=0))
        assert np.array_equal(valid_mask(values[None], nodata), valid_mask(values, nodata)[None])

    law()


def test_contracts_survive_json():
    contract = _contract()
    assert Contract.from_dict(json.loads(json.dumps(contract.to_dict()))) == contract


def test_contracts_with_nan_as_nodata_are_equal():
    contract = replace(_contract(nodata=float("nan")), ground_sample_distance=(float("nan"),) * 2)
    again = Contract.from_dict(json.loads(json.dumps(contract.to_dict())))
    assert again == contract
    assert len({again, contract}) == 1
    assert contract != _contract(nodata=None)
    assert contract != replace(contract, dtype="float32")


@pytest.mark.parametrize("missing", ["bands", "normalization", "classes", "ignore_me"])
def test_what_is_no_contract_is_refused(missing):
    entries = _contract().to_dict()
    if missing in entries:
        del entries[missing]
    else:
        entries[missing] = 1
    with pytest.raises(ValueError, match="not a contract"):
        Contract.from_dict(entries)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"bands": ("B0", "B0", "B2")}, "differ from each other"),
        ({"scale": (1.0,)}, "scale has 1 numbers for 3 bands"),
        ({"ignore": 5}, "also the code of a class"),
    ],
)
def test_impossible_contracts_are_refused(changes, message):
    with pytest.raises(ValueError, match=message):
        replace(_contract(), **changes)


@pytest.mark.parametrize(
    ("lower", "upper", "message"),
    [((0.0,), (1.0, 2.0), "1 lower but 2 upper"), ((0.0,), (float("nan"),), "finite")],
)
def test_impossible_normalizations_are_refused(lower, upper, message):
    with pytest.raises(ValueError, match=message):
        Normalization("percentile", lower, upper)
