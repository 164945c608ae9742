"""Fit the temperature of a network on patches that it has not learnt from."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch

from seg4eo_xr.calibration.calibration import Calibration
from seg4eo_xr.calibration.temperature import LabelledLogits, fit_temperature, score_temperature
from seg4eo_xr.inference.network import resolve_device
from seg4eo_xr.models.checkpoint import Checkpoint, load_checkpoint, save_checkpoint
from seg4eo_xr.models.zoo import require_window
from seg4eo_xr.patches.store import open_store
from seg4eo_xr.patches.stream import PatchStream
from seg4eo_xr.progress import DELAY_SECONDS, new_bar
from seg4eo_xr.scenes.contract import normalize
from seg4eo_xr.training.losses import IGNORE_INDEX

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from numpy.typing import NDArray

    from seg4eo_xr.calibration.temperature import TemperatureScores
    from seg4eo_xr.geometry.splits import SplitName
    from seg4eo_xr.inference.options import Device
    from seg4eo_xr.patches.store import PatchStore

# Logits that are kept at a time, 64 MB; of more, pixels are drawn.
_LOGITS = 1 << 24
_BATCH = 8
_SEED = 42


def calibrate(
    model: str | Path | Checkpoint,
    store: str | Path | PatchStore,
    *,
    split: SplitName = "validation",
    output: str | Path | None = None,
    overwrite: bool = False,
    device: Device = "auto",
    progress: bool = True,
) -> Calibration:
    """Fit a network's temperature, so that its confidence is the share of pixels that are right.

    The temperature divides the logits (Guo et al. 2017, https://arxiv.org/abs/1706.04599) and is
    the one with the least negative log-likelihood on the labelled pixels of a split. Where these
    are very many, some millions of them are drawn; the same ones each time. A network's class of a
    pixel stays what it is; in a map it may change where overlapping windows disagree, since their
    probabilities are blended, and with a threshold other than one half.

    Parameters
    ----------
    model
        A checkpoint, or the path of one; a temperature that it has already is fitted anew.
    store
        A patch store with the bands and classes of the checkpoint.
    split
        What to fit to: patches that the network has not been trained on. The test patches, if
        there are any, are judged too.
    output
        Write the calibrated checkpoint there.
    overwrite
        Whether `output` may exist.
    device
        Where to run the network.
    progress
        Show a bar where it takes longer than two seconds.

    Returns
    -------
    Calibration
        With the calibrated checkpoint, and how good its probabilities were and are.

    Raises
    ------
    ValueError
        If the split has no labelled pixel, or store and checkpoint do not go together.
    FileNotFoundError, OSError
        If a file is missing or cannot be written.
    FileExistsError
        If `output` exists and `overwrite` is False.

    Warns
    -----
    CalibrationWarning
        If the pixels do not settle a temperature.

    Examples
    --------
    >>> import warnings
    >>> from tempfile import TemporaryDirectory
    >>> from seg4eo_xr.patches.extract import extract_patches
    >>> from seg4eo_xr.testing import synthetic_sentinel2, untrained_checkpoint
    >>> scene, labels = synthetic_sentinel2((128, 128), nodata_wedge=False)
    >>> model = untrained_checkpoint(scene, labels, patch_size=32)
    >>> with TemporaryDirectory() as folder, warnings.catch_warnings():
    ...     warnings.simplefilter("ignore")  # the network has learnt nothing
    ...     store = extract_patches(
    ...         scene, labels, f"{folder}/patches.zarr", patch_size=32, progress=False
    ...     )
    ...     list(calibrate(model, store).after)
    ['validation', 'test']
    """
    checkpoint = model if isinstance(model, Checkpoint) else load_checkpoint(model)
    patches = open_store(store)
    if split == "train":
        raise ValueError(
            "split 'train' tells how well the network knows its own training patches by heart; "
            "calibrate on 'validation' or 'test'"
        )
    _require_same_contract(checkpoint, patches)
    path = None if output is None else _free(Path(output), overwrite=overwrite)
    splits: list[SplitName] = [split]
    if split != "test" and len(patches.indices("test")):
        splits.append("test")
    temperature = checkpoint.temperature
    before: dict[str, TemperatureScores] = {}
    after: dict[str, TemperatureScores] = {}
    pixels: dict[str, int] = {}
    for name in splits:
        found = labelled_logits(checkpoint, patches, name, device=device, progress=progress)
        if name == split:
            temperature = fit_temperature(found)
        elif not len(found.labels):
            continue
        before[name] = score_temperature(found, checkpoint.temperature)
        after[name] = score_temperature(found, temperature)
        pixels[name] = found.total
    told = {
        "split": split,
        "store": str(patches.path),
        "nll": {"before": before[split].nll, "after": after[split].nll},
        "ece": {"before": before[split].reliability.ece(), "after": after[split].reliability.ece()},
    }
    calibrated = replace(
        checkpoint,
        temperature=temperature,
        metrics={**checkpoint.metrics, "calibration": told},
    )
    if path is not None:
        save_checkpoint(calibrated, path)
    return Calibration(calibrated, checkpoint.temperature, before, after, pixels, path)


def labelled_logits(
    checkpoint: Checkpoint,
    patches: PatchStore,
    split: SplitName,
    *,
    device: Device = "auto",
    most: int = _LOGITS,
    progress: bool = True,
) -> LabelledLogits:
    """Run a network over the patches of a split; keep its logits where the class is known.

    Parameters
    ----------
    checkpoint
        The network; it runs in float32.
    patches
        The store.
    split
        Whose patches.
    device
        Where to run.
    most
        Numbers to keep, in expectation: of more, pixels are drawn alike, each patch by a seed of
        its own.
    progress
        Show a bar where it takes longer than two seconds.

    Raises
    ------
    ValueError
        If the split has no labelled pixel, or the network refuses patches of that size.
    """
    indices = patches.indices(split)
    total = int(patches.coordinate("class_pixels")[indices].sum())
    if not total:
        raise ValueError(
            f"the split {split!r} of {patches.path} has no labelled pixel with data; choose "
            "another split, or extract patches with a larger share of it"
        )
    share = most / (total * len(checkpoint.contract.classes))
    network = checkpoint.build()
    require_window(network, checkpoint.spec, patches.patch_size)
    logits, labels = [], []
    stream = PatchStream(patches, split, batch_size=_BATCH, shuffle=False)
    batches = new_bar(
        iterable=stream,
        desc=f"{split} patches",
        unit="batch",
        delay=DELAY_SECONDS,
        disable=not progress,
    )
    for first, answers, truth in _answers(checkpoint, network, batches, resolve_device(device)):
        for offset, (answer, label) in enumerate(zip(answers, truth, strict=True)):
            known = label != IGNORE_INDEX
            if share < 1:
                random = np.random.default_rng((_SEED, int(indices[first + offset])))
                known &= random.random(known.shape) < share
            logits.append(answer[:, known].T)
            labels.append(label[known])
    return LabelledLogits(np.concatenate(logits), np.concatenate(labels), total)


def _answers(
    checkpoint: Checkpoint,
    network: torch.nn.Module,
    batches: Iterable[dict[str, torch.Tensor]],
    device: str,
) -> Iterator[tuple[int, NDArray[np.float32], NDArray[np.uint8]]]:
    """Yield number of the first patch, logits ``(n, class, y, x)`` and labels of each batch."""
    network = network.to(device).to(memory_format=torch.channels_last)
    with torch.inference_mode():
        for number, batch in enumerate(batches):
            image = normalize(batch["image"].to(device), checkpoint.contract)
            answer = network(image.contiguous(memory_format=torch.channels_last)).float()
            if checkpoint.mode == "binary":
                answer = torch.cat([torch.zeros_like(answer), answer], 1)
            yield number * _BATCH, answer.cpu().numpy(), batch["label"].numpy()


def _require_same_contract(checkpoint: Checkpoint, patches: PatchStore) -> None:
    ours, theirs = checkpoint.contract, patches.contract
    for what, own, other in (
        ("bands", ours.bands, theirs.bands),
        ("classes", ours.classes.codes, theirs.classes.codes),
        ("nodata value", str(ours.nodata), str(theirs.nodata)),
        ("scaling", (ours.scale, ours.offset), (theirs.scale, theirs.offset)),
    ):
        if own != other:
            raise ValueError(
                f"the checkpoint does not go with {patches.path}: its {what} is {own}, that of the "
                f"store {other}; give the store that it was trained on, or one cut alike"
            )


def _free(path: Path, *, overwrite: bool) -> Path:
    if path.exists() and not overwrite:
        raise FileExistsError(
            f"{path} exists already; pass overwrite=True (--overwrite), or choose another name"
        )
    if not path.parent.is_dir():
        raise FileNotFoundError(
            f"cannot write {path}: the folder {path.parent} does not exist; create it first"
        )
    return path
