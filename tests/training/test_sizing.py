from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any
from unittest import mock

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from toy_network import TinyNetwork
from toy_training import tiny_network

from seg4eo_xr.models.checkpoint import load_checkpoint
from seg4eo_xr.training import sizing
from seg4eo_xr.training.config import TrainConfig
from seg4eo_xr.training.devices import Processes
from seg4eo_xr.training.fit import train
from seg4eo_xr.training.sizing import fitting_batch_size, is_out_of_memory, largest_batch_size
from seg4eo_xr.training.task import SegmentationTask

if TYPE_CHECKING:
    from pathlib import Path

    from seg4eo_xr.patches.store import PatchStore

CONFIG = TrainConfig(pretrained=False, epochs=1, batch_size="auto", device="cpu")
NO_MEMORY = torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")


@given(limit=st.integers(0, 5000), most=st.integers(1, 5000))
def test_the_batch_found_fits_and_is_not_much_smaller_than_it_could_be(
    limit: int, most: int
) -> None:
    trials = []

    def fits(size: int) -> bool:
        trials.append(size)
        return size <= limit

    found = largest_batch_size(fits, most)
    assert found <= min(limit, most)
    assert found >= 0.8 * min(limit, most) - 1
    assert (found == 0) == (limit == 0)
    assert max(trials) <= most
    assert len(trials) <= 20


def memory_for(patches: int) -> Any:
    """Let steps of more than so many patches fail as they do on a device without memory."""
    step = SegmentationTask.training_step

    def limited(self: SegmentationTask, batch: Any, batch_idx: int) -> torch.Tensor:
        if len(batch["image"]) > patches:
            raise NO_MEMORY
        return step(self, batch, batch_idx)

    return mock.patch.object(SegmentationTask, "training_step", limited)


@pytest.mark.parametrize(("memory", "expected"), [(5, 4), (999, 27)])
def test_a_batch_of_a_training_is_tried_on_its_device(
    patches: PatchStore, memory: int, expected: int
) -> None:
    task = SegmentationTask(TinyNetwork(), patches.contract, CONFIG, steps_per_epoch=1)
    before = {name: value.clone() for name, value in task.network.state_dict().items()}
    processes = Processes("mps", 1, freezes=False, amp=False)
    tried = sizing.step_fits

    def fits_here(task: SegmentationTask, device: torch.device, *how: Any) -> Any:
        assert device.type == "mps"  # which this machine may lack
        return tried(task, torch.device("cpu"), *how)

    with memory_for(memory), mock.patch.object(sizing, "step_fits", fits_here):
        found = fitting_batch_size(task, processes, 16, 27)
    assert found == expected
    after = task.network.state_dict()
    assert all(torch.equal(before[name], after[name]) for name in before)


def test_on_a_processor_a_batch_is_the_default_one(patches: PatchStore, tmp_path: Path) -> None:
    with tiny_network():
        run = train(patches, tmp_path, CONFIG, progress=False)
    assert load_checkpoint(run.final_path).config["batch_size"] == 8


def test_a_batch_that_does_not_fit_names_what_to_lower(patches: PatchStore, tmp_path: Path) -> None:
    with (
        tiny_network(),
        memory_for(4),
        pytest.raises(ValueError, match=r"batches of 8 patches of 64 px .*--batch_size.*--use_amp"),
    ):
        train(patches, tmp_path, replace(CONFIG, batch_size=8), progress=False)


def test_only_a_lack_of_memory_is_taken_for_one() -> None:
    assert is_out_of_memory(NO_MEMORY)
    assert is_out_of_memory(RuntimeError("DefaultCPUAllocator: can't allocate memory"))
    assert not is_out_of_memory(RuntimeError("shapes do not match"))
    assert not is_out_of_memory(ValueError("out of memory"))
