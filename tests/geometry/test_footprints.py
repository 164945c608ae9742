"""Laws of `seg4eo_xr.geometry.footprints`."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scattered import pixels, scattered_patches

from seg4eo_xr.geometry.footprints import Footprints, near, nearest


def brute_force(patches, asking, others):
    """Distance of each patch of `asking` to the nearest pixel centre of `others`."""
    far = pixels(patches, np.flatnonzero(others))
    return {
        i: np.sqrt(((pixels(patches, [i])[:, None] - far) ** 2).sum(-1)).min()
        for i in np.flatnonzero(asking)
    }


@settings(deadline=None, max_examples=60)
@given(patches=scattered_patches(), distance=st.one_of(st.none(), st.floats(0, 30)))
def test_near_and_nearest_are_those_of_the_pixels(patches, distance):
    asking = np.arange(len(patches)) % 2 == 0
    expected = brute_force(patches, asking, ~asking)
    found = np.flatnonzero(near(patches, asking, ~asking, distance)).tolist()
    assert found == [i for i, gap in expected.items() if gap <= (distance or 0)]
    assert nearest(patches, asking, ~asking) == pytest.approx(min(expected.values()))


@settings(deadline=None, max_examples=60)
@given(patches=scattered_patches(), scale=st.sampled_from([0.25, 1 / 3, 0.5, 1.5, 3.7]))
def test_patches_share_ground_whatever_the_reference_pixel(patches, scale):
    sides = patches.rows, patches.cols, patches.heights, patches.widths
    scaled = Footprints.of(*(side * scale + 0.0 for side in sides))
    asking = np.arange(len(patches)) % 2 == 0
    assert (near(scaled, asking, ~asking) == near(patches, asking, ~asking)).all()
    assert (near(scaled, asking, ~asking) <= near(scaled, asking, ~asking, 0)).all()


def test_grids_that_coincide_to_a_hair_share_no_ground():
    patches = Footprints.of(0, [0, 8 - 1e-9], 8, 8)
    first = np.array([True, False])
    assert not near(patches, first, ~first).any()
    assert nearest(patches, first, ~first) == pytest.approx(1)


def test_the_distance_of_nothing_is_none():
    patches = Footprints.of([0, 9], 0, 8, 8)
    assert nearest(patches, np.array([True, True]), np.array([False, False])) is None
    assert not near(patches, np.array([True, True]), np.array([False, False]), 100).any()


def test_taking_keeps_all_columns():
    patches = Footprints.of([0, 9], 1, 8, 7, scenes=[0, 1], groups=["a", "b"], fixed=["", "test"])
    last = patches.take(np.array([1]))
    assert (last.rows, last.cols, last.heights, last.widths) == (9, 1, 8, 7)
    assert (last.scenes, last.groups, last.fixed) == (1, "b", "test")


def test_patches_on_both_sides_of_where_the_plane_begins_again_are_near():
    apart = {"scenes": [0, 1, 2]}
    ends = Footprints.of(0, [0, 352, 100], 8, 8, turn=360, **apart)
    first = np.array([True, False, False])
    assert near(ends, ~first, first, distance=1).tolist() == [False, True, False]
    assert nearest(ends, first, ~first) == 1
    plain = Footprints.of(0, [0, 352, 100], 8, 8, **apart)
    assert not near(plain, ~first, first, distance=1).any()
    shared = Footprints.of(0, [0, 356, 100], 8, 8, turn=360, **apart)
    assert near(shared, ~first, first).tolist() == [False, True, False]
    halves = [shared.take(np.arange(2)), shared.take(np.array([2]))]
    assert Footprints.joined(halves).turn == 360
