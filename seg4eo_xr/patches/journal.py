"""The journal of an extraction: which shards are finished, and what they told.

A record is written after its shard. A run that was killed is started again with the same arguments,
finds its records by their names, and does the rest. A record that was cut short by the kill does
not open, and counts as absent.
"""

from __future__ import annotations

import io
import zipfile
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from seg4eo_xr.geometry.splits import SPLITS
from seg4eo_xr.patches.summary import ShardSummary, merge_by_split, merge_summaries
from seg4eo_xr.scenes.statistics import BandHistogram

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from upath import UPath

_ARRAYS = (
    *("valid_fraction", "labelled_fraction", "digests", "codes", "class_pixels", "dark"),
    *("lost", "margins"),
)


def write_record(folder: UPath, name: str, summary: ShardSummary) -> None:
    """Note that the shard called `name` is finished.

    Parameters
    ----------
    folder
        Folder of the journal; made where it is missing.
    name
        Name of the shard, which stands for all that its bytes depend on.
    summary
        What the shard told.
    """
    folder.mkdir(parents=True, exist_ok=True)
    arrays = {key: getattr(summary, key) for key in _ARRAYS}
    for split, histogram in summary.histograms.items():
        for key, values in _sparse(histogram).items():
            arrays[f"{split}.{key}"] = values
    memory = io.BytesIO()
    np.savez(memory, **arrays)
    (folder / f"{name}.npz").write_bytes(memory.getvalue())


def read_record(folder: UPath, name: str) -> ShardSummary | None:
    """Read what the shard called `name` told; None where it is not finished."""
    try:
        content = (folder / f"{name}.npz").read_bytes()
    except FileNotFoundError:
        return None
    try:
        with np.load(io.BytesIO(content), allow_pickle=False) as opened:
            arrays = dict(opened)
    except (zipfile.BadZipFile, ValueError, EOFError, OSError):
        return None
    if not arrays.keys() >= set(_ARRAYS):
        return None  # of an older version
    histograms: dict[str, BandHistogram] = {
        split: _dense(arrays, split) for split in SPLITS if f"{split}.dtype" in arrays
    }
    return ShardSummary(histograms, **{key: arrays[key] for key in _ARRAYS})


def read_journal(folder: UPath, names: Sequence[str]) -> ShardSummary:
    """Join what some shards told, in their order; all of them are finished."""
    histograms: dict[str, BandHistogram] = {}
    rest = []
    for name in names:
        record = read_record(folder, name)
        if record is None:
            raise OSError(f"the journal {folder} has lost the shard {name}; run the same again")
        # Added up one by one, since those of many shards do not fit memory.
        histograms = merge_by_split([histograms, record.histograms])
        rest.append(replace(record, histograms={}))
    return replace(merge_summaries(rest), histograms=histograms)


def _sparse(histogram: BandHistogram) -> dict[str, np.ndarray]:
    """Arrays of a histogram, with the counts of occupied bins only."""
    arrays = histogram.to_arrays()
    counts = arrays.pop("counts")
    occupied = np.flatnonzero(counts)
    return {
        **arrays,
        "shape": np.array(counts.shape),
        "occupied": occupied,
        "counts": counts.ravel()[occupied],
    }


def _dense(arrays: Mapping[str, Any], split: str) -> BandHistogram:
    own = {
        key.removeprefix(f"{split}."): values
        for key, values in arrays.items()
        if key.startswith(f"{split}.")
    }
    counts = np.zeros(own.pop("shape"), np.int64)
    counts.ravel()[own.pop("occupied")] = own["counts"]
    return BandHistogram.from_arrays({**own, "counts": counts})
