"""The batches of a training, in each of its processes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import lightning.pytorch as pl

from seg4eo_xr.patches.stream import PatchStream
from seg4eo_xr.training.devices import hush

if TYPE_CHECKING:
    from collections.abc import Mapping

    import numpy as np
    from numpy.typing import NDArray

    from seg4eo_xr.geometry.splits import SplitName
    from seg4eo_xr.patches.store import PatchStore
    from seg4eo_xr.training.config import TrainConfig


class PatchData(pl.LightningDataModule):
    """Streams of training and validation patches; each process of a training makes its own.

    Parameters
    ----------
    patches
        The store.
    positions
        Positions in it of the patches of ``train`` and ``validation``.
    config
        Options of the training.
    batch_size
        Patches a step, those of all processes counted.
    pin_memory
        Whether to read into page-locked memory.
    """

    def __init__(
        self,
        patches: PatchStore,
        positions: Mapping[SplitName, NDArray[np.int64]],
        config: TrainConfig,
        *,
        batch_size: int,
        pin_memory: bool = False,
    ) -> None:
        super().__init__()
        self.patches = patches
        self.positions = positions
        self.config = config
        self.batch_size = batch_size
        self.pin_memory = pin_memory

    def __setstate__(self, state: dict[str, Any]) -> None:
        # Only a process that was spawned for the training gets here.
        hush()
        self.__dict__.update(state)

    def train_dataloader(self) -> PatchStream:
        """Training patches, mixed anew each epoch."""
        return self.stream("train")

    def val_dataloader(self) -> PatchStream:
        """Validation patches."""
        return self.stream("validation")

    def stream(self, split: SplitName) -> PatchStream:
        """Make this process's stream of a split."""
        training, trainer = split == "train", self.trainer
        return PatchStream(
            self.patches,
            self.positions[split],
            batch_size=self.batch_size,
            shuffle=training,
            seed=self.config.random_seed,
            threads=self.config.threads,
            # A last batch of a few patches would make that step's batch statistics worthless.
            drop_last=training,
            pin_memory=self.pin_memory,
            rank=trainer.global_rank if trainer else 0,
            world_size=trainer.world_size if trainer else 1,
        )
