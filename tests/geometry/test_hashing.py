import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from seg4eo_xr.geometry.hashing import mixed, pixel_numbers, salt_of, split_numbers


@given(st.integers(0, 2**32 - 1), st.integers(0, 2**32 - 1))
def test_a_pixel_is_found_again_from_its_number(row, col):
    rows, cols = split_numbers(pixel_numbers(np.array([row]), np.array([col])))
    assert (rows[0], cols[0]) == (row, col)


def test_no_two_numbers_have_one_hash_and_hashes_are_even():
    hashes = mixed(pixel_numbers(np.arange(300)[:, None], np.arange(300)).ravel())
    assert len(np.unique(hashes)) == 90_000
    tenths = np.bincount((hashes >> np.uint64(11)) * 2.0**-53 // 0.1 == 0, minlength=2)
    assert tenths[1] == pytest.approx(9000, rel=0.05)


def test_seeds_differ():
    assert len({int(salt_of(seed)) for seed in range(100)}) == 100
