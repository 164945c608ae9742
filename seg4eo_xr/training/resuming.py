"""States of a training, from which it is resumed as if it had not been stopped."""

from __future__ import annotations

import json
import os
import time
import warnings
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from lightning.pytorch.callbacks import Checkpoint
from torch.optim.lr_scheduler import ReduceLROnPlateau

from seg4eo_xr.models.checkpoint import load_checkpoint
from seg4eo_xr.training.config import TrainConfig, TrainingWarning
from seg4eo_xr.training.schedule import plateau_patience

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    import lightning.pytorch as pl

    from seg4eo_xr.training.folder import RunFolder

# Options that change where and how fast a training runs, and not what it learns.
FREE_OPTIONS = ("device", "devices", "threads", "logger", "save_every")
_CONFIG = "seg4eo_config"
_STORE = "seg4eo_store"
_REMEDY = "begin anew with --overwrite (overwrite=True), or give another folder"


class StateSaver(Checkpoint):
    """Save the state of a training after each epoch and now and then, replacing the last one.

    States are taken between two steps and at the beginning of an epoch: there nothing is half done,
    neither a validation nor a row of the log.

    Parameters
    ----------
    folder
        The run's; its file is replaced at once or not at all.
    config
        Options of the training, which a resumed one has to share.
    store
        Path of the patch store.
    """

    def __init__(self, folder: RunFolder, config: TrainConfig, store: str) -> None:
        self.folder = folder
        self.config = config
        self.store = store
        self._saved = time.monotonic()

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Begin to count the seconds, with the patience asked for and not that of the state."""
        self._saved = time.monotonic()
        if trainer.early_stopping_callback is not None:
            trainer.early_stopping_callback.patience = self.config.patience
        for schedule in trainer.lr_scheduler_configs:
            if isinstance(schedule.scheduler, ReduceLROnPlateau):
                schedule.scheduler.patience = plateau_patience(self.config.patience)

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Save what the last epoch has left."""
        if trainer.current_epoch:
            self._save_between_epochs(trainer)

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Save what the training has left, as if one more epoch began."""
        trainer.fit_loop.epoch_progress.increment_ready()
        self._save_between_epochs(trainer)

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, *_: Any
    ) -> None:
        """Save if it is time; after the last step of an epoch the validation is still to come."""
        if not trainer.is_last_batch:
            self._save_if_due(trainer)

    def on_save_checkpoint(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Add the options and the store."""
        checkpoint[_CONFIG] = self.config.to_dict()
        checkpoint[_STORE] = self.store

    def _save_between_epochs(self, trainer: pl.Trainer) -> None:
        # What the loop itself does next; a state without it says that the epoch's steps are done.
        loop = trainer.fit_loop.epoch_loop
        for progress in (
            loop.batch_progress,
            loop.scheduler_progress,
            loop.automatic_optimization.optim_progress,
        ):
            progress.reset_on_run()
        self._save(trainer)

    def _save_if_due(self, trainer: pl.Trainer) -> None:
        due = time.monotonic() - self._saved >= self.config.save_every
        if trainer.strategy.broadcast(due):  # all processes save, or none
            self._save(trainer)

    def _save(self, trainer: pl.Trainer) -> None:
        part = self.folder.state_part_path
        trainer.save_checkpoint(part, False)  # all of it, not the weights alone
        if trainer.is_global_zero:
            with part.open("rb") as stream:
                os.fsync(stream.fileno())
            os.replace(part, self.folder.state_path)
        self._saved = time.monotonic()


@dataclass(frozen=True)
class TrainingState:
    """What a state says of its training.

    Parameters
    ----------
    path
        Its file.
    options
        Options of the training.
    store
        Path of the patch store; None in a state of an older version.
    epochs
        Epochs done.
    waited
        Epochs since the one with the best validation loss.
    """

    path: Path
    options: dict[str, Any]
    store: str | None
    epochs: int
    waited: int

    def is_last(self, config: TrainConfig) -> bool:
        """Whether a training with these options has come to its end here."""
        return self.epochs >= config.epochs or self.waited >= config.patience


def read_state(path: Path) -> TrainingState:
    """Read what a state says of its training.

    Parameters
    ----------
    path
        File that `StateSaver` wrote.

    Raises
    ------
    ValueError
        If the file cannot be read.
    """
    try:
        content = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
        callbacks = content["callbacks"]
        stopping = next(name for name in callbacks if name.startswith("EarlyStopping"))
        waited = callbacks[stopping]["wait_count"]
        options = dict(content[_CONFIG])
        return TrainingState(path, options, content.get(_STORE), content["epoch"], waited)
    except Exception as error:  # a damaged file can raise anything
        raise ValueError(
            f"{path} is no state of a training, or is damaged ({error}); {_REMEDY}"
        ) from error


def state_to_resume(folder: RunFolder, config: TrainConfig) -> TrainingState | None:
    """Find the state that a training goes on from; None, with a warning, where there is none.

    Parameters
    ----------
    folder
        The run's.
    config
        Options of the training that is to go on; `epochs` and `patience` may be higher than those
        it began with.

    Raises
    ------
    ValueError
        If the state is damaged, the options differ, or a finished run cannot have more epochs.
    """
    if folder.state_path.exists():
        state = read_state(folder.state_path)
        _require_same_options(state, config)
        return state
    if folder.is_finished:
        raise ValueError(
            f"the training in {folder.save_dir} is finished and cannot have more epochs: there is "
            f"no {folder.state_path.name}, which older versions and folds of a cross-validation do "
            f"not keep; {_REMEDY}"
        )
    if any(file.exists() for file in folder.files):
        warnings.warn(
            f"{folder.save_dir} holds no state to go on from: begun anew",
            TrainingWarning,
            stacklevel=4,
        )
    return None


def _require_same_options(state: TrainingState, config: TrainConfig) -> None:
    was, save_dir = dict(state.options), state.path.parent
    more_epochs = config.epochs > was["epochs"]
    if more_epochs and was["scheduler_type"] != "reduce_plateau":
        raise ValueError(
            f"the training in {save_dir} cannot have {config.epochs} epochs: with scheduler_type "
            f"{was['scheduler_type']!r} the learning rate of each step depends on the total of "
            f"{was['epochs']} epochs that it began with; {_REMEDY}. Epochs can be raised with "
            "reduce_plateau"
        )
    if more_epochs and state.waited >= config.patience:
        raise ValueError(
            f"the training in {save_dir} stopped early, after epoch {state.epochs}: the validation "
            f"loss was not better for {state.waited} epochs (patience); to go on, give a patience "
            f"above {state.waited} as well (--patience)"
        )
    was["epochs"] = max(was["epochs"], config.epochs)
    was["patience"] = max(was["patience"], config.patience)
    _require_equal(was, config.to_dict(), save_dir)


def options_of_run(folder: RunFolder) -> tuple[TrainConfig, str | None] | None:
    """Read the options of a run, and the store that it reads; None where there is no run.

    Parameters
    ----------
    folder
        The run's, finished or not.

    Raises
    ------
    ValueError
        If a file of the run is damaged.
    """
    if folder.state_path.exists():
        state = read_state(folder.state_path)
        was, store = state.options, state.store
    elif folder.is_finished:
        report = json.loads(folder.metrics_path.read_text(encoding="utf-8"))
        was, store = report["config"], report["store"]["path"]
    else:
        return None
    return TrainConfig.from_dict(was), store


def asks_for_more(folder: RunFolder, config: TrainConfig) -> bool:
    """Whether a finished run is to go on: with more epochs, or more patience if it stopped early.

    Parameters
    ----------
    folder
        The run's.
    config
        Options of the training that was asked for.
    """
    final = load_checkpoint(folder.final_path)
    was = final.config
    stopped_early = final.metrics["epoch"] < was["epochs"]
    more_patience: bool = config.patience > was["patience"]
    return bool(config.epochs > was["epochs"]) or (stopped_early and more_patience)


def require_same_run(folder: RunFolder, config: TrainConfig) -> None:
    """Raise a ValueError where a finished run had other options that matter.

    Parameters
    ----------
    folder
        The run's; what `config` leaves open is settled in its checkpoints.
    config
        Options of the training that was asked for.
    """
    was, asked = load_checkpoint(folder.final_path).config, config.to_dict()
    left_open = {"mode": None, "batch_size": "auto"}
    settled = {name: was.get(name) for name, value in left_open.items() if asked[name] == value}
    _require_equal(was, {**asked, **settled}, folder.save_dir)


def _require_equal(was: Mapping[str, Any], asked: Mapping[str, Any], save_dir: Path) -> None:
    changed = [
        f"{name} was {was.get(name)!r} and is {value!r}"
        for name, value in asked.items()
        if name not in FREE_OPTIONS and _plain(was.get(name)) != _plain(value)
    ]
    if changed:
        raise ValueError(
            f"the training in {save_dir} cannot be resumed with other options: "
            f"{'; '.join(changed)}; give those it began with, or {_REMEDY}"
        )


def _plain(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value
