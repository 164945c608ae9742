"""What sources of one store have to share: bands, dtype, nodata and scaling."""

from __future__ import annotations

import logging
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from seg4eo_xr.notices import warn
from seg4eo_xr.scenes.bands import has_nodata
from seg4eo_xr.scenes.classes import ClassTable
from seg4eo_xr.scenes.conform import PIXEL_TOLERANCE, ground_sample_distance
from seg4eo_xr.scenes.label_options import LabelWarning
from seg4eo_xr.scenes.missing import SceneWarning, fits
from seg4eo_xr.scenes.open import band_names_of, band_scaling, select_bands
from seg4eo_xr.scenes.unlabelled import USUAL, free_code, is_counted

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from seg4eo_xr.patches.sources import PatchSource, ScenePatches
    from seg4eo_xr.patches.store import PatchStore
    from seg4eo_xr.scenes.contract import Contract

_LOGGER = logging.getLogger(__name__)
_ONE_SCALING = (
    "bring Sentinel-2 to one convention with --harmonize auto (harmonize='auto'), or set the "
    "attributes scales and offsets"
)


def require_alike(first: PatchSource, other: PatchSource) -> None:
    """Raise ValueError unless two sources can share a store.

    Bands, dtype, scaling and nodata of the scenes have to agree. A scene without a nodata value can
    take that of the others.
    """
    facts = (
        (
            "bands",
            band_names_of,
            "take the bands that all have, with bands= (--bands), or leave the scene out",
        ),
        ("dtype", lambda scene: str(scene.dtype), "convert one with scene.astype(...)"),
        ("scaling", band_scaling, _ONE_SCALING),
    )
    for what, fact, remedy in facts:
        found = fact(first.scene), fact(other.scene)
        if found[0] != found[1]:
            raise ValueError(
                f"{other.name} has the {what} {found[1]}, but {first.name} has {found[0]}; scenes "
                f"of one store agree: {remedy}"
            )
    marks = first.scene.rio.nodata, other.scene.rio.nodata
    if None not in marks and not np.array_equal(marks[:1], marks[1:], equal_nan=True):
        raise ValueError(
            f"{other.name} has the nodata value {marks[1]:g}, but {first.name} has {marks[0]:g}; "
            "scenes of one store agree: set it with open_scene(nodata=...) (--nodata)"
        )


def with_one_code(sources: Sequence[PatchSource]) -> list[PatchSource]:
    """Give pixels without a label one code in all sources, which is no class.

    Parameters
    ----------
    sources
        At least one.

    Returns
    -------
    list of PatchSource
        The sources, of which some may have another code.
    """
    _warn_of_two_masks(sources)
    codes = {int(source.labels.rio.nodata) for source in sources}
    tables = [ClassTable.from_attrs(source.labels.attrs) for source in sources]
    listed = {code for table in tables if table is not None for code in table.codes}
    if len(codes) == 1 and not codes & listed:
        return list(sources)
    # a byte that is free in one source may be a class in another
    code = free_code({255, -1, *codes, *listed})
    return [source.with_ignore(code) for source in sources]


def _warn_of_two_masks(sources: Sequence[PatchSource]) -> None:
    """Warn where 255 is a class of some labels, by their pixels alone, and not of others."""
    counted = [source for source in sources if is_counted(source.labels.attrs)]
    tables = [ClassTable.from_attrs(source.labels.attrs) for source in counted]
    plain = [source for source, table in zip(counted, tables, strict=True) if table is None]
    without = [source.name for source in plain if source.labels.rio.nodata == USUAL]
    holding = [source.name for source in plain if source.labels.rio.nodata != USUAL]
    if without and holding:
        warn(
            f"{USUAL} is a class in the labels of {holding[0]} ({len(holding)} of {len(sources)} "
            f"scenes) and does not occur in those of {without[0]}: if these are masks of one class "
            f"written as {USUAL} and as another code, bring them into one form first; if {USUAL} "
            f'means "no label", say so with ignore={USUAL} (--ignore {USUAL})',
            LabelWarning,
            stacklevel=5,
        )


def with_one_nodata(
    sources: Sequence[PatchSource], existing: PatchStore | None
) -> list[PatchSource]:
    """Give sources without a nodata value that of the store, or else that of the others."""
    stated = [source.scene.rio.nodata for source in sources if has_nodata(source.scene)]
    mark = next(iter(stated), None) if existing is None else existing.contract.nodata
    if mark is None:
        return list(sources)
    joined = []
    for source in sources:
        if not has_nodata(source.scene) and fits(mark, source.scene.dtype):
            _LOGGER.info(
                "%s states no nodata value and takes %g of the others; its own pixels of %g count "
                "as the next number",
                source.name,
                mark,
                mark,
            )
            source = source.with_nodata(float(mark))
        joined.append(source)
    return joined


def in_order_of(source: ScenePatches, bands: Sequence[str]) -> ScenePatches:
    """Bring a scene's bands into an order; as they are where other bands than these are there."""
    names = band_names_of(source.scene)
    if names == list(bands) or set(names) != set(bands):
        return source
    return replace(source, scene=select_bands(source.scene, bands))


def pixel_sizes(sources: Sequence[PatchSource], patch_size: int) -> NDArray[np.float64]:
    """Width and height on the ground of a pixel of each source's patches, in metres, ``(n, 2)``."""
    return np.array(
        [
            np.array(ground_sample_distance(source.scene))
            * (np.median(source.windows.widths), np.median(source.windows.heights))
            / patch_size
            for source in sources
        ]
    )


def warn_of_pixel_sizes(
    sources: Sequence[PatchSource], patch_size: int, existing: Contract | None
) -> None:
    """Warn where the patches of one store have pixels of several sizes."""
    names, sizes = [source.name for source in sources], pixel_sizes(sources, patch_size)
    if existing is not None:
        held = np.reshape(existing.pixel_range or existing.ground_sample_distance, (-1, 2))
        names, sizes = ["the store"] * len(held) + names, np.concatenate([held, sizes])
    areas = sizes.prod(axis=1)
    small, large = int(areas.argmin()), int(areas.argmax())
    if np.allclose(sizes[small], sizes[large], rtol=PIXEL_TOLERANCE):
        return
    told = [f"{sizes[i][0]:.4g} × {sizes[i][1]:.4g} m in {names[i]}" for i in (small, large)]
    warn(
        f"pixels are {told[0]} and {told[1]}: a model sees the same objects in several sizes. "
        "Bring the scenes to one pixel size with resolution= (--resolution), or write a store for "
        "each",
        SceneWarning,
        stacklevel=4,
    )
