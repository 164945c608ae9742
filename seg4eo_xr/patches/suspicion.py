"""Signs that a scene's nodata value is not the right one, in what an extraction has counted."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from seg4eo_xr.scenes.undeclared import is_suspicious, margin_text

if TYPE_CHECKING:
    from collections.abc import Iterator

    from seg4eo_xr.patches.summary import ShardSummary, SummaryRules
    from seg4eo_xr.scenes.classes import ClassTable

# A class loses suspiciously much if it loses this share of its pixels, and so many times the share
# that the other classes lose.
_LEAST_LOST = 0.1
_TIMES_MORE = 3.0
_FEWEST_PIXELS = 100


def missing_data_problems(
    rules: SummaryRules, summary: ShardSummary, classes: ClassTable
) -> Iterator[str]:
    """Say what is suspicious about nodata.

    Parameters
    ----------
    rules
        What counted as data.
    summary
        What was counted in all patches.
    classes
        Names of the classes.
    """
    kept = dict(zip(summary.codes.tolist(), summary.class_pixels.sum(axis=0), strict=True))
    lost = {int(code): pixels for code, pixels in summary.lost}
    all_lost, all_pixels = sum(lost.values()), sum(lost.values()) + sum(kept.values())
    names = dict(zip(classes.codes, classes.names, strict=True))
    for code, pixels in lost.items():
        own = pixels + kept.get(code, 0)
        share = pixels / own
        others = (all_lost - pixels) / max(1, all_pixels - own)
        if pixels < _FEWEST_PIXELS or share < max(_LEAST_LOST, _TIMES_MORE * others):
            continue
        yield (
            f"{share:.0%} of the labelled pixels of class {code} ({names.get(code, 'unnamed')}) "
            f"are nodata ({_mark(rules)}), but {others:.1%} of those of the other classes: they "
            "take no part in training. If the number occurs in data as well, such as in white "
            "roofs, give another with --nodata (nodata=), or count a pixel as missing where all of "
            "its bands are, with --nodata_rule all (nodata_rule='all')"
        )
    for number, patches in summary.margins:
        share = patches / len(summary.valid_fraction)
        if is_suspicious(share):
            yield margin_text(number, share, "the patches")


def _mark(rules: SummaryRules) -> str:
    return "not finite" if rules.nodata is None or np.isnan(rules.nodata) else f"{rules.nodata:g}"
