"""The cases of the comparison of predictions; run as a script, it measures one of them.

The floor is what nobody can leave out: bare forward passes over the same windows, reading the
scene once, and writing the map once. Importing is not timed.
"""

from __future__ import annotations

import json
import sys
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from itertools import product
from math import ceil
from threading import Barrier
from typing import TYPE_CHECKING, Any

from harness import answer, seconds_of
from predict_peers import monai, scripts, terratorch
from predict_setup import Setup, prepare

if TYPE_CHECKING:
    from collections.abc import Callable

    import torch

LAYERS = ("map", "confidence")
READ_SIDE = 2048
# So many windows tell how long a forward pass takes.
TIMED_WINDOWS = 48


def baseline(_: Setup) -> dict[str, float]:
    """Import torch and do nothing: the memory that every way of predicting starts from."""
    import torch  # noqa: F401

    return {}


def forward(setup: Setup) -> dict[str, float]:
    """Run bare forward passes of the plain network, channels-last, in full batches."""
    import torch

    from seg4eo_xr.models.checkpoint import load_checkpoint

    network = load_checkpoint(setup.path("network.pth")).build().eval()
    return _ways(setup, network.to(memory_format=torch.channels_last))


def prepared(setup: Setup) -> dict[str, float]:
    """Run bare forward passes of the network as ours makes it ready: folded, weights cast."""
    from seg4eo_xr.inference.network import Network
    from seg4eo_xr.models.checkpoint import load_checkpoint

    checkpoint = load_checkpoint(setup.path("network.pth"))
    return _ways(setup, Network.from_checkpoint(checkpoint, precision=setup.precision).module)


def _ways(setup: Setup, network: torch.nn.Module) -> dict[str, float]:
    import torch

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
    """Seconds for the scene's windows, scaled from whole batches, equally many a lane."""
    import torch

    from seg4eo_xr.inference.precision import autocast

    numbers = torch.rand(batch, 10, setup.window, setup.window)
    numbers = numbers.contiguous(memory_format=torch.channels_last)
    ready = Barrier(lanes)

    def run(_: int) -> None:
        with torch.inference_mode(), autocast("cpu", setup.precision):
            network(numbers)

    def warm_up(index: int) -> None:
        ready.wait()
        run(index)

    batches = ceil(min(TIMED_WINDOWS, setup.windows) / batch / lanes) * lanes
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
    """Predict lazily from GeoTIFF to COG, with the confidence."""
    import segmentation_models_pytorch  # noqa: F401  (importing is not timed)

    import seg4eo_xr as seg

    target, confidence = (setup.path(f"{name}.tif") for name in LAYERS)

    def work() -> None:
        prediction = seg.predict(
            seg.open_scene(setup.path("scene.tif")), setup.path("network.pth"), setup.options
        )
        seg.write_cog(prediction, target, overwrite=True, confidence=confidence)

    return {"end to end": seconds_of(work)}


def job(setup: Setup, workers: int | None = None) -> dict[str, float]:
    """Predict as a job from GeoTIFF to Zarr; starting the cluster is part of it."""
    import segmentation_models_pytorch  # noqa: F401  (importing is not timed)

    import seg4eo_xr as seg

    def work() -> None:
        seg.predict_to_zarr(
            seg.open_scene(setup.path("scene.tif")),
            setup.path("network.pth"),
            setup.path("map.zarr"),
            setup.options,
            seg.JobOptions(workers=workers),
            overwrite=True,
        )

    return {"end to end": seconds_of(work)}


# Each returns the seconds of every way in which it was tried.
CASES: dict[str, Callable[[Setup], dict[str, float]]] = {
    "prepare": prepare,
    "baseline": baseline,
    "forward": forward,
    "prepared": prepared,
    "read": read,
    "ours": ours,
    "write": write,
    "job": job,
    "job_1_process": partial(job, workers=1),
    "job_2_processes": partial(job, workers=2),
    "monai": monai,
    "terratorch": terratorch,
    "scripts": scripts,
}


if __name__ == "__main__":
    answer({"seconds": CASES[sys.argv[1]](Setup(**json.loads(sys.argv[2])))})
