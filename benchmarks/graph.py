"""Graphs: a lazy prediction of 100 × 100 chunks built, and a job of 100,000 tiles that do nothing.

Each case runs in a process of its own. Scenes are of files' usual blocks; nothing is read.
"""

from __future__ import annotations

import sys
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING

from graph_cases import SHAPES
from harness import argument_parser, emit, run_in_child

if TYPE_CHECKING:
    import argparse

_CASES_SCRIPT = Path(__file__).with_name("graph_cases.py")
# Tasks of a chunk include those that give the scene's blocks.
_MEASURES = {"build_s": "s", "optimise_s": "s", "tasks_per_chunk": "1", "blocks_per_chunk": "1"}


def main() -> None:
    arguments = parse_arguments()
    chunks, tiles = (12, 2000) if arguments.quick else (100, 100_000)
    for block, windows in SHAPES:
        sides = f"{chunks} x {chunks} chunks of {windows} x {windows} windows"
        case = f"lazy, {sides}, blocks of {block} px"
        rounds = [
            run_in_child(_CASES_SCRIPT, ["lazy", *map(str, (chunks, block, windows))])
            for _ in range(arguments.repeats or (1 if arguments.quick else 3))
        ]
        for measure, unit in _MEASURES.items():
            emit("graph", case, measure, median(one[measure] for one in rounds), unit)
    base = run_in_child(_CASES_SCRIPT, ["imports"])
    job = run_in_child(_CASES_SCRIPT, ["job", str(tiles)])
    case = f"job, {tiles} tiles"
    emit("graph", "imports", "job_peak_mb", base["peak_mb"], "MB")
    emit("graph", case, "job_peak_mb", job["peak_mb"], "MB")
    emit("graph", case, "seconds", job["seconds"], "s")


def parse_arguments() -> argparse.Namespace:
    return argument_parser(__doc__).parse_args()


if __name__ == "__main__":
    sys.exit(main())
