"""The cases of the measurement of graphs; run as a script, it measures one of them."""

from __future__ import annotations

import sys
import time
from typing import TYPE_CHECKING

from harness import answer

if TYPE_CHECKING:
    from seg4eo_xr.geometry.tiles import Tile

# Sides of a scene's blocks in pixels (the chunks themselves, and what files have), and windows
# along a side of a chunk: 4 as on an accelerator, and with 512 px as on a processor.
SHAPES = ((1536, 4), (2048, 4), (1280, 4), (1024, 4), (512, 4), (512, 2))
_WINDOW, _OVERLAP, _BANDS = 512, 128, 10


def lazy(chunks: int, block: int, windows: int) -> dict[str, float]:
    """Build the graph of a prediction, and bring it to the form in which it runs."""
    import dask
    import dask.array as da
    import numpy as np

    from seg4eo_xr.inference.options import PredictOptions
    from seg4eo_xr.inference.overlap_add import predict_chunks
    from seg4eo_xr.inference.predict import make_runner
    from seg4eo_xr.models.checkpoint import Checkpoint
    from seg4eo_xr.models.zoo import ModelSpec, build_model
    from seg4eo_xr.scenes.classes import ClassTable
    from seg4eo_xr.testing import plain_contract

    side = chunks * windows * (_WINDOW - _OVERLAP) + _OVERLAP
    names = [f"B{band}" for band in range(_BANDS)]
    scene = da.zeros((_BANDS, side, side), chunks=(-1, block, block), dtype=np.uint16)
    contract = plain_contract(names, ClassTable.from_codes(range(1, 7)), bright=5000.0)
    spec = ModelSpec("unet", "resnet18", in_channels=_BANDS, out_channels=6)
    checkpoint = Checkpoint(build_model(spec).state_dict(), spec, contract, _WINDOW, "multiclass")
    runner = make_runner((side, side), checkpoint, PredictOptions(windows_per_chunk=windows))
    started = time.perf_counter()
    layers = predict_chunks(scene, runner)
    built = time.perf_counter()
    tasks = {key for layer in layers.values() for key in layer.__dask_graph__()}
    counted = time.perf_counter()
    dask.optimize(*layers.values())
    made = layers["classes"].npartitions
    return {
        "build_s": built - started,
        "optimise_s": time.perf_counter() - counted,
        "tasks_per_chunk": len(tasks) / made,
        "blocks_per_chunk": scene.npartitions / made,
    }


def job(tiles: int) -> dict[str, float]:
    """Send tiles that do nothing through the loop of a job; client, scheduler and worker in one."""
    from distributed import Client, LocalCluster

    from seg4eo_xr.geometry.tiles import Tile
    from seg4eo_xr.inference.job_options import JobOptions
    from seg4eo_xr.jobs.tile_loop import run_tiles

    done = 0

    def count(*_: object) -> None:
        nonlocal done
        done += 1

    side = 1000
    wanted = (Tile(index // side, index % side) for index in range(tiles))
    with (
        LocalCluster(
            1, threads_per_worker=2, processes=False, dashboard_address="127.0.0.1:0"
        ) as cluster,
        Client(cluster) as client,
    ):
        started = time.perf_counter()
        failures = run_tiles(client, wanted, nothing, JobOptions(), on_done=count)
        seconds = time.perf_counter() - started
    if failures or done != tiles:
        raise RuntimeError(f"{done} of {tiles} tiles were done, {len(failures)} failed")
    return {"seconds": seconds}


def nothing(tile: Tile) -> tuple[int, int]:
    """Answer as small as that of a tile."""
    return tuple(tile)


def imports() -> dict[str, float]:
    """Import what a job imports: the memory that it starts from."""
    import distributed  # noqa: F401

    import seg4eo_xr.jobs.tile_loop  # noqa: F401

    return {}


CASES = {"lazy": lazy, "job": job, "imports": imports}

if __name__ == "__main__":
    answer(CASES[sys.argv[1]](*map(int, sys.argv[2:])))
