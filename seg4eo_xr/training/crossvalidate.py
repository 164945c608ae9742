"""Cross-validation: the same training on several folds, and how much its scores vary."""

from __future__ import annotations

import json
import shutil
from dataclasses import asdict, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from dask.delayed import delayed

from seg4eo_xr.options import changed
from seg4eo_xr.patches.store import open_store
from seg4eo_xr.running import active_client, run_to_the_end
from seg4eo_xr.training.config import TrainConfig
from seg4eo_xr.training.crossvalidation import CrossValidation
from seg4eo_xr.training.fit import fit_positions
from seg4eo_xr.training.folder import RunFolder
from seg4eo_xr.training.folds import FoldOptions, fold_positions, is_spatial
from seg4eo_xr.training.report import write_json
from seg4eo_xr.training.resuming import FREE_OPTIONS

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from seg4eo_xr.geometry.splits import SplitName
    from seg4eo_xr.patches.store import PatchStore


def cross_validate(
    store: str | Path | PatchStore,
    save_dir: str | Path,
    config: TrainConfig | None = None,
    folds: FoldOptions | None = None,
    *,
    compare_random: bool = False,
    parallel: bool = False,
    progress: bool = True,
    overwrite: bool = False,
    **changes: Any,
) -> CrossValidation:
    """Train once for each fold of a store's patches, and score each fold with what has not seen it.

    The training and validation patches are dealt to folds, by class and by ground; see
    `fold_positions`. Test patches stay untouched. Normalisation is the store's own in every fold.
    Called again after an interruption, with the same options, it goes on with the fold that was
    being trained.

    Parameters
    ----------
    store
        A patch store.
    save_dir
        Folder for the runs, ``fold_1`` and so on, ``cross_validation.json`` and
        ``cross_validation.png``.
    config
        Options of each training; the defaults if left out.
    folds
        How many folds, and what is kept together; the defaults if left out.
    compare_random
        Whether to train as many folds of single patches dealt at random too, in the folder
        ``random``, and to tell by how much their scores are higher: neighbouring patches are alike,
        so that random folds ask for what the network has all but seen.
    parallel
        Whether each fold is a task of the active `dask.distributed.Client`, whose workers have one
        thread each and see the folders of store and runs; else one fold follows the other here.
    progress
        Whether to show a bar on standard error for each training here.
    overwrite
        Whether to replace another cross-validation in `save_dir`.
    **changes
        Fields of `TrainConfig` or of `FoldOptions`, as ``epochs=50`` or ``n_splits=3``.

    Returns
    -------
    CrossValidation

    Raises
    ------
    ValueError
        If the patches cannot be dealt to so many folds, store and options do not go together, there
        is no such client, or the folds are random themselves where they are to be compared.
    FileExistsError
        If `save_dir` holds something else.
    """
    own = {one.name: changes.pop(one.name) for one in fields(FoldOptions) if one.name in changes}
    config, folds = changed(config, TrainConfig, changes), changed(folds, FoldOptions, own)
    patches = open_store(store)
    dealt = fold_positions(patches, folds, config.random_seed)
    folder = Path(save_dir)
    if compare_random and not is_spatial(patches, folds):
        raise ValueError(
            "compare_random (--compare_random) holds random folds against ones of ground kept "
            "together, but these are of single patches; set fold_block (--fold_block)"
        )
    if parallel:
        _require_cluster()
    plan = _plan(patches, config, folds)
    _prepare(folder, plan, overwrite=overwrite)
    runs = [folder / f"fold_{number + 1}" for number in range(len(dealt))]
    open_runs = [
        (run, positions)
        for run, positions in zip(runs, dealt, strict=True)
        if not RunFolder(run).metrics_path.exists()
    ]
    if parallel:
        task = delayed(_train_fold)
        run_to_the_end([task(str(patches.path), *item, config) for item in open_runs])
    else:
        for run, positions in open_runs:
            _train_fold(patches, run, positions, config, progress=progress)
    random = None
    if compare_random:
        random = cross_validate(
            patches,
            folder / "random",
            config,
            FoldOptions(folds.n_splits, fold_random=True),
            parallel=parallel,
            progress=progress,
            overwrite=overwrite,
        )
    result = replace(_found(folder, runs, patches), random=random)
    _write(result, plan, runs)
    return result


def _train_fold(
    store: str | PatchStore,
    run: Path,
    positions: Mapping[SplitName, NDArray[np.int64]],
    config: TrainConfig,
    *,
    progress: bool = False,
) -> None:
    """Train one fold, or go on with it; its files are what it gives."""
    patches = open_store(store)
    fit_positions(
        patches, positions, config, run, progress=progress, existing="resume", keep_state=False
    )


def _plan(patches: PatchStore, config: TrainConfig, folds: FoldOptions) -> dict[str, Any]:
    """What makes two cross-validations the same, as plain values that survive JSON."""
    options = {name: value for name, value in config.to_dict().items() if name not in FREE_OPTIONS}
    store = {"path": str(patches.path), "commit": patches.attrs["commits"]}
    plan: dict[str, Any] = json.loads(
        json.dumps({"folds": asdict(folds), "store": store, "config": options})
    )
    return plan


def _prepare(folder: Path, plan: dict[str, Any], *, overwrite: bool) -> None:
    """Make the folder with its plan; find it so, or make room for it."""
    file = folder / CrossValidation.file_name
    if file.exists() and not overwrite:
        before = json.loads(file.read_text(encoding="utf-8")).get("plan")
        if before == plan:
            return
        differing = _differences(before or {}, plan)
        raise FileExistsError(
            f"{folder} holds a cross-validation with other options ({', '.join(differing)}); give "
            "another folder, the same options to go on with it, or replace it: --overwrite "
            "(overwrite=True)"
        )
    RunFolder(folder).require_free(overwrite=overwrite)
    RunFolder(folder).prepare()
    for run in [*folder.glob("fold_*"), *folder.glob("random")]:
        if not overwrite:
            raise FileExistsError(
                f"{folder} holds {run.name} already; give another folder, or replace it: "
                "--overwrite (overwrite=True)"
            )
        shutil.rmtree(run)
    write_json({"plan": plan}, file)


def _differences(before: dict[str, Any], now: dict[str, Any]) -> list[str]:
    return [
        name
        for part in now
        for name in now[part]
        if before.get(part, {}).get(name) != now[part][name]
    ]


def _found(folder: Path, runs: list[Path], patches: PatchStore) -> CrossValidation:
    """Gather the folds' confusion matrices."""
    reports = _reports(runs)
    matrices = np.array([report["test"]["confusion_matrix"] for report in reports], np.int64)
    names = reports[0]["contract"]["classes"]["names"]
    # a fold of an older version does not say how far it lies from its training patches
    distances = [report.get("leakage", {"distances": {}})["distances"] for report in reports]
    known = [found["test-train"] for found in distances if "test-train" in found]
    return CrossValidation(
        folder, tuple(names), patches.contract.classes.colors, matrices, tuple(known)
    )


def _write(result: CrossValidation, plan: dict[str, Any], runs: list[Path]) -> None:
    """Write what the folds say, and draw it."""
    numbers = [
        {"run": run.name, "epoch": report["best"]["epoch"], "patches": report["store"]["patches"]}
        for run, report in zip(runs, _reports(runs), strict=True)
    ]
    write_json({"plan": plan, **result.to_dict(), "runs": numbers}, result.path)
    result.save_plot()


def _reports(runs: list[Path]) -> list[dict[str, Any]]:
    return [json.loads(RunFolder(run).metrics_path.read_text("utf-8")) for run in runs]


def _require_cluster() -> None:
    client = active_client()
    if client is None:
        raise ValueError(
            "parallel=True needs a dask cluster: create a dask.distributed.Client first, with "
            "threads_per_worker=1"
        )
    crowded = [name for name, threads in client.nthreads().items() if threads > 1]
    if crowded:
        # torch's seeds belong to a process: folds beside each other in one would mix them up
        raise ValueError(
            f"workers {', '.join(crowded[:3])} have several threads; start them with one each "
            "(threads_per_worker=1), since each trains one fold at a time"
        )
