"""The dask graph of a prediction: overlapping chunks run once, shared strips folded afterwards.

`dask.array.map_overlap` hands each chunk the pixels that its last windows reach into; one layer
made by hand then adds to each chunk the sums that its neighbours on the left, above and on the
diagonal hold for it. The network is one key of the graph, so it travels once to each worker.
"""

from __future__ import annotations

from operator import itemgetter
from typing import TYPE_CHECKING, Any

import dask.array as da
import numpy as np
from dask.base import tokenize
from dask.delayed import delayed
from dask.highlevelgraph import HighLevelGraph

if TYPE_CHECKING:
    from seg4eo_xr.geometry.windows import WindowSpan
    from seg4eo_xr.inference.layers import LayerName, MapEncoding
    from seg4eo_xr.inference.window_runner import ChunkResult, WindowRunner


def predict_chunks(scene: da.Array, runner: WindowRunner) -> dict[LayerName, da.Array]:
    """Build the lazy layers of a map; nothing is read and nothing runs.

    Parameters
    ----------
    scene
        Stored numbers, ``(band, y, x)``; of any chunks.
    runner
        The kernel, with the windows that each chunk owns.

    Returns
    -------
    dict
        Layer name to dask array, ``(y, x)`` or, for probabilities, ``(class, y, x)``, chunked as
        the runner's spans say. Compute layers that you want together in one call: they share the
        windows.
    """
    spans = runner.spans
    sizes = tuple(tuple(span.valid for span in axis) for axis in spans)
    halo = {1 + i: (0, s[0].axis.overlap if len(s) > 1 else 0) for i, s in enumerate(spans)}
    # A cluster would choose p2p, which rechunks everything before the first chunk is handed on.
    aligned = scene.rechunk({0: -1, 1: sizes[0], 2: sizes[1]}, method="tasks")
    results = da.map_overlap(
        _run_chunk,
        aligned,
        depth={0: 0, **halo},
        boundary="none",
        trim=False,
        allow_rechunk=False,
        drop_axis=0,
        chunks=sizes,
        dtype=object,
        meta=np.empty((0, 0), object),
        name=f"windows-{tokenize(aligned.name, runner)}",
        runner=delayed(runner, name=f"network-{tokenize(runner)}", traverse=False),
    )
    return _fold_layers(results, runner.encoding, spans)


def _run_chunk(chunk: np.ndarray, runner: WindowRunner, block_id: tuple[int, ...]) -> ChunkResult:
    return runner(chunk, (block_id[0], block_id[1]))


def _fold_layers(
    results: da.Array,
    encoding: MapEncoding,
    spans: tuple[tuple[WindowSpan, ...], tuple[WindowSpan, ...]],
) -> dict[LayerName, da.Array]:
    token = tokenize(results.name, encoding)
    folded, own, sent = f"fold-{token}", f"own-{token}", f"sent-{token}"
    fold: dict[Any, Any] = {}
    layers: dict[LayerName, dict[Any, Any]] = {layer: {} for layer in encoding.layers}
    for i, row in enumerate(spans[0]):
        for j, column in enumerate(spans[1]):
            block = (results.name, i, j)
            # Strips travel as keys of their own, so that no worker fetches a whole neighbour.
            fold[own, i, j] = (_own_part, block)
            if not column.is_last:
                fold[sent, "right", i, j] = (_strip, block, "right")
            if not row.is_last:
                fold[sent, "below", i, j] = (_strip, block, "below")
            if not (row.is_last or column.is_last):
                fold[sent, "corner", i, j] = (_strip, block, "corner")
            fold[folded, i, j] = (
                fold_chunk,
                (own, i, j),
                None if column.is_first else (sent, "right", i, j - 1),
                None if row.is_first else (sent, "below", i - 1, j),
                None if row.is_first or column.is_first else (sent, "corner", i - 1, j - 1),
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


def _own_part(result: ChunkResult) -> ChunkResult:
    nothing = np.empty(0, np.int32)
    return result._replace(below=nothing, right=nothing, corner=nothing)


def _strip(result: ChunkResult, which: str) -> np.ndarray:
    return np.asarray(getattr(result, which))


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
    layers = {layer: values.copy() for layer, values in own.layers.items()}
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
