"""Patches that lie anyhow on a small plane, and their pixels one by one."""

from __future__ import annotations

import numpy as np
from hypothesis import strategies as st

from seg4eo_xr.geometry.footprints import Footprints
from seg4eo_xr.geometry.splits import SPLITS


def grid_of(count, stride, size, **columns):
    rows, cols = np.divmod(np.arange(count**2), count)
    return Footprints.of(rows * stride, cols * stride, size, size, **columns)


@st.composite
def scattered_patches(draw, *, fixed=False):
    count = draw(st.integers(4, 40))
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    held = rng.choice(["", *SPLITS], count, p=[0.7, 0.1, 0.1, 0.1]) if fixed else ""
    return Footprints.of(
        rng.integers(0, 120, count),
        rng.integers(0, 120, count),
        rng.integers(1, 12, count),
        rng.integers(1, 12, count),
        scenes=rng.integers(0, 5, count),
        fixed=held,
    )


def pixels(patches, chosen):
    """Every pixel centre of the chosen patches, ``(pixel, 2)``."""
    sides = np.stack([patches.rows, patches.cols, patches.heights, patches.widths], axis=1)
    return np.concatenate(
        [
            np.stack(np.mgrid[r : r + h, c : c + w], -1).reshape(-1, 2)
            for r, c, h, w in sides[chosen]
        ]
    )
