"""States of an unfinished training, from which it is resumed as if it had not been stopped."""

from __future__ import annotations

import json
import os
import time
from typing import TYPE_CHECKING, Any

import torch
from lightning.pytorch.callbacks import Checkpoint

from seg4eo_xr.training.config import TrainConfig

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
    """Save the state of a training after each epoch and now and then, in the place of the last.

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
        """Begin to count the seconds."""
        self._saved = time.monotonic()

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Save what the last epoch has left."""
        if not trainer.current_epoch:
            return
        # What the loop itself does next; a state without it says that the epoch's steps are done.
        loop = trainer.fit_loop.epoch_loop
        for progress in (
            loop.batch_progress,
            loop.scheduler_progress,
            loop.automatic_optimization.optim_progress,
        ):
            progress.reset_on_run()
        self._save(trainer)

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


def require_same_options(path: Path, config: TrainConfig) -> None:
    """Raise where a state is damaged, or its training had other options that matter.

    More epochs may be asked for than the training began with.

    Parameters
    ----------
    path
        File that `StateSaver` wrote.
    config
        Options of the training that is to go on from it.

    Raises
    ------
    ValueError
        If the file cannot be read, or naming the options that differ.
    """
    was, _ = _state_options(path)
    asked = config.to_dict()
    if config.epochs > was["epochs"] and config.scheduler_type != "one_cycle":
        was["epochs"] = config.epochs  # a cycle is laid over the epochs that it began with
    _require_equal(was, asked, path.parent)


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
    if folder.is_finished:
        report = json.loads(folder.metrics_path.read_text(encoding="utf-8"))
        was, store = report["config"], report["store"]["path"]
    elif folder.state_path.exists():
        was, store = _state_options(folder.state_path)
    else:
        return None
    return TrainConfig.from_dict(was), store


def _state_options(path: Path) -> tuple[dict[str, Any], str | None]:
    """Options and store that a state names; one of an older version names no store."""
    try:
        content = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
        return dict(content[_CONFIG]), content.get(_STORE)
    except Exception as error:  # a damaged file can raise anything
        raise ValueError(
            f"{path} is no state of a training, or is damaged ({error}); {_REMEDY}"
        ) from error


def require_same_run(was: Mapping[str, Any], config: TrainConfig, save_dir: Path) -> None:
    """Raise a ValueError where a finished run had other options that matter.

    Parameters
    ----------
    was
        The options in the run's checkpoint; what `config` leaves open is settled there.
    config
        Options of the training that was asked for.
    save_dir
        The run's folder.
    """
    asked = config.to_dict()
    left_open = {"mode": None, "batch_size": "auto"}
    settled = {name: was.get(name) for name, value in left_open.items() if asked[name] == value}
    _require_equal(was, {**asked, **settled}, save_dir)


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
