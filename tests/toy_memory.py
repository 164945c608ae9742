"""Peak memory of a job on a scene that is made up on the way."""

from __future__ import annotations

from typing import Any
from unittest import mock

import dask.array as da
import numpy as np
import torch
from affine import Affine

import seg4eo_xr as seg
from seg4eo_xr.models.checkpoint import Checkpoint
from seg4eo_xr.models.zoo import ModelSpec
from seg4eo_xr.scenes.grid import place
from seg4eo_xr.testing import plain_contract

_BLOCK = 2048


def noise(block_info: Any = None) -> np.ndarray:
    """Numbers that follow from the place alone."""
    (_, top, left) = (first for first, _ in block_info[None]["array-location"])
    random = np.random.default_rng([top, left])
    return random.integers(1, 255, (1, _BLOCK, _BLOCK), np.uint8)


def print_peak(side: int, output: str) -> None:
    """Map the scene with a network of one number a class; print megabytes."""
    from harness import peak_megabytes  # the child knows where

    blocks = (_BLOCK,) * (side // _BLOCK)
    data = da.map_blocks(noise, chunks=((1,), blocks, blocks), dtype=np.uint8)
    scene = place(data, 32633, Affine(10, 0, 3e5, 0, -10, 6e6)).assign_coords(band=["grey"])
    table = seg.ClassTable.from_codes([1, 2])
    contract = plain_contract(["grey"], table, bright=200.0, maximum=(255.0,))
    network = torch.nn.Conv2d(1, 2, 1)
    spec = ModelSpec("unet", "resnet18", 1, 2)
    checkpoint = Checkpoint(network.state_dict(), spec, contract, 512, "multiclass")
    with mock.patch.object(Checkpoint, "build", return_value=network):
        seg.predict_to_zarr(
            scene,
            checkpoint,
            output,
            tile_size=4096,
            overlap=0,
            layers=("classes",),
            progress=False,
        )
    print(peak_megabytes())
