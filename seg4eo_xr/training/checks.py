"""Whether store and options go together, before anything is built or written."""

from __future__ import annotations

import warnings
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from seg4eo_xr.training.config import TrainingWarning

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from seg4eo_xr.geometry.splits import SplitName
    from seg4eo_xr.patches.store import PatchStore
    from seg4eo_xr.scenes.contract import Contract
    from seg4eo_xr.training.config import TrainConfig

# Losses in which a class weighs by its pixels.
_BY_PIXELS = ("ce", "dice_ce", "combo")
# Share of the labelled training pixels below which a class is rare.
_RARE = 0.01


def settled_contract(patches: PatchStore, config: TrainConfig) -> Contract:
    """Contract of a training: the store's, with class names of the options where they have some.

    Raises
    ------
    ValueError
        If the options count other bands or classes than the store has.
    """
    contract = patches.contract
    names, bands = contract.classes.names, contract.bands
    for option, given, own, what in (
        ("classes", config.classes, names, "classes"),
        ("in_channels", config.in_channels, bands, "bands"),
        ("class_names", len(config.class_names) or None, names, "classes"),
    ):
        if given is not None and given != len(own):
            raise ValueError(
                f"--{option} says {given}, but {patches.path} has {len(own)} {what} "
                f"({', '.join(own)}); leave the option out, or give another store"
            )
    if not config.class_names:
        return contract
    return replace(contract, classes=replace(contract.classes, names=tuple(config.class_names)))


def class_pixels(patches: PatchStore, positions: NDArray[np.int64]) -> NDArray[np.int64]:
    """Labelled pixels with data of each class in some patches, ``(class,)``."""
    counts: NDArray[np.int64] = patches.coordinate("class_pixels")[positions].sum(
        axis=0, dtype=np.int64
    )
    return counts


def require_patches(
    patches: PatchStore, positions: Mapping[SplitName, NDArray[np.int64]], config: TrainConfig
) -> None:
    """Raise where patches cannot feed a training.

    Parameters
    ----------
    patches
        The store.
    positions
        Positions in it of the patches of ``train`` and ``validation``.
    config
        Options of the training.

    Raises
    ------
    ValueError
        If a split is empty or has no label, if there are fewer training patches than a batch has,
        or if they show less than two classes.

    Warns
    -----
    TrainingWarning
        If a class does not occur, or is rare and nothing makes up for it; or if an encoder is held
        still that has nothing to keep, or in all epochs.
    """
    for split in ("train", "validation"):
        if not len(positions[split]):
            raise ValueError(
                f"{patches.path} has no {split} patches; extract them with a split that leaves "
                "some, as RandomSplit(0.75, 0.15, 0.1) (--train_ratio 0.75 --val_ratio 0.15)"
            )
        if not class_pixels(patches, positions[split]).any():
            raise ValueError(
                f"no pixel of the {split} patches of {patches.path} is both labelled and valid; "
                "extract the patches with labels that cover the scene's data, or another split"
            )
    _require_batch(patches, len(positions["train"]), config)
    pixels = class_pixels(patches, positions["train"])
    _require_classes(patches, pixels)
    _warn_of_rare_classes(patches, pixels, config)
    if config.freeze_encoder and not _is_pretrained(config):
        warnings.warn(
            "the encoder starts from random weights and is held still, so that it gives the "
            f"decoder noise for {config.freeze_epochs} epochs; leave freeze_encoder "
            "(--freeze_encoder) out, or start from pretrained weights (--pretrained, "
            "--encoder_weights)",
            TrainingWarning,
            stacklevel=4,
        )
    if config.freeze_encoder and config.freeze_epochs >= config.epochs:
        warnings.warn(
            f"the encoder is held still in all {config.epochs} epochs and is never trained; set "
            f"freeze_epochs (--freeze_epochs) below epochs (--epochs), {config.epochs}",
            TrainingWarning,
            stacklevel=4,
        )


def _is_pretrained(config: TrainConfig) -> bool:
    published = config.pretrained and config.model != "unet-dropout"
    return published or config.encoder_weights is not None


def _require_batch(patches: PatchStore, count: int, config: TrainConfig) -> None:
    size = config.batch_size
    if size == "auto":
        return
    if count < size:
        raise ValueError(
            f"batch_size {size} is larger than the training split of {patches.path} ({count} "
            f"patches); set it (--batch_size) to at most {count}"
        )
    if size % config.devices:
        raise ValueError(
            f"batch_size {size} cannot be shared out evenly among {config.devices} devices; "
            f"choose a multiple of {config.devices}"
        )


def _require_classes(patches: PatchStore, pixels: NDArray[np.int64]) -> None:
    table = patches.contract.classes
    unseen = [name for name, count in zip(table.names, pixels, strict=True) if not count]
    if len(table) > 1 and np.count_nonzero(pixels) < 2:
        (seen,) = set(table.names) - set(unseen)
        raise ValueError(
            f"all labelled pixels of the training patches of {patches.path} are {seen!r}, so there "
            "is nothing to tell apart; extract patches where other classes occur, or split them "
            "in another way"
        )
    if unseen:
        warnings.warn(
            f"no training pixel of the classes {', '.join(unseen)}: they cannot be learned; "
            "extract more patches, or split them in another way",
            TrainingWarning,
            stacklevel=5,
        )


def _warn_of_rare_classes(
    patches: PatchStore, pixels: NDArray[np.int64], config: TrainConfig
) -> None:
    if config.use_class_weights or config.class_weights or config.loss_type not in _BY_PIXELS:
        return
    names = patches.contract.classes.names
    shares = zip(names, pixels / pixels.sum(), strict=True)
    rare = [f"{name} ({share:.2%})" for name, share in shares if 0 < share < _RARE]
    if rare:
        warnings.warn(
            f"few of the training pixels are {', '.join(rare)}, and the loss "
            f"{config.loss_type!r} counts all pixels alike, so that a network may leave these "
            "classes out; set use_class_weights=True (--use_class_weights), take "
            "loss_type='focal_dice' (--loss_type focal_dice), or extract as many patches around "
            "each class with sampling='balanced' (--sampling balanced)",
            TrainingWarning,
            stacklevel=5,
        )
