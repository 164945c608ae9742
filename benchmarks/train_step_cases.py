"""The cases of the comparison of trainings; run as a script, it measures one of them.

Both train the same network with the same loss, optimiser, precision and threads on batches of the
same patches, and validate after each epoch. The first epoch is not timed: it warms up.
"""

from __future__ import annotations

import json
import sys
import tempfile
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness import answer, seconds_of

if TYPE_CHECKING:
    from collections.abc import Callable

    import torch

    from seg4eo_xr import TrainConfig

    Batch = tuple[torch.Tensor, torch.Tensor]


@dataclass(frozen=True)
class Setup:
    """One store, one network.

    Parameters
    ----------
    folder
        Of all files of this run.
    patches
        How many, a square number; three quarters of them are trained on.
    patch_size
        Side of a patch in pixels.
    batch_size
        Patches a step.
    encoder
        Of the network, a U-Net.
    epochs
        That are timed, at least 1.
    """

    folder: str
    patches: int
    patch_size: int
    batch_size: int
    encoder: str
    epochs: int

    @property
    def store(self) -> Path:
        """The patch store."""
        return Path(self.folder, "patches.zarr")

    def config(self, **changes: Any) -> TrainConfig:
        """Options of the training."""
        from seg4eo_xr import TrainConfig

        return TrainConfig(
            **{
                "encoder_name": self.encoder,
                "pretrained": False,
                "loss_type": "ce",
                "epochs": self.epochs + 1,
                "batch_size": self.batch_size,
                "data_augmentation": False,
                **changes,
            }
        )


def prepare(setup: Setup) -> dict[str, float]:
    """Write the store."""
    from seg4eo_xr import RandomSplit, extract_patches
    from seg4eo_xr.testing import synthetic_sentinel2

    side = round(setup.patches**0.5) * setup.patch_size
    scene, labels = synthetic_sentinel2((side, side), nodata_wedge=False, chunks=512)
    split = RandomSplit(0.75, 0.25, 0)
    extract_patches(
        scene, labels, setup.store, patch_size=setup.patch_size, split=split, progress=False
    )
    return {}


def ours(setup: Setup) -> dict[str, float]:
    """Train with `seg.train`, without augmentation."""
    return {"no augmentation": _epoch_seconds(setup, setup.config())}


def augmented(setup: Setup) -> dict[str, float]:
    """Train with `seg.train` and with augmentation, which the bare loop does not have."""
    return {"augmentation": _epoch_seconds(setup, setup.config(data_augmentation=True))}


def _epoch_seconds(setup: Setup, config: TrainConfig) -> float:
    """Seconds an epoch, everything counted that `seg.train` does from one to the next."""
    from seg4eo_xr import train

    run = Path(tempfile.mkdtemp(dir=setup.folder))
    ends: list[float] = []
    over = threading.Event()
    watch = threading.Thread(target=_note_rows, args=(run / "model_training_log.csv", ends, over))
    watch.start()
    train(setup.store, run, config, progress=False)
    over.set()
    watch.join()
    if len(ends) != setup.epochs + 1:
        raise RuntimeError(f"{len(ends)} of {setup.epochs + 1} epochs were seen in {run}")
    return (ends[-1] - ends[0]) / setup.epochs


def _note_rows(log: Path, ends: list[float], over: threading.Event) -> None:
    """Note when each epoch is added to the log of a training."""
    while not over.wait(0.01):
        rows = log.read_text().count("\n") - 1 if log.exists() else 0
        if rows > len(ends):
            ends.append(time.perf_counter())


def bare(setup: Setup) -> dict[str, float]:
    """Train with a plain loop over normalised batches that are in memory already."""
    import torch

    from seg4eo_xr import open_store
    from seg4eo_xr.models.zoo import ModelSpec, build_model

    config = setup.config()
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    contract = open_store(setup.store).contract
    classes = len(contract.classes)
    spec = ModelSpec(config.model, setup.encoder, len(contract.bands), classes)
    network = build_model(spec).to(device, memory_format=torch.channels_last)
    optimizer = torch.optim.AdamW(
        network.parameters(), lr=config.learning_rate, weight_decay=config.weight_decay
    )
    training, validation = (_batches(setup, split, device) for split in ("train", "validation"))

    def epoch() -> None:
        network.train()
        for image, label in training:
            optimizer.zero_grad()
            _loss(network(image), label).backward()
            torch.nn.utils.clip_grad_norm_(network.parameters(), config.gradient_clip)
            optimizer.step()
        network.eval()
        with torch.no_grad():
            total = sum(_loss(network(image), label) for image, label in validation)
        assert torch.isfinite(torch.as_tensor(total))  # waits for an accelerator

    epoch()
    return {"in memory": seconds_of(lambda: [epoch() for _ in range(setup.epochs)]) / setup.epochs}


def _batches(setup: Setup, split: str, device: torch.device) -> list[Batch]:
    """All batches of a split, normalised."""
    import torch

    from seg4eo_xr import PatchStream, normalize

    stream = PatchStream(
        setup.store,
        split,
        batch_size=setup.batch_size,
        shuffle=split == "train",
        drop_last=split == "train",
    )
    return [
        (
            normalize(batch["image"], stream.store.contract).to(
                device, memory_format=torch.channels_last
            ),
            batch["label"].long().to(device),
        )
        for batch in stream
    ]


def _loss(logits: torch.Tensor, label: torch.Tensor) -> torch.Tensor:
    from torch.nn import functional

    return functional.cross_entropy(logits, label, ignore_index=255)


# Each returns the seconds an epoch.
CASES: dict[str, Callable[[Setup], dict[str, float]]] = {
    case.__name__: case for case in (prepare, bare, ours, augmented)
}


if __name__ == "__main__":
    answer({"seconds": CASES[sys.argv[1]](Setup(**json.loads(sys.argv[2])))})
