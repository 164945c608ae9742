"""README: every Python block and every shell line of it runs, on small data; its links lead on."""

from __future__ import annotations

import re
import shlex
import shutil
import sys
import tomllib
import types
import warnings
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any

import geopandas as gpd
import numpy as np
import pytest
from dask.distributed import Client, LocalCluster
from readme_tools import README, ROOT, blocks, code, section, table
from shapely import box
from toy_files import SIDE, cells, scene_and_labels, write_scene
from toy_network import tiny_network

import seg4eo_xr as seg
from seg4eo_xr.cli import COMMANDS, main
from seg4eo_xr.scenes.class_files import write_classes

# What has to be smaller in a test; each stands in README.
SMALL = {
    "patch_size=256": f"patch_size={SIDE}",
    "block=2560": "block=64",
    "buffer=640": "buffer=8",
    "n_splits=5": "n_splits=2",
    "tile_size=8192": "tile_size=64",
}
SMALL_WORDS = {
    "--patch_size 256": f"--patch_size {SIDE}",
    "--patch_size 224": f"--patch_size {SIDE}",
    "--n_splits 5": "--n_splits 2",
    "--epochs 50": "--epochs 1",
    "--epochs 60": "--epochs 1",
}
QUICK = {"epochs": 1, "pretrained": False, "batch_size": 4}
PYTHON, SHELL = blocks("python"), "\n".join(blocks("sh")).splitlines()
CLUSTERS = section("On a cluster")
TOOLS = ("pip install", "pytest", "ruff", "python benchmarks/")
pytestmark = pytest.mark.filterwarnings("default::seg4eo_xr.Seg4EOWarning")


@pytest.fixture(scope="module")
def files(tmp_path_factory) -> Path:
    """All files that README's blocks read."""
    folder = tmp_path_factory.mktemp("readme")
    write_scene(folder)
    scene, labels = scene_and_labels((256, 320))
    scene.rio.to_raster(folder / "s2.tif")
    shutil.copy(folder / "s2.tif", folder / "s2.vrt")
    shutil.copy(folder / "I.tif", folder / "S.tif")
    cells(scene).to_file(folder / "G.gpkg")
    later = labels.copy(data=np.where(labels == 2, 3, labels).astype(np.uint8))
    for name, codes in {"2018": labels, "2024": later, "reference": labels}.items():
        seg.write_cog(codes.to_dataset(name="classes"), folder / f"{name}.tif")
    labels.rio.to_raster(folder / "worldcover.tif")
    write_classes(seg.ClassTable.from_codes(range(1, 7)), folder / "worldcover.csv")
    covers = cells(scene).assign(**{"class": [1 + number % 6 for number in range(80)]})
    covers.to_file(folder / "landcover.gpkg")
    covers.to_file(folder / "reference.gpkg")
    west, south, east, north = scene.rio.bounds()
    middle = (west + east) / 2
    halves = [box(west, south, middle, north), box(middle, south, east, north)]
    zones = gpd.GeoDataFrame({"name": ["west", "east"]}, geometry=halves, crs=scene.rio.crs)
    zones.to_file(folder / "districts.gpkg")
    sample = seg.draw_sample(folder / "reference.tif", size=20, minimum=2)
    seg.write_sample(sample.assign(reference=sample["stratum"]), folder / "judged.gpkg")
    return folder


@pytest.fixture
def work(files, tmp_path, monkeypatch) -> Path:
    """A folder with these files, and being there."""
    shutil.copytree(files, tmp_path, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def smaller(text: str, changes: dict[str, str]) -> str:
    for old, new in changes.items():
        text = text.replace(old, new)
    return text


def test_what_is_made_smaller_stands_there():
    assert not [text for text in SMALL if not any(text in block for block in PYTHON)]
    assert not [text for text in SMALL_WORDS if not any(text in line for line in SHELL)]


def test_every_python_block_runs(work, monkeypatch):

    def quick(**options: Any) -> seg.TrainConfig:
        return TrainConfig(**(QUICK | options))

    TrainConfig = seg.TrainConfig
    monkeypatch.setattr(seg, "TrainConfig", quick)
    names: dict[str, Any] = {}
    with tiny_network("seg4eo_xr.training.fit"), warnings.catch_warnings():
        for block in PYTHON:
            if block not in CLUSTERS:
                exec(compile(smaller(block, SMALL), "README.md", "exec"), names)
    assert {"run", "cv", "job", "report", "change"} <= set(names)
    for name in ("map.tif", "confidence.tif", "map.zarr", "map.parquet", "report.png"):
        assert (work / name).exists()


class StubCluster(LocalCluster):
    """Any cluster, on this machine and without processes."""

    def __init__(self, **_: object) -> None:
        super().__init__(n_workers=0, processes=False, dashboard_address=":0")


@pytest.mark.parametrize("block", blocks("python", CLUSTERS))
def test_every_cluster_gives_a_client(block, monkeypatch):
    for module, name in {
        "dask_jobqueue": "SLURMCluster",
        "dask_kubernetes.operator": "KubeCluster",
        "coiled": "Cluster",
    }.items():
        found = types.ModuleType(module)
        setattr(found, name, StubCluster)
        monkeypatch.setitem(sys.modules, module, found)
    monkeypatch.setitem(sys.modules, "dask_kubernetes", types.ModuleType("dask_kubernetes"))
    small = re.sub(r"Client\(.*?\)", 'Client(processes=False, dashboard_address=":0")', block)
    names: dict[str, Any] = {}
    exec(compile(re.sub(r"scale\(.*?\)", "scale(1)", small), "README.md", "exec"), names)
    try:
        assert isinstance(names["client"], Client)
    finally:
        names["client"].close()
        if "cluster" in names:
            names["cluster"].close()


def run_line(line: str) -> int:
    line, _, file = line.partition(" > ")
    words = shlex.split(smaller(line, SMALL_WORDS))[1:]
    if words[0] in ("train", "cross-validate") and "--config" not in words:
        words += ["--no_pretrained", "--batch_size", "4", "--epochs", "1"]
    if not file:
        return main(words)
    with open(file, "w", encoding="utf-8") as target, redirect_stdout(target):
        return main(words)


def test_every_line_of_the_shell_runs(work, capsys):
    with tiny_network("seg4eo_xr.training.fit"):
        for line in SHELL:
            if line.startswith("seg4eo-xr"):
                assert run_line(line) == 0, f"{line}\n{capsys.readouterr().err}"
    for name in ("P.zarr", "RUN/model_best_iou.pth", "map.tif", "map_confidence.tif", "run.toml"):
        assert (work / name).exists()
    tomllib.loads(Path("run.toml").read_text(encoding="utf-8"))


def test_every_command_is_shown():
    shown = {name for name in COMMANDS if any(f"seg4eo-xr {name}" in line for line in SHELL)}
    assert shown == set(COMMANDS)


def test_all_other_lines_are_those_of_tools():
    lines = [line for line in SHELL if line and not line.startswith("seg4eo-xr")]
    rows = [row[0] for title in ("Install", "Contributing") for row in table(title)]
    lines += [line for cell in rows for line in code(cell) if " " in line]
    assert not [line for line in lines if not line.startswith(TOOLS)]
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    extras = {extra for line in lines for extra in re.findall(r"\.\[(\w+)\]", line)}
    assert extras <= set(project["optional-dependencies"])
    scripts = re.findall(r"benchmarks/\w+\.py", README)
    assert not [name for name in scripts if not (ROOT / name).is_file()]


def test_every_link_leads_somewhere():
    targets = re.findall(r"\]\(([^)]+)\)", README)
    titles = re.findall(r"^#+ (.*)$", README, re.MULTILINE)
    headings = {title.replace(" ", "-").lower() for title in titles}
    for target in targets:
        if target.startswith("#"):
            assert target[1:] in headings
        elif "://" not in target:
            assert (ROOT / target).exists(), target


def test_it_is_short():
    assert len(README.splitlines()) < 450
