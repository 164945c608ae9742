from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from seg4eo_xr.patches.extract import extract_patches
from seg4eo_xr.testing import synthetic_sentinel2

if TYPE_CHECKING:
    from seg4eo_xr.patches.store import PatchStore


@pytest.fixture(scope="session")
def patches(tmp_path_factory: pytest.TempPathFactory) -> PatchStore:
    """36 patches of 64 px, ten bands and six classes, a part of them without data."""
    scene, labels = synthetic_sentinel2((384, 384), seed=1)
    path = tmp_path_factory.mktemp("patches") / "store.zarr"
    return extract_patches(scene, labels, path, patch_size=64, progress=False)
