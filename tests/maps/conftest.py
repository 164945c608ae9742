"""A small map with everything that a map may carry."""

from __future__ import annotations

from typing import TYPE_CHECKING

import dask.array as da
import numpy as np
import pytest
import rioxarray  # noqa: F401
import xarray as xr

from seg4eo_xr.inference.layers import map_format
from seg4eo_xr.scenes.classes import ClassTable
from seg4eo_xr.scenes.grid import place

if TYPE_CHECKING:
    from collections.abc import Callable

CODES = (1, 4, 7)
TABLE = ClassTable.from_codes(CODES, ["sea & lake", "forêt", "built-up"])


@pytest.fixture(scope="session")
def make_map() -> Callable[..., xr.Dataset]:
    """Builder of lazy maps: patches of three classes, a nodata corner, noise as confidence."""

    def build(
        shape: tuple[int, int] = (150, 130),
        chunks: object = 64,
        seed: int = 0,
        codes: tuple[int, ...] = CODES,
    ) -> xr.Dataset:
        from affine import Affine

        rng = np.random.default_rng(seed)
        table = ClassTable.from_codes(codes, TABLE.names)
        dtype, nodata = map_format(codes)
        coarse = rng.choice(np.array(codes, dtype), [-(-side // 8) for side in shape])
        classes = np.kron(coarse, np.ones((8, 8), dtype))[: shape[0], : shape[1]]
        confidence = rng.random(shape, np.float32)
        classes[:30, :40], confidence[:30, :40] = nodata, np.nan
        layers = {
            "classes": (classes, {"_FillValue": nodata, "long_name": "class", **table.to_attrs()}),
            "confidence": (confidence, {"units": "1"}),
        }
        transform = Affine(10 / 3, 0, 1 / 3, 0, -10 / 3, 5e6)
        dataset = xr.Dataset(
            {
                name: place(da.from_array(values, chunks=chunks), 32633, transform)
                for name, (values, _) in layers.items()
            },
            attrs={"model": "unet / resnet34", "window": np.int64(256), "version": "2"},
        )
        for name, (_, attrs) in layers.items():
            dataset[name].attrs.update(attrs)
        return dataset

    return build


@pytest.fixture
def count_blocks() -> Callable[[xr.Dataset], tuple[xr.Dataset, list[tuple[int, ...]]]]:
    """Make both layers depend on one computation, and note every block that it evaluates."""

    def instrument(prediction: xr.Dataset) -> tuple[xr.Dataset, list[tuple[int, ...]]]:
        evaluations: list[tuple[int, ...]] = []

        def note(codes: np.ndarray, block_id: tuple[int, ...]) -> np.ndarray:
            evaluations.append(block_id)
            return codes.astype(np.float32)

        layer = prediction["classes"].data
        shared = da.map_blocks(
            note, layer, dtype=np.float32, meta=np.empty((0, 0), np.float32), name="shared"
        )
        prediction["classes"] = prediction["classes"].copy(data=shared.astype(np.uint8))
        prediction["confidence"] = prediction["confidence"].copy(data=shared / 255)
        return prediction, evaluations

    return instrument


@pytest.fixture
def break_block() -> Callable[[xr.Dataset], xr.Dataset]:
    """Make one block in the middle of a map raise."""

    def instrument(prediction: xr.Dataset) -> xr.Dataset:
        def fail(codes: np.ndarray, block_id: tuple[int, ...]) -> np.ndarray:
            if block_id == (1, 1):
                raise RuntimeError("broken block")
            return codes

        broken = da.map_blocks(
            fail, prediction["classes"].data, dtype=np.uint8, meta=np.empty((0, 0), np.uint8)
        )
        prediction["classes"] = prediction["classes"].copy(data=broken)
        return prediction

    return instrument
