"""Train a network on a patch store and leave the files of the run."""

from __future__ import annotations

import contextlib
import logging
import signal
import threading
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import lightning.pytorch as pl
import torch
from lightning.fabric.utilities.exceptions import MisconfigurationException
from lightning.pytorch.callbacks import EarlyStopping

from seg4eo_xr.models.checkpoint import Checkpoint
from seg4eo_xr.models.zoo import ModelSpec, build_model, pretrained_weights, require_patch_size
from seg4eo_xr.patches.store import open_store
from seg4eo_xr.patches.stream import PatchStream
from seg4eo_xr.training.callbacks import ReadingOrder, RunFiles, RunFolder, TrainingBar
from seg4eo_xr.training.config import TrainConfig
from seg4eo_xr.training.task import SegmentationTask

if TYPE_CHECKING:
    from collections.abc import Iterator

    from seg4eo_xr.geometry.splits import SplitName
    from seg4eo_xr.patches.store import PatchStore

_logger = logging.getLogger(__name__)
_SPLITS: tuple[SplitName, ...] = ("train", "validation")


@dataclass(frozen=True, repr=False)
class TrainingRun(RunFolder):
    """A finished training: its files and its metrics.

    Parameters
    ----------
    save_dir
        The run's folder.
    metrics
        ``best_val_loss``, ``best_val_iou``, and of the epoch with the highest mIoU ``epoch``,
        ``val_loss``, ``val_miou`` and ``per_class_iou``.
    """

    metrics: dict[str, Any]

    def __repr__(self) -> str:
        best, epoch = self.metrics["best_val_iou"], self.metrics["epoch"]
        scores = self.metrics["per_class_iou"]
        lines = [
            f"best validation mIoU {best:.3f}, in epoch {epoch}",
            *(f"  {name:<20} {iou:.3f}" for name, iou in scores.items()),
            f"best by mIoU   {self.best_iou_path}",
            f"best by loss   {self.best_loss_path}",
            f"last epoch     {self.final_path}",
            f"log            {self.log_path}",
        ]
        return "\n".join(lines)


def train(
    store: str | Path | PatchStore,
    save_dir: str | Path,
    config: TrainConfig | None = None,
    *,
    progress: bool = True,
    overwrite: bool = False,
) -> TrainingRun:
    """Train a network on the patches of a store.

    Parameters
    ----------
    store
        A patch store with training and validation patches.
    save_dir
        Folder for ``model_best_loss.pth``, ``model_best_iou.pth``, ``model_final.pth`` and
        ``model_training_log.csv``.
    config
        Options; the defaults if left out.
    progress
        Whether to show a bar on standard error.
    overwrite
        Whether to replace another run in `save_dir`.

    Returns
    -------
    TrainingRun

    Raises
    ------
    ValueError
        If store, options and device do not go together, or the training diverges.
    FileNotFoundError
        If there is no such store.
    FileExistsError
        If `save_dir` holds another run.
    OSError
        If `save_dir` cannot be written, or pretrained weights cannot be fetched.
    """
    config = config or TrainConfig()
    patches = open_store(store)
    _require_patches(patches, config)
    folder = RunFolder(Path(save_dir))
    folder.require_free(overwrite=overwrite)
    with _own_randomness(config), _quiet():
        network, template = _start(patches, config)
        training, validation = _streams(patches, config)
        files = RunFiles(folder, template)
        callbacks: list[pl.Callback] = [ReadingOrder(training), files]
        if progress:
            callbacks.append(TrainingBar(config.epochs, len(training) + len(validation)))
        trainer = _trainer(folder, config, callbacks)
        task = SegmentationTask(network, template.contract, config, steps_per_epoch=len(training))
        folder.prepare()
        _fit(trainer, task, training, validation)
    return TrainingRun(folder.save_dir, files.metrics)


def _start(patches: PatchStore, config: TrainConfig) -> tuple[torch.nn.Module, Checkpoint]:
    """Build the network, and the checkpoint that its weights will be put into."""
    contract = patches.contract
    mode = config.resolve_mode(len(contract.classes))
    outputs = 1 if mode == "binary" else len(contract.classes)
    spec = ModelSpec(config.model, config.encoder_name, len(contract.bands), outputs)
    weights = pretrained_weights(config.encoder_name) if config.pretrained else None
    network = build_model(spec, encoder_weights=weights)
    require_patch_size(network, spec, patches.patch_size, config.batch_size)
    options = {**config.to_dict(), "mode": mode}
    return network, Checkpoint({}, spec, contract, patches.patch_size, mode, options)


def _streams(patches: PatchStore, config: TrainConfig) -> tuple[PatchStream, PatchStream]:
    training, validation = (
        PatchStream(
            patches,
            split,
            batch_size=config.batch_size,
            shuffle=split == "train",
            seed=config.random_seed,
            threads=config.threads,
            # A last batch of a few patches would make that step's batch statistics worthless.
            drop_last=split == "train",
            pin_memory=_on_cuda(config),
        )
        for split in _SPLITS
    )
    return training, validation


def _fit(
    trainer: pl.Trainer, task: SegmentationTask, training: PatchStream, validation: PatchStream
) -> None:
    try:
        trainer.fit(task, training, validation)
    except torch.OutOfMemoryError as error:
        raise ValueError(
            f"batches of {task.config.batch_size} patches do not fit in the memory of "
            f"{trainer.strategy.root_device}; lower --batch_size, train with --use_amp, or choose "
            "a smaller encoder"
        ) from error


def _trainer(folder: RunFolder, config: TrainConfig, callbacks: list[pl.Callback]) -> pl.Trainer:
    try:
        return pl.Trainer(
            accelerator=config.device,
            devices=1,
            precision=_precision(config),
            max_epochs=config.epochs,
            gradient_clip_val=config.gradient_clip,
            callbacks=[EarlyStopping("val_loss", patience=config.patience), *callbacks],
            default_root_dir=folder.save_dir,
            logger=False,
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
            num_sanity_val_steps=0,
            use_distributed_sampler=False,
        )
    except MisconfigurationException as error:
        raise ValueError(
            f"device {config.device!r} is not available here; choose 'auto' or 'cpu'"
        ) from error


def _precision(config: TrainConfig) -> Any:
    if not config.use_amp:
        return "32-true"
    if _on_cuda(config) and not torch.cuda.is_bf16_supported():
        return "16-mixed"
    return "bf16-mixed"


def _on_cuda(config: TrainConfig) -> bool:
    return config.device in ("auto", "cuda") and torch.cuda.is_available()


def _require_patches(patches: PatchStore, config: TrainConfig) -> None:
    """Raise where the store cannot feed this training."""
    for split in _SPLITS:
        count = len(patches.indices(split))
        if count == 0:
            raise ValueError(
                f"{patches.path} has no {split} patches; extract them with a split that leaves "
                "some, as --train_ratio 0.75 --val_ratio 0.15"
            )
        if not any(patches.class_counts(split).values()):
            raise ValueError(
                f"no pixel of the {split} patches of {patches.path} is both labelled and valid; "
                "extract the patches with labels that cover the scene's data, or another split"
            )
        if split == "train" and count < config.batch_size:
            raise ValueError(
                f"batch_size {config.batch_size} is larger than the training split of "
                f"{patches.path} ({count} patches); set --batch_size to at most {count}"
            )
    unseen = [code for code, pixels in patches.class_counts("train").items() if not pixels]
    if unseen:
        _logger.warning("no training pixel of the classes %s: they cannot be learned", unseen)


@contextlib.contextmanager
def _own_randomness(config: TrainConfig) -> Iterator[None]:
    """Seed torch for the training, and leave the caller's generators as they were."""
    with torch.random.fork_rng(devices=[0] if _on_cuda(config) else []):
        torch.manual_seed(config.random_seed)
        yield


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Silence Lightning's notices, and let an interrupt through as what it is."""
    loggers = [logging.getLogger(name) for name in ("lightning.pytorch", "lightning.fabric")]
    levels = [logger.level for logger in loggers]
    is_main = threading.current_thread() is threading.main_thread()
    handler = signal.getsignal(signal.SIGINT) if is_main else None
    try:
        for logger in loggers:
            logger.setLevel(logging.ERROR)
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message=".*LeafSpec", category=FutureWarning)
            yield
    except SystemExit as error:
        # Lightning ends the process on Ctrl-C; a notebook's kernel is to live on
        if isinstance(error.__context__, KeyboardInterrupt):
            raise KeyboardInterrupt from error
        raise
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
        if handler is not None:
            signal.signal(signal.SIGINT, handler)
