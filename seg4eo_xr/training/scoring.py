"""Score a checkpoint on patches of a store."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from seg4eo_xr.patches.stream import PatchStream
from seg4eo_xr.scenes.contract import normalize
from seg4eo_xr.training.losses import IGNORE_INDEX

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from seg4eo_xr.geometry.splits import SplitName
    from seg4eo_xr.models.checkpoint import Checkpoint
    from seg4eo_xr.patches.store import PatchStore


def confusion_matrix(
    checkpoint: Checkpoint,
    patches: PatchStore,
    split: SplitName | NDArray[np.int64],
    *,
    device: str = "cpu",
    batch_size: int = 8,
    threads: int = 2,
) -> NDArray[np.int64]:
    """Count which classes a network takes the labelled pixels of some patches for.

    Parameters
    ----------
    checkpoint
        The network; it runs in float32.
    patches
        The store.
    split
        The split, or positions in the store, ``(patch,)``.
    device
        Where to run, as torch names it.
    batch_size
        Patches a pass.
    threads
        Threads that read ahead.

    Returns
    -------
    ndarray of int64, ``(class, class)``
        A row for each class of the labels, a column for each class that was found.
    """
    network = checkpoint.build().to(device).to(memory_format=torch.channels_last)
    count = len(checkpoint.contract.classes)
    total = torch.zeros(count * count, dtype=torch.int64, device=device)
    stream = PatchStream(patches, split, batch_size=batch_size, shuffle=False, threads=threads)
    with torch.inference_mode():
        for batch in stream:
            image = normalize(batch["image"].to(device), checkpoint.contract)
            logits = network(image.contiguous(memory_format=torch.channels_last))
            binary = checkpoint.mode == "binary"
            found = (logits[:, 0] > 0).long() if binary else logits.argmax(1)
            label = batch["label"].to(device)
            labelled = label != IGNORE_INDEX
            pairs = label[labelled].long() * count + found[labelled]
            total += torch.bincount(pairs, minlength=count * count)
    matrix: NDArray[np.int64] = total.reshape(count, count).cpu().numpy()
    return matrix
