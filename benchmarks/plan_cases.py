"""The cases of the comparison of plans with runs; run as a script, it measures one of them."""

from __future__ import annotations

import json
import sys
from functools import partial
from typing import TYPE_CHECKING

from harness import answer, seconds_of
from predict_setup import Setup, prepare

if TYPE_CHECKING:
    from collections.abc import Callable


def lazy(setup: Setup) -> dict[str, float]:
    """Plan and make a map as one graph."""
    import seg4eo_xr as seg

    words = (seg.open_scene(setup.path("scene.tif")), setup.path("network.pth"))
    target = setup.path("lazy.zarr")
    planned = seg.plan(*words, setup.options).lazy.seconds
    taken = seconds_of(
        lambda: seg.write_zarr(seg.predict(*words, setup.options), target, overwrite=True)
    )
    return {"planned": planned, "taken": taken}


def job(setup: Setup, workers: int | None = None) -> dict[str, float]:
    """Plan and make a map as a job, in this process or in so many others."""
    import seg4eo_xr as seg

    words = (seg.open_scene(setup.path("scene.tif")), setup.path("network.pth"))
    options = seg.JobOptions(tile_size=2048, workers=workers)
    target = setup.path("job.zarr")
    planned = seg.plan(*words, setup.options, options).job.seconds
    taken = seconds_of(
        lambda: seg.predict_to_zarr(
            *words, target, setup.options, options, overwrite=True, progress=False
        )
    )
    return {"planned": planned, "taken": taken}


CASES: dict[str, Callable[[Setup], dict[str, float]]] = {
    "prepare": prepare,
    "lazy": lazy,
    "job": job,
    "job, 2 processes": partial(job, workers=2),
}

if __name__ == "__main__":
    answer({"seconds": CASES[sys.argv[1]](Setup(**json.loads(sys.argv[2])))})
