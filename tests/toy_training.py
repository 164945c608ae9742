"""A training so small that it can be stopped, resumed and shared out among processes in a test.

As a script: ``toy_training.py STORE SAVE_DIR OPTIONS KIND [STOP]`` trains with the options (JSON) a
network of the kind ``random``, or ``plain`` without dropout and batch statistics; with STOP it
kills itself, as with ``kill -9``, when that step begins. ``toy_training.py --command STOP SIGNAL
WORDS`` runs a command line, and sends itself a signal, as SIGTERM, when that step begins.
"""

from __future__ import annotations

import json
import os
import signal
import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any
from unittest import mock

import torch
import toy_network

from seg4eo_xr.training.config import TrainConfig
from seg4eo_xr.training.fit import train
from seg4eo_xr.training.task import SegmentationTask

if TYPE_CHECKING:
    from collections.abc import Iterator


@contextmanager
def tiny_network(*, random: bool = True) -> Iterator[None]:
    """Let trainings build a tiny network whatever the options say."""
    with toy_network.tiny_network("seg4eo_xr.training.fit", random=random):
        yield


@contextmanager
def noted_batches(
    stop: int | None = None, number: int = signal.SIGKILL
) -> Iterator[list[tuple[int, int, int]]]:
    """Note step, sum of image and sum of labels of every training batch; get a signal at `stop`."""
    seen: list[tuple[int, int, int]] = []
    step = SegmentationTask.training_step

    def spy(self: SegmentationTask, batch: Any, batch_idx: int) -> torch.Tensor:
        if stop is not None and self.global_step == stop:
            os.kill(os.getpid(), number)
        image, label = batch["image"].long(), batch["label"].long()
        seen.append((self.global_step, int(image.sum()), int(label.sum())))
        return step(self, batch, batch_idx)

    with mock.patch.object(SegmentationTask, "training_step", spy):
        yield seen


def main(store: str, save_dir: str, options: str, kind: str, stop: str | None = None) -> None:
    """Train as the options say."""
    torch.set_num_threads(1)
    config = TrainConfig.from_dict(json.loads(options))
    with (
        tiny_network(random=kind == "random"),
        noted_batches(None if stop is None else int(stop)),
    ):
        train(store, save_dir, config, progress=False)


def command(stop: str, name: str, *words: str) -> int:
    """Run a command line that gets a signal when a step begins."""
    from seg4eo_xr.cli import main as run

    torch.set_num_threads(1)
    with tiny_network(), noted_batches(int(stop), signal.Signals[name]):
        return run(words)


if __name__ == "__main__":
    if sys.argv[1] == "--command":
        sys.exit(command(*sys.argv[2:]))
    main(*sys.argv[1:])
