"""What sources of one store have to share: bands, dtype, nodata, scaling and a class table."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from seg4eo_xr.scenes.bands import has_nodata
from seg4eo_xr.scenes.class_files import read_classes
from seg4eo_xr.scenes.classes import ClassTable
from seg4eo_xr.scenes.missing import fits
from seg4eo_xr.scenes.open import band_names_of, band_scaling

if TYPE_CHECKING:
    from collections.abc import Sequence

    from seg4eo_xr.patches.sources import PatchSource
    from seg4eo_xr.patches.store import PatchStore

_LOGGER = logging.getLogger(__name__)


def as_class_table(classes: ClassTable | str | Path | None) -> ClassTable | None:
    """Read the class table where `classes` is a file."""
    return read_classes(classes) if isinstance(classes, str | Path) else classes


def require_alike(first: PatchSource, other: PatchSource) -> None:
    """Raise ValueError unless two sources can share a store.

    Bands, dtype, scaling and nodata of the scenes have to agree, and the code of unlabelled pixels.
    A scene without a nodata value can take that of the others.
    """
    facts = (
        (
            "bands",
            band_names_of,
            "take the bands that all have, with bands= (--bands), or leave the scene out",
        ),
        ("dtype", lambda scene: str(scene.dtype), "convert one with scene.astype(...)"),
        ("scaling", band_scaling, "see seg4eo_xr.harmonize, or set the attributes scales, offsets"),
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
    if first.labels.rio.nodata != other.labels.rio.nodata:
        raise ValueError(
            f"unlabelled pixels are {other.labels.rio.nodata} in the labels of {other.name}, but "
            f"{first.labels.rio.nodata} in those of {first.name}; open both with one ignore="
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


def common_table(sources: Sequence[PatchSource]) -> ClassTable | None:
    """Join the class tables of all labels; None where one of them has none.

    Raises
    ------
    ValueError
        If a code stands for two classes.
    """
    tables = [ClassTable.from_attrs(source.labels.attrs) for source in sources]
    entries: dict[int, tuple[str, str, str]] = {}
    for source, table in zip(sources, tables, strict=True):
        if table is None:
            return None
        for code, name, color in zip(table.codes, table.names, table.colors, strict=True):
            known = entries.setdefault(code, (name, color, source.name))
            if known[0] != name:
                raise ValueError(
                    f"code {code} is {known[0]!r} in the labels of {known[2]}, but {name!r} in "
                    f"those of {source.name}; give one class table for all (classes=, --classes)"
                )
    codes = sorted(entries)
    return ClassTable.from_codes(
        codes, [entries[code][0] for code in codes], [entries[code][1] for code in codes]
    )
