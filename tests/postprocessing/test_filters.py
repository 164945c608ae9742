import dask
import numpy as np
import pytest
import xarray as xr
from hypothesis import given
from hypothesis import strategies as st
from mosaics import CODES, NODATA, TABLE, as_map, chunked_mosaics, noisy_codes

import seg4eo_xr as seg
from seg4eo_xr.maps.layers import nodata_of
from seg4eo_xr.postprocessing.filters import majority
from seg4eo_xr.testing import raising_scheduler


@given(chunked_mosaics(most=20), st.sampled_from([1, 3, 5, 9, 51]))
def test_any_chunking_gives_the_majority_of_the_whole_image(mosaic, size):
    codes, chunks = mosaic
    lazy = as_map(codes)["classes"].chunk(dict(zip(("y", "x"), chunks, strict=True)))
    with dask.config.set(scheduler="synchronous"):
        found = seg.majority_filter(lazy, size).values
    np.testing.assert_array_equal(found, majority(codes, size, NODATA))


@pytest.mark.parametrize("size", [3, 5])
def test_the_majority_is_that_of_counting_pixel_by_pixel(size):
    codes, reach = noisy_codes(1, (19, 14), specks=0.4), size // 2
    found = majority(codes, size, NODATA)
    for row, column in np.ndindex(codes.shape):
        own = codes[row, column]
        window = codes[max(row - reach, 0) : row + reach + 1]
        window = window[:, max(column - reach, 0) : column + reach + 1]
        present, counts = np.unique(window[window != NODATA], return_counts=True)
        if own == NODATA:
            assert found[row, column] == NODATA
        elif own in present[counts == counts.max()]:
            assert found[row, column] == own
        else:
            assert found[row, column] == present[counts.argmax()]


def test_filters_keep_attributes_other_layers_and_laziness():
    prediction = as_map(noisy_codes(0, (30, 30))).chunk(y=10, x=10)
    with dask.config.set(scheduler=raising_scheduler):
        results = [
            prediction.seg4eo.majority_filter(3),
            prediction.seg4eo.sieve(5),
            prediction.seg4eo.reclassify({code: code for code in CODES}),
        ]
    for result in results:
        assert seg.ClassTable.from_attrs(result["classes"].attrs) == TABLE
        assert result["classes"].attrs["_FillValue"] == NODATA
        assert result["classes"].dtype == np.uint8
        assert result.rio.crs == prediction.rio.crs
        np.testing.assert_array_equal(result["confidence"], prediction["confidence"])
        result["classes"].load()


@pytest.mark.parametrize("size", [0, -3, 4])
def test_a_square_without_a_middle_is_refused(size):
    with pytest.raises(ValueError, match=f"size.* must be an odd number of pixels.*got {size}"):
        seg.majority_filter(as_map(noisy_codes(0, (9, 9))), size)


@given(chunked_mosaics(most=12))
def test_reclassifying_is_a_lookup_and_its_inverse_undoes_it(mosaic):
    codes, chunks = mosaic
    new = {1: 101, 2: 7, 5: 5, 9: 0}
    lazy = as_map(codes)["classes"].chunk(dict(zip(("y", "x"), chunks, strict=True)))
    with dask.config.set(scheduler="synchronous"):
        changed = seg.reclassify(lazy, new)
        back = seg.reclassify(changed, {value: key for key, value in new.items()})
        for code in np.unique(codes):
            expected = new.get(int(code), NODATA)
            assert (changed.values[codes == code] == expected).all()
        np.testing.assert_array_equal(back.values, codes)
    assert seg.ClassTable.from_attrs(back.attrs) == TABLE


def test_the_class_table_follows():
    prediction = as_map(noisy_codes(0, (20, 20)))
    merged = seg.reclassify(prediction, {"water": 1, "forest": 3, "field": 3, "town": None})
    table = seg.ClassTable.from_attrs(merged["classes"].attrs)
    assert table.codes == (1, 3)
    assert table.names == ("water", "forest / field")
    assert table.colors == TABLE.colors[:2]
    taken = seg.reclassify(prediction, {1: 2, 2: 2, 5: 5, 9: 5}, names={5: "open land"})
    table = seg.ClassTable.from_attrs(taken["classes"].attrs)
    assert table.names == ("forest", "open land")
    assert table.colors == (TABLE.colors[1], TABLE.colors[2])
    assert (merged["classes"].values == NODATA).sum() == np.isin(
        prediction["classes"], (9, NODATA)
    ).sum()


def test_codes_that_the_table_lacks_get_a_name_and_a_colour():
    values = noisy_codes(0, (9, 9))
    values[4, 4] = 66
    new = {1: 1, 2: 2, 5: 5, 9: 9, 66: 67}
    changed = seg.reclassify(as_map(values)["classes"], new)
    table = seg.ClassTable.from_attrs(changed.attrs)
    assert table.names == (*TABLE.names, "class 66")
    assert len(set(table.colors)) == 5
    assert changed.values[4, 4] == 67


def test_what_a_layers_encoding_says_stays():
    codes = as_map(noisy_codes(0, (20, 20)))["classes"].drop_attrs()
    codes.encoding = {"_FillValue": 9, "dtype": np.dtype(np.uint8)}
    changed = seg.reclassify(codes, {1: 111, 2: 311, 5: 523, 255: 7})
    assert nodata_of(changed) == 9
    np.testing.assert_array_equal(changed == 9, codes == 9)
    # what is written is what there is
    assert "dtype" not in changed.encoding


def test_wider_codes_get_a_wider_dtype_and_nodata_stays():
    codes = as_map(noisy_codes(0, (20, 20)))["classes"]
    wide = seg.reclassify(codes, {1: 111, 2: 311, 5: 523, 9: 9})
    assert wide.dtype == np.uint16
    np.testing.assert_array_equal(wide == NODATA, codes == NODATA)


@pytest.mark.parametrize(
    ("codes", "options", "says"),
    [
        ({1: 1, 2: 2, 5: 5}, {}, r"what becomes of the classes \[9\]"),
        ({1: 1, 2: 2, 5: 5, 9: 255}, {}, "new code 255 is the map's nodata code"),
        ({1: 1, 2: 2, 5: 5, 9: 9, 255: 7}, {}, r"code 255 a class.*nodata; fill it first"),
        ({1: None, 2: None, 5: None, 9: None}, {}, "leaves no class"),
        ({1: 1, 2: 2, 5: 5, "city": 9}, {}, r"codes names \['city'\]"),
        ({1: 1, 2: 2, 5: 5, 9: 9, "field": 7}, {}, "the class 5 by its code and by its name"),
        ({1: 1, 2: 2, 5: 5, 9: 9}, {"names": {3: "x"}}, r"names has the codes \[3\]"),
    ],
)
def test_mappings_with_holes_are_refused(codes, options, says):
    with pytest.raises(ValueError, match=says):
        seg.reclassify(as_map(noisy_codes(0, (9, 9))), codes, **options)


def test_codes_that_nobody_spoke_of_are_an_error_when_they_turn_up():
    values = noisy_codes(0, (9, 9))
    values[4, 4] = 66
    changed = seg.reclassify(as_map(values).chunk(y=5)["classes"], {1: 1, 2: 1, 5: 1, 9: 1})
    with pytest.raises(ValueError, match=r"holds the class codes \[66\]"):
        changed.load()


def test_nothing_becomes_nodata_where_there_is_no_such_code():
    plain = xr.DataArray(np.array([[1, 2]], np.int16), dims=("y", "x"))
    with pytest.raises(ValueError, match="has no nodata code"):
        seg.reclassify(plain, {1: 1, 2: None})
    assert seg.reclassify(plain, {1: 4, 2: 4}).values.tolist() == [[4, 4]]
