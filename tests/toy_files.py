"""The files that README speaks of, in small."""

from __future__ import annotations

from typing import TYPE_CHECKING

import geopandas as gpd
import numpy as np
import segmentation_models_pytorch as smp
import torch
from shapely import box

import seg4eo_xr as seg
from seg4eo_xr.testing import synthetic_sentinel2

if TYPE_CHECKING:
    from pathlib import Path

    import xarray as xr

SIDE = 32


def scene_and_labels(shape: tuple[int, int] = (128, 160)) -> tuple[xr.DataArray, xr.DataArray]:
    """Ten bands and six classes."""
    return synthetic_sentinel2(shape, seed=1)


def write_scene(folder: Path) -> None:
    """Leave ``I.tif``, ``L.tif``, a grid ``G.shp``, and the pair ``D/Image_1.tif``."""
    scene, labels = scene_and_labels()
    (folder / "D").mkdir()
    for name in ("I.tif", "D/Image_1.tif"):
        scene.rio.to_raster(folder / name)
    for name in ("L.tif", "D/Label_1.tif"):
        labels.rio.to_raster(folder / name)
    cells(scene).to_file(folder / "G.shp")


def cells(scene: xr.DataArray) -> gpd.GeoDataFrame:
    """Squares of `SIDE` pixels that cover a scene."""
    west, _, _, north = scene.rio.bounds()
    width = SIDE * abs(scene.rio.resolution()[0])
    height, columns = (side // SIDE for side in scene.shape[1:])
    corners = [
        (west + column * width, north - row * width)
        for row in range(height)
        for column in range(columns)
    ]
    squares = [box(x, y - width, x + width, y) for x, y in corners]
    return gpd.GeoDataFrame({"id": range(len(squares))}, geometry=squares, crs=scene.rio.crs)


def write_old_folders(folder: Path) -> None:
    """Leave patches as the scripts do: ``OUT/Patch`` of six classes, ``WATER/Patch`` of two."""
    scene, labels = scene_and_labels()
    codes_of_water = np.where(labels == 255, 255, labels == 1).astype(np.uint8)
    water = labels.copy(data=codes_of_water).drop_attrs(deep=False).rio.write_nodata(255)
    for name, codes in {"OUT": labels, "WATER": water}.items():
        store = seg.extract_patches(
            scene, codes, folder / f"{name}.zarr", patch_size=SIDE, progress=False
        )
        seg.export_patches(store, folder / name / "Patch", progress=False)


def write_old_checkpoints(folder: Path) -> None:
    """Leave checkpoints as the scripts do: ``M/unet++_final.pth`` and others."""
    (folder / "M").mkdir()
    with torch.random.fork_rng():
        torch.manual_seed(0)
        many = smp.UnetPlusPlus("resnet18", encoder_weights=None, in_channels=10, classes=6)
        water = smp.FPN("resnet18", encoder_weights=None, in_channels=10, classes=1)
    config = {"model_name": "unet++", "encoder_name": "resnet18", "patch_size": SIDE}
    for name, content in {
        "unet++_final": {"model_state_dict": many.state_dict(), "config": config},
        "unet++_best_iou": {"model_state_dict": many.state_dict(), "val_iou": 0.5},
        "fpn_best_loss": {"model_state_dict": water.state_dict(), "val_loss": 0.5},
    }.items():
        torch.save(content, folder / "M" / f"{name}.pth")
