"""What the splits of a training let through, told beside its scores."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from seg4eo_xr.geometry.leakage import LeakageReport, leakage

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from seg4eo_xr.geometry.splits import SplitName
    from seg4eo_xr.patches.store import PatchStore


def leakage_of(
    patches: PatchStore, positions: Mapping[SplitName, NDArray[np.int64]]
) -> LeakageReport:
    """Report how near the parts of a training come to each other, and what they share.

    Parameters
    ----------
    patches
        The store.
    positions
        Positions in it of the patches of each part, ``(patch,)`` each.
    """
    used = np.sort(np.concatenate(list(positions.values())))
    names = np.empty(len(used), "<U10")
    for name, chosen in positions.items():
        names[np.isin(used, chosen)] = name
    digests = patches.coordinate("digest")[used]
    return leakage(patches.footprints().take(used), names, digests)


def flattering(report: LeakageReport, patch_size: int) -> list[str]:
    """Name what makes scores on test patches look better than those of a new place would be.

    Parameters
    ----------
    report
        How near the splits come to each other.
    patch_size
        Side of a patch in pixels; ground nearer than that to a training patch is much like it.

    Returns
    -------
    list of str
        Sentences; empty where the test patches lie well apart.

    Examples
    --------
    >>> pair = "test-train"
    >>> flattering(LeakageReport({pair: 900.0}, {pair: 0}, {pair: 0}), 256)
    []
    """
    problems = report.problems()
    distance = report.distances.get("test-train")
    if distance and distance < patch_size:
        problems.append(
            f"test patches lie {distance:.4g} px from training patches, on ground much like "
            "theirs, which flatters the scores; SpatialSplit(block=..., buffer=...) keeps them "
            "apart (--split_block, --split_buffer), and cross_validate(fold_block=..., "
            "compare_random=True) tells by how much (cross-validate --fold_block PIXELS "
            "--compare_random)"
        )
    return problems
