"""The order in which a split is read: a pure function of seed and epoch."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

WINDOW = 256


def sampling_order(
    indices: NDArray[np.int64],
    *,
    seed: int,
    epoch: int,
    run_length: int = 1,
    window: int = WINDOW,
    shard_size: int | None = None,
) -> NDArray[np.int64]:
    """Shuffle the patches of a split for one epoch.

    Runs of neighbouring patches are permuted, then single patches within windows of that order.
    Local disks want `run_length` 1, an exact uniform permutation; object stores want runs (8 is a
    good start), since the patches of a run come with one request.

    Parameters
    ----------
    indices
        Positions in the store, ``(patch,)``, each at most once.
    seed, epoch
        Both at least 0; together they name the order.
    run_length
        Positions of a shard that stay together until the windows are shuffled; runs are shorter
        where `indices` lacks some of them.
    window
        Patches among which the runs are mixed; without meaning where `run_length` is 1.
    shard_size
        Patches a shard: no run crosses from one shard to the next. None where shards do not matter.

    Returns
    -------
    ndarray of int64, ``(patch,)``
        The same positions in another order.

    Raises
    ------
    ValueError
        If a number is out of range.

    Examples
    --------
    >>> order = sampling_order(np.arange(5), seed=1, epoch=0)
    >>> sorted(order.tolist())
    [0, 1, 2, 3, 4]
    """
    for name, number, least in (
        ("seed", seed, 0),
        ("epoch", epoch, 0),
        ("run_length", run_length, 1),
        ("window", window, 1),
    ):
        if number < least:
            raise ValueError(f"{name} must be at least {least}, got {number}")
    generator = np.random.default_rng([seed, epoch])
    indices = np.sort(np.asarray(indices, np.int64))
    if run_length == 1 or not len(indices):
        return generator.permutation(indices)
    runs = _runs(indices, run_length, shard_size)
    order = np.concatenate([runs[i] for i in generator.permutation(len(runs))])
    windows = [order[start : start + window] for start in range(0, len(order), window)]
    return np.concatenate([generator.permutation(part) for part in windows])


def _runs(
    indices: NDArray[np.int64], run_length: int, shard_size: int | None
) -> list[NDArray[np.int64]]:
    """Cut ascending positions where a shard, or a whole number of runs in it, begins."""
    shards, slots = np.divmod(indices, shard_size or np.iinfo(np.int64).max)
    begins = (np.diff(shards) != 0) | (np.diff(slots // run_length) != 0)
    return np.split(indices, np.flatnonzero(begins) + 1)
