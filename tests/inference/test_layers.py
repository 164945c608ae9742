from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from seg4eo_xr.geometry.blending import FIXED_POINT
from seg4eo_xr.inference.certainty import entropy, leading_class, margin
from seg4eo_xr.inference.layers import BYTE_STEPS, MapEncoding, map_format
from seg4eo_xr.scenes.classes import ClassTable

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
    given = [0.8, 0.7, 0.9] if threshold is None else [0.8, 0.3, 0.9]
    np.testing.assert_allclose(layers["confidence"][0], given, rtol=1e-6)
    encoding.mark_missing(layers, np.array([[True, True, False]]))
    assert layers["classes"][0, 2] == nodata
    assert np.isnan(layers["confidence"][0, 2])


@st.composite
def blended(draw):
    """Sums of some classes, as windows leave them: about one in all, off by a few units."""
    classes = draw(st.integers(2, 7))
    random = np.random.default_rng(draw(st.integers(0, 999)))
    shares = random.dirichlet(np.full(classes, draw(st.sampled_from([0.05, 1.0, 50.0]))), 60)
    sums = np.rint(shares.T.reshape(classes, 5, 12) * FIXED_POINT) + random.integers(0, 3)
    return torch.from_numpy(sums.astype(np.int32))


@given(blended())
def test_the_leading_class_is_the_first_of_the_largest(sums):
    best, index = leading_class(sums)
    np.testing.assert_array_equal(best, sums.numpy().max(0))
    np.testing.assert_array_equal(index, sums.numpy().argmax(0))


@given(blended())
def test_the_margin_is_the_distance_of_the_two_largest(sums):
    ascending = np.sort(sums.numpy(), 0)
    np.testing.assert_array_equal(margin(sums), ascending[-1] - ascending[-2])


@given(blended())
def test_the_entropy_is_that_of_the_probabilities(sums):
    shares = np.clip(sums.numpy() / FIXED_POINT, 1e-300, 1)
    expected = -(shares * np.log(shares)).sum(0) / np.log(len(shares))
    difference = np.abs(entropy(sums).numpy() / FIXED_POINT - expected)
    assert difference.max() < 6e-6 * len(shares) / np.log(len(shares))


@pytest.mark.parametrize("classes", [2, 3, 6])
def test_entropy_ends_at_zero_and_one(classes):
    certain = torch.zeros((classes, 1, 1), dtype=torch.int32)
    certain[1] = FIXED_POINT
    alike = torch.full((classes, 1, 1), FIXED_POINT // classes, dtype=torch.int32)
    assert entropy(certain).item() == 0
    assert entropy(alike).item() == pytest.approx(FIXED_POINT, abs=2 * classes)


@given(blended(), st.data())
def test_every_layer_of_a_pixel_depends_on_its_sums_alone(sums, data):
    layers = ("classes", "confidence", "probabilities", "entropy", "margin")
    kind = data.draw(st.sampled_from(["float32", "float16", "uint8"]))
    encoding = MapEncoding(tuple(range(len(sums))), None, 255, layers, kind)
    whole = encoding.finalise(sums)
    row, column = data.draw(st.integers(0, 4)), data.draw(st.integers(0, 11))
    for layer, part in encoding.finalise(sums[:, row:, column:]).items():
        assert part.dtype == encoding.dtype(layer) == whole[layer].dtype
        np.testing.assert_array_equal(part, whole[layer][..., row:, column:])


def test_a_binary_network_has_the_layers_of_its_two_classes():
    layers = ("probabilities", "entropy", "margin")
    second = (torch.tensor([[0.0, 0.25, 0.5]]) * FIXED_POINT).to(torch.int32)
    both = torch.stack([FIXED_POINT - second, second])
    binary = MapEncoding((0, 1), 0.3, 255, layers).finalise(second[None])
    for layer, values in MapEncoding((0, 1), None, 255, layers).finalise(both).items():
        np.testing.assert_array_equal(binary[layer], values)
    np.testing.assert_array_equal(binary["margin"], [[1, 0.5, 0]])


@pytest.mark.parametrize(("kind", "step"), [("float32", 0), ("float16", 2**-11), ("uint8", 1)])
def test_stored_probabilities_are_near_and_missing_ones_marked(kind, step):
    table = ClassTable.from_codes([3, 9])
    encoding = MapEncoding(table.codes, None, 255, ("probabilities",), kind)
    second = (torch.rand((20, 30), generator=torch.Generator().manual_seed(1)) * FIXED_POINT).int()
    layers = encoding.finalise(torch.stack([FIXED_POINT - second, second]))
    attrs = encoding.attrs("probabilities", table)
    scale = attrs.get("scale_factor", 1)
    stored = layers["probabilities"].astype(np.float64) * scale
    assert np.abs(stored[1] - second.numpy() / FIXED_POINT).max() <= step * scale / 2
    encoding.mark_missing(layers, np.zeros((20, 30), bool))
    if kind == "uint8":
        assert (layers["probabilities"] == attrs["_FillValue"]).all()
        assert scale == 1 / BYTE_STEPS
    else:
        assert np.isnan(layers["probabilities"]).all()
