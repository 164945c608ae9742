"""The dask graph of a prediction: overlapping chunks run once, shared strips folded afterwards.

Each chunk is gathered with the pixels past its end that its last windows reach into; one layer then
adds to each chunk the sums that its neighbours on the left, above and on the diagonal hold for it.
The network is one key of the graph, so it travels once to each worker.
"""

from __future__ import annotations

from operator import attrgetter, itemgetter
from typing import TYPE_CHECKING, Any, NamedTuple

import dask.array as da
import numpy as np
from dask.base import tokenize
from dask.delayed import delayed
from dask.highlevelgraph import HighLevelGraph

from seg4eo_xr.inference.gathering import gather_regions
from seg4eo_xr.pages import copy_to_pages

if TYPE_CHECKING:
    from seg4eo_xr.geometry.windows import WindowSpan
    from seg4eo_xr.inference.layers import LayerName, MapEncoding
    from seg4eo_xr.inference.window_runner import ChunkResult, WindowRunner


def predict_chunks(scene: da.Array, runner: WindowRunner) -> dict[LayerName, da.Array]:
    """Build the lazy layers of a map; nothing is read and nothing runs.

    Parameters
    ----------
    scene
        Stored numbers, ``(band, y, x)``; of any chunks. The whole scene or, where the runner's
        spans are only a part of the window grid, what the windows of that part cover.
    runner
        The kernel, with the windows that each chunk owns; consecutive ones along each axis.

    Returns
    -------
    dict
        Layer name to dask array, ``(y, x)`` or, for probabilities, ``(class, y, x)``, chunked as
        the runner's spans say. Compute layers that you want together in one call: they share the
        windows. Where a part begins inside the scene, its first `overlap` rows and columns lack
        what the windows before it add.
    """
    spans = runner.spans
    regions = gather_regions(scene, *(_intervals(axis) for axis in spans))
    results = da.map_blocks(
        _run_chunk,
        regions,
        drop_axis=0,
        chunks=tuple(tuple(span.valid for span in axis) for axis in spans),
        dtype=object,
        meta=np.empty((0, 0), object),
        name=f"windows-{tokenize(regions.name, runner)}",
        runner=delayed(runner, name=f"network-{tokenize(runner)}", traverse=False),
    )
    return _fold_layers(results, runner.encoding, spans)


def _intervals(spans: tuple[WindowSpan, ...]) -> list[tuple[int, int]]:
    """Where each span's windows lie, counted from the first of them."""
    origin = spans[0].start
    return [(begin - origin, end - origin) for begin, end in (span.interval for span in spans)]


def _run_chunk(chunk: np.ndarray, runner: WindowRunner, block_id: tuple[int, ...]) -> ChunkResult:
    return runner(chunk, (block_id[0], block_id[1]))


def _fold_layers(
    results: da.Array,
    encoding: MapEncoding,
    spans: tuple[tuple[WindowSpan, ...], tuple[WindowSpan, ...]],
) -> dict[LayerName, da.Array]:
    token = tokenize(results.name, encoding)
    folded, edges, sides = f"fold-{token}", f"edges-{token}", f"side-{token}"
    fold: dict[Any, Any] = {}
    layers: dict[LayerName, dict[Any, Any]] = {layer: {} for layer in encoding.layers}
    for i, row in enumerate(spans[0]):
        for j, column in enumerate(spans[1]):
            block = (results.name, i, j)
            fold[edges, i, j] = (_Edges.of, block)
            fold[sides, i, j] = (attrgetter("right"), block)
            fold[folded, i, j] = (
                _fold,
                block,
                # Not used: with these taken at the latest now, a chunk's result can go, and only
                # edges wait for the next row.
                [(edges, i, j), (sides, i, j)],
                (sides, i, j - 1) if j else None,
                (edges, i - 1, j) if i else None,
                (edges, i - 1, j - 1) if i and j else None,
                encoding,
                (row.valid, column.valid),
            )
            for layer, tasks in layers.items():
                at = (0, i, j) if layer == "probabilities" else (i, j)
                tasks[f"{layer}-{token}", *at] = (itemgetter(layer), (folded, i, j))
    chunks = tuple(tuple(span.valid for span in axis) for axis in spans)
    arrays: dict[LayerName, da.Array] = {}
    for layer, tasks in layers.items():
        name = f"{layer}-{token}"
        graph = HighLevelGraph(
            {**results.dask.layers, folded: fold, name: tasks},
            {**results.dask.dependencies, folded: {results.name}, name: {folded}},
        )
        leading = ((len(encoding.codes),),) if layer == "probabilities" else ()
        meta = np.empty((0,) * (len(leading) + 2), encoding.dtype(layer))
        arrays[layer] = da.Array(graph, name, (*leading, *chunks), meta=meta)
    return arrays


class _Edges(NamedTuple):
    """What the next row needs of a chunk, so that no worker fetches a whole chunk."""

    below: np.ndarray
    corner: np.ndarray

    @classmethod
    def of(cls, result: ChunkResult) -> _Edges:
        return cls(result.below, result.corner)


def _fold(
    own: ChunkResult,
    _: list[Any],
    left: np.ndarray | None,
    above: _Edges | None,
    diagonal: _Edges | None,
    encoding: MapEncoding,
    shape: tuple[int, int],
) -> dict[LayerName, np.ndarray]:
    return fold_chunk(
        own,
        left,
        None if above is None else above.below,
        None if diagonal is None else diagonal.corner,
        encoding,
        shape,
    )


def fold_chunk(
    own: ChunkResult,
    from_left: np.ndarray | None,
    from_above: np.ndarray | None,
    from_diagonal: np.ndarray | None,
    encoding: MapEncoding,
    shape: tuple[int, int],
) -> dict[LayerName, np.ndarray]:
    """Add the neighbours' sums to a chunk's leading strips and finish its layers.

    Parameters
    ----------
    own
        What the chunk's own windows gave.
    from_left, from_above, from_diagonal
        `ChunkResult.right`, `ChunkResult.below` and `ChunkResult.corner` of the neighbours on the
        left, above, and above on the left; None where there is none.
    encoding
        How sums become layers.
    shape
        Pixels of the scene that belong to the chunk; the rest is padding and cut off.

    Returns
    -------
    dict
        Layer name to finished array.
    """
    import torch

    # A task's inputs may have other readers: change copies only.
    layers = {layer: copy_to_pages(values) for layer, values in own.layers.items()}
    top, left = own.top.copy(), own.left.copy()
    rows, columns = top.shape[1], left.shape[2]
    if from_left is not None:
        left += from_left
        top[:, :, :columns] = left[:, :rows]
    if from_above is not None:
        top += from_above
    if from_diagonal is not None:
        top[:, :, :columns] += from_diagonal
    strips = [(left, (slice(None), slice(columns))), (top, (slice(rows), slice(None)))]
    for sums, place in strips:
        if sums.size:
            for layer, values in encoding.finalise(torch.from_numpy(sums)).items():
                layers[layer][(..., *place)] = values
    encoding.mark_missing(layers, own.valid)
    return {layer: values[..., : shape[0], : shape[1]] for layer, values in layers.items()}
