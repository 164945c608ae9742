"""Jobs so small that they can be killed and resumed in a test."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any

import dask.array as da
import torch
from toy_network import TinyNetwork

import seg4eo_xr as seg
from seg4eo_xr.models.checkpoint import Checkpoint, save_checkpoint
from seg4eo_xr.models.zoo import ModelSpec
from seg4eo_xr.scenes.open import select_bands
from seg4eo_xr.testing import plain_contract, synthetic_sentinel2

if TYPE_CHECKING:
    from pathlib import Path

    import numpy as np
    import xarray as xr

# Windows of 32 px every 24 px, chunks of 48 and tiles of 96 px: a scene of 2 × 2 tiles and more.
OPTIONS: dict[str, Any] = {"overlap": 8, "windows_per_chunk": 2, "tile_size": 96}
SIDES = (230, 170)


def toy_checkpoint(codes: tuple[int, ...] = (1, 2, 3), seed: int = 0) -> Checkpoint:
    """Untrained network for the bands of `toy_scene`; to be run inside `tiny_network`."""
    table = seg.ClassTable.from_codes(codes, [f"kind {code}" for code in codes])
    contract = plain_contract(
        ["B02", "B03", "B04"], table, bright=0.3, scale=(1e-4,) * 3, maximum=(1.0,) * 3
    )
    spec = ModelSpec("unet", "resnet18", 3, len(codes))
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        weights = TinyNetwork(3, len(codes)).state_dict()
    return Checkpoint(weights, spec, contract, 32, "multiclass")


def toy_scene(seed: int = 3) -> xr.DataArray:
    """Three bands, with a corner of nodata."""
    scene = select_bands(synthetic_sentinel2(SIDES, seed=seed)[0], ["B02", "B03", "B04"])
    return scene.chunk(y=64, x=100)


def failing_scene(error: Exception) -> xr.DataArray:
    """A scene whose pixel (200, 160), in tile 1.1 alone, cannot be read."""

    def block(values: np.ndarray, block_info: Any = None) -> np.ndarray:
        location = block_info[0]["array-location"]
        if location[1][0] <= 200 < location[1][1] and location[2][0] <= 160 < location[2][1]:
            raise error
        return values

    scene = toy_scene().chunk(y=20, x=20)
    data = da.map_blocks(block, scene.data, dtype=scene.dtype, name=f"failing-{error}")
    return scene.copy(data=data)


def make_files(folder: Path) -> Path:
    """Leave the scene and the model as files."""
    toy_scene().rio.to_raster(folder / "scene.tif", tiled=True, blockxsize=64, blockysize=64)
    save_checkpoint(toy_checkpoint(), folder / "model.pth")
    return folder


def run_job(folder: Path, output: str | Path, **options: Any) -> seg.JobResult:
    """Map the scene of a folder."""
    arguments = {"progress": False, **OPTIONS, **options}
    return seg.predict_to_zarr(folder / "scene.tif", folder / "model.pth", output, **arguments)


def digest(path: Path) -> dict[str, str]:
    """Digests of a file, or of all files of a folder."""
    files = [path] if path.is_file() else [file for file in path.rglob("*") if file.is_file()]
    return {
        str(file.relative_to(path)): hashlib.sha256(file.read_bytes()).hexdigest() for file in files
    }
