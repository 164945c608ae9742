"""The cases of the comparison of predictions; run as a script, it measures one of them.

The floor is what nobody can leave out: bare forward passes over the same windows, reading the
scene once, and writing the map once. Importing is not timed.
"""

from __future__ import annotations

import json
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from itertools import product
from math import ceil
from pathlib import Path
from threading import Barrier, Lock
from typing import TYPE_CHECKING, Any

from harness import answer, seconds_of

if TYPE_CHECKING:
    from collections.abc import Callable

    import numpy as np
    import torch

LAYERS = ("map", "confidence")
CLASSES = range(1, 7)
# Reflectance that becomes the network's 1, and the stored number that stands for it.
BRIGHT, STORED_BRIGHT = 0.5, 5000
READ_SIDE = 2048


@dataclass(frozen=True)
class Setup:
    """One scene, one network, one grid of windows."""

    folder: str
    size: int
    window: int
    encoder: str

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
    contract = plain_contract(SENTINEL2_BANDS, table, bright=BRIGHT, scale=scale, maximum=maximum)
    spec = ModelSpec("unet", setup.encoder, in_channels=bands, out_channels=len(CLASSES))
    torch.manual_seed(0)
    weights = build_model(spec).state_dict()
    checkpoint = Checkpoint(weights, spec, contract, setup.window, "multiclass")
    save_checkpoint(checkpoint, setup.path("network.pth"))
    return {}


def baseline(_: Setup) -> dict[str, float]:
    """Import torch and do nothing: the memory that every way of predicting starts from."""
    import torch  # noqa: F401

    return {}


def forward(setup: Setup) -> dict[str, float]:
    """Run bare forward passes over as many windows, in full batches."""
    import torch

    from seg4eo_xr.inference.network import Network
    from seg4eo_xr.models.checkpoint import load_checkpoint

    network = Network.from_checkpoint(load_checkpoint(setup.path("network.pth"))).module
    cores = torch.get_num_threads()
    ways = {1: f"one pass at a time on {cores} threads"}
    if cores > 1:
        ways[cores] = f"{cores} passes side by side on one thread each"
    return {
        f"batch {batch}, {way}": _forward_seconds(network, setup, batch, lanes, cores // lanes)
        for (lanes, way), batch in product(ways.items(), (1, 2, 4))
    }


def _forward_seconds(
    network: torch.nn.Module, setup: Setup, batch: int, lanes: int, threads: int
) -> float:
    """Seconds for the scene's windows, scaled down from whole batches, equally many a lane."""
    import torch

    numbers = torch.rand(batch, 10, setup.window, setup.window)
    numbers = numbers.contiguous(memory_format=torch.channels_last)
    ready = Barrier(lanes)

    def run(_: int) -> None:
        with torch.inference_mode():
            network(numbers)

    def warm_up(index: int) -> None:
        ready.wait()
        run(index)

    batches = ceil(setup.windows / batch / lanes) * lanes
    # The number of threads is set in each thread, because OpenMP keeps it so.
    with ThreadPoolExecutor(lanes, initializer=partial(torch.set_num_threads, threads)) as pool:
        list(pool.map(warm_up, range(lanes)))
        seconds = seconds_of(lambda: list(pool.map(run, range(batches))))
    return seconds * setup.windows / (batches * batch)


def read(setup: Setup) -> dict[str, float]:
    """Read the scene once, block by block."""
    import rasterio
    from rasterio.windows import Window

    starts = range(0, setup.size, READ_SIDE)
    blocks = [Window(x, y, READ_SIDE, READ_SIDE) for y, x in product(starts, starts)]

    def read_share(share: list[Window]) -> None:
        with rasterio.open(setup.path("scene.tif")) as file:
            for block in share:
                file.read(window=block)

    def work(threads: int) -> None:
        with ThreadPoolExecutor(threads) as pool:
            list(pool.map(read_share, [blocks[first::threads] for first in range(threads)]))

    return {f"{n} threads": seconds_of(partial(work, n)) for n in (1, 2)}


def write(setup: Setup) -> dict[str, float]:
    """Write the map that `ours` made once more, from memory, with GDAL's COG driver."""
    from contextlib import ExitStack

    import rasterio
    import rasterio.shutil

    with ExitStack() as stack:
        layers = []
        for name in LAYERS:
            with rasterio.open(setup.path(f"{name}.tif")) as file:
                grid = {"crs": file.crs, "transform": file.transform, "nodata": file.nodata}
                shape = {"height": file.height, "width": file.width, "count": 1}
                values = file.read(1)
            layer = rasterio.open(name, "w", driver="MEM", dtype=values.dtype, **shape, **grid)
            stack.enter_context(layer).write(values, 1)
            layers.append(layer)

        def work(threads: int) -> None:
            with ThreadPoolExecutor(threads) as pool:
                list(pool.map(partial(_write_layer, setup), layers))

        return {f"{n} layers at a time": seconds_of(partial(work, n)) for n in (1, 2)}


def _write_layer(setup: Setup, layer: Any) -> None:
    """Write one layer with the settings of `seg4eo_xr.maps.cog.write_cog`."""
    import rasterio.shutil

    categorical = layer.dtypes[0] == "uint8"
    rasterio.shutil.copy(
        layer,
        str(setup.path(f"again_{layer.dtypes[0]}.tif")),
        driver="COG",
        BLOCKSIZE=512,
        NUM_THREADS="ALL_CPUS",
        OVERVIEW_RESAMPLING="MODE" if categorical else "AVERAGE",
        COMPRESS="DEFLATE",
        LEVEL=6 if categorical else 1,
        PREDICTOR="NO" if categorical else "YES",
    )


def ours(setup: Setup) -> dict[str, float]:
    """Predict from GeoTIFF to COG, with the confidence."""
    import segmentation_models_pytorch  # noqa: F401  (importing is not timed)

    from seg4eo_xr.inference.predict import predict
    from seg4eo_xr.maps.cog import write_cog
    from seg4eo_xr.scenes.open import open_scene

    target, confidence = (setup.path(f"{name}.tif") for name in LAYERS)

    def work() -> None:
        prediction = predict(
            open_scene(setup.path("scene.tif")),
            setup.path("network.pth"),
            patch_size=setup.window,
            overlap=setup.overlap,
        )
        write_cog(prediction, target, overwrite=True, confidence=confidence)

    return {"end to end": seconds_of(work)}


def monai(setup: Setup, channels_last: bool = False) -> dict[str, float]:
    """Predict with MONAI's inferer on the whole scene in memory."""
    import torch
    from monai.inferers.inferer import SlidingWindowInferer

    inferer = SlidingWindowInferer(
        roi_size=(setup.window, setup.window), sw_batch_size=4, overlap=0.25, mode="gaussian"
    )
    network = _plain_network(setup)
    if channels_last:
        network = network.to(memory_format=torch.channels_last)

    def work() -> None:
        with torch.inference_mode():
            scene = torch.from_numpy(_read_normalised(setup))
            logits = inferer(scene[None], network)
            _write_classes(setup, logits[0].argmax(0).numpy())

    return {"end to end": seconds_of(work)}


def scripts(setup: Setup) -> dict[str, float]:
    """Predict as scripts do: all windows in lists, one at a time through the network."""
    import torch

    network = _plain_network(setup)

    def work() -> None:
        scene = _read_normalised(setup)
        corners = list(product(setup.starts, setup.starts))
        side = setup.window
        windows = [scene[:, y : y + side, x : x + side].copy() for y, x in corners]
        answers = []
        with torch.no_grad():
            for window in windows:
                logits = network(torch.from_numpy(window)[None])
                answers.append(torch.softmax(logits, dim=1)[0].numpy())
        _write_classes(setup, _blended(setup, corners, answers).argmax(0))

    return {"end to end": seconds_of(work)}


def _blended(setup: Setup, corners: list[tuple[int, int]], answers: list[np.ndarray]) -> np.ndarray:
    import numpy as np

    profile = np.hanning(setup.window + 2)[1:-1].astype(np.float32)
    weight = profile[:, None] * profile
    sums = np.zeros((len(CLASSES), setup.size, setup.size), np.float32)
    weights = np.zeros((setup.size, setup.size), np.float32)
    for (y, x), answered in zip(corners, answers, strict=True):
        place = (slice(y, y + setup.window), slice(x, x + setup.window))
        sums[:, *place] += answered * weight
        weights[place] += weight
    return sums / weights


def _plain_network(setup: Setup) -> torch.nn.Module:
    from seg4eo_xr.models.checkpoint import load_checkpoint

    return load_checkpoint(setup.path("network.pth")).build()


def _read_normalised(setup: Setup) -> np.ndarray:
    import numpy as np
    import rasterio

    with rasterio.open(setup.path("scene.tif")) as file:
        scene: np.ndarray = np.clip(file.read().astype(np.float32) / STORED_BRIGHT, 0, 1)
    return scene


def _write_classes(setup: Setup, indices: np.ndarray) -> None:
    import rasterio

    with rasterio.open(setup.path("scene.tif")) as file:
        profile = {"crs": file.crs, "transform": file.transform, "driver": "GTiff"}
    shape = {"height": setup.size, "width": setup.size, "count": 1, "dtype": "uint8"}
    path = setup.path("theirs.tif")
    with rasterio.open(path, "w", **profile, **shape, tiled=True, compress="deflate") as file:
        file.write((indices + CLASSES[0]).astype("uint8"), 1)


# Each returns the seconds of every way in which it was tried.
CASES: dict[str, Callable[[Setup], dict[str, float]]] = {
    "prepare": prepare,
    "baseline": baseline,
    "forward": forward,
    "read": read,
    "ours": ours,
    "write": write,
    "monai": monai,
    "monai_channels_last": partial(monai, channels_last=True),
    "scripts": scripts,
}


if __name__ == "__main__":
    answer({"seconds": CASES[sys.argv[1]](Setup(**json.loads(sys.argv[2])))})
