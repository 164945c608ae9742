"""Evaluating takes memory by the chunk, and not by the map."""

from __future__ import annotations

import pytest
from peaks import last_line_of_child

CHILD = """
import sys
import dask, dask.array as da, numpy as np
from affine import Affine
from harness import peak_megabytes
from seg4eo_xr import evaluate, map_change
from seg4eo_xr.scenes.classes import ClassTable
from seg4eo_xr.scenes.grid import place

side = int(sys.argv[1])
dask.config.set(num_workers=2)

def block(block_info=None):
    rows, cols = block_info[None]["array-location"]
    row, col = np.ogrid[slice(*rows), slice(*cols)]
    return ((row // 37 + col // 53) % 5).astype(np.uint8)

def made(shift):
    sides = da.core.normalize_chunks((1024, 1024), (side, side))
    codes = da.map_blocks(block, chunks=sides, dtype=np.uint8, meta=np.empty((0, 0), np.uint8))
    placed = place((codes + shift) % 5, "EPSG:32633", Affine(10, 0, 4e5, 0, -10, 5.3e6))
    return placed.assign_attrs(ClassTable.from_codes(range(5)).to_attrs() | {"_FillValue": 255})

assert evaluate(made(0), made(1), border_widths=tuple(map(int, sys.argv[2:]))).pixels == side**2
if len(sys.argv) == 2:
    assert map_change(made(0), made(1)).pixels.sum() == side**2
print(peak_megabytes())
"""


def peak_mb(*arguments: int) -> float:
    return float(last_line_of_child(CHILD, *arguments))


@pytest.mark.slow
@pytest.mark.parametrize(("sides", "widths"), [((5120, 20480), ()), ((3072, 9216), (3,))])
def test_memory_does_not_grow_with_the_maps(sides, widths):
    peaks = [peak_mb(side, *widths) for side in sides]
    assert peaks[1] <= 1.25 * peaks[0] + 20
