"""Maps of noisy patches, and ways of cutting them into chunks."""

from __future__ import annotations

import numpy as np
from affine import Affine
from hypothesis import strategies as st

from seg4eo_xr.scenes.classes import ClassTable
from seg4eo_xr.scenes.grid import place
from seg4eo_xr.testing import chunkings

CODES = (1, 2, 5, 9)
NODATA = 255
TABLE = ClassTable.from_codes(CODES, ["water", "forest", "field", "town"])


def noisy_codes(seed, shape, *, specks=0.1, missing=0.05):
    """Patches of 3 × 3 pixels, single pixels of other classes, and missing ones."""
    rng = np.random.default_rng(seed)
    coarse = rng.choice(np.array(CODES, np.uint8), [-(-side // 3) for side in shape])
    codes = np.kron(coarse, np.ones((3, 3), np.uint8))[: shape[0], : shape[1]]
    speck = rng.random(shape) < specks
    codes[speck] = rng.choice(np.array(CODES, np.uint8), speck.sum())
    codes[rng.random(shape) < missing] = NODATA
    return codes


def as_map(codes, *, seed=0, transform=None, crs=32633):
    """A map Dataset of codes, with noise as confidence."""
    transform = transform or Affine(10, 0, 399960, 0, -10, 5300040)
    layer = place(codes, crs, transform).assign_attrs({**TABLE.to_attrs(), "_FillValue": NODATA})
    confidence = np.random.default_rng(seed).random(codes.shape, np.float32)
    confidence[codes == NODATA] = np.nan
    dataset = layer.to_dataset(name="classes")
    return dataset.assign(confidence=layer.copy(data=confidence).drop_attrs())


@st.composite
def chunked_mosaics(draw, *, most=40, specks=(0.0, 0.1, 0.5)):
    """Codes ``(y, x)`` and chunks of both axes."""
    shape = draw(st.tuples(st.integers(2, most), st.integers(2, most)))
    codes = noisy_codes(
        draw(st.integers(0, 2**32)),
        shape,
        specks=draw(st.sampled_from(specks)),
        missing=draw(st.sampled_from([0.0, 0.05])),
    )
    return codes, tuple(draw(chunkings(side)) for side in shape)
