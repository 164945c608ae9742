"""From a scene and its labels to a patch store, through dask."""

from __future__ import annotations

import logging
import warnings
from typing import TYPE_CHECKING, Any

import numpy as np

from seg4eo_xr.geometry.splits import ColumnSplit, as_rule
from seg4eo_xr.notices import Seg4EOWarning
from seg4eo_xr.options import changed
from seg4eo_xr.patches.agreement import in_order_of
from seg4eo_xr.patches.building import (
    JOURNAL,
    built_anew,
    built_on,
    is_committed,
    locate,
    remote_errors,
    require_free,
)
from seg4eo_xr.patches.description import describe_extraction
from seg4eo_xr.patches.journal import read_journal, read_record
from seg4eo_xr.patches.options import ExtractOptions
from seg4eo_xr.patches.pairs import require_two_files
from seg4eo_xr.patches.planning import check_graph, plan_extraction, shard_graph
from seg4eo_xr.patches.sources import plan_scene
from seg4eo_xr.patches.store import open_store
from seg4eo_xr.patches.suspicion import missing_data_problems
from seg4eo_xr.patches.writing import commit, size_arrays
from seg4eo_xr.progress import progress_bar
from seg4eo_xr.running import run_to_the_end
from seg4eo_xr.scenes.class_files import as_class_table
from seg4eo_xr.scenes.harmonize import check_offsets, raised_by
from seg4eo_xr.scenes.missing import SceneWarning
from seg4eo_xr.scenes.statistics import merge_histograms, warn_of_fills
from seg4eo_xr.scenes.unlabelled import is_assumed, warn_of_assumed, warn_of_counted

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    import geopandas as gpd
    import xarray as xr
    from upath import UPath

    from seg4eo_xr.geometry.splits import Split
    from seg4eo_xr.patches.planning import Extraction, ShardTask
    from seg4eo_xr.patches.store import PatchStore
    from seg4eo_xr.patches.summary import ShardSummary
    from seg4eo_xr.scenes.classes import ClassTable
    from seg4eo_xr.scenes.open import SceneSource

    OnFailure = Callable[[str, Exception], None]

_LOGGER = logging.getLogger(__name__)


class LeakageWarning(Seg4EOWarning):
    """Scores on a split will look better than they are."""


# Shards whose tasks are in one graph: enough for a large cluster, few enough for its scheduler.
_SHARDS_AT_ONCE = 256


def extract_patches(
    scene: SceneSource,
    labels: str | Path | xr.DataArray | gpd.GeoDataFrame,
    store: str | Path,
    options: ExtractOptions | None = None,
    *,
    grid: gpd.GeoDataFrame | str | Path | None = None,
    id_column: str | None = None,
    split: Split | None = None,
    classes: ClassTable | str | Path | None = None,
    progress: bool = True,
    **changes: Any,
) -> PatchStore:
    """Cut a scene and its labels into patches, and store them for training.

    Each chunk of the scene is read once. Patches are the stored numbers of the scene; statistics,
    class counts and the model's contract are taken on the way, from pixels with data only. A run
    that was killed goes on where it was when it is started again with the same arguments.

    Parameters
    ----------
    scene
        What `open_scene` takes: ``(band, y, x)``.
    labels
        What `open_labels` takes: class codes on the scene's grid, or polygons.
    store
        Folder to write, by custom ``<name>.zarr``, or a URL such as ``s3://bucket/<name>.zarr``
        (with the extra ``s3``; credentials and endpoint come from the usual AWS variables).
    options
        How to cut; `ExtractOptions` has the defaults.
    grid
        Polygons, one a patch; None lays a regular grid, or draws windows as `options` say.
    id_column
        Column of `grid` that names the patches.
    split
        `RandomSplit` (the default), `SpatialSplit`, `SceneSplit`, `ColumnSplit` or another rule.
    classes
        Codes, names and colours, or a file that `read_classes` reads; None takes the labels' own
        table, or else the codes that occur. What is appended has the store's codes: classes are
        matched by name, and new ones come after those that the store has.
    progress
        Show a bar where it takes longer than two seconds.
    **changes
        Single options by name, as ``patch_size=256``.

    Returns
    -------
    PatchStore
        Open for reading.

    Raises
    ------
    FileExistsError
        If the store exists, and is neither to be overwritten nor added to.
    OSError
        If the store cannot be written or the scene cannot be read. What was committed before stays
        readable.
    ValueError
        If scene and labels do not align, the scene is smaller than a patch or all nodata, a label
        is not in the class table, or a class has another code in the store. Nothing is left behind
        then.

    Warns
    -----
    LeakageWarning
        If validation or test patches share pixels with training patches.
    SceneWarning
        If labelled pixels of one class are nodata far more often than the others, or a margin of
        one number looks like missing pixels that are not declared.
    OffsetWarning
        If some of the store's scenes seem to hold numbers raised by Sentinel-2's offset of 1000.
    """
    options = changed(options, ExtractOptions, changes)
    require_two_files(scene, labels)
    target, rule = locate(store), as_rule(split)
    classes = as_class_table(classes)
    existing = store_to_extend(target, options)
    source = plan_scene(
        scene,
        labels,
        options,
        grid=grid,
        id_column=id_column,
        group_column=rule.column if isinstance(rule, ColumnSplit) else None,
        classes=classes,
    )
    if existing is not None:
        source = in_order_of(source, existing.contract.bands)
    job = plan_extraction([source], options, split=rule, existing=existing)
    return run_extraction(job, target, progress=progress)


def store_to_extend(target: UPath, options: ExtractOptions) -> PatchStore | None:
    """Open the store that `options` want to add to; None if they want a new one.

    Raises
    ------
    FileExistsError
        If they want a new one where something stands that is not to be replaced.
    """
    with remote_errors(target):
        if options.append and is_committed(target):
            return open_store(target)
        require_free(target, overwrite=options.overwrite)
    return None


def run_extraction(
    job: Extraction,
    target: UPath,
    *,
    progress: bool = True,
    on_failure: OnFailure | None = None,
) -> PatchStore:
    """Write the patches of a plan, and commit them.

    Parameters
    ----------
    job
        The plan.
    target
        The store's place.
    progress
        Show a bar where it takes longer than two seconds.
    on_failure
        Called with the name of a source that cannot be read and the error, before the work goes on
        without it; None lets the error out.
    """
    place = (
        built_on(target)
        if job.existing is not None
        else built_anew(target, job.fingerprint, overwrite=job.options.overwrite)
    )
    with (
        remote_errors(target),
        place as path,
        progress_bar("extracting patches", enabled=progress),
    ):
        _require_unchanged(job, target)
        journal: UPath = path / JOURNAL / job.fingerprint
        job = _write_shards(job, path, journal, on_failure)
        summary = read_journal(journal, [task.name for task in job.shards])
        coordinates, about = describe_extraction(job, summary)
        commit(path, job.layout.first, coordinates, summary.histograms, about)
    _warn_of_labels(job, summary)
    if summary.histograms:
        first, *others = job.sources
        scenes = f"{first.name} and {len(others)} more" if others else first.name
        merged = merge_histograms(list(summary.histograms.values()))
        warn_of_fills(merged, first.scene, f"the scene {scenes}", stacklevel=3)
    store = open_store(target)
    counts = {split: len(store.indices(split)) for split in ("train", "validation", "test")}
    _LOGGER.info("wrote %s: patches %s", target, counts)
    _warn_of_data(store)
    for problem in missing_data_problems(job.rules, summary, store.contract.classes):
        warnings.warn(problem, SceneWarning, stacklevel=3)
    return store


def _require_unchanged(job: Extraction, target: UPath) -> None:
    """Raise where patches were added to the store between the plan and the lock."""
    if job.existing is None:
        return
    if open_store(target).attrs["commits"] != job.existing.attrs["commits"]:
        raise FileExistsError(f"{target} has been added to meanwhile; start again")


def _warn_of_labels(job: Extraction, summary: ShardSummary) -> None:
    """Warn of codes that may not mean what they are taken for."""
    pixels = job.layout.patch_size**2
    edges = job.starts - job.layout.first
    for source, start, stop in zip(job.sources, edges, edges[1:], strict=False):
        own, attrs = slice(start, stop), source.labels.attrs
        what = f"the labels of {source.name}"
        valid, labelled = (
            round(float(fraction[own].sum()) * pixels)
            for fraction in (summary.valid_fraction, summary.labelled_fraction)
        )
        if is_assumed(attrs):
            warn_of_assumed(valid - labelled, valid, what, stacklevel=4)
        if job.rules.classes is None:
            counts = summary.class_pixels[own].sum(axis=0).tolist()
            found = dict(zip(summary.codes.tolist(), counts, strict=True))
            warn_of_counted(found, labelled, what, attrs, stacklevel=4)


def _warn_of_data(store: PatchStore) -> None:
    dark = {
        scene["name"]: np.array(scene["dark"], np.float64)
        for scene in store.attrs["scenes"]
        if scene["dark"]
    }
    contract = store.contract
    brightest = (np.array(contract.maximum) - contract.offset) / contract.scale
    shift = raised_by(store.dtype, float(brightest.max()))
    if shift is not None:
        check_offsets(dark, store.dtype, shift=shift)
    for problem in store.leakage.problems():
        warnings.warn(f"{store.path}: {problem}", LeakageWarning, stacklevel=4)


def _write_shards(
    job: Extraction, path: UPath, journal: UPath, on_failure: OnFailure | None
) -> Extraction:
    """Write the shards that the journal does not know; return the plan as it was carried out."""
    finished: set[str] = set()
    while True:
        size_arrays(path, job.layout)
        missing = []
        for task in job.shards:
            if task.name not in finished and read_record(journal, task.name) is None:
                missing.append(task)
            else:
                finished.add(task.name)
        tasks = missing[:_SHARDS_AT_ONCE]
        if finished:
            _LOGGER.info("shards written: %d of %d", len(finished), len(job.shards))
        if not tasks:
            return job
        try:
            run_to_the_end([shard_graph(job, task, path, journal) for task in tasks])
        except Exception:
            failures = _failures(job, tasks) if on_failure is not None else {}
            if on_failure is None or not failures:
                raise
            for number, failure in failures.items():
                on_failure(job.sources[number].name, failure)
            if len(failures) == len(job.sources):
                raise
            job = job.without(list(failures))
        else:
            finished.update(task.name for task in tasks)


def _failures(job: Extraction, tasks: Sequence[ShardTask]) -> dict[int, Exception]:
    """Find the sources that cannot be read, by reading each for itself."""
    failures: dict[int, Exception] = {}
    for number in sorted({number for task in tasks for number, _ in task.sections}):
        own = [task.of_source(number) for task in tasks]
        try:
            run_to_the_end([check_graph(job, task) for task in own if task.sections])
        except Exception as error:
            failures[number] = error
    return failures
