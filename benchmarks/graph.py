"""Graphs: a lazy prediction of 100 × 100 chunks built, and a job of 100,000 tiles that do nothing.

Each case runs in a process of its own. Scenes are of files' usual blocks; nothing is read.
"""

from __future__ import annotations

import sys
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING

from graph_cases import BLOCKS
from harness import argument_parser, emit, run_in_child

if TYPE_CHECKING:
    import argparse

_CASES_SCRIPT = Path(__file__).with_name("graph_cases.py")


def main() -> None:
    arguments = parse_arguments()
    chunks, tiles = (12, 2000) if arguments.quick else (100, 100_000)
    for block in BLOCKS:
        case = f"lazy, {chunks} x {chunks} chunks, blocks of {block} px"
        rounds = [
            run_in_child(_CASES_SCRIPT, ["lazy", str(chunks), str(block)])
            for _ in range(arguments.repeats or (1 if arguments.quick else 3))
        ]
        for measure, unit in (("build_s", "s"), ("optimise_s", "s"), ("tasks_per_chunk", "1")):
            emit("graph", case, measure, median(one[measure] for one in rounds), unit)
    base = run_in_child(_CASES_SCRIPT, ["imports", "0", "0"])
    job = run_in_child(_CASES_SCRIPT, ["job", str(tiles), "0"])
    case = f"job, {tiles} tiles"
    emit("graph", "imports", "job_peak_mb", base["peak_mb"], "MB")
    emit("graph", case, "job_peak_mb", job["peak_mb"], "MB")
    emit("graph", case, "seconds", job["seconds"], "s")


def parse_arguments() -> argparse.Namespace:
    return argument_parser(__doc__).parse_args()


if __name__ == "__main__":
    sys.exit(main())
