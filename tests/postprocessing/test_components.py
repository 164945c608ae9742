import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from mosaics import chunked_mosaics, noisy_codes
from scipy import ndimage

from seg4eo_xr.postprocessing.components import Components, joined, parts_of, unique_pairs
from seg4eo_xr.postprocessing.stitching import Regions


@given(chunked_mosaics())
def test_components_are_those_that_scipy_finds_class_by_class(mosaic):
    codes, _ = mosaic
    components = Components.of(codes)
    count = 0
    for code in np.unique(codes):
        labels, found = ndimage.label(codes == code)
        count += found
        pairs = {*zip(labels[labels > 0], components.labels[labels > 0], strict=True)}
        assert len(pairs) == found
    assert len(components) == count
    np.testing.assert_array_equal(components.codes[components.labels], codes)


def test_first_pixels_and_sizes_are_those_of_each_component():
    components = Components.of(noisy_codes(0, (17, 23)))
    flat = components.labels.ravel()
    for label in range(len(components)):
        assert components.first[label] == np.flatnonzero(flat == label)[0]
        assert components.sizes[label] == (flat == label).sum()


def test_neighbours_share_a_side():
    components = Components.of(np.array([[1, 2, 2], [3, 3, 2]]))
    pairs = components.neighbours(np.array([True, False, False]))
    assert pairs.tolist() == [[0, 1], [0, 2]]


@given(chunked_mosaics())
def test_keys_do_not_depend_on_where_the_map_is_cut(mosaic):
    codes, chunks = mosaic
    numbers = np.arange(codes.size).reshape(codes.shape)
    for part in parts_of(chunks).values():
        window = np.s_[part.row : part.row + part.height, part.column : part.column + part.width]
        components = Components.of(codes[window])
        regions = Regions.of(components, part)
        for label, key in enumerate(regions.keys):
            assert key == numbers[window][components.labels == label].min()


@given(st.lists(st.tuples(st.integers(0, 9), st.integers(0, 9)), max_size=9))
def test_joining_is_the_transitive_closure(pairs):
    groups = joined(10, np.array(pairs, np.int64).reshape(-1, 2))
    reach = np.eye(10, dtype=bool)
    for one, other in pairs:
        reach[one, other] = reach[other, one] = True
    for _ in range(4):
        reach = reach @ reach
    np.testing.assert_array_equal(groups[:, None] == groups, reach)


def test_pairs_are_sorted_out_whichever_comes_first():
    assert unique_pairs(np.array([[3, 1], [1, 3], [0, 2]])).tolist() == [[0, 2], [1, 3]]
    assert unique_pairs(np.empty((0, 2))).shape == (0, 2)
