"""The scene, the network and the grid of windows that a comparison of predictions is about."""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from seg4eo_xr.inference.options import PredictOptions

CLASSES = range(1, 7)
# Reflectance that becomes the network's 1, and the stored number that stands for it.
_BRIGHT, STORED_BRIGHT = 0.5, 5000


@dataclass(frozen=True)
class Setup:
    """One scene, one network, one grid of windows, one number format."""

    folder: str
    size: int
    window: int
    encoder: str
    precision: str

    @property
    def overlap(self) -> int:
        """Pixels that neighbouring windows share."""
        return self.window // 4

    @property
    def starts(self) -> list[int]:
        """First pixels of the windows of an axis; the last window is shifted to end at the edge."""
        stride = self.window - self.overlap
        count = ceil((self.size - self.overlap) / stride)
        return [min(index * stride, self.size - self.window) for index in range(count)]

    @property
    def windows(self) -> int:
        """How many windows cover the scene; each of them holds data."""
        return len(self.starts) ** 2

    @property
    def options(self) -> PredictOptions:
        """How ours predicts, on the processor."""
        from seg4eo_xr.inference.options import PredictOptions

        return PredictOptions(
            patch_size=self.window, overlap=self.overlap, precision=self.precision, device="cpu"
        )

    def path(self, name: str) -> Path:
        """A file of this run."""
        return Path(self.folder, name)


def prepare(setup: Setup) -> dict[str, float]:
    """Write the scene, streamed, and an untrained network's checkpoint."""
    import torch

    from seg4eo_xr.models.checkpoint import Checkpoint, save_checkpoint
    from seg4eo_xr.models.zoo import ModelSpec, build_model
    from seg4eo_xr.scenes.classes import ClassTable
    from seg4eo_xr.testing import SENTINEL2_BANDS, plain_contract, synthetic_sentinel2

    shape = (setup.size, setup.size)
    # Without missing data every way of predicting runs the same number of windows.
    scene, _ = synthetic_sentinel2(shape, nodata_wedge=False, chunks=512)
    options = {"tiled": True, "blockxsize": 512, "blockysize": 512, "compress": "deflate"}
    scene.rio.to_raster(setup.path("scene.tif"), lock=Lock(), bigtiff="if_safer", **options)

    bands = len(SENTINEL2_BANDS)
    table = ClassTable.from_codes(CLASSES)
    scale, maximum = (1e-4,) * bands, (1.6,) * bands
    contract = plain_contract(SENTINEL2_BANDS, table, bright=_BRIGHT, scale=scale, maximum=maximum)
    spec = ModelSpec("unet", setup.encoder, in_channels=bands, out_channels=len(CLASSES))
    torch.manual_seed(0)
    weights = build_model(spec).state_dict()
    checkpoint = Checkpoint(weights, spec, contract, setup.window, "multiclass")
    save_checkpoint(checkpoint, setup.path("network.pth"))
    return {}
