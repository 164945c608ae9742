"""The house: who may import whom, what importing costs, what is public and documented."""

import ast
import os
import subprocess
import sys
from pathlib import Path

import pytest

import seg4eo_xr as seg

PACKAGE = Path(seg.__file__).parent
STAGES = (
    "geometry",
    "scenes",
    "patches",
    "models",
    "training",
    "inference",
    "planning",
    "maps",
    "jobs",
    "postprocessing",
    "areas",
    "evaluation",
    "calibration",
)
FACES = ("plotting", "accessor", "cli", "demo", "testing")


def imports_of(path: Path) -> set[str]:
    """Parts of this package that a module imports, as 'scenes' or 'progress'."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
        if isinstance(node, ast.ImportFrom) and node.module:
            names = [node.module]
        parts = [name.split(".") for name in names]
        found |= {part[1] for part in parts if part[0] == "seg4eo_xr" and len(part) > 1}
    return found


def test_a_stage_imports_only_stages_before_it_and_nothing_imports_faces():
    wrong = []
    for position, stage in enumerate(STAGES):
        helpers = {"canvas", "html", "options", "pages", "progress", "running", "staging"}
        allowed = {*STAGES[: position + 1], *helpers, "notices"}
        for path in sorted((PACKAGE / stage).glob("*.py")):
            wrong += [f"{path.name}: {name}" for name in sorted(imports_of(path) - allowed)]
    assert not wrong


def test_only_the_demo_needs_the_testing_tools():
    users = {
        path.name
        for path in PACKAGE.rglob("*.py")
        if "testing" in imports_of(path) and "testing" not in path.parts
    }
    assert users == {"demo.py"}


@pytest.mark.parametrize("statement", ["import seg4eo_xr", "import seg4eo_xr.cli"])
def test_importing_loads_neither_torch_nor_a_plotting_library(statement):
    heavy = "{'torch', 'lightning', 'matplotlib', 'segmentation_models_pytorch', 'geopandas'}"
    code = f"{statement}, sys; print(sorted({heavy} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_a_setting_of_dask_under_which_nothing_works_is_told():
    done = subprocess.run(
        [sys.executable, "-c", "import seg4eo_xr"],
        capture_output=True,
        text=True,
        env={**os.environ, "DASK_ARRAY__QUERY_PLANNING": "True"},
    )
    assert done.returncode == 1
    assert "ImportError: dask's array.query-planning is on" in done.stderr
    assert "DASK_ARRAY__QUERY_PLANNING=False" in done.stderr


def test_every_public_name_is_there_and_documented():
    assert sorted(seg._HOME) == sorted(seg.__all__)
    for name in seg.__all__:
        assert name in dir(seg)
        assert getattr(seg, name).__doc__, name


def test_an_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="open_scenes"):
        seg.open_scenes  # noqa: B018


def test_every_module_function_and_class_is_documented():
    lacking = []
    for path in PACKAGE.rglob("*.py"):
        tree = ast.parse(path.read_text())
        kinds = (ast.FunctionDef, ast.ClassDef)
        public = [n for n in tree.body if isinstance(n, kinds) and not n.name.startswith("_")]
        public = [n for n in public if "overload" not in map(ast.unparse, n.decorator_list)]
        lacking += [f"{path.name}:{n.name}" for n in public if not ast.get_docstring(n)]
        lacking += [] if ast.get_docstring(tree) else [path.name]
    assert not lacking


def test_nothing_is_read_in_a_way_that_runs_code():
    forbidden = ("pickle.load", "allow_pickle=True", "weights_only=False", "eval(", "exec(")
    for path in PACKAGE.rglob("*.py"):
        code = path.read_text().replace(".eval()", "")
        for word in forbidden:
            assert word not in code, f"{path.name}: {word}"
