"""What a patch store tells people about itself, as text and as HTML."""

from __future__ import annotations

from pathlib import PurePath
from typing import TYPE_CHECKING

from rasterio.crs import CRS

from seg4eo_xr.geometry.splits import SPLITS
from seg4eo_xr.html import (
    card_html,
    chip_html,
    details_html,
    lines_html,
    table_html,
    table_text,
    warnings_html,
)
from seg4eo_xr.patches.writing import is_local
from seg4eo_xr.scenes.grid import crs_text

if TYPE_CHECKING:
    from collections.abc import Callable

    from seg4eo_xr.geometry.splits import SplitName
    from seg4eo_xr.patches.store import PatchStore

_SCENES_SHOWN = 10


def describe_text(store: PatchStore) -> str:
    """Sizes, class distribution and band statistics a split, leakage, as text for a terminal.

    Parameters
    ----------
    store
        The store; no patch is read.
    """
    blocks = [[f"patch store {store.path}", *(f"  {line}" for line in _summary(store))]]
    blocks.append([table_text(*_split_table(store, _plain))])
    blocks += [[table_text(*_band_table(store, split))] for split in _filled(store)]
    blocks.append([*_remarks(store), *(f"warning: {problem}" for problem in _problems(store))])
    return "\n\n".join("\n".join(lines) for lines in blocks if lines)


def describe_html(store: PatchStore) -> str:
    """Return what `describe_text` says, for a notebook: band statistics unfold, classes in colour.

    Parameters
    ----------
    store
        The store; no patch is read.
    """
    parts = [lines_html(_summary(store)), table_html(*_split_table(store, chip_html))]
    for split in _filled(store):
        table = table_html(*_band_table(store, split))
        parts.append(details_html(f"band statistics: {split}", table))
    parts += [lines_html(_remarks(store)), warnings_html(_problems(store))]
    return card_html("patch store", store.path, *parts)


def patch_names(store: PatchStore) -> list[str]:
    """Name the patches: by their ids, with their scenes before them where ids repeat.

    Returns
    -------
    list of str
        As many as there are patches, in their order.
    """
    ids = [str(name) for name in store.coordinate("id")]
    if len(set(ids)) == len(ids):
        return ids
    # The name of a scene that was given as a file is its whole path.
    scenes = [str(scene["name"]) for scene in store.attrs["scenes"]]
    short = [PurePath(name).stem if PurePath(name).is_absolute() else name for name in scenes]
    return [f"{short[i]}/{name}" for i, name in zip(store.coordinate("scene"), ids, strict=True)]


def _filled(store: PatchStore) -> list[SplitName]:
    return [split for split in SPLITS if len(store.indices(split))]


def _summary(store: PatchStore) -> list[str]:
    contract = store.contract
    bands = len(contract.bands)
    raw = len(store) * store.patch_size**2 * bands * store.dtype.itemsize / 1e6
    lines = [
        f"{len(store)} patches of {store.patch_size} × {store.patch_size} px, {bands} bands of "
        f"{contract.dtype}, pixels of {contract.pixels_text}",
        f"{raw:.1f} MB of images{_stored(store)}, {store.shard_size} patches a shard",
    ]
    if store.labelled_share is not None:
        lines.append(f"{100 * store.labelled_share:.1f} % of the labelled ground is in the splits")
    scenes = store.attrs["scenes"]
    names = [crs_text(CRS.from_wkt(text)) for text in store.attrs["crs"]]
    lines += [f"scene {scene['name']} in {names[scene['crs']]}" for scene in scenes[:_SCENES_SHOWN]]
    if len(scenes) > _SCENES_SHOWN:
        lines.append(f"and {len(scenes) - _SCENES_SHOWN} scenes more")
    return lines


def _stored(store: PatchStore) -> str:
    """Size of the files, where asking each for its size is no request to a server."""
    if not is_local(store.path):
        return ""
    size = sum(file.stat().st_size for file in store.path.rglob("*") if file.is_file())
    return f", {size / 1e6:.1f} MB in files"


def _plain(_color: str, text: str) -> str:
    return text


def _split_table(
    store: PatchStore, with_color: Callable[[str, str], str]
) -> tuple[list[str], list[list[str]]]:
    """Patches, pixels and the share of each class, a column a split."""
    classes = store.contract.classes
    counts = {name: store.class_counts(name) for name in SPLITS}
    totals = {name: sum(counts[name].values()) for name in SPLITS}
    rows = [["patches", *(str(len(store.indices(name))) for name in SPLITS)]]
    rows.append(["labelled pixels", *(str(totals[name]) for name in SPLITS)])
    for code, label, color in zip(classes.codes, classes.names, classes.colors, strict=True):
        shares = [
            f"{100 * counts[name][code] / totals[name]:.2f} %" if totals[name] else "-"
            for name in SPLITS
        ]
        rows.append([with_color(color, f"{code} {label}"), *shares])
    return ["split", *SPLITS], rows


def _band_table(store: PatchStore, split: SplitName) -> tuple[list[str], list[list[str]]]:
    """Statistics of the stored numbers, a row a band."""
    statistics = store.statistics(split)
    names = [str(name) for name in statistics.data_vars]
    rows = [
        [str(band), *(_number(float(statistics[name][i])) for name in names)]
        for i, band in enumerate(statistics["band"].values)
    ]
    return [f"band ({split}, stored numbers)", *names], rows


def _number(value: float) -> str:
    """Six digits, and counts in full."""
    return str(int(value)) if value.is_integer() else f"{value:.6g}"


def _remarks(store: PatchStore) -> list[str]:
    lines = list(store.leakage.lines())
    for reason, count in store.attrs["dropped"].items():
        lines.append(f"left out: {count} windows that {reason}")
    unused = len(store) - sum(len(store.indices(split)) for split in SPLITS)
    if unused:
        lines.append(f"unused: {unused} patches with too few labelled pixels with data")
    return lines


def _problems(store: PatchStore) -> list[str]:
    return list(store.leakage.problems())
