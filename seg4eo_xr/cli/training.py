"""Training as commands: one run, or one for each fold of a cross-validation."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from tyro.conf import OmitArgPrefixes

from seg4eo_xr.cli.command import Flag
from seg4eo_xr.training.config import TrainConfig
from seg4eo_xr.training.folds import FoldOptions


@dataclass(frozen=True, kw_only=True)
class CrossValidate:
    """Train once for each fold of a patch store, and tell how much the scores vary.

    Started again with the same options it goes on where it was interrupted.
    Example: seg4eo-xr cross-validate --dataset_root patches.zarr --model unet --n_splits 5
    --save_dir folds
    """

    dataset_root: str
    """The patch store."""
    save_dir: Path = Path("cross_validation")
    """Folder for the runs, the figures and the picture."""
    overwrite: Flag = False
    """Replace another cross-validation in save_dir."""
    folds: OmitArgPrefixes[FoldOptions] = field(default_factory=FoldOptions)
    """How patches are dealt to folds."""
    training: OmitArgPrefixes[TrainConfig] = field(default_factory=TrainConfig)
    """How to train."""

    def run(self) -> None:
        """Train all folds, and print mean, deviation and interval of each score."""
        from seg4eo_xr.training.crossvalidate import cross_validate

        _require_store(self.dataset_root)
        found = cross_validate(
            self.dataset_root, self.save_dir, self.training, self.folds, overwrite=self.overwrite
        )
        print(found)


@dataclass(frozen=True, kw_only=True)
class Train:
    """Train a network on a patch store.

    Example: seg4eo-xr train --dataset_root patches.zarr --model unet --encoder_name resnet18
    --no_pretrained --epochs 5 --save_dir run
    """

    dataset_root: str
    """The patch store."""
    save_dir: Path = Path("trained_models")
    """Folder for the checkpoints, the log, the figures and the pictures."""
    overwrite: Flag = False
    """Replace another run in save_dir."""
    resume: Flag = False
    """Go on with a run in save_dir that was stopped."""
    val_strategy: Literal["split", "kfold"] = "split"
    """Validate on the store's validation patches, or on folds as cross-validate does."""
    log_per_class: Flag = False
    """The IoU of each class is logged in any case."""
    folds: OmitArgPrefixes[FoldOptions] = field(default_factory=FoldOptions)
    """With kfold: how patches are dealt to folds."""
    training: OmitArgPrefixes[TrainConfig] = field(default_factory=TrainConfig)
    """How to train."""

    def run(self) -> None:
        """Train, and say where the best checkpoints are."""
        if self.val_strategy == "kfold":
            CrossValidate(
                dataset_root=self.dataset_root,
                save_dir=self.save_dir,
                overwrite=self.overwrite,
                folds=self.folds,
                training=self.training,
            ).run()
            return
        if self.folds != FoldOptions():
            raise ValueError("n_splits, fold_block and fold_buffer need --val_strategy kfold")
        from seg4eo_xr.training.fit import train

        _require_store(self.dataset_root)
        run = train(
            self.dataset_root,
            self.save_dir,
            self.training,
            overwrite=self.overwrite,
            resume=self.resume,
        )
        print(run)


def _require_store(path: str) -> None:
    """Raise where there is a folder of GeoTIFF patches instead of a store."""
    for folder in (Path(path), Path(path) / "Patch"):
        if (folder / "train" / "images").is_dir():
            raise ValueError(
                f"{path} is a folder of GeoTIFF patches; bring them into a patch store first: "
                f"seg4eo-xr import --data_dir {path} --output {Path(path).name}.zarr"
            )
