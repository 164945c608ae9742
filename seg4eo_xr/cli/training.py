"""Training as commands: one run, or one for each fold of a cross-validation."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from seg4eo_xr.cli.answers import of_report, of_run
from seg4eo_xr.cli.command import Command, Told
from seg4eo_xr.training.config import TrainConfig
from seg4eo_xr.training.folds import FoldOptions


@dataclass(frozen=True, kw_only=True)
class CrossValidate(Command):
    """Train once for each fold, and tell how the scores vary.

    Started again with the same options it goes on where it was interrupted.
    Example: seg4eo-xr cross-validate --dataset_root patches.zarr --model unet --n_splits 5
    --save_dir folds
    """

    dataset_root: str
    """The patch store."""
    save_dir: Path = Path("cross_validation")
    """Folder for the runs, the figures and the picture."""
    compare_random: bool = False
    """Also train folds of single patches dealt at random, in twice the time, and tell by how much
    their scores flatter."""
    overwrite: bool = False
    """Replace another cross-validation in save_dir."""
    folds: FoldOptions = field(default_factory=FoldOptions)
    """How patches are dealt to folds."""
    training: TrainConfig = field(default_factory=TrainConfig)
    """How to train."""

    def run(self, *, progress: bool) -> Told:
        """Train all folds, and print mean, deviation and interval of each score."""
        _require_agreement(self.dataset_root, self.training)
        from seg4eo_xr.training.crossvalidate import cross_validate

        found = cross_validate(
            self.dataset_root,
            self.save_dir,
            self.training,
            self.folds,
            compare_random=self.compare_random,
            overwrite=self.overwrite,
            progress=progress,
        )
        return of_report(found, folder=self.save_dir)


@dataclass(frozen=True, kw_only=True)
class Train(Command):
    """Train a network on a patch store.

    Example: seg4eo-xr train --dataset_root patches.zarr --model unet --encoder_name resnet18
    --no_pretrained --epochs 5 --save_dir run
    """

    dataset_root: str
    """The patch store."""
    save_dir: Path = Path("trained_models")
    """Folder for the checkpoints, the log, the figures and the pictures."""
    overwrite: bool = False
    """Replace another run in save_dir."""
    resume: bool = False
    """Go on with the run in save_dir; options that are not given are the run's. Epochs (with
    reduce_plateau) and patience can be raised, also of a finished run."""
    val_strategy: Literal["split", "kfold"] = "split"
    """Validate on the store's validation patches, or on folds as cross-validate does."""
    log_per_class: bool = False
    """Without effect: the IoU of each class is logged in any case."""
    folds: FoldOptions = field(default_factory=FoldOptions)
    """With kfold: how patches are dealt to folds."""
    training: TrainConfig = field(default_factory=TrainConfig)
    """How to train."""

    @classmethod
    def completed(cls, values: dict[str, Any]) -> dict[str, Any]:
        """Add the store and the options of the run to resume."""
        if not values.get("resume") or values.get("val_strategy") == "kfold":
            return values
        from seg4eo_xr.training.folder import RunFolder
        from seg4eo_xr.training.resuming import options_of_run

        save_dir = Path(values.get("save_dir", cls.save_dir))
        run = options_of_run(RunFolder(save_dir))
        if run is None and "dataset_root" not in values:
            raise ValueError(
                f"{save_dir} holds no training to resume, or one that ended before its first state "
                "was saved; give another --save_dir, or --dataset_root and the options to begin it"
            )
        if run is None:
            return values
        config, store = run
        known = {} if store is None else {"dataset_root": store}
        return {**known, **vars(config), **values}

    def run(self, *, progress: bool) -> Told:
        """Train, and say where the best checkpoints are."""
        if self.val_strategy == "kfold":
            return CrossValidate(
                dataset_root=self.dataset_root,
                save_dir=self.save_dir,
                overwrite=self.overwrite,
                folds=self.folds,
                training=self.training,
            ).run(progress=progress)
        if self.folds != FoldOptions():
            raise ValueError(
                "n_splits, fold_block, fold_buffer and fold_random need --val_strategy kfold"
            )
        _require_agreement(self.dataset_root, self.training)
        from seg4eo_xr.training.fit import train

        run = train(
            self.dataset_root,
            self.save_dir,
            self.training,
            overwrite=self.overwrite,
            resume=self.resume,
            progress=progress,
        )
        return of_run(run)


def _require_agreement(store: str, config: TrainConfig) -> None:
    """Hold options against the store before torch is loaded, which takes longer."""
    from seg4eo_xr.patches.store import open_store
    from seg4eo_xr.training.checks import settled_contract

    settled_contract(open_store(store), config)
