from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from seg4eo_xr.geometry.blending import FIXED_POINT
from seg4eo_xr.inference.layers import MapEncoding, map_format

SHORT = st.integers(-32768, 32767)


@given(st.sets(SHORT, min_size=1, max_size=20))
def test_a_format_holds_every_code_and_one_more(codes):
    if min(codes) == -32768:
        return
    dtype, nodata = map_format(sorted(codes))
    limits = np.iinfo(dtype)
    assert all(limits.min <= code <= limits.max for code in (*codes, nodata))
    assert nodata not in codes
    assert (dtype == np.uint8) == (min(codes) >= 0 and max(codes) <= 254)


@given(st.sets(SHORT, min_size=1, max_size=5), st.integers(-32768, 32767))
def test_a_given_nodata_code_is_kept(codes, nodata):
    if nodata in codes:
        with pytest.raises(ValueError, match=f"output_nodata {nodata} is the code of a class"):
            map_format(sorted(codes), nodata)
    else:
        dtype, kept = map_format(sorted(codes), nodata)
        assert kept == nodata
        assert np.array([*codes, nodata]).astype(dtype).tolist() == [*codes, nodata]


@pytest.mark.parametrize(
    ("codes", "nodata"), [((1, 2), 70000), ((-1, 2), 65535), ((-32768, 1), None)]
)
def test_what_fits_no_type_is_refused(codes, nodata):
    with pytest.raises(ValueError, match=r"no type of 16 bits holds.*output_nodata"):
        map_format(codes, nodata)


@pytest.mark.parametrize("codes", [(0, 7), (111, 523), (-3, 2)])
@pytest.mark.parametrize("threshold", [None, 0.25])
def test_the_most_probable_class_gets_its_code(codes, threshold):
    dtype, nodata = map_format(codes)
    encoding = MapEncoding(codes, threshold, nodata, ("classes", "confidence"))
    second = torch.tensor([[0.2, 0.3, 0.9]]) * FIXED_POINT
    sums = torch.stack([FIXED_POINT - second, second]).to(torch.int32)
    layers = encoding.finalise(sums if threshold is None else sums[1:])
    expected = [0, 0, 1] if threshold is None else [0, 1, 1]
    assert layers["classes"].dtype == dtype == encoding.empty(1, 3)["classes"].dtype
    assert layers["classes"][0].tolist() == [codes[index] for index in expected]
    encoding.mark_missing(layers, np.array([[True, True, False]]))
    assert layers["classes"][0, 2] == nodata
    assert np.isnan(layers["confidence"][0, 2])
