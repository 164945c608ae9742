from __future__ import annotations

import dask
import dask.array as da
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from toys import make_setup

from seg4eo_xr.geometry.blending import taper, window_weights
from seg4eo_xr.inference.network import Network, weights_token
from seg4eo_xr.inference.options import PredictOptions
from seg4eo_xr.inference.overlap_add import predict_chunks
from seg4eo_xr.scenes.contract import normalize
from seg4eo_xr.testing import chunkings

pytestmark = pytest.mark.filterwarnings("ignore::seg4eo_xr.ContractWarning")

BOTH = ("classes", "confidence", "disagreement", "view_disagreement")


def computed(setup, windows_per_chunk, chunks="auto"):
    scene = da.from_array(setup.scene, chunks=chunks)
    return dask.compute(predict_chunks(scene, setup.runner(windows_per_chunk)))[0]


@given(st.integers(0, 99), st.integers(1, 3), st.booleans(), st.data())
@settings(max_examples=25)
def test_any_chunking_gives_the_bits_of_the_whole_image(seed, classes, tta, data):
    layers = BOTH if tta else BOTH[:3]
    setup = make_setup((33, 41), (8, 8), (5, 3), classes=classes, layers=layers, seed=seed, tta=tta)
    chunks = (1, *(data.draw(chunkings(size)) for size in (33, 41)))
    windows = data.draw(st.tuples(st.integers(1, 5), st.integers(1, 5)))
    expected = setup.reference()
    for layer, values in computed(setup, windows, chunks).items():
        np.testing.assert_array_equal(values, expected[layer], err_msg=layer)


def variances(setup):
    """Variance over windows, and over the views of each window, plainly and in double precision."""
    vertical, horizontal = setup.axes
    shape = tuple(axis.padded_size for axis in setup.axes)
    past = [(0, 0)] + [(0, axis.padded_size - axis.size) for axis in setup.axes]
    scene = np.pad(setup.scene, past, "reflect")
    profiles = [taper(setup.blending, axis.window, axis.overlap) for axis in setup.axes]
    mean, power, within = np.zeros((3, *shape)), np.zeros(shape), np.zeros(shape)
    for row in range(vertical.count):
        for column in range(horizontal.count):
            ys = slice(vertical.start(row), vertical.start(row) + vertical.window)
            xs = slice(horizontal.start(column), horizontal.start(column) + horizontal.window)
            batch = normalize(torch.from_numpy(scene[:, ys, xs]), setup.contract)[None]
            views = []
            for mirrored in (False, True):
                for turns in range(4 if setup.network.tta else 1):
                    seen = torch.rot90(batch.flip(-1) if mirrored else batch, turns, (-2, -1))
                    answer = setup.network.module(seen).softmax(1)
                    back = torch.rot90(answer, -turns, (-2, -1))
                    views.append((back.flip(-1) if mirrored else back)[0].double().numpy())
            views = np.stack(views if setup.network.tta else views[:1])
            weights = np.outer(
                window_weights(vertical, row, profiles[0]),
                window_weights(horizontal, column, profiles[1]),
            )
            own = views.mean(0)
            mean[:, ys, xs] += weights * own
            power[ys, xs] += weights * (own**2).sum(0)
            within[ys, xs] += weights * views.var(0).sum(0)
    size = tuple(slice(axis.size) for axis in setup.axes)
    return (power - (mean**2).sum(0))[size], within[size]


@pytest.mark.parametrize("tta", [False, True])
def test_disagreement_is_the_variance_over_windows_and_over_views(tta):
    setup = make_setup((26, 31), (8, 8), (4, 3), layers=BOTH if tta else BOTH[:3], tta=tta)
    place = torch.randn((8, 8), generator=torch.Generator().manual_seed(1))
    setup.network.module.place = 3 * place
    found = computed(setup, (2, 3))
    windows, views = variances(setup)
    np.testing.assert_allclose(found["disagreement"], windows, atol=3e-6)
    if tta:
        np.testing.assert_allclose(found["view_disagreement"], views, atol=3e-6)
        assert found["view_disagreement"].max() > 1e-3
    else:
        assert found["disagreement"].max() > 1e-3
    # one window alone has nobody to disagree with
    assert found["disagreement"][:4, :5].max() < 2e-6


def test_where_windows_disagree_no_more_is_said_than_a_half():
    setup = make_setup((40, 40), (8, 8), (4, 4), classes=1, layers=("disagreement",))
    setup.network.module.mix.data *= 0
    setup.network.module.context.data.fill_(1)
    # certain of one class in the left half of a window, of the other in the right
    setup.network.module.place = torch.tensor([[1e4] * 4 + [-1e4] * 4]).expand(8, 8)
    found = computed(setup, (3, 3))["disagreement"]
    assert 0.2 < found.max() <= 0.5 + 1e-6


def test_missing_pixels_are_nan_and_other_layers_keep_their_bits():
    plain = make_setup((30, 30), (8, 8), (3, 3), missing=0.3, layers=BOTH[:2])
    more = make_setup((30, 30), (8, 8), (3, 3), missing=0.3, layers=BOTH[:3])
    one, other = computed(plain, (2, 2)), computed(more, (2, 2))
    for layer in ("classes", "confidence"):
        np.testing.assert_array_equal(one[layer], other[layer])
    assert np.array_equal(np.isnan(other["disagreement"]), np.isnan(other["confidence"]))


def test_views_need_test_time_augmentation():
    with pytest.raises(ValueError, match=r"view_disagreement.*tta=True"):
        PredictOptions(layers=BOTH)
    assert PredictOptions(layers=BOTH, tta=True).tta


@pytest.mark.parametrize("classes", [1, 3])
def test_a_temperature_divides_the_logits(classes):
    plain = make_setup((8, 8), (8, 8), (0, 0), classes=classes)
    batch = torch.rand((1, 2, 8, 8), generator=torch.Generator().manual_seed(0))
    logits = plain.network.module(batch)
    for temperature in (1.0, 2.5):
        network = Network(
            plain.network.module, token="t", binary=classes == 1, temperature=temperature
        )
        found = network.probabilities(batch)
        scaled = logits / temperature
        expected = scaled.sigmoid() if classes == 1 else scaled.softmax(1)
        torch.testing.assert_close(found, expected)


def test_names_tell_temperatures_and_measures_apart_and_one_is_none():
    module = torch.nn.Identity()
    weights = {"a": torch.ones(2)}
    assert weights_token(weights, "net") == weights_token(weights, "net", 1.0)
    assert weights_token(weights, "net") != weights_token(weights, "net", 1.5)
    ways = [{}, {"temperature": 2.0}, {"measures": ("disagreement",)}]
    names = {Network(module, token="t", binary=False, **way).__dask_tokenize__() for way in ways}
    assert len(names) == 3
