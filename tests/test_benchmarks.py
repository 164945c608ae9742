from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"
KEYS = ["benchmark", "case", "measure", "value", "unit"]


@pytest.mark.slow
def test_a_quick_comparison_of_predictions_prints_json_lines_with_the_ratios_last() -> None:
    lines = lines_of("predict")
    measures = [line["measure"] for line in lines]
    assert {"ours/floor", "ours/scripts", "ours/job_2_processes"} <= set(measures)
    assert "ours/monai" in measures or "skipped" in measures
    assert all(line["value"] > 0 for line in lines if line["measure"] != "skipped")

    cases = {line["case"] for line in lines if line["measure"] == "peak_mb"}
    assert {"baseline", "forward", "read", "write", "ours", "scripts"} <= cases


@pytest.mark.slow
def test_a_quick_comparison_of_extractions_prints_json_lines_with_the_ratios_last() -> None:
    lines = lines_of("extract")
    measures = [line["measure"] for line in lines]
    assert {"scripts/ours", "ours/floor"} <= set(measures)
    assert all(line["value"] > 0 for line in lines if line["unit"])

    cases = {line["case"] for line in lines if line["measure"] == "peak_mb"}
    assert {
        f"{name}, deflate" for name in ("baseline", "read", "ours", "write", "scripts")
    } <= cases


@pytest.mark.slow
def test_a_quick_comparison_of_readers_prints_json_lines_with_the_ratios_last() -> None:
    lines = lines_of("stream")
    ratios = {line["measure"] for line in lines if line["measure"].startswith("ours/")}
    assert {"ours/rasterio", "ours/preadv", "ours/zarr_python"} <= ratios
    assert "ours/xbatcher" in ratios or "skipped" in {line["measure"] for line in lines}
    assert all(line["value"] > 0 for line in lines if line["unit"])
    cases = {line["case"] for line in lines if line["measure"] == "rate"}
    assert {"rasterio, 0 workers", "rasterio, 2 workers"} <= cases


@pytest.mark.slow
def test_a_quick_comparison_of_trainings_prints_json_lines_with_the_ratios_last() -> None:
    lines = lines_of("train_step")
    assert {"ours/bare"} <= {line["measure"] for line in lines}
    assert all(line["value"] > 0 for line in lines)


@pytest.mark.slow
def test_a_quick_comparison_of_evaluations_prints_json_lines_with_the_ratios_last() -> None:
    lines = lines_of("evaluate")
    ratios = {line["case"] for line in lines if line["measure"] == "ours/read"}
    assert ratios == {"cog", "zarr"}
    assert all(line["value"] > 0 for line in lines)


@pytest.mark.slow
def test_a_quick_comparison_of_plans_prints_json_lines_with_the_ratios_last() -> None:
    lines = lines_of("plan")
    told = {line["case"] for line in lines if line["measure"] == "planned/taken"}
    assert told == {"lazy", "job", "job, 2 processes"}
    assert all(line["value"] > 0 for line in lines)


def lines_of(benchmark: str) -> list[dict[str, Any]]:
    """Lines of a quick run, ratios last."""
    command = [sys.executable, str(BENCHMARKS / f"{benchmark}.py"), "--quick"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=500)
    assert done.returncode == 0, done.stderr
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    assert all(list(line) == KEYS for line in lines)
    assert {line["benchmark"] for line in lines} == {benchmark}
    measures = [line["measure"] for line in lines]
    is_ratio = ["/" in measure for measure in measures]
    assert is_ratio == sorted(is_ratio)
    return lines


@pytest.mark.slow
def test_a_quick_measurement_of_graphs_prints_json_lines() -> None:
    lines = lines_of("graph")
    assert {line["measure"] for line in lines} >= {"build_s", "tasks_per_chunk", "job_peak_mb"}
    assert all(line["value"] > 0 for line in lines)
    tasks, blocks = (
        [line["value"] for line in lines if line["measure"] == measure]
        for measure in ("tasks_per_chunk", "blocks_per_chunk")
    )
    # In a small graph more chunks lie at an edge, with blocks cut for them alone.
    assert max(np.subtract(tasks, blocks)) <= 14
