import numpy as np
import pytest

from seg4eo_xr.inference.transfers import Upload


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "int16", "float32"])
def test_a_chunk_that_stays_on_the_processor_is_not_copied(dtype):
    chunk = np.arange(60).reshape(3, 4, 5).astype(dtype)
    arrived = Upload(chunk, "cpu").arrived().numpy()
    assert np.shares_memory(arrived, chunk)
    np.testing.assert_array_equal(arrived, chunk)
