from __future__ import annotations

import pickle

import numpy as np
import pytest

from seg4eo_xr.pages import copy_to_pages, empty_pages


@pytest.mark.parametrize("shape", [(), (0, 5), (7, 9), (3, 1024, 700)])
@pytest.mark.parametrize("dtype", ["uint8", "float32", "bool"])
def test_an_array_in_pages_is_an_array_like_others(shape, dtype):
    array = empty_pages(shape, dtype)
    assert (array.shape, array.dtype) == (shape, np.dtype(dtype))
    assert array.flags.c_contiguous
    array[...] = 1
    assert array.sum() == np.prod(shape)
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(array)), array)


def test_a_copy_shares_nothing_with_what_it_was_made_of():
    whole = np.arange(4_000_000, dtype=np.uint16).reshape(2000, 2000)
    part = whole[500:, ::2]
    copied = copy_to_pages(part)
    np.testing.assert_array_equal(copied, part)
    assert not np.shares_memory(copied, whole)


def test_pages_go_back_to_the_system_with_the_array():
    def resident() -> int:
        with open("/proc/self/statm") as file:
            return int(file.read().split()[1]) * 4096

    try:
        before = resident()
    except FileNotFoundError:
        pytest.skip("only Linux tells how much memory is resident")
    arrays = [empty_pages((8 << 20,), np.uint8) for _ in range(8)]
    for array in arrays:
        array[:] = 1
    assert resident() - before > 60 << 20
    arrays.clear()
    del array
    assert resident() - before < 8 << 20
