"""Jobs in processes of their own, to be killed at any moment, and what has to hold afterwards."""

from __future__ import annotations

import contextlib
import itertools
import multiprocessing
import os
import pkgutil
import signal
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any
from unittest import mock

import numpy as np
import zarr
from toy_jobs import digest, run_job
from toy_network import tiny_network

import seg4eo_xr as seg
from seg4eo_xr.geometry.tiles import Tile
from seg4eo_xr.jobs.markers import read_marker
from seg4eo_xr.patches.building import locate

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from multiprocessing.process import BaseProcess

# Small tiles: 5 × 4 of them.
SMALL: dict[str, Any] = {"tile_size": 48}
TILES = 20
_PATIENCE = 240.0
_SLOW_IMPORTS = [
    "seg4eo_xr.jobs.job",
    "seg4eo_xr.models.old_checkpoints",
    "seg4eo_xr.testing",
    "distributed.dashboard.scheduler",
]
_TILE_SECONDS = 0.1


@contextlib.contextmanager
def job_to_kill(
    folder: Path, output: Path, halt: str = "nowhere", *, slowly: bool = True, **options: Any
) -> Iterator[BaseProcess]:
    """Run a job in a process group of its own, all of which is killed at the end of the block.

    Parameters
    ----------
    folder, output, **options
        As `run_job` takes them.
    halt
        Where it stops for good; see `_POINTS`. The file ``reached`` in `folder` tells that it is
        there.
    slowly
        Whether each tile takes its time.
    """
    (folder / "reached").unlink(missing_ok=True)
    context = multiprocessing.get_context("forkserver")
    # What takes long to import is there when a job begins.
    context.set_forkserver_preload(_SLOW_IMPORTS)
    arguments = folder, output, halt, slowly, {**SMALL, **options}
    child = context.Process(target=_run, args=arguments)
    child.start()
    try:
        yield child
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(child.pid, signal.SIGKILL)
        child.kill()  # where it has no group yet
        child.join()
        child.close()


def wait_for(child: BaseProcess, reached: Callable[[], bool]) -> None:
    """Wait until a job is at some point, or has ended."""
    deadline = time.monotonic() + _PATIENCE
    while child.is_alive() and not reached():
        assert time.monotonic() < deadline, "the job does not get there"
        time.sleep(0.002)


def kill_job(
    folder: Path,
    output: Path,
    *,
    tiles: int | None = None,
    halt: str = "nowhere",
    after: float = 0.0,
    **options: Any,
) -> None:
    """Kill a job some time after it has finished some tiles, or at the point where it halts."""
    with job_to_kill(folder, output, halt, **options) as child:
        if tiles is None:
            wait_for(child, (folder / "reached").exists)
        else:
            wait_for(child, lambda: len(markers(output)) >= tiles)
        time.sleep(after)


# Where a job tells that it is there: the owner and the name of a function, and at which call of it;
# then whether it stops there for good.
_POINTS: dict[str, tuple[str, str, int, bool]] = {
    "before the metadata": ("seg4eo_xr.jobs.order", "finish_store", 1, True),
    "before the output": ("seg4eo_xr.jobs.order", "write_outputs", 1, True),
    "before the cog is verified": ("seg4eo_xr.maps.cog", "verify_cog", 1, True),
    "between the outputs": ("seg4eo_xr.jobs.outputs", "_put", 2, True),
    "before the end": ("seg4eo_xr.jobs.run_folder.RunFolder", "remove", 1, True),
    "at the output": ("seg4eo_xr.jobs.order", "write_outputs", 1, False),
}


def _run(folder: Path, output: Path, halt: str, slowly: bool, options: dict[str, Any]) -> None:
    from seg4eo_xr.jobs import tile_work

    os.setsid()

    def slow(*arguments: Any, write: Any = tile_work.write_marker) -> None:
        time.sleep(_TILE_SECONDS)
        write(*arguments)

    with contextlib.ExitStack() as stack:
        stack.enter_context(tiny_network())
        if slowly:
            stack.enter_context(mock.patch.object(tile_work, "write_marker", slow))
        if halt in _POINTS:
            stack.enter_context(_told(folder / "reached", *_POINTS[halt]))
        run_job(folder, output, **options)


def _told(file: Path, owner: str, name: str, at: int, stops: bool) -> Any:
    """Make a file when a function is called, and perhaps go no further."""
    found = pkgutil.resolve_name(owner)
    function, calls = getattr(found, name), itertools.count(1)

    def stand_in(*arguments: Any, **named: Any) -> Any:
        if next(calls) == at:
            file.touch()
            while stops:
                time.sleep(1)
        return function(*arguments, **named)

    return mock.patch.object(found, name, stand_in)


def markers(output: Path) -> list[Path]:
    """Markers of the job that makes an output."""
    return [
        file for file in Path(f"{output}.run").glob("*/done/*") if not file.name.endswith(".part")
    ]


def require_true_markers(folder: Path, output: Path) -> None:
    """Check that each marker speaks of a tile that is stored as in the finished map."""
    runs = [entry for entry in Path(f"{output}.run").iterdir() if entry.is_dir()]
    finished = seg.open_map(folder / "finished.zarr").load()
    for marker in markers(output):
        tile = Tile(*map(int, marker.name.split(".")))
        assert read_marker(locate(runs[0] / "done"), tile) is not None
        rows, columns = (
            slice(48 * index, None if index == last else 48 * index + 48)
            for index, last in ((tile.row, 4), (tile.column, 3))
        )
        for layer in finished:
            stored = zarr.open_array(runs[0] / "map.zarr" / str(layer), mode="r")
            expected = finished[layer].values[rows, columns]
            np.testing.assert_array_equal(stored[rows, columns], expected)


def require_resumed(folder: Path, output: Path, **options: Any) -> None:
    """Go on with a job, and check that it ends as if nothing had been."""
    result = run_job(folder, output, resume=True, **SMALL, **options)
    for file in result.files:
        name = file.name.replace(output.stem, "finished", 1)
        assert digest(Path(str(file))) == digest(folder / name)
    assert not Path(f"{output}.run").exists()
