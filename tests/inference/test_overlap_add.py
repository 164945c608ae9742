"""Laws of the prediction: exactly once, the same bits always, no seams, lazy, bounded."""

import dask
import dask.array as da
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from peaks import last_line_of_child
from toys import Constant, make_setup

from seg4eo_xr.inference.overlap_add import predict_chunks
from seg4eo_xr.testing import chunkings, raising_scheduler

# Toy scenes are small enough to hold a chunk of nothing but dark pixels.
pytestmark = pytest.mark.filterwarnings("ignore::seg4eo_xr.ContractWarning")


@st.composite
def setups(draw: st.DrawFn):
    windows = tuple(draw(st.integers(2, 20)) for _ in "yx")
    return make_setup(
        shape=tuple(draw(st.integers(1, 80)) for _ in "yx"),
        window=windows,
        overlap=tuple(draw(st.integers(0, window - 1)) for window in windows),
        classes=draw(st.integers(1, 3)),
        missing=draw(st.sampled_from([0.0, 0.0, 0.4, 1.0])),
        blending=draw(st.sampled_from(["hann", "linear", "gaussian"])),
        batch_size=draw(st.integers(1, 5)),
        seed=draw(st.integers(0, 2**16)),
    )


def assert_equal_layers(result, expected):
    assert result.keys() == expected.keys()
    for layer in expected:
        assert result[layer].dtype == expected[layer].dtype
        np.testing.assert_array_equal(result[layer], expected[layer], err_msg=layer)


@settings(deadline=None, max_examples=60)
@given(setups(), st.tuples(st.integers(1, 5), st.integers(1, 5)), st.data())
def test_any_chunking_gives_the_bits_of_the_whole_image(setup, windows_per_chunk, data):
    expected = setup.reference()
    chunks = (1, *(data.draw(chunkings(size)) for size in setup.scene.shape[1:]))
    scene = da.from_array(setup.scene, chunks=chunks)
    layers = predict_chunks(scene, setup.runner(windows_per_chunk))
    for layer, values in expected.items():
        assert layers[layer].shape == values.shape
    scheduler = data.draw(st.sampled_from(["sync", "threads"]))
    assert_equal_layers(dask.compute(layers, scheduler=scheduler)[0], expected)


@settings(deadline=None, max_examples=40)
@given(setups(), st.tuples(st.integers(1, 5), st.integers(1, 5)))
def test_every_window_that_holds_data_runs_exactly_once(setup, windows_per_chunk):
    setup.network.module.windows = 0
    forwards = []
    setup.network.module.register_forward_hook(
        lambda _, inputs, __: forwards.append(int((inputs[0] != 0).flatten(1).any(1).sum()))
    )
    scene = setup.scene.copy()
    scene[:] = np.maximum(scene, 1)  # nothing missing, so no window is all zeros
    layers = predict_chunks(da.from_array(scene), setup.runner(windows_per_chunk))
    dask.compute(layers, scheduler="sync")
    assert sum(forwards) == setup.axes[0].count * setup.axes[1].count


def test_windows_without_data_do_not_run():
    setup = make_setup((40, 40), (8, 8), (2, 2), missing=1.0)
    setup.network.module.windows = 0
    layers = predict_chunks(da.from_array(setup.scene), setup.runner((2, 2)))
    computed = dask.compute(layers, scheduler="sync")[0]
    assert setup.network.module.windows == 0
    assert (computed["classes"] == 255).all()
    assert np.isnan(computed["confidence"]).all()


def test_cropping_the_result_runs_only_the_windows_of_the_crop():
    setup = make_setup((60, 60), (8, 8), (2, 2), batch_size=1)
    classes = predict_chunks(da.from_array(setup.scene), setup.runner((2, 2)))["classes"]
    setup.network.module.windows = 0
    corner = classes[:10, :10].compute(scheduler="sync")
    assert setup.network.module.windows == 4
    np.testing.assert_array_equal(corner, setup.reference()["classes"][:10, :10])


def test_layers_computed_together_share_the_windows():
    setup = make_setup((30, 30), (8, 8), (2, 2), batch_size=1)
    layers = predict_chunks(da.from_array(setup.scene), setup.runner((2, 2)))
    setup.network.module.windows = 0
    dask.compute(layers, scheduler="sync")
    assert setup.network.module.windows == setup.axes[0].count * setup.axes[1].count


def test_building_the_graph_computes_nothing():
    setup = make_setup((60, 60), (8, 8), (2, 2))
    setup.network.module.forward = None

    def unread(*_, **__):
        raise AssertionError("a pixel was read")

    chunks = ((2,), (30, 30), (30, 30))
    scene = da.map_blocks(unread, chunks=chunks, meta=np.empty((0, 0, 0), np.uint16))
    with dask.config.set(scheduler=raising_scheduler):
        layers = predict_chunks(scene, setup.runner((2, 2)))
    assert layers["classes"].dtype == np.uint8
    assert layers["probabilities"].shape == (3, 60, 60)


def test_the_graph_is_deterministic_and_names_what_it_depends_on():
    def name(**changes):
        setup = make_setup((60, 60), (8, 8), (2, 2), **changes)
        return predict_chunks(da.from_array(setup.scene), setup.runner((2, 2)))["classes"].name

    assert name() == name()
    assert len({name(), name(blending="linear"), name(batch_size=3), name(classes=1)}) == 4


@pytest.mark.parametrize("blending", ["hann", "linear", "gaussian"])
def test_a_constant_model_leaves_no_seam(blending):
    setup = make_setup((50, 61), (16, 16), (5, 5), blending=blending)
    setup.network.module = Constant([2.0, 1.0, 0.5])
    layers = predict_chunks(da.from_array(setup.scene), setup.runner((2, 2)))
    computed = dask.compute(layers, scheduler="sync")[0]
    exact = np.exp([2.0, 1.0, 0.5]) / np.exp([2.0, 1.0, 0.5]).sum()
    assert (computed["classes"] == 10).all()
    np.testing.assert_allclose(computed["confidence"], exact[0], atol=1e-6)
    for channel, value in zip(computed["probabilities"], exact, strict=True):
        np.testing.assert_allclose(channel, value, atol=1e-6)


def test_a_pointwise_model_gives_the_pointwise_result():
    setup = make_setup((50, 61), (16, 16), (5, 5))
    setup.network.module.context.data.zero_()
    whole = make_setup((50, 61), (61, 61), (0, 0))
    whole.network.module.context.data.zero_()
    layers, once = (
        predict_chunks(da.from_array(one.scene), one.runner((2, 2))) for one in (setup, whole)
    )
    blended, pointwise = dask.compute(layers, once, scheduler="sync")
    np.testing.assert_allclose(blended["probabilities"], pointwise["probabilities"], atol=2e-6)


def test_batch_neighbours_change_no_bit():
    setup = make_setup((40, 40), (8, 8), (0, 0), batch_size=4)
    plain = setup.reference()["confidence"]
    setup.scene[:, :, 8:16] = 0
    setup.scene[:, 8:16, :8] = 999
    changed = setup.reference()["confidence"]
    np.testing.assert_array_equal(changed[:8, :8], plain[:8, :8])


@pytest.mark.parametrize("threads", [1, 2, 3])
def test_the_number_of_torch_threads_changes_no_bit_and_is_given_back(threads):
    setup = make_setup((70, 50), (24, 24), (6, 6))
    layers = predict_chunks(da.from_array(setup.scene), setup.runner((2, 2)))
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        result = dask.compute(layers, scheduler="sync")[0]
        assert torch.get_num_threads() == threads
    finally:
        torch.set_num_threads(before)
    assert_equal_layers(result, setup.reference())


def test_processes_give_the_same_bits():
    setup = make_setup((70, 50), (12, 12), (4, 4), missing=0.3)
    layers = predict_chunks(da.from_array(setup.scene, chunks=25), setup.runner((2, 3)))
    result = dask.compute(layers, scheduler="processes", num_workers=2)[0]
    assert_equal_layers(result, setup.reference())


def test_a_cluster_gives_the_same_bits():
    from distributed import Client, LocalCluster

    setup = make_setup((70, 50), (12, 12), (4, 4), missing=0.3)
    layers = predict_chunks(da.from_array(setup.scene, chunks=25), setup.runner((2, 3)))
    with (
        LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=":0") as cluster,
        Client(cluster),
    ):
        result = dask.compute(layers)[0]
    assert_equal_layers(result, setup.reference())


def test_a_network_of_the_wrong_size_is_named():
    setup = make_setup((30, 30), (8, 8), (2, 2))
    setup.network.module = Constant([1.0, 2.0])
    layers = predict_chunks(da.from_array(setup.scene), setup.runner((2, 2)))
    with pytest.raises(ValueError, match="gives 2 numbers a pixel, but 3 were expected"):
        layers["classes"].compute(scheduler="sync")


def test_a_network_that_answers_nan_is_named():
    setup = make_setup((30, 30), (8, 8), (2, 2))
    setup.network.module = Constant([float("nan"), 1.0, 2.0])
    layers = predict_chunks(da.from_array(setup.scene), setup.runner((2, 2)))
    with pytest.raises(ValueError, match="NaN"):
        layers["classes"].compute(scheduler="sync")


PEAK_MEMORY = """
import sys
import dask, dask.array as da, numpy as np
from harness import peak_megabytes
from toys import make_setup
from seg4eo_xr.inference.overlap_add import predict_chunks

side = int(sys.argv[1])
setup = make_setup((1, 1), (64, 64), (16, 16), layers=("classes", "confidence"))
axes = make_setup((side, 1), (64, 64), (16, 16)).axes[0]
setup.axes = (axes, axes)

def block(block_info=None):
    shape = block_info[None]["chunk-shape"]
    return np.full(shape, sum(block_info[None]["chunk-location"]) + 1, np.uint16)

scene = da.map_blocks(block, chunks=da.core.normalize_chunks((2, 512, 512), (2, side, side)),
dtype="u2")

class Sink:
    def __setitem__(self, where, values):
        pass

layers = predict_chunks(scene, setup.runner((8, 8)))
da.store(list(layers.values()), [Sink(), Sink()], lock=False, scheduler="threads", num_workers=2)
print(peak_megabytes())
"""


def test_memory_does_not_grow_with_the_scene():
    peaks = []
    for side in (1536, 6144):
        peaks.append(float(last_line_of_child(PEAK_MEMORY, side)))
    # Scene and map would be 340 MB more; a row of chunks, which waits for the next, is wider.
    assert peaks[1] < peaks[0] + 110, f"16 times the pixels took {peaks} MB"
