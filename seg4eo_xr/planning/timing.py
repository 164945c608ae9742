"""How fast this machine is at one prediction: a few chunks read, run and written for the clock."""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from itertools import count, cycle
from math import ceil, isqrt
from pathlib import Path
from statistics import median
from threading import Lock
from typing import TYPE_CHECKING

import numpy as np
import zarr
from dask.system import CPU_COUNT
from zarr.codecs import ZstdCodec

from seg4eo_xr.geometry.windows import WindowAxis, WindowSpan
from seg4eo_xr.inference.symmetries import SYMMETRIES
from seg4eo_xr.planning.costs import Rates
from seg4eo_xr.scenes.contract import valid_mask
from seg4eo_xr.scenes.data_bounds import parts_alone

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    import dask.array as da

    from seg4eo_xr.inference.window_runner import WindowRunner
    from seg4eo_xr.scenes.contract import Contract

# Rounds of which the median counts.
_ROUNDS = 3
# Seconds that a round takes at least, so that the clock and other processes weigh little.
_ROUND_SECONDS = 1.0
# Full batches that a measured chunk holds, at least.
_BATCHES = 2
# Side in pixels of what is read at once, at most, where blocks are larger.
_LARGEST_SIDE = 4096
# Different blocks that are read, at most, and one more per core.
_BLOCKS_READ = 32
# Chunks after which the first one is written again.
_MOST_CHUNKS = 1000
# What a worker loads before its first tile.
_LOADED = "import distributed, segmentation_models_pytorch, seg4eo_xr.inference.predict"


def calibrate(scene: da.Array, runner: WindowRunner) -> Rates:
    """Measure how fast this machine predicts, with as many chunks at a time as a run has.

    Parameters
    ----------
    scene
        Stored numbers, ``(band, y, x)``; some blocks are read.
    runner
        What will run, with the contract of this scene.

    Returns
    -------
    Rates
        Medians. Windows run on the middle of the scene, whose missing pixels are replaced, so that
        skipped windows do not make the machine look fast.
    """
    lanes = CPU_COUNT if runner.network.resolve_device() == "cpu" else 1
    small = _small_runner(runner)
    vertical, horizontal = small.spans[0][0], small.spans[1][0]
    numbers = _numbers(scene, (vertical.valid, horizontal.valid), runner.contract)
    passes = ceil(vertical.count * horizontal.count / runner.batch_size)
    passes *= SYMMETRIES if runner.network.tta else 1
    started = time.perf_counter()
    layers = {str(name): values for name, values in small(numbers, (0, 0)).layers.items()}
    first = time.perf_counter() - started
    running = _seconds(lambda: small(numbers, (0, 0)), lanes)
    blocks = _Blocks(scene)
    with tempfile.TemporaryDirectory(prefix="seg4eo-plan-") as folder:
        writer = _Writer(folder, layers)
        writer.write()
        stored = writer.stored
        writing = _seconds(writer.write, CPU_COUNT)
    return Rates(
        lanes=lanes,
        readers=CPU_COUNT,
        pass_seconds=running / passes,
        read_seconds=_seconds(blocks.read, CPU_COUNT) / blocks.pixels,
        write_seconds=writing / (vertical.core * horizontal.core),
        # A network that is compiled, or moved to a device, is slow the first time.
        start_seconds=max(0.0, first - running),
        stored_share=stored / sum(values.nbytes for values in layers.values()),
    )


def process_seconds(processes: int) -> float:
    """Measure how long worker processes take to start: they load Python and the libraries.

    Parameters
    ----------
    processes
        How many start at once.

    Returns
    -------
    float
        Seconds until all are ready.
    """
    started = time.perf_counter()
    children = [subprocess.Popen([sys.executable, "-c", _LOADED]) for _ in range(processes)]
    statuses = [child.wait() for child in children]
    if any(statuses):
        raise RuntimeError("a Python process cannot load this package; is it installed?")
    return time.perf_counter() - started


def _small_runner(runner: WindowRunner) -> WindowRunner:
    """Lay a single chunk of some full batches over a scene of its own size."""
    side = max(2, isqrt(_BATCHES * runner.batch_size - 1) + 1)

    def span(whole: WindowAxis) -> tuple[WindowSpan]:
        reach = side * whole.stride + whole.overlap
        axis = WindowAxis(min(whole.size, reach), whole.window, whole.overlap)
        return (WindowSpan(axis, 0, axis.count),)

    vertical, horizontal = (spans[0].axis for spans in runner.spans)
    return replace(runner, spans=(span(vertical), span(horizontal)))


def _numbers(scene: da.Array, shape: tuple[int, int], contract: Contract) -> np.ndarray:
    """Read the middle of a scene, and put plausible numbers where data are missing."""
    starts = [(size - side) // 2 for size, side in zip(scene.shape[1:], shape, strict=True)]
    rows, columns = (slice(start, start + side) for start, side in zip(starts, shape, strict=True))
    numbers: np.ndarray = scene[:, rows, columns].compute(scheduler="sync").copy()
    valid = valid_mask(numbers, contract.nodata, contract.nodata_rule)
    random = np.random.default_rng(0)
    for band, lowest, highest, scale, offset in zip(
        numbers, contract.minimum, contract.maximum, contract.scale, contract.offset, strict=True
    ):
        # Without known bounds, as of another tool's network, any numbers do.
        bounds = (lowest, highest) if np.isfinite([lowest, highest]).all() else (0.0, 1.0)
        values = random.uniform(*bounds, int((~valid).sum()))
        band[~valid] = (values - offset) / scale
    return numbers


class _Blocks:
    """Blocks of a scene, read one after the other, in an order that strides through the file.

    The system keeps what was read last; other blocks each time are read as a run reads them. Their
    graph is made small before: a run does that once per tile, and not once per block.
    """

    def __init__(self, scene: da.Array) -> None:
        # The last blocks may be small.
        rows, columns = (max(1, number - 1) for number in scene.numblocks[1:])
        places = [(row, column) for row in range(rows) for column in range(columns)]
        places = (places[:: max(1, isqrt(len(places)))] + places)[: _BLOCKS_READ + CPU_COUNT]
        sides = [min(lengths[0], _LARGEST_SIDE) for lengths in scene.chunks[1:]]
        starts = [np.cumsum([0, *lengths]).tolist() for lengths in scene.chunks[1:]]
        corners = [(starts[0][row], starts[1][column]) for row, column in places]
        blocks = parts_alone(
            scene,
            [
                (slice(None), slice(top, top + sides[0]), slice(left, left + sides[1]))
                for top, left in corners
            ],
        )
        self._order = cycle(list(blocks))
        self._lock = Lock()
        self.pixels = sides[0] * sides[1]

    def read(self) -> None:
        """Read the next block."""
        with self._lock:
            block = next(self._order)
        block.compute(scheduler="sync")


class _Writer:
    """Writes chunks of a map as the stores do, one after the other."""

    def __init__(self, folder: str, layers: Mapping[str, np.ndarray]) -> None:
        self._folder, self._layers, self._next = Path(folder), layers, count()
        group = zarr.open_group(self._folder, mode="w")
        self._arrays = {
            name: group.create_array(
                name,
                shape=(_MOST_CHUNKS, *values.shape),
                chunks=(1, *values.shape),
                dtype=values.dtype,
                compressors=ZstdCodec(level=3),
            )
            for name, values in layers.items()
        }

    def write(self) -> None:
        """Write the next chunk."""
        index = next(self._next) % _MOST_CHUNKS
        for name, values in self._layers.items():
            self._arrays[name][index] = values

    @property
    def stored(self) -> int:
        """Bytes on disk."""
        return sum(path.stat().st_size for path in self._folder.rglob("c/**/*") if path.is_file())


def _seconds(work: Callable[[], object], lanes: int) -> float:
    """Seconds that a thread takes for `work` while `lanes` threads do the same."""
    with ThreadPoolExecutor(lanes) as pool:

        def spent(times: int) -> float:
            def repeat(_: int) -> None:
                for _ in range(times):
                    work()

            started = time.perf_counter()
            list(pool.map(repeat, range(lanes)))
            return time.perf_counter() - started

        times = max(1, ceil(_ROUND_SECONDS / max(spent(1), 1e-6)))
        return median(spent(times) for _ in range(_ROUNDS)) / times
