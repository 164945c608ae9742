"""Reading a lazy array a second time, once something else is known.

What is needed twice is kept in between, and that would be the whole map. `bind` of dask is meant
for this, but leaves tasks that name others by their old keys (dask 2026.8), as those that select a
band do.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import dask.array as da

# Private, and the only way to rename the references within a task.
from dask._task_spec import Task, TaskRef, convert_legacy_graph
from dask.base import clone_key
from dask.highlevelgraph import HighLevelGraph
from dask.utils import ensure_dict

if TYPE_CHECKING:
    from dask.delayed import Delayed


def read_again(array: da.Array, after: Delayed, seed: str) -> da.Array:
    """Copy an array's tasks under other keys, to run when `after` has run.

    Parameters
    ----------
    array
        What to compute a second time.
    after
        What has to be finished first.
    seed
        Copies made with equal seeds share the tasks that their arrays share.

    Returns
    -------
    dask array
        With the numbers and chunks of `array`.

    Examples
    --------
    >>> from dask.delayed import delayed
    >>> ones = da.ones(4, chunks=2)
    >>> again = read_again(ones, delayed(print)("first"), "seed")
    >>> int(again.sum().compute())
    first
    4
    """
    nodes = convert_legacy_graph(ensure_dict(array.__dask_graph__()))
    names = {key: clone_key(key, seed) for key in nodes}
    copies: dict[Any, Any] = {}
    for key, node in nodes.items():
        copy = node.substitute(names, key=names[key])
        if not copy.dependencies:
            copy = Task(names[key], _first, copy, TaskRef(after.key))
        copies[names[key]] = copy
    name = clone_key(array.name, seed)
    graph = HighLevelGraph(
        {**after.dask.layers, name: copies},
        {**after.dask.dependencies, name: set(after.__dask_layers__())},
    )
    return da.Array(graph, name, array.chunks, meta=array._meta)


def _first(value: Any, _: Any) -> Any:
    return value
