"""Many scenes into one patch store; one that fails is reported, and the others go on."""

from __future__ import annotations

import logging
import warnings
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from seg4eo_xr.geometry.splits import ColumnSplit, as_rule
from seg4eo_xr.html import card_html, lines_html, table_html
from seg4eo_xr.notices import Seg4EOWarning
from seg4eo_xr.options import changed
from seg4eo_xr.patches.agreement import in_order_of, require_alike
from seg4eo_xr.patches.building import locate
from seg4eo_xr.patches.class_agreement import in_one_table
from seg4eo_xr.patches.extract import run_extraction, store_to_extend
from seg4eo_xr.patches.options import ExtractOptions
from seg4eo_xr.patches.planning import plan_extraction
from seg4eo_xr.patches.sources import plan_scene
from seg4eo_xr.scenes.bands import has_nodata
from seg4eo_xr.scenes.class_files import as_class_table
from seg4eo_xr.scenes.coding import classes_of_column, table_of_column
from seg4eo_xr.scenes.label_options import LabelOptions
from seg4eo_xr.scenes.labels import open_labels
from seg4eo_xr.scenes.matching import NUMBERED, names_nothing
from seg4eo_xr.scenes.open import band_names_of, open_scene
from seg4eo_xr.scenes.unlabelled import one_warning_of_codes
from seg4eo_xr.scenes.vectors import VECTOR_SUFFIXES

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    import geopandas as gpd

    from seg4eo_xr.geometry.splits import Split
    from seg4eo_xr.patches.pairs import ScenePair
    from seg4eo_xr.patches.sources import PatchSource, ScenePatches
    from seg4eo_xr.patches.store import PatchStore
    from seg4eo_xr.scenes.classes import ClassTable
    from seg4eo_xr.scenes.scene_options import SceneOptions

_LOGGER = logging.getLogger(__name__)
# What a file can be guilty of; anything else is the program's own fault and ends the run.
_SCENE_ERRORS = (ValueError, TypeError, OSError)


class FailedSceneWarning(Seg4EOWarning):
    """A scene of a batch cannot be used; the others go on."""


@dataclass(frozen=True, repr=False)
class BatchResult:
    """What became of a batch.

    Parameters
    ----------
    store
        The store with the patches of all scenes that could be read.
    failed
        What is wrong with each of the others, by name.
    skipped
        Names of scenes that the store held already.
    """

    store: PatchStore
    failed: Mapping[str, str]
    skipped: tuple[str, ...] = ()

    def __repr__(self) -> str:
        failed = [f"failed: {name}: {reason}" for name, reason in self.failed.items()]
        return "\n".join([repr(self.store), *self._facts(), *failed])

    def _repr_html_(self) -> str:
        parts = [lines_html(self._facts())]
        if self.failed:
            parts.append(table_html(("failed", "reason"), list(self.failed.items()), texts=True))
        return card_html("batch", f"into {self.store.path}", *parts) + self.store._repr_html_()

    def _facts(self) -> list[str]:
        scenes = len(self.store.attrs["scenes"])
        facts = [f"scenes in the store: {scenes}, failed: {len(self.failed)}"]
        if self.skipped:
            facts.append(f"skipped, since the store holds them: {', '.join(self.skipped)}")
        return facts


def extract_batch(
    pairs: Iterable[ScenePair],
    store: str | Path,
    options: ExtractOptions | None = None,
    *,
    labels: LabelOptions | None = None,
    classes: ClassTable | str | Path | None = None,
    grid: gpd.GeoDataFrame | str | Path | None = None,
    id_column: str | None = None,
    split: Split | None = None,
    scene_options: SceneOptions | None = None,
    progress: bool = True,
    **changes: Any,
) -> BatchResult:
    """Cut many scenes into patches of one store.

    Scenes may differ in CRS, size and the order of their bands, which are matched by name. They
    agree in bands, dtype, nodata and scaling, which the first one that can be opened sets. A scene
    that states no nodata value takes that of the others, and its valid numbers that equal it move
    by one. With ``append=True`` scenes that the store holds already, by name, are skipped: after
    some have failed, the same call tries these again.

    Parameters
    ----------
    pairs
        Scenes with their labels: what `find_pairs` found, or a list of `ScenePair`.
    store
        Folder or URL to write, as in `extract_patches`.
    options
        How to cut; `ExtractOptions` has the defaults.
    labels
        How labels become codes.
    classes
        Codes, names and colours, or a file that `read_classes` reads; None joins the tables of the
        labels.
    grid
        Polygons for all scenes; a scene's own grid goes first.
    id_column
        Column of the grids that names the patches.
    split
        `RandomSplit` (the default), `SpatialSplit`, `SceneSplit`, `ColumnSplit` or another rule.
    scene_options
        How scenes are opened: names of the bands, nodata, resolution.
    progress
        Show a bar where it takes longer than two seconds.
    **changes
        Single options by name, as ``patch_size=256``.

    Returns
    -------
    BatchResult

    Raises
    ------
    ValueError
        If no scene is left, or the split cannot be met.
    FileExistsError, OSError
        As in `extract_patches`.
    """
    options = changed(options, ExtractOptions, changes)
    target, rule, labels = locate(store), as_rule(split), labels or LabelOptions()
    existing = store_to_extend(target, options)
    held = set() if existing is None else {scene["name"] for scene in existing.attrs["scenes"]}
    every = list(pairs)
    skipped = tuple(pair.name for pair in every if pair.name in held)
    wanted = [pair for pair in every if pair.name not in held]
    if existing is not None and not wanted:
        return BatchResult(existing, {}, skipped)
    failed: dict[str, str] = {}

    def report(name: str, error: Exception) -> None:
        failed[name] = str(error)
        warnings.warn(f"scene {name} fails: {error}", FailedSceneWarning, stacklevel=3)

    table = as_class_table(classes)
    named = _named_classes(wanted, labels) if table is None else None
    sources: list[PatchSource] = []
    with one_warning_of_codes():
        for pair in wanted:
            try:
                source = _planned(
                    pair,
                    options,
                    labels,
                    classes=table,
                    named=named,
                    grid=grid,
                    id_column=id_column,
                    rule=rule,
                    scene_options=scene_options,
                )
                if sources:
                    source = in_order_of(source, band_names_of(sources[0].scene))
                    marked = (one for one in sources if has_nodata(one.scene))
                    require_alike(next(marked, sources[0]), source)
                if existing is not None:
                    source = in_order_of(source, existing.contract.bands)
                    existing.require_fits(source, options)
                sources.append(source)
            except _SCENE_ERRORS as error:
                report(pair.name, error)
    if sources:
        sources = in_one_table(sources, existing, report=report)[0]
    if not sources and existing is not None:
        return BatchResult(existing, failed, skipped)
    if not sources:
        told = "; ".join(f"{name}: {message}" for name, message in failed.items())
        raise ValueError(f"none of the {len(wanted)} scenes can be used: {told or 'there is none'}")
    job = plan_extraction(sources, options, split=rule, existing=existing)
    written = run_extraction(job, target, progress=progress, on_failure=report)
    return BatchResult(written, failed, skipped)


def _planned(
    pair: ScenePair,
    options: ExtractOptions,
    labels: LabelOptions,
    *,
    classes: ClassTable | None,
    named: ClassTable | None,
    grid: gpd.GeoDataFrame | str | Path | None,
    id_column: str | None,
    rule: Split,
    scene_options: SceneOptions | None,
) -> ScenePatches:
    scene = open_scene(pair.image, options=scene_options)
    common = named if _is_vector(pair.label) else None
    opened = open_labels(pair.label, like=scene, options=labels, classes=classes or common)
    if common is not None and not names_nothing(common):
        opened = opened.assign_attrs(NUMBERED)
    return plan_scene(
        scene,
        opened,
        options,
        name=pair.name,
        grid=grid if pair.grid is None else pair.grid,
        id_column=id_column,
        group_column=rule.column if isinstance(rule, ColumnSplit) else None,
    )


def _is_vector(label: Any) -> bool:
    if isinstance(label, str | Path):
        return Path(label).suffix.lower() in VECTOR_SUFFIXES
    return hasattr(label, "geometry")


def _named_classes(pairs: Sequence[ScenePair], labels: LabelOptions) -> ClassTable | None:
    """One table for all vector labels, so that a name has one code in all of them.

    None where there is none, or files hold codes and names: what is wrong shows when a scene is
    opened, or its classes are matched with those of the others.
    """
    if labels.column is None:
        return None
    codes: set[int] = set()
    names: set[str] = set()
    for pair in pairs:
        if _is_vector(pair.label):
            with suppress(*_SCENE_ERRORS):
                found = classes_of_column(pair.label, labels)
                codes |= found[0]
                names |= found[1]
    if bool(codes) == bool(names):
        return None
    return table_of_column(codes, names, labels)
