"""What the graph of a lazy scene says: where it can hold data, and what a part of it needs."""

from __future__ import annotations

from collections import ChainMap
from typing import TYPE_CHECKING, Any

import dask.array as da
from dask.core import flatten
from dask.highlevelgraph import HighLevelGraph, MaterializedLayer
from dask.optimization import cull
from dask.utils import ensure_dict

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    import numpy as np


class BoundedLayer(MaterializedLayer):
    """Tasks of an array of height and width `size` that holds no data outside of `bounds`.

    Bounds are as `data_bounds` gives them. If `source` is not None, it names the array of the same
    size that the pixels are taken from.
    """

    def __init__(
        self,
        tasks: Mapping[Any, Any],
        bounds: np.ndarray,
        size: tuple[int, ...],
        source: str | None = None,
    ) -> None:
        super().__init__(tasks)
        self.bounds = bounds
        self.size = size
        self.source = source


def data_bounds(array: da.Array) -> list[np.ndarray]:
    """Rows and columns outside of which an array ``(..., y, x)`` holds no data.

    Parameters
    ----------
    array
        Lazy; nothing is read.

    Returns
    -------
    list of ndarray (part, 2, 2)
        From and to, along y and along x, of each part. A pixel that holds data lies in a part of
        each member; the list is empty where the graph says nothing.
    """
    graph = array.__dask_graph__()
    found: list[np.ndarray] = []
    name: str | None = array.name
    while isinstance(graph, HighLevelGraph) and name is not None and name in graph.layers:
        layer, below = graph.layers[name], graph.dependencies[name]
        if isinstance(layer, BoundedLayer):
            if layer.size != array.shape[-2:]:  # it was cropped since
                break
            found.append(layer.bounds)
            name = layer.source
        else:  # any of several arrays may hold data
            name = next(iter(below)) if len(below) == 1 else None
    return found


def parts_alone(array: da.Array, places: Iterable[tuple[slice, ...]]) -> Iterator[da.Array]:
    """Yield parts of an array, each with no other tasks than its own.

    dask keeps all tasks of an array below a part that needs none of them, as the empty blocks of a
    mosaic, and then takes seconds for each.
    """
    below, known = ensure_dict(array.__dask_graph__()), set(array.dask.layers)
    for place in places:
        part = array[place]
        own = [layer for name, layer in part.dask.layers.items() if name not in known]
        graph, _ = cull(ChainMap(*own, below), list(flatten(part.__dask_keys__())))
        yield da.Array(graph, part.name, part.chunks, meta=part._meta)
