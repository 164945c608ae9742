import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from seg4eo_xr.geometry.blending import FIXED_POINT, overlap_add, taper, window_weights
from seg4eo_xr.geometry.windows import WindowAxis

KINDS = st.sampled_from(["hann", "linear", "gaussian"])


@st.composite
def axes(draw: st.DrawFn) -> WindowAxis:
    window = draw(st.integers(1, 24))
    return WindowAxis(draw(st.integers(1, 150)), window, draw(st.integers(0, window - 1)))


@given(axes(), KINDS)
def test_weights_sum_to_one_at_every_pixel(axis, kind):
    profile = taper(kind, axis.window, axis.overlap)
    total = np.zeros(axis.padded_size)
    for index in range(axis.count):
        weights = window_weights(axis, index, profile)
        assert (weights > 0).all()
        total[axis.start(index) : axis.start(index) + axis.window] += weights
    np.testing.assert_allclose(total, 1, atol=1e-6)


@given(st.integers(1, 64), KINDS, st.data())
def test_tapers_are_positive_and_symmetric(window, kind, data):
    profile = taper(kind, window, data.draw(st.integers(0, window - 1)))
    assert profile.shape == (window,)
    assert (profile > 0).all()
    np.testing.assert_allclose(profile, profile[::-1])


@given(axes(), axes(), KINDS, st.floats(0, 1))
def test_a_constant_model_gives_that_constant_everywhere(vertical, horizontal, kind, value):
    def constant(window):
        return np.full((2, *window.shape[1:]), [[[value]], [[1 - value]]], np.float32)

    scene = np.zeros((1, vertical.size, horizontal.size), np.float32)
    axes = WindowAxis(vertical.size, 8, 3), WindowAxis(horizontal.size, 8, 3)
    blended = overlap_add(scene, constant, axes, kind) / FIXED_POINT
    np.testing.assert_allclose(blended[0], value, atol=1e-6)
    np.testing.assert_allclose(blended[1], 1 - value, atol=1e-6)


@given(st.integers(1, 40), st.integers(1, 40), KINDS, st.integers(0, 7), st.integers(0, 2**32 - 1))
def test_a_pointwise_model_gives_the_pointwise_result(height, width, kind, overlap, seed):
    scene = np.random.default_rng(seed).random((1, height, width), np.float32)
    axes = WindowAxis(height, 8, overlap), WindowAxis(width, 8, overlap)
    blended = overlap_add(scene, lambda window: window**2, axes, kind) / FIXED_POINT
    np.testing.assert_allclose(blended, scene**2, atol=2e-6)


def test_an_unknown_taper_is_refused():
    with pytest.raises(ValueError, match="'box'"):
        taper("box", 8, 2)
