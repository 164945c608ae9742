"""How many patches a step the memory of a device holds, and what to say when it is too small."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from collections.abc import Callable

    from seg4eo_xr.training.devices import Processes
    from seg4eo_xr.training.task import SegmentationTask

DEFAULT_BATCH_SIZE = 8
# A training needs a little more than one step of it: other sizes of blocks, other processes.
_MARGIN = 0.9
_SIGNS = ("out of memory", "OutOfMemoryError", "can't allocate memory", "not enough memory")


def is_out_of_memory(error: BaseException) -> bool:
    """Tell whether an error means that a device or this machine has no memory left."""
    return isinstance(error, (torch.OutOfMemoryError, MemoryError)) or (
        isinstance(error, RuntimeError) and any(sign in str(error) for sign in _SIGNS)
    )


def memory_message(batch_size: int, patch_size: int, device: str) -> str:
    """What to lower where batches do not fit."""
    return (
        f"batches of {batch_size} patches of {patch_size} px do not fit in the memory of {device}; "
        "lower --batch_size (or leave it to --batch_size auto), train with --use_amp, choose a "
        "smaller encoder, or extract smaller patches"
    )


def largest_batch_size(fits: Callable[[int], bool], most: int) -> int:
    """Find the largest batch that fits, in few trials.

    Parameters
    ----------
    fits
        Tells whether a batch of so many patches fits; where it does, every smaller one does.
    most
        Patches that there are.

    Returns
    -------
    int
        Nine tenths of the largest that fits, at least 1; `most` where all fit; 0 where not even one
        patch does.

    Examples
    --------
    >>> largest_batch_size(lambda size: size <= 100, most=5000)
    90
    """
    good = 0
    trial = 1
    while trial < most and fits(trial):
        good, trial = trial, 2 * trial
    bad = trial
    if trial >= most:
        if fits(most):
            return most
        bad = most
    while bad - good > max(1, good // 16):
        middle = (good + bad) // 2
        good, bad = (middle, bad) if fits(middle) else (good, middle)
    return max(min(1, good), int(good * _MARGIN))


def fitting_batch_size(
    task: SegmentationTask, processes: Processes, patch_size: int, patches: int
) -> int:
    """Patches a step that the options ask for, or as many as the device's memory holds.

    Parameters
    ----------
    task
        The training; it is left as it is.
    processes
        Where it will run.
    patch_size
        Side of a patch in pixels.
    patches
        Training patches that there are.

    Returns
    -------
    int
        Patches a step, those of all processes counted.

    Raises
    ------
    ValueError
        If not even one patch fits.
    """
    size = task.config.batch_size
    if size != "auto":
        return size
    if processes.kind == "cpu":  # where more patches a step are no faster, and fill the memory
        return min(DEFAULT_BATCH_SIZE, patches) // processes.count * processes.count
    device = torch.device(processes.kind)
    fits = step_fits(task, device, processes.autocast_dtype, patch_size)
    found = largest_batch_size(fits, patches // processes.count)
    if not found:
        raise ValueError(memory_message(1, patch_size, processes.kind))
    return found * processes.count


def step_fits(
    task: SegmentationTask, device: torch.device, dtype: torch.dtype | None, patch_size: int
) -> Callable[[int], bool]:
    """Make a trial of a training step on a device, for `largest_batch_size`.

    Parameters
    ----------
    task
        A copy of it is moved to the device; it is left as it is.
    device
        Where to try.
    dtype
        That of mixed precision, or None.
    patch_size
        Side of a patch in pixels.
    """

    def fits(size: int) -> bool:
        try:
            _step(task, device, dtype, (size, patch_size))
        except RuntimeError as error:
            if not is_out_of_memory(error):
                raise
            return False
        finally:
            if device.type == "cuda":
                torch.cuda.empty_cache()
        return True

    return fits


def _step(
    task: SegmentationTask,
    device: torch.device,
    dtype: torch.dtype | None,
    shape: tuple[int, int],
) -> None:
    size, side = shape
    trial = copy.deepcopy(task).to(device)
    optimizer = torch.optim.AdamW(trial.parameters())
    bands = len(task.contract.bands)
    batch = {
        "image": torch.ones((size, bands, side, side), device=device),
        "label": torch.zeros((size, side, side), dtype=torch.uint8, device=device),
    }
    with torch.autocast(device.type, dtype, enabled=dtype is not None):
        loss = trial.training_step(batch, 0)
    torch.autograd.backward(loss)
    optimizer.step()
