"""How many patches each split gets, and which whole units of them: plain numbers."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

Ratios = tuple[float, float, float]


def check_ratios(ratios: Ratios, random_seed: int) -> None:
    """Raise a ValueError unless the ratios make 1 and the seed is one."""
    train, validation, test = ratios
    if not all(0 <= ratio <= 1 for ratio in ratios) or train == 0:
        raise ValueError(
            "train_ratio must be above 0, val_ratio and test_ratio 0 or more, "
            f"got {train}, {validation} and {test}"
        )
    if not np.isclose(sum(ratios), 1.0, atol=1e-6):
        raise ValueError(
            f"train_ratio + val_ratio + test_ratio must make 1, got {train} + {validation} + {test}"
            f" = {sum(ratios):g}"
        )
    if random_seed < 0:
        raise ValueError(f"random_seed must be 0 or more, got {random_seed}")


def share_out(count: int, ratios: Ratios, held: NDArray[np.int64]) -> NDArray[np.int64]:
    """Share out patches: largest remainders, and one each before any split gets its second.

    Parameters
    ----------
    count
        How many patches there are to share out.
    ratios
        Shares of the splits.
    held
        Patches that each split has already, ``(split,)``; the ratios are to hold of all together.

    Returns
    -------
    ndarray of int64, ``(split,)``
        They sum to `count`.

    Examples
    --------
    >>> share_out(10, (0.5, 0.25, 0.25), np.array([0, 0, 0]))
    array([5, 3, 2])
    >>> share_out(10, (0.5, 0.25, 0.25), np.array([10, 0, 0]))
    array([0, 5, 5])
    """
    exact = np.maximum(np.array(ratios, float) * (count + held.sum()) - held, 0)
    exact *= count / max(exact.sum(), 1)
    counts = np.floor(exact).astype(np.int64)
    by_remainder = np.argsort(counts - exact, kind="stable")
    counts[by_remainder[: count - counts.sum()]] += 1
    for split in np.flatnonzero((counts + held == 0) & (np.array(ratios) > 0)):
        richest = int(np.argmax(counts))
        if counts[richest] and counts[richest] + held[richest] > 1:
            counts[richest] -= 1
            counts[split] += 1
    return np.asarray(counts)


def deal_units(
    sizes: NDArray[np.int64], held: NDArray[np.int64], ratios: Ratios, random_seed: int
) -> NDArray[np.int64] | None:
    """Deal whole units of patches, such as blocks or scenes, to the splits.

    A unit of which a split holds patches already goes to the split that holds most. The others are
    dealt in random order, each to the split that lacks most patches.

    Parameters
    ----------
    sizes
        Patches to be dealt in each unit, ``(unit,)``.
    held
        Patches of each unit that each split has already, ``(unit, split)``.
    ratios
        Shares of the splits.
    random_seed
        Seed of the deal.

    Returns
    -------
    ndarray of int64, ``(unit,)``, or None
        Position of each unit's split; None where there are too few units for the splits that have
        a share.

    Examples
    --------
    >>> held = np.zeros((4, 3), int)
    >>> np.bincount(deal_units(np.array([5, 5, 5, 5]), held, (0.5, 0.25, 0.25), 0))
    array([2, 1, 1])
    """
    # With as many of each the later split has it: what is for testing shall not be trained on.
    split_of = np.where(held.any(axis=1), 2 - np.argmax(held[:, ::-1], axis=1), -1)
    taken = np.array([sizes[split_of == split].sum() for split in range(len(ratios))])
    missing = np.array(ratios) * (sizes.sum() + held.sum()) - held.sum(axis=0) - taken
    wanted = [i for i, ratio in enumerate(ratios) if ratio > 0]
    without = set(wanted) - set(split_of.tolist())
    free = np.flatnonzero(split_of < 0)
    if len(free) < len(without):
        return None
    for place, unit in enumerate(np.random.default_rng(random_seed).permutation(free)):
        must_fill = len(without) == len(free) - place
        candidates = sorted(without) if must_fill else wanted
        split = max(candidates, key=lambda i: missing[i])
        split_of[unit] = split
        missing[split] -= sizes[unit]
        without.discard(split)
    return split_of
