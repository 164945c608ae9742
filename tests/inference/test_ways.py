"""Every way of running a network gives the bits of the whole image, whatever the chunks."""

from __future__ import annotations

import dask
import dask.array as da
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from toys import make_setup

from seg4eo_xr.inference.network import Network
from seg4eo_xr.inference.overlap_add import predict_chunks
from seg4eo_xr.testing import chunkings

# Toy scenes are small enough to hold a chunk of nothing but dark pixels.
pytestmark = pytest.mark.filterwarnings("ignore::seg4eo_xr.ContractWarning")

SIDE = 16


def setup_of(shape: tuple[int, int], overlap: int, batch_size: int, missing: float, **way: object):
    setup = make_setup(
        shape, (SIDE, SIDE), (overlap, overlap), batch_size=batch_size, missing=missing
    )
    with torch.random.fork_rng():
        torch.manual_seed(0)
        module = torch.nn.Sequential(
            torch.nn.Conv2d(2, 16, 3, padding=1),
            torch.nn.BatchNorm2d(16),
            torch.nn.ReLU(),
            torch.nn.Conv2d(16, 3, 5, padding=2),
        )
    setup.network = Network(module, token="convolutions", binary=False, device="cpu", **way)
    return setup


def assert_bits_of_the_whole_image(setup, windows_per_chunk, chunks, scheduler):
    expected = setup.reference()
    scene = da.from_array(setup.scene, chunks=chunks)
    layers = predict_chunks(scene, setup.runner(windows_per_chunk))
    for layer, values in dask.compute(layers, scheduler=scheduler)[0].items():
        np.testing.assert_array_equal(values, expected[layer], err_msg=layer)


@settings(deadline=None, max_examples=40)
@given(
    st.sampled_from(["float32", "bfloat16"]),
    st.booleans(),
    st.tuples(st.integers(1, 70), st.integers(1, 70)),
    st.integers(0, SIDE - 1),
    st.integers(1, 4),
    st.sampled_from([0.0, 0.3]),
    st.tuples(st.integers(1, 4), st.integers(1, 4)),
    st.sampled_from(["sync", "threads"]),
    st.data(),
)
def test_precision_and_symmetries(
    precision, tta, shape, overlap, batch_size, missing, windows_per_chunk, scheduler, data
):
    setup = setup_of(shape, overlap, batch_size, missing, precision=precision, tta=tta)
    chunks = (2, *(data.draw(chunkings(size)) for size in shape))
    assert_bits_of_the_whole_image(setup, windows_per_chunk, chunks, scheduler)


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_a_compiled_network(precision):
    setup = setup_of((61, 50), 5, 2, 0.3, precision=precision, compile=True, tta=True)
    for windows_per_chunk, scheduler in [((2, 3), "threads"), ((4, 2), "sync")]:
        assert_bits_of_the_whole_image(setup, windows_per_chunk, (1, 23, 31), scheduler)


def test_lower_precision_gives_other_bits_of_nearly_the_same_map():
    exact, rough = (
        setup_of((61, 50), 5, 2, 0.3, precision=precision).reference()
        for precision in ("float32", "bfloat16")
    )
    difference = np.abs(exact["probabilities"] - rough["probabilities"])
    assert 0 < np.nanmax(difference) < 0.02
    assert np.mean(exact["classes"] == rough["classes"]) > 0.98


def test_a_network_that_overflows_in_float16_says_so():
    setup = setup_of((20, 20), 4, 1, 0.0, precision="float16")
    with torch.no_grad():
        setup.network.module[0].weight.fill_(6e4)
    layers = predict_chunks(da.from_array(setup.scene), setup.runner((2, 2)))
    with pytest.raises(ValueError, match=r"NaN or infinity.*precision='float32'"):
        layers["classes"].compute(scheduler="sync")
