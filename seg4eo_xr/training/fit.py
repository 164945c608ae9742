"""Train a network on a patch store and leave the files of the run."""

from __future__ import annotations

import logging
import signal
import warnings
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import lightning.pytorch as pl
from lightning.fabric.plugins.environments.lightning import LightningEnvironment
from lightning.fabric.utilities.exceptions import MisconfigurationException
from lightning.pytorch.callbacks import EarlyStopping
from lightning.pytorch.strategies.launchers.multiprocessing import _MultiProcessingLauncher

from seg4eo_xr.models.checkpoint import Checkpoint
from seg4eo_xr.models.zoo import ModelSpec, build_model, pretrained_weights, require_patch_size
from seg4eo_xr.options import changed
from seg4eo_xr.patches.store import open_store
from seg4eo_xr.training.callbacks import ReadingOrder, RunFiles, TrainingBar
from seg4eo_xr.training.checks import class_pixels, require_patches, settled_contract
from seg4eo_xr.training.config import TrainConfig, TrainingWarning
from seg4eo_xr.training.data import PatchData
from seg4eo_xr.training.devices import Processes, own_randomness, processes_of, quiet
from seg4eo_xr.training.folder import RunFolder
from seg4eo_xr.training.loggers import make_loggers, require_loggers
from seg4eo_xr.training.report import finish_run
from seg4eo_xr.training.resuming import (
    StateSaver,
    asks_for_more,
    options_of_run,
    require_same_run,
    state_to_resume,
)
from seg4eo_xr.training.run import TrainingRun, read_run
from seg4eo_xr.training.sizing import fitting_batch_size, is_out_of_memory, memory_message
from seg4eo_xr.training.task import SegmentationTask
from seg4eo_xr.training.weights import resolve_weights

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    import numpy as np
    import torch
    from numpy.typing import NDArray

    from seg4eo_xr.geometry.splits import SplitName
    from seg4eo_xr.patches.store import PatchStore

_LOGGER = logging.getLogger(__name__)

Existing = Literal["refuse", "overwrite", "resume"]


def train(
    store: str | Path | PatchStore,
    save_dir: str | Path,
    config: TrainConfig | None = None,
    *,
    progress: bool = True,
    overwrite: bool = False,
    resume: bool = False,
    **changes: Any,
) -> TrainingRun:
    """Train a network on the patches of a store.

    Parameters
    ----------
    store
        A patch store with training and validation patches.
    save_dir
        Folder for the files of the run: `RunFolder` names them.
    config
        Options; if left out, those of the run to resume, else the defaults.
    progress
        Whether to show a bar on standard error.
    overwrite
        Whether to replace another run in `save_dir`.
    resume
        Whether to go on with the run in `save_dir`, with the same options: on a processor it ends
        with the weights that it would have had without the stop. Only ``epochs`` (with
        ``reduce_plateau``, whose learning rate does not depend on their total) and ``patience`` can
        be raised, also of a finished run. Otherwise a finished run is returned as it is; where
        there is no run, one begins.
    **changes
        Single fields of `TrainConfig`, as ``epochs=50``.

    Returns
    -------
    TrainingRun

    Raises
    ------
    ValueError
        If store, options, device and the run to go on with do not go together, if a batch does not
        fit in memory, or if the training diverges.
    FileNotFoundError
        If there is no such store.
    FileExistsError
        If `save_dir` holds another run.
    ImportError
        If a logger is not installed.
    OSError
        If `save_dir` cannot be written, or pretrained weights cannot be fetched.
    KeyboardInterrupt
        On Ctrl-C and SIGTERM, with a note that says whether the training can be resumed.
    """
    if overwrite and resume:
        raise ValueError("overwrite replaces a run and resume goes on with it; choose one of them")
    if resume and config is None:
        run = options_of_run(RunFolder(Path(save_dir)))
        config = None if run is None else run[0]
    config = changed(config, TrainConfig, changes)
    patches = open_store(store)
    positions: dict[SplitName, NDArray[np.int64]] = {
        "train": patches.indices("train"),
        "validation": patches.indices("validation"),
        "test": patches.indices("test"),
    }
    if resume and not Path(save_dir).exists():
        warnings.warn(f"there is no run in {save_dir}: begun anew", TrainingWarning, stacklevel=2)
    existing: Existing = "overwrite" if overwrite else "resume" if resume else "refuse"
    return fit_positions(patches, positions, config, save_dir, progress=progress, existing=existing)


def fit_positions(
    patches: PatchStore,
    positions: Mapping[SplitName, NDArray[np.int64]],
    config: TrainConfig,
    save_dir: str | Path,
    *,
    progress: bool = True,
    existing: Existing = "refuse",
    keep_state: bool = True,
) -> TrainingRun:
    """Train a network on some patches of a store; parameters and errors are those of `train`.

    Parameters
    ----------
    patches
        The store.
    positions
        Positions in it of the patches of ``train``, ``validation`` and, to score what came of the
        training, perhaps ``test``, ``(patch,)`` each.
    config
        Options.
    save_dir
        Folder for the files of the run.
    progress
        Whether to show a bar on standard error.
    existing
        What to do about a run in `save_dir`.
    keep_state
        Whether the finished run keeps the state that lets it have more epochs.

    Returns
    -------
    TrainingRun
    """
    require_patches(patches, positions, config)
    require_loggers(config.logger)
    folder = RunFolder(Path(save_dir))
    if existing != "resume":
        folder.require_free(overwrite=existing == "overwrite")
    elif folder.is_finished and not asks_for_more(folder, config):
        require_same_run(folder, config)
        return read_run(folder)
    state = state_to_resume(folder, config) if existing == "resume" else None
    with _interrupts_explained(folder), own_randomness(config), quiet():
        start = _start(patches, positions, config)
        callbacks: list[pl.Callback] = [ReadingOrder(), RunFiles(folder, start.template)]
        if progress:
            callbacks.append(TrainingBar(config.epochs, start.steps + start.validation_steps))
        callbacks.append(StateSaver(folder, config, str(patches.path.absolute())))
        trainer = _trainer(folder, config, start.processes, callbacks)
        if state is None:
            folder.prepare()
        trainer.loggers = make_loggers(config.logger, folder.save_dir)
        if state is None or not state.is_last(config):  # else all is done but the report
            folder.metrics_path.unlink(missing_ok=True)  # not finished any more
            _fit(trainer, start, None if state is None else state.path)
        device, size = start.processes.kind, start.data.batch_size
        finish_run(folder, patches, positions, device=device, batch_size=size)
    if not keep_state:
        folder.state_path.unlink()
    return read_run(folder)


@dataclass(frozen=True, eq=False)
class _Start:
    """A training that is about to begin."""

    task: SegmentationTask
    data: PatchData
    template: Checkpoint
    processes: Processes

    @property
    def steps(self) -> int:
        return self.task.steps_per_epoch

    @property
    def validation_steps(self) -> int:
        return -(-len(self.data.positions["validation"]) // self.data.batch_size)


def _start(
    patches: PatchStore, positions: Mapping[SplitName, NDArray[np.int64]], config: TrainConfig
) -> _Start:
    contract = settled_contract(patches, config)
    mode = config.resolve_mode(len(contract.classes))
    outputs = 1 if mode == "binary" else len(contract.classes)
    weights = resolve_weights(class_pixels(patches, positions["train"]), config)
    processes = processes_of(config)
    dropout = config.dropout_rate if config.model == "unet-dropout" else 0.0
    spec = ModelSpec(config.model, config.encoder_name, len(contract.bands), outputs, dropout)
    network = _build(spec, config)
    count = len(positions["train"])
    trial = SegmentationTask(network, contract, config, steps_per_epoch=1, class_weights=weights)
    if config.batch_size == "auto":  # before the device is filled
        require_patch_size(network, spec, patches.patch_size)
    size = fitting_batch_size(trial, processes, patches.patch_size, count)
    require_patch_size(network, spec, patches.patch_size, size // processes.count)
    task = SegmentationTask(
        network, contract, config, steps_per_epoch=count // size, class_weights=weights
    )
    options = {**config.to_dict(), "mode": mode, "batch_size": size}
    template = Checkpoint({}, spec, contract, patches.patch_size, mode, options)
    data = PatchData(
        patches, positions, config, batch_size=size, pin_memory=processes.kind == "cuda"
    )
    _LOGGER.info(
        "training %s / %s, %s, on %d %s in precision %s: %d patches in batches of %d",
        spec.model,
        spec.encoder_name,
        mode,
        processes.count,
        processes.kind,
        processes.precision,
        count,
        size,
    )
    return _Start(task, data, template, processes)


def _build(spec: ModelSpec, config: TrainConfig) -> torch.nn.Module:
    weights = config.encoder_weights
    if weights is None and config.pretrained:
        weights = pretrained_weights(spec.encoder_name)
    return build_model(spec, encoder_weights=weights)


@contextmanager
def _interrupts_explained(folder: RunFolder) -> Iterator[None]:
    """Add to an interrupt what is kept; where nothing is, no folder is left either."""
    is_new = not folder.save_dir.exists()
    try:
        yield
    except KeyboardInterrupt as interrupt:
        if folder.state_path.exists():
            told = f"{folder.save_dir} holds the training so far: go on with resume=True (--resume)"
        else:
            told = f"no epoch was finished: {folder.save_dir} holds nothing to go on from"
            if is_new:
                with suppress(OSError):  # other files, as a logger's, stay
                    folder.save_dir.rmdir()
        interrupt.add_note(told)
        raise


def _fit(trainer: pl.Trainer, start: _Start, state: Path | None) -> None:
    try:
        trainer.fit(start.task, datamodule=start.data, ckpt_path=state, weights_only=True)
    except Exception as error:
        if not is_out_of_memory(error):
            raise
        device = str(trainer.strategy.root_device)
        size = start.data.batch_size
        raise ValueError(memory_message(size, start.template.patch_size, device)) from error
    finally:
        launcher = trainer.strategy.launcher
        if isinstance(launcher, _MultiProcessingLauncher):
            launcher.kill(signal.SIGKILL)  # after an interrupt they may wait for each other


def _trainer(
    folder: RunFolder, config: TrainConfig, processes: Processes, callbacks: list[pl.Callback]
) -> pl.Trainer:
    try:
        return pl.Trainer(
            accelerator=processes.kind,
            devices=processes.count,
            # whatever a scheduler's variables say: this call starts its processes itself
            plugins=[LightningEnvironment()],
            strategy=processes.strategy,
            precision=processes.precision,
            sync_batchnorm=processes.count > 1 and processes.kind == "cuda",
            max_epochs=config.epochs,
            gradient_clip_val=config.gradient_clip or None,
            callbacks=[EarlyStopping("val_loss", patience=config.patience), *callbacks],
            default_root_dir=folder.save_dir,
            logger=False,
            enable_checkpointing=True,
            enable_progress_bar=False,
            enable_model_summary=False,
            num_sanity_val_steps=0,
            log_every_n_steps=1,
            use_distributed_sampler=False,
        )
    except MisconfigurationException as error:
        raise ValueError(
            f"device {config.device!r} with --devices {config.devices} is not available here "
            f"({error}); choose 'auto' or 'cpu', and a number of devices that there is"
        ) from error
