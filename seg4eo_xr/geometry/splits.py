"""Training, validation and test: rules that say which patch goes where."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, Protocol

import numpy as np

from seg4eo_xr.geometry.footprints import near
from seg4eo_xr.geometry.shares import check_ratios, deal_units, share_out
from seg4eo_xr.options import OptionSet

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from seg4eo_xr.geometry.footprints import Footprints

SplitName = Literal["train", "validation", "test"]
SPLITS: tuple[SplitName, ...] = ("train", "validation", "test")
_NAME = f"<U{max(map(len, SPLITS))}"
SPELLINGS: dict[str, SplitName] = {
    **dict.fromkeys(("train", "training"), "train"),
    **dict.fromkeys(("val", "valid", "validation"), "validation"),
    **dict.fromkeys(("test", "testing"), "test"),
}


class Split(Protocol):
    """A rule that deals patches to the splits."""

    def assign(self, patches: Footprints) -> NDArray[np.str_]:
        """Name each patch's split, ``(patch,)``; an empty name leaves the patch out.

        Patches that are fixed keep their split.
        """
        ...


def as_rule(split: Split | None) -> Split:
    """Rule that was given, `RandomSplit` if none was.

    Raises
    ------
    TypeError
        If it is no rule.
    """
    if split is None:
        return RandomSplit()
    if isinstance(split, type) or not hasattr(split, "assign"):
        raise TypeError(
            "split must be a rule, as RandomSplit(), SpatialSplit(block=2560), SceneSplit() or "
            f"ColumnSplit('split'), got {split!r}"
        )
    return split


class _Shares(OptionSet):
    """What rules that deal by ratios have in common."""

    train_ratio: float
    val_ratio: float
    test_ratio: float
    random_seed: int

    def __post_init__(self) -> None:
        check_ratios(self.ratios, self.random_seed)

    @property
    def ratios(self) -> tuple[float, float, float]:
        """Shares of train, validation and test."""
        return self.train_ratio, self.val_ratio, self.test_ratio


@dataclass(frozen=True)
class RandomSplit(_Shares):
    """Deal patches to the splits at random, wherever they lie.

    Neighbouring patches look alike, so scores on such a test split flatter the model;
    `SpatialSplit` keeps the splits apart.

    Parameters
    ----------
    train_ratio
        Share of the patches that a network learns from; the three shares sum to 1.
    val_ratio
        Share that tells which epoch is the best.
    test_ratio
        Share that scores the network in the end.
    random_seed
        Seed of the shuffle, at least 0.

    Examples
    --------
    >>> from seg4eo_xr.geometry.footprints import Footprints
    >>> names = RandomSplit(0.6, 0.2, 0.2).assign(Footprints.of(np.arange(20) * 8, 0, 8, 8))
    >>> [int((names == split).sum()) for split in SPLITS]
    [12, 4, 4]
    """

    train_ratio: float = 0.75
    val_ratio: float = 0.15
    test_ratio: float = 0.10
    random_seed: int = 42

    def assign(self, patches: Footprints) -> NDArray[np.str_]:
        """Name each patch's split.

        Returns
        -------
        ndarray of str, ``(patch,)``
            ``train``, ``validation`` or ``test``, so that the ratios hold of fixed and new patches
            together. Each split with a share gets at least one patch where there are enough, in
            this order. Patches with less than half of the ground of the largest are dealt after
            the others.
        """
        names = patches.fixed.astype(_NAME)
        free = names == ""
        generator = np.random.default_rng(self.random_seed)
        # Patches at the edges may hold little ground: no split shall get these alone.
        ground = patches.windows[:, 2] * patches.windows[:, 3]
        large = 2 * ground >= ground.max(initial=0, where=free)
        for group in (free & large, free & ~large):
            counts = share_out(int(group.sum()), self.ratios, _counts(names))
            names[group] = generator.permutation(np.repeat(np.array(SPLITS), counts))
        return names


@dataclass(frozen=True)
class SpatialSplit(_Shares):
    """Deal whole blocks of the ground to the splits, and keep the splits a buffer apart.

    A patch belongs to the block that holds its centre, so scenes that overlap share blocks. Of two
    patches of different splits that lie within the buffer of each other, one is left out: the
    training patch, or the validation patch if the other is for testing; never a fixed one.

    Parameters
    ----------
    block
        Side of a block in pixels of the (first) scene; ten patches or more is a good start.
    buffer
        No pixel of a split lies within this distance of a pixel of another split, in pixels of the
        (first) scene. With 0 they merely share none.
    train_ratio, val_ratio, test_ratio
        Shares of the patches; they sum to 1. Blocks are dealt whole, so they are met roughly.
    random_seed
        Seed of the deal, at least 0.

    References
    ----------
    Roberts et al. 2017, Cross-validation strategies for data with temporal, spatial, hierarchical,
    or phylogenetic structure. https://doi.org/10.1111/ecog.02881
    """

    block: int
    buffer: float = 0
    train_ratio: float = 0.75
    val_ratio: float = 0.15
    test_ratio: float = 0.10
    random_seed: int = 42

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.block < 1:
            raise ValueError(f"block must be at least 1 pixel, got {self.block}")
        _check_buffer(self.buffer)

    def assign(self, patches: Footprints) -> NDArray[np.str_]:
        """Name each patch's split; the name is empty where the buffer takes the patch.

        Returns
        -------
        ndarray of str, ``(patch,)``
            ``train``, ``validation``, ``test`` or an empty string.

        Raises
        ------
        ValueError
            If there are fewer blocks than splits, or the buffer leaves a split empty.
        """
        centres = np.stack(
            [patches.rows + patches.heights / 2, patches.cols + patches.widths / 2], axis=1
        )
        _, block_of = np.unique(centres // self.block, axis=0, return_inverse=True)
        names = _dealt_whole(
            patches, block_of.ravel(), self, f"blocks of {self.block} px", "choose a smaller block"
        )
        _keep_apart(patches, names, self.buffer)
        _require_all(
            names,
            self,
            f"a buffer of {self.buffer:g} px between blocks of {self.block} px",
            "choose a smaller buffer, larger blocks or another random_seed",
        )
        return names


@dataclass(frozen=True)
class SceneSplit(_Shares):
    """Deal whole scenes to the splits.

    Where scenes of different splits show the same ground, the patches there are left out of one of
    them: of training, or of validation if the other scene is for testing; never a fixed patch.

    Parameters
    ----------
    train_ratio, val_ratio, test_ratio
        Shares of the patches; they sum to 1. Scenes are dealt whole, so they are met roughly.
    random_seed
        Seed of the deal, at least 0.
    buffer
        No pixel of a split lies within this distance of a pixel of another split, in pixels of the
        first scene. With 0 they merely share none.
    """

    train_ratio: float = 0.75
    val_ratio: float = 0.15
    test_ratio: float = 0.10
    random_seed: int = 42
    buffer: float = 0

    def __post_init__(self) -> None:
        super().__post_init__()
        _check_buffer(self.buffer)

    def assign(self, patches: Footprints) -> NDArray[np.str_]:
        """Name each patch's split; the name is empty where another split shows the same ground.

        Returns
        -------
        ndarray of str, ``(patch,)``
            ``train``, ``validation``, ``test`` or an empty string.

        Raises
        ------
        ValueError
            If there are fewer scenes than splits, or those of a split show only ground that
            another split shows too.
        """
        _, scene_of = np.unique(patches.scenes, return_inverse=True)
        names = _dealt_whole(
            patches, scene_of, self, "scenes", "give more scenes, or set val_ratio or test_ratio 0"
        )
        _keep_apart(patches, names, self.buffer)
        _require_all(
            names,
            self,
            f"a split by scene, with scenes within {self.buffer:g} px of each other,",
            "choose SpatialSplit, which deals the ground instead, or another random_seed",
        )
        return names


@dataclass(frozen=True)
class ColumnSplit(OptionSet):
    """Take each patch's split from a column of the grid.

    Parameters
    ----------
    column
        Column that holds ``train`` or ``training``, ``val``, ``valid`` or ``validation``, ``test``
        or ``testing``, in any case. Cells without a value are left out.

    Examples
    --------
    >>> from seg4eo_xr.geometry.footprints import Footprints
    >>> patches = Footprints.of([0, 8, 16], 0, 8, 8, groups=["Training", "", "val"])
    >>> ColumnSplit("fold").assign(patches).tolist()
    ['train', '', 'validation']
    """

    column: str

    def assign(self, patches: Footprints) -> NDArray[np.str_]:
        """Name each patch's split.

        Returns
        -------
        ndarray of str, ``(patch,)``
            ``train``, ``validation``, ``test``, or an empty string where the column has no value.

        Raises
        ------
        ValueError
            If the column holds another value, or none at all.
        """
        words, word_of = np.unique(patches.groups, return_inverse=True)
        plain = [str(word).strip().lower() for word in words]
        unknown = [word for word, name in zip(words.tolist(), plain, strict=True) if name]
        unknown = [word for word in unknown if word.strip().lower() not in SPELLINGS]
        accepted = "train, training, val, valid, validation, test and testing, in any case"
        if unknown:
            raise ValueError(
                f"column {self.column!r} of the grid names no split in {_some(unknown)}; accepted "
                f"are {accepted}, and empty cells, which are left out"
            )
        free = patches.fixed == ""
        if free.any() and not any(plain):
            raise ValueError(
                f"no patch has a value in column {self.column!r}, so none has a split; give a grid "
                f"whose column holds {accepted}"
            )
        named = np.array([SPELLINGS.get(name, "") for name in plain], _NAME)[word_of.ravel()]
        return np.where(free, named, patches.fixed.astype(_NAME))


def _dealt_whole(
    patches: Footprints, unit_of: NDArray[np.int64], rule: _Shares, units: str, remedy: str
) -> NDArray[np.str_]:
    """Name each patch's split, the same for all new patches of a unit."""
    count = int(unit_of.max(initial=-1)) + 1
    held, sizes = (
        np.stack([np.bincount(unit_of[patches.fixed == name], minlength=count) for name in names])
        for names in (SPLITS, ("",))
    )
    splits = deal_units(sizes[0], held.T, rule.ratios, rule.random_seed)
    if splits is None:
        raise ValueError(
            f"there are {count} {units}, too few for the splits that have a share; {remedy}"
        )
    return np.where(patches.fixed == "", np.array(SPLITS)[splits][unit_of], patches.fixed)


def _keep_apart(patches: Footprints, names: NDArray[np.str_], buffer: float) -> None:
    """Empty the names of new patches that lie within the buffer of another split."""
    distance = buffer or None  # without a buffer they may touch, as long as they share no pixel
    free = patches.fixed == ""
    held = ~free & np.isin(names, SPLITS)
    for name in SPLITS:
        names[near(patches, free & (names == name), held & (names != name), distance)] = ""
    for yielding, standing in (("validation", ("test",)), ("train", ("validation", "test"))):
        asking, others = free & (names == yielding), free & np.isin(names, standing)
        names[near(patches, asking, others, distance)] = ""


def _require_all(names: NDArray[np.str_], rule: _Shares, what: str, remedy: str) -> None:
    """Raise a ValueError where a split that is to have a share has no patch."""
    for name, ratio in zip(SPLITS, rule.ratios, strict=True):
        if ratio > 0 and not (names == name).any():
            raise ValueError(f"{what} leaves no {name} patch; {remedy}")


def _check_buffer(buffer: float) -> None:
    if not 0 <= buffer < np.inf:
        raise ValueError(f"buffer must be 0 pixels or more, got {buffer}")


def _counts(names: NDArray[np.str_]) -> NDArray[np.int64]:
    return np.array([(names == name).sum() for name in SPLITS])


def _some(words: list[str]) -> str:
    """A few values for a message."""
    return ", ".join(map(repr, words[:5])) + (", ..." if len(words) > 5 else "")
