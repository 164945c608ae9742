import dask
import dask.array as da
import numpy as np
import pytest
from dask.delayed import delayed

from seg4eo_xr.postprocessing.rereading import read_again

NUMBERS = np.arange(2 * 8 * 8).reshape(2, 8, 8)


class Source:
    """Says when it is read."""

    shape, dtype, ndim = NUMBERS.shape, NUMBERS.dtype, NUMBERS.ndim

    def __init__(self):
        self.log = []

    def __getitem__(self, key):
        self.log.append("read")
        return NUMBERS[key]


@pytest.mark.parametrize("side", [8, 4])
@pytest.mark.parametrize("scheduler", ["sync", "threads"])
def test_the_second_reading_waits_and_gives_the_same(side, scheduler):
    source = Source()
    bands = da.from_array(source, chunks=(2, side, side), meta=NUMBERS[:0])
    array = (bands[1] + 1).rechunk((8, 4))
    first = delayed(source.log.append, pure=False)("first")
    again = read_again(array, first, "seed")
    assert again.chunks == array.chunks
    result = dask.compute(again, scheduler=scheduler)[0]
    np.testing.assert_array_equal(result, NUMBERS[1] + 1)
    assert source.log[0] == "first"
    assert set(source.log[1:]) == {"read"}


def test_arrays_that_share_tasks_still_do():
    source = Source()
    bands = da.from_array(source, chunks=NUMBERS.shape, meta=NUMBERS[:0])
    both = [read_again(part, delayed(1), "seed") for part in (bands + 1, bands + 2)]
    dask.compute(*both, scheduler="sync")
    assert len(source.log) == 1


def test_names_follow_from_array_and_seed():
    array = da.ones((4, 4), chunks=2)
    names = [read_again(array, delayed(1), seed).name for seed in ("a", "a", "b")]
    assert names[0] == names[1] != names[2] != array.name
