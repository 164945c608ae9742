"""Laws of `seg4eo_xr.patches.footprints`."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pyproj
import pytest
from affine import Affine
from hypothesis import example, given, settings
from hypothesis import strategies as st

from seg4eo_xr.geometry.footprints import Footprints, near
from seg4eo_xr.patches.footprints import columns_of_a_turn, footprints_of, on_reference

UTM = "EPSG:32633"
TRANSFORM = Affine(10, 0, 500_000, 0, -10, 5_400_000)
PIXELS = settings(deadline=None, max_examples=50)

windows = st.lists(
    st.tuples(*(st.integers(0, 10_000),) * 2, *(st.integers(1, 600),) * 2), min_size=1, max_size=8
).map(lambda table: np.array(table).T)


@PIXELS
@given(table=windows, x=st.floats(-180, 180), step=st.sampled_from([1 / 3, 0.1, 30, 1e-5]))
def test_a_window_of_the_reference_grid_is_itself(table, x, step):
    transform = Affine(step, 0, x, 0, -step, x / 2)
    moved = on_reference(*table, transform, "EPSG:4326", transform, "EPSG:4326")
    assert (np.array(moved) == table).all()


@PIXELS
@given(table=windows, shift=st.tuples(*(st.integers(-500, 500),) * 2), factor=st.integers(1, 6))
def test_in_one_crs_windows_are_shifted_and_scaled(table, shift, factor):
    fine = TRANSFORM @ Affine.translation(*shift) @ Affine.scale(1 / factor)
    row, col, height, width = on_reference(*table, fine, UTM, TRANSFORM, UTM)
    assert row == pytest.approx(table[0] / factor + shift[1], abs=2e-3)
    assert col == pytest.approx(table[1] / factor + shift[0], abs=2e-3)
    assert height == pytest.approx(table[2] / factor, abs=2e-3)
    assert width == pytest.approx(table[3] / factor, abs=2e-3)
    coarse = np.array(on_reference(*table * factor, fine, UTM, TRANSFORM, UTM))
    assert (coarse - table == np.array([[shift[1]], [shift[0]], [0], [0]])).all()


@PIXELS
@given(
    table=windows,
    reference=st.sampled_from(["EPSG:4326", "EPSG:32634", "EPSG:3857", "EPSG:3035"]),
    seed=st.integers(0, 99),
)
@example(np.array([[0], [4000], [500], [8000]]), "EPSG:4326", 0)
def test_in_another_crs_no_point_of_a_window_lies_outside(table, reference, seed):
    degrees = reference == "EPSG:4326"
    target = Affine(1e-4, 0, 15, 0, -1e-4, 49) if degrees else Affine(10, 0, 4e6, 0, -10, 5e6)
    # on the central meridian, amid many of the windows, edges come nearest to the pole
    own = TRANSFORM @ Affine.translation(-5000, 0)
    top, left, height, width = on_reference(*table, own, UTM, target, reference)
    inside = np.random.default_rng(seed).random((400, 2))
    on_edges = np.clip(inside * 3 - 1, 0, 1)
    down, across = np.concatenate([inside, on_edges]).T[:, :, None]
    points = own @ (table[1] + across * table[3], table[0] + down * table[2])
    moved = pyproj.Transformer.from_crs(UTM, reference, always_xy=True).transform(*points)
    col, row = ~target @ moved
    hair = 1e-6
    assert (row >= top - hair).all()
    assert (row <= top + height + hair).all()
    assert (col >= left - hair).all()
    assert (col <= left + width + hair).all()
    # and the box is hardly larger than need be
    spread = np.ptp(row, axis=0), np.ptp(col, axis=0)
    assert height == pytest.approx(spread[0], rel=0.03, abs=0.5)
    assert width == pytest.approx(spread[1], rel=0.03, abs=0.5)


def test_neighbours_of_one_scene_share_no_ground_in_another_crs():
    rows, cols = np.divmod(np.arange(16), 4)
    table = np.stack([rows * 224, cols * 224, rows * 0 + 224, rows * 0 + 224])
    there = Affine(10, 0, 250_000, 0, -10, 5_400_000)
    names = np.where((rows + cols) % 2, "train", "test")
    grids = [(TRANSFORM, UTM), (there, "EPSG:32634")]
    patches = footprints_of(tuple(table), rows * 0 + 1, grids, names)
    assert (patches.widths > 230).all()
    assert not near(patches, names == "test", names == "train").any()
    # in the eyes of another scene they are as large as their boxes
    neighbours = Footprints.joined([patches, replace(patches, scenes=rows * 0)])
    ours = np.arange(32) < 16
    odd = np.tile(names == "test", 2)
    assert near(neighbours, ours & odd, ~ours & ~odd)[ours & odd].all()


def test_windows_that_the_reference_crs_cannot_hold_are_refused():
    beyond = Affine(0.1, 0, 100, 0, -0.1, 5)
    table = np.array([[0], [0], [10], [10]])
    seen_from_above = "+proj=ortho +lat_0=50 +lon_0=-90"
    with pytest.raises(
        ValueError, match=r"a scene in EPSG:4326 \(WGS 84\) has windows that cannot be expressed"
    ):
        on_reference(*table, beyond, "EPSG:4326", TRANSFORM, seen_from_above)


def test_a_window_across_180_degrees_stays_in_one_piece():
    grid = Affine(1e-2, 0, 179, 0, -1e-2, 10)
    across = Affine(1000, 0, 8e5, 0, -1000, 1e6)
    window = [np.array([number]) for number in (0, 0, 64, 64)]
    _, left, _, width = on_reference(*window, across, "EPSG:32660", grid, "EPSG:4326")
    assert width[0] < 70
    assert 70 < left[0] < 75
    assert columns_of_a_turn(grid, "EPSG:4326") == pytest.approx(36_000)
    assert columns_of_a_turn(across, "EPSG:32660") == 0
