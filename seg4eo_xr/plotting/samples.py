"""Patches of a store drawn beside their labels, to look at before a network does."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, get_args

import numpy as np

from seg4eo_xr.canvas import new_canvas, wrapped, write_figure
from seg4eo_xr.options import require_choice
from seg4eo_xr.patches.report import patch_names
from seg4eo_xr.patches.store import open_store
from seg4eo_xr.plotting.figures import draw_legend
from seg4eo_xr.plotting.pixels import band_limits, choose_bands, class_colors, stretched
from seg4eo_xr.scenes.contract import valid_mask

if TYPE_CHECKING:
    from collections.abc import Sequence
    from os import PathLike
    from pathlib import Path

    from matplotlib.figure import Figure
    from numpy.typing import NDArray

    from seg4eo_xr.geometry.splits import SplitName
    from seg4eo_xr.patches.store import PatchStore
    from seg4eo_xr.scenes.classes import ClassTable

_PANEL_INCHES = 3.2
_GREY = 0.5  # of pixels without data
_CLASS_WEIGHT = 0.45  # of a class's colour over the image
_SHARES_TOLD = 5
_TITLE_WIDTH = 46  # letters
_UNLABELLED, _NO_DATA = ("unlabelled", "#ffffff"), ("no data", "#808080")

Stretch = Literal["store", "patch"]


@dataclass(frozen=True, eq=False)
class Sample:
    """A patch, ready to be drawn.

    Parameters
    ----------
    title, shares
        Its id, and the share of each class, for people.
    image, label, overlay
        Pictures ``(y, x, 3)`` in 0..1.
    classes
        Positions in the class table of the classes that occur.
    unlabelled, missing
        Whether pixels without label, and without data, occur.
    """

    title: str
    shares: str
    image: NDArray[np.float32]
    label: NDArray[np.float32]
    overlay: NDArray[np.float32]
    classes: frozenset[int]
    unlabelled: bool
    missing: bool


def plot_samples(
    store: str | Path | PatchStore,
    *,
    split: SplitName = "train",
    indices: Sequence[int] = (0, 1, 2, 3),
    bands: Sequence[str] | None = None,
    stretch: Stretch = "store",
    path: str | PathLike[str] | None = None,
) -> Figure:
    """Draw patches of a split: a row a patch with its image, its label, and one over the other.

    Parameters
    ----------
    store
        The store, or where it lies.
    split
        ``train``, ``validation`` or ``test``.
    indices
        Which patches, by their position in the split; what lies beyond its end is left out.
    bands
        Names of one or three bands; by default red, green and blue where the names tell them.
    stretch
        ``store``: from the 1st to the 99th percentile of the split, so that patches can be
        compared; ``patch``: from each patch's own 2nd to its 98th, so that dark ones show.
    path
        Write the picture there, usually as ``.png``, and make no figure of pyplot.

    Returns
    -------
    Figure
        A new one.

    Raises
    ------
    FileNotFoundError, OSError
        If the store cannot be read or the picture cannot be written.
    ValueError
        If the split or a band does not exist, or the split has no patch at these positions.
    """
    require_choice("stretch", stretch, get_args(Stretch))
    store = open_store(store)
    chosen = choose_bands(store.contract.bands, bands)
    limits = _split_limits(store, split)[chosen] if stretch == "store" else None
    samples = [
        read_sample(store, int(position), chosen, limits)
        for position in _positions(store, split, indices)
    ]
    shown = ", ".join(store.contract.bands[band] for band in chosen)
    figure = _draw(samples, f"{store.path.name}: {split}, image ({shown})", shown=path is None)
    draw_legend(figure, _legend(samples, store.contract.classes))
    if path is not None:
        write_figure(figure, path)
    return figure


def _legend(samples: Sequence[Sample], classes: ClassTable) -> list[tuple[str, str]]:
    """Names and colours of what the samples show."""
    occurring = sorted(frozenset().union(*(sample.classes for sample in samples)))
    shown = [(classes.names[i], classes.colors[i]) for i in occurring]
    shown += [_UNLABELLED] * any(sample.unlabelled for sample in samples)
    shown += [_NO_DATA] * any(sample.missing for sample in samples)
    return shown


def _positions(store: PatchStore, split: SplitName, indices: Sequence[int]) -> NDArray[np.int64]:
    """Positions in the store of some patches of a split."""
    patches = store.indices(split)
    inside = [index for index in indices if 0 <= index < len(patches)]
    if not inside or min(indices) < 0:
        raise ValueError(
            f"the split {split!r} of {store.path} has {len(patches)} patches, counted from 0; got "
            f"the positions {list(indices)}"
        )
    return patches[inside]


def _split_limits(store: PatchStore, split: SplitName) -> NDArray[np.float64]:
    statistics = store.statistics(split)
    return np.stack([statistics["p01"].values, statistics["p99"].values], axis=1)


def read_sample(
    store: PatchStore, position: int, bands: Sequence[int], limits: NDArray[np.float64] | None
) -> Sample:
    """Read a patch and make pictures of it.

    Parameters
    ----------
    store
        The store.
    position
        Of the patch in the store.
    bands
        Positions of one or three bands.
    limits
        Stored numbers that become dark and bright, ``(len(bands), 2)``; None takes the patch's own.
    """
    contract = store.contract
    images, labels = (np.asarray(array[position]) for array in store.arrays())
    valid = valid_mask(images, contract.nodata, contract.nodata_rule)
    values = images[list(bands)]
    if limits is None:
        limits = band_limits(values, valid)
    image = np.broadcast_to(stretched(values, valid, limits, _GREY), (*valid.shape, 3))
    colors, known = class_colors(labels, contract.classes)
    label = np.where(valid[..., None], colors.astype(np.float32) / 255, np.float32(_GREY))
    weight = np.float32(_CLASS_WEIGHT) * (known & valid)[..., None]
    pixels = store.coordinate("class_pixels")[position]
    return Sample(
        patch_names(store)[position],
        _shares(contract.classes.names, pixels, labels.size),
        image,
        label,
        image * (1 - weight) + label * weight,
        frozenset(np.flatnonzero(pixels).tolist()),
        bool((valid & ~known).any()),
        bool(~valid.all()),
    )


def _shares(names: Sequence[str], pixels: NDArray[np.int64], size: int) -> str:
    """Name the largest classes with their share of the patch."""
    order = [int(i) for i in np.argsort(-pixels, kind="stable") if pixels[i]]
    told = [f"{names[i]} {100 * pixels[i] / size:.1f} %" for i in order[:_SHARES_TOLD]]
    # Lines are broken between classes, and only in names that are longer than a line.
    told = [
        text if len(text) > _TITLE_WIDTH else text.replace(" ", "\N{NO-BREAK SPACE}")
        for text in told
    ]
    if len(order) > _SHARES_TOLD:
        told.append(f"{len(order) - _SHARES_TOLD} more")
    return ", ".join(told) or "no labelled pixel"


def _draw(samples: Sequence[Sample], title: str, *, shown: bool) -> Figure:
    size = (3 * _PANEL_INCHES, len(samples) * (_PANEL_INCHES + 0.35) + 1.2)
    figure = new_canvas(size, shown=shown)
    figure.suptitle(title)
    rows = figure.subplots(len(samples), 3, squeeze=False)
    for axes, sample in zip(rows, samples, strict=True):
        texts = (f"patch {sample.title}", sample.shares, "label over image")
        pictures = (sample.image, sample.label, sample.overlay)
        for ax, picture, text in zip(axes, pictures, texts, strict=True):
            ax.imshow(picture, interpolation="nearest", vmin=0, vmax=1)
            ax.set_xticks([])
            ax.set_yticks([])
            ax.set_title(wrapped(text, _TITLE_WIDTH), fontsize="small")
    return figure
