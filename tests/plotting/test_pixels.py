from __future__ import annotations

import numpy as np
import pytest
import xarray as xr
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from seg4eo_xr.plotting.pixels import band_limits, choose_bands, class_colors, stretched
from seg4eo_xr.plotting.reading import thinned
from seg4eo_xr.scenes.classes import ClassTable

planes = hnp.arrays(np.uint16, st.tuples(st.integers(1, 4), st.integers(1, 6), st.integers(1, 6)))


@given(planes, st.data())
def test_stretching_keeps_order_within_0_and_1_and_marks_what_is_missing(values, data):
    valid = data.draw(hnp.arrays(bool, values.shape[1:]))
    image = stretched(values, valid, band_limits(values, valid), missing=0.5)
    assert image.shape == (*values.shape[1:], len(values))
    assert (image[~valid] == 0.5).all()
    assert ((image >= 0) & (image <= 1)).all()
    for index, band in enumerate(values):
        order = np.argsort(band[valid], kind="stable")
        assert (np.diff(image[valid, index][order]) >= 0).all()


@given(st.sets(st.integers(0, 600), min_size=1, max_size=9), st.data())
def test_each_class_has_its_colour_and_all_else_is_white(codes, data):
    table = ClassTable.from_codes(sorted(codes))
    values = data.draw(hnp.arrays(np.int16, (4, 5), elements=st.integers(-5, 610)))
    colors, known = class_colors(values, table)
    color_of = dict(zip(table.codes, table.rgb().tolist(), strict=True))
    for code, color, named in zip(
        values.ravel(), colors.reshape(-1, 3), known.ravel(), strict=True
    ):
        assert color.tolist() == color_of.get(int(code), [255, 255, 255])
        assert named == (int(code) in codes)


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (["B08", "B04", "B03", "B02"], [1, 2, 3]),
        (["NIR", "Blue", "Red", "Green"], [2, 3, 1]),
        (["a", "b", "c", "d"], [0, 1, 2]),
        (["a", "b"], [0]),
    ],
)
def test_natural_colours_are_found_by_name(names, expected):
    assert choose_bands(names, None) == expected


def test_bands_are_one_or_three_that_there_are():
    assert choose_bands(["a", "b", "c"], ["c"]) == [2]
    number = "one or three"
    for bands, problem in (([], number), (["a", "b"], number), (["d"], "no band 'd'")):
        with pytest.raises(ValueError, match=problem):
            choose_bands(["a", "b", "c"], bands)


@given(st.integers(1, 5000), st.integers(1, 5000))
def test_a_picture_is_never_longer_than_can_be_told_apart(height, width):
    array = xr.DataArray(np.broadcast_to(np.uint8(0), (height, width)), dims=("y", "x"))
    sizes = thinned(array).sizes
    assert max(sizes.values()) <= 1024
    assert min(sizes.values()) >= 1
