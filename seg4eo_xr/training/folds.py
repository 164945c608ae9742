"""Folds of a cross-validation: which patches train, which choose the epoch, which are scored."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from seg4eo_xr.geometry.footprints import near
from seg4eo_xr.options import OptionSet

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from seg4eo_xr.geometry.footprints import Footprints
    from seg4eo_xr.geometry.splits import SplitName
    from seg4eo_xr.patches.store import PatchStore

# Of the patches that are not scored, one part in so many chooses the epoch.
_VALIDATION_PARTS = 6


@dataclass(frozen=True)
class FoldOptions(OptionSet):
    """How patches are dealt to folds.

    Raises
    ------
    ValueError
        If a number is out of range.
    """

    n_splits: int = 5
    """Folds; each is scored once, by a network that has not seen it."""
    fold_block: int | None = None
    """Deal whole blocks of that many pixels to the folds; left out, the store's own split decides:
    its blocks or scenes, else single patches."""
    fold_buffer: float = 0
    """Pixels between the patches of a fold and those that train for it, at least."""
    fold_random: bool = False
    """Deal single patches at random, whatever the store's own split, and let neighbours be in
    different folds: scores of familiar ground."""

    def __post_init__(self) -> None:
        for name, value, least in (
            ("n_splits", self.n_splits, 2),
            ("fold_block", 1 if self.fold_block is None else self.fold_block, 1),
            ("fold_buffer", self.fold_buffer, 0),
        ):
            if not least <= value < np.inf:
                raise ValueError(f"{name} must be at least {least}, got {value}")
        if self.fold_random and (self.fold_block or self.fold_buffer):
            raise ValueError(
                "fold_random deals single patches, but fold_block and fold_buffer keep ground "
                "together; leave one of them out"
            )


def fold_positions(
    store: PatchStore, options: FoldOptions, seed: int
) -> list[dict[SplitName, NDArray[np.int64]]]:
    """Deal the training and validation patches of a store to folds; test patches stay apart.

    The patches of a fold are scored by a network trained on the others, of which a sixth chooses
    the epoch, so that no score has a part in choosing what is scored. Whoever would lie within the
    buffer of a patch that is scored, or of one that chooses, does not train.

    Parameters
    ----------
    store
        The store.
    options
        How many folds, and what is kept together.
    seed
        Seed of the deal, at least 0.

    Returns
    -------
    list of dict
        One a fold: positions in the store of its ``train``, ``validation`` and ``test`` patches,
        ascending. Each patch is in the ``test`` of one fold.

    Raises
    ------
    ValueError
        If there are too few patches, blocks or scenes, or the buffer leaves none to train.
    """
    used = np.sort(np.concatenate([store.indices("train"), store.indices("validation")]))
    patches = store.footprints().take(used)
    pixels = store.coordinate("class_pixels")[used]
    groups = _groups(store, patches, options)
    buffer = options.fold_buffer or None
    folds = deal_folds(pixels, groups, options.n_splits, seed)
    dealt = []
    for fold in range(options.n_splits):
        names = _roles(folds == fold, pixels, groups, seed)
        for yielding, standing in (("validation", ["test"]), ("train", ["test", "validation"])):
            asking = names == yielding
            names[near(patches, asking, np.isin(names, standing), buffer)] = ""
        for name in ("train", "validation"):
            if not (names == name).any():
                raise ValueError(
                    f"fold {fold + 1} of {options.n_splits} has no {name} patches left; choose a "
                    "smaller --fold_block or --fold_buffer, or another --n_splits"
                )
        splits: tuple[SplitName, ...] = ("train", "validation", "test")
        dealt.append({name: used[names == name] for name in splits})
    return dealt


def deal_folds(
    class_pixels: NDArray[np.int64], groups: NDArray[np.int64], n_splits: int, seed: int
) -> NDArray[np.int64]:
    """Deal groups of patches to folds of like size and like classes.

    Parameters
    ----------
    class_pixels
        Labelled pixels, ``(patch, class)``.
    groups
        Number of the group that each patch belongs to, ``(patch,)``.
    n_splits
        Folds.
    seed
        Seed of the deal, at least 0.

    Returns
    -------
    ndarray of int64, ``(patch,)``
        The fold of each patch, from 0; the same for all patches of a group.

    Raises
    ------
    ValueError
        If there are fewer groups than folds, or a fold stays empty.
    """
    from sklearn.model_selection import StratifiedGroupKFold

    count = len(np.unique(groups))
    remedy = "choose a smaller --n_splits or --fold_block, or extract more patches"
    if count < n_splits:
        raise ValueError(f"{count} groups of patches cannot be dealt to {n_splits} folds; {remedy}")
    dealer = StratifiedGroupKFold(n_splits, shuffle=True, random_state=seed)
    folds = np.full(len(groups), -1, np.int64)
    for fold, (_, scored) in enumerate(
        dealer.split(class_pixels, strata(class_pixels, n_splits), groups)
    ):
        folds[scored] = fold
    if len(np.unique(folds)) < n_splits:
        raise ValueError(
            f"{count} groups of very different size leave one of {n_splits} folds empty; {remedy}"
        )
    return folds


def strata(class_pixels: NDArray[np.int64], least: int = 1) -> NDArray[np.int64]:
    """Name the class that marks each patch: the one of which it holds the largest share.

    So a patch with some pixels of a rare class stands for that class, though another fills it.

    Parameters
    ----------
    class_pixels
        Labelled pixels, ``(patch, class)``.
    least
        Patches that a class must mark at least; the patches of rarer ones go to the commonest.

    Returns
    -------
    ndarray of int64, ``(patch,)``
        Positions of classes.

    Examples
    --------
    >>> strata(np.array([[90, 0], [95, 5], [100, 0]])).tolist()
    [0, 1, 0]
    """
    shares = class_pixels / np.maximum(class_pixels.sum(axis=0), 1)
    marks = shares.argmax(axis=1)
    counts = np.bincount(marks, minlength=class_pixels.shape[1])
    return np.where(counts[marks] < least, counts.argmax(), marks).astype(np.int64)


def _roles(
    scored: NDArray[np.bool_], pixels: NDArray[np.int64], groups: NDArray[np.int64], seed: int
) -> NDArray[np.str_]:
    """Name what each patch is for, where these are scored."""
    names = np.where(scored, "test", "train").astype("<U10")
    others = np.flatnonzero(~scored)
    parts = min(_VALIDATION_PARTS, len(np.unique(groups[others])))
    if parts < 2:
        raise ValueError(
            "no patches are left to choose the epoch; choose a smaller --fold_block, so that there "
            "are more groups than folds"
        )
    choosing = deal_folds(pixels[others], groups[others], parts, seed) == 0
    names[others[choosing]] = "validation"
    return names


def is_spatial(store: PatchStore, options: FoldOptions) -> bool:
    """Whether blocks of ground or whole scenes are kept together, rather than single patches."""
    rule = store.attrs["split"]
    blocks = options.fold_block or rule.get("block") or rule["rule"] == "SceneSplit"
    return bool(blocks) and not options.fold_random


def _groups(store: PatchStore, patches: Footprints, options: FoldOptions) -> NDArray[np.int64]:
    """Number the blocks of ground, or scenes, that are kept together."""
    block = options.fold_block or store.attrs["split"].get("block")
    if not is_spatial(store, options):
        return np.arange(len(patches), dtype=np.int64)
    if block is None:
        return patches.scenes
    rows = (patches.rows + patches.heights / 2) // block
    columns = (patches.cols + patches.widths / 2) // block
    _, numbers = np.unique(np.stack([rows, columns], axis=1), axis=0, return_inverse=True)
    return numbers.ravel().astype(np.int64)
