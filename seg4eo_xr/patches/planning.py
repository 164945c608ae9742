"""The plan of an extraction: which patches there will be, and the tasks that write them."""

from __future__ import annotations

import logging
from dataclasses import dataclass, replace
from functools import cached_property, partial
from typing import TYPE_CHECKING, Any

import numpy as np
from dask.base import tokenize
from dask.delayed import Delayed, delayed

from seg4eo_xr.geometry.footprints import Footprints
from seg4eo_xr.geometry.splits import SPLITS
from seg4eo_xr.patches.agreement import (
    require_alike,
    warn_of_pixel_sizes,
    with_one_code,
    with_one_nodata,
)
from seg4eo_xr.patches.class_agreement import in_one_table
from seg4eo_xr.patches.encoding import encode_patches
from seg4eo_xr.patches.footprints import columns_of_a_turn, on_reference
from seg4eo_xr.patches.journal import write_record
from seg4eo_xr.patches.sources import UNNAMED
from seg4eo_xr.patches.summary import ShardSummary, SummaryRules, merge_summaries, summarize
from seg4eo_xr.patches.writing import StoreLayout, default_shard_size, write_shard
from seg4eo_xr.scenes.grid import grid_transform

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray
    from upath import UPath

    from seg4eo_xr.geometry.splits import Split
    from seg4eo_xr.patches.options import ExtractOptions
    from seg4eo_xr.patches.sources import PatchSource, Section
    from seg4eo_xr.patches.store import PatchStore
    from seg4eo_xr.scenes.classes import ClassTable

_LOGGER = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class Extraction:
    """An extraction that is planned and has read no pixel yet.

    Parameters
    ----------
    sources
        Where the patches come from, in the store's order.
    splits
        Split of each new patch, ``(patch,)``.
    layout
        Sizes of the store's arrays.
    rules
        What counts as data, label and patch of use.
    rule
        The split's rule.
    options
        How to cut.
    left_out
        New patches that the split leaves out.
    existing
        The store that the patches are added to.
    named
        The classes that labels state; where `rules` allow any code, others may occur.
    """

    sources: tuple[PatchSource, ...]
    splits: NDArray[np.str_]
    layout: StoreLayout
    rules: SummaryRules
    rule: Split
    options: ExtractOptions
    left_out: int = 0
    existing: PatchStore | None = None
    named: ClassTable | None = None

    @cached_property
    def starts(self) -> NDArray[np.int64]:
        """Position of each source's first patch in the store, and the end of the last."""
        lengths = [len(source.windows) for source in self.sources]
        return self.layout.first + np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)

    @cached_property
    def shards(self) -> list[ShardTask]:
        """What each shard's worker needs."""
        return [self._shard(patches) for patches in self.layout.shards]

    @cached_property
    def fingerprint(self) -> str:
        """Name of all that the store's bytes depend on."""
        names = [task.name for task in self.shards]
        return tokenize(names, self.layout, str(self.rule), self.options)[:8]

    def without(self, sources: Sequence[int]) -> Extraction:
        """Return the plan without some of its sources; the others keep their splits."""
        kept = [i for i in range(len(self.sources)) if i not in set(sources)]
        edges = self.starts - self.layout.first
        splits = [self.splits[edges[i] : edges[i + 1]] for i in kept]
        count = sum(map(len, splits))
        return replace(
            self,
            sources=tuple(self.sources[i] for i in kept),
            splits=np.concatenate([self.splits[:0], *splits]),
            layout=replace(self.layout, patches=self.layout.first + count),
        )

    def _shard(self, patches: slice) -> ShardTask:
        touching = (self.starts[:-1] < patches.stop) & (self.starts[1:] > patches.start)
        parts = []
        for number in np.flatnonzero(touching).tolist():
            first, last = self.starts[number : number + 2].tolist()
            within = range(max(patches.start - first, 0), min(patches.stop, last) - first)
            for start in within[:: self.layout.patches_at_once]:
                stop = min(start + self.layout.patches_at_once, within.stop)
                parts.append((number, self.sources[number].section(slice(start, stop))))
        new = slice(patches.start - self.layout.first, patches.stop - self.layout.first)
        return ShardTask(patches, tuple(parts), self.splits[new], self.rules)


@dataclass(frozen=True, eq=False)
class ShardTask:
    """What a worker needs to write one shard.

    Parameters
    ----------
    patches
        Range in the store.
    sections
        Where the patches come from, in their order, each with the number of its source; a few
        patches each, since they are numbers in memory until they are encoded.
    splits
        Split of each patch, ``(patch,)``.
    rules
        What counts.
    """

    patches: slice
    sections: tuple[tuple[int, Section], ...]
    splits: NDArray[np.str_]
    rules: SummaryRules

    @cached_property
    def name(self) -> str:
        """Name of the shard in the journal: of all that its bytes depend on."""
        sections = [section for _, section in self.sections]
        splits = self.splits.tolist()
        return tokenize(self.patches.start, self.patches.stop, sections, splits, self.rules)

    def __dask_tokenize__(self) -> tuple[Any, ...]:
        return (self.name,)

    def of_source(self, number: int) -> ShardTask:
        """Return the part of the task that reads one source."""
        lengths = [len(section.names) for _, section in self.sections]
        owners = np.repeat([owner for owner, _ in self.sections], lengths)
        own = tuple((owner, section) for owner, section in self.sections if owner == number)
        return replace(self, sections=own, splits=self.splits[owners == number])


def shard_graph(job: Extraction, task: ShardTask, path: UPath, journal: UPath) -> Delayed:
    """Build the tasks that write a shard to a store and note it in the journal."""
    write = partial(_write, path, journal, task.patches, task.name)
    written: Delayed = delayed(write, pure=True)(_encoded_sections(job, task))
    return written


def check_graph(job: Extraction, task: ShardTask) -> Delayed:
    """Build the tasks that read a shard as `shard_graph` does, and write nothing."""
    read: Delayed = delayed(len, pure=True)(_encoded_sections(job, task))
    return read


def _encoded_sections(job: Extraction, task: ShardTask) -> list[Delayed]:
    dtypes, parts, start = (job.layout.dtype, job.layout.label_dtype), [], 0
    for number, section in task.sections:
        splits = task.splits[start : start + len(section.names)]
        start += len(splits)
        # A part of a function, since dask would search its other arguments for tasks.
        encode = partial(_encode, section, splits.tolist(), task.rules, dtypes)
        parts.append(delayed(encode, pure=True)(job.sources[number].inputs(section)))
    return parts


@dataclass(frozen=True, eq=False)
class _Encoded:
    """Consecutive patches as chunks, and what they told while they were numbers."""

    images: list[bytes]
    labels: list[bytes]
    summary: ShardSummary


def _encode(
    section: Section,
    splits: Sequence[str],
    rules: SummaryRules,
    dtypes: tuple[str, str],
    inputs: Any,
) -> _Encoded:
    images, labels = section.read(inputs)
    summary = summarize(images, labels, np.array(splits), section.names, rules, section.inside())
    return _Encoded(encode_patches(images, dtypes[0]), encode_patches(labels, dtypes[1]), summary)


def _write(
    path: UPath, journal: UPath, patches: slice, name: str, parts: Sequence[_Encoded]
) -> None:
    images = [chunk for part in parts for chunk in part.images]
    labels = [chunk for part in parts for chunk in part.labels]
    write_shard(path, patches, images, labels)
    write_record(journal, name, merge_summaries([part.summary for part in parts]))


def plan_extraction(
    sources: Sequence[PatchSource],
    options: ExtractOptions,
    *,
    split: Split,
    existing: PatchStore | None = None,
) -> Extraction:
    """Deal the patches of all sources to the splits, and lay out the store; reads no pixel.

    Parameters
    ----------
    sources
        At least one; scenes of one store agree in bands, dtype, scaling and nodata.
    options
        How to cut.
    split
        The split's rule.
    existing
        Store that the patches are added to.

    Raises
    ------
    ValueError
        If sources or their classes do not go together, or the split cannot be met.
    """
    sources = with_one_nodata(sources, existing)
    first = sources[0]
    for other in sources[1:]:
        require_alike(first, other)
    if existing is not None:
        existing.require_fits(first, options)
        _require_new(sources, existing)
        sources = [source.with_ignore(existing.contract.ignore) for source in sources]
    else:
        sources = with_one_code(sources)
    sources, table, complete = in_one_table(sources, existing)
    first = sources[0]
    held = None if existing is None else existing.contract
    warn_of_pixel_sizes(sources, options.patch_size, held)
    dealt = _dealt(sources, split, existing)
    taken, splits = _without_left_out(sources, dealt)
    nodata = first.scene.rio.nodata
    rules = SummaryRules(
        None if nodata is None else float(nodata),
        options.nodata_rule,
        int(first.labels.rio.nodata),
        options.min_valid_fraction,
        options.min_labelled_fraction,
        table if complete else None,
    )
    layout = _layout(sources, len(splits), options, rules, existing)
    if existing is not None and table is not None:
        _require_label_dtype(table, layout.label_dtype, existing)
    left_out = len(dealt) - len(splits)
    return Extraction(taken, splits, layout, rules, split, options, left_out, existing, table)


def _require_label_dtype(table: ClassTable, dtype: str, existing: PatchStore) -> None:
    limits = np.iinfo(dtype)
    wide = [code for code in table.codes if not limits.min <= code <= limits.max]
    if wide:
        raise ValueError(
            f"the labels of {existing.path} are {dtype} ({limits.min}..{limits.max}), so the class "
            f"codes {wide} cannot be added; renumber these classes, or write another store"
        )


def _require_new(sources: Sequence[PatchSource], existing: PatchStore) -> None:
    held = {scene["name"] for scene in existing.attrs["scenes"]} - {UNNAMED}
    again = [source.name for source in sources if source.name in held]
    if again:
        raise ValueError(
            f"{existing.path} holds {', '.join(again)} already; its patches would occur twice"
        )


def _without_left_out(
    sources: Sequence[PatchSource], splits: NDArray[np.str_]
) -> tuple[tuple[PatchSource, ...], NDArray[np.str_]]:
    """Drop the patches that have no split, and bring the others into reading order."""
    taken, kept = [], []
    edges = np.cumsum([0, *(len(source.windows) for source in sources)])
    for source, start, stop in zip(sources, edges, edges[1:], strict=False):
        for reason, count in source.windows.dropped.items():
            _LOGGER.info("%s: windows left out, which %s: %d", source.name, reason, count)
        own, order = splits[start:stop], source.reading_order()
        order = order[own[order] != ""]
        taken.append(source.take(order))
        kept.append(own[order])
    return tuple(taken), np.concatenate(kept)


def _dealt(
    sources: Sequence[PatchSource], rule: Split, existing: PatchStore | None
) -> NDArray[np.str_]:
    """Split of each new patch; empty where the rule leaves it out."""
    known = existing.footprints() if existing is not None else None
    if known is not None:
        assert existing is not None
        known = known.take(np.flatnonzero(np.isin(existing.splits, SPLITS)))
        transform, crs = existing.grid_of_scene(0)
        count = len(existing.attrs["scenes"])
    else:
        transform, crs = grid_transform(sources[0].scene, "the scene"), sources[0].scene.rio.crs
        count = 0
    parts = [] if known is None else [known]
    around = columns_of_a_turn(transform, crs)
    for number, source in enumerate(sources, start=count):
        windows = source.windows.within((source.scene.sizes["y"], source.scene.sizes["x"]))
        own = windows.rows, windows.cols, windows.heights, windows.widths
        boxes = on_reference(
            *own,
            grid_transform(source.scene, source.name),
            source.scene.rio.crs,
            transform,
            crs,
        )
        parts.append(
            Footprints.of(*boxes, scenes=number, groups=windows.groups, windows=own, turn=around)
        )
    names = np.asarray(rule.assign(Footprints.joined(parts)))
    return names[len(known) :] if known is not None else names


def _layout(
    sources: Sequence[PatchSource],
    count: int,
    options: ExtractOptions,
    rules: SummaryRules,
    existing: PatchStore | None,
) -> StoreLayout:
    if existing is not None:
        known = existing.layout
        return replace(known, patches=known.patches + count, first=known.patches)
    scene, size = sources[0].scene, options.patch_size
    bands = scene.sizes["band"]
    return StoreLayout(
        count,
        bands,
        size,
        options.shard_size or default_shard_size(count, bands, size, scene.dtype),
        str(scene.dtype),
        str(np.result_type(*(source.labels.dtype for source in sources))),
        rules.nodata,
        rules.ignore,
    )
