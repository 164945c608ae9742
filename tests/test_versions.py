"""Laws of what is required: what is imported is named, with the lowest version that is tested."""

import ast
import re
import subprocess
import sys
import tomllib
from importlib.metadata import packages_distributions
from pathlib import Path

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
EXTRAS = PROJECT["optional-dependencies"]


def names(requirements: list[str]) -> set[str]:
    return {re.split(r"[\[<>=]", text)[0].lower().replace("_", "-") for text in requirements}


def imported() -> list[set[str]]:
    """Distributions that hold what the package imports, one set a name; namespaces have several."""
    found = set()
    for path in (ROOT / "seg4eo_xr").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                found |= {alias.name.split(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
                found.add(node.module.split(".")[0])
    known, own = packages_distributions(), {"seg4eo_xr", *sys.stdlib_module_names}
    return [names(known[name]) for name in sorted(found - own)]


def test_what_is_imported_is_required_and_the_other_way_round():
    required = names(PROJECT["dependencies"])
    # come with dask[distributed] and with segmentation-models-pytorch
    brought = {"distributed", "huggingface-hub", "timm"}
    offered = names([text for extra in EXTRAS.values() for text in extra])
    assert all(holders & (required | brought | offered) for holders in imported())
    assert required <= set().union(*imported())


def test_what_an_extra_brings_is_tested():
    assert names(EXTRAS["stac"]) | names(EXTRAS["s3"]) <= names(EXTRAS["test"])


def test_every_requirement_names_its_lowest_version():
    done = subprocess.run(
        [sys.executable, ROOT / ".ci" / "lowest"], capture_output=True, text=True, check=True
    )
    lines = done.stdout.split()
    assert names(lines) == names([*PROJECT["dependencies"], *EXTRAS["test"]])
    assert all(re.fullmatch(r"[\w.-]+==[\d.]+", line) for line in lines)
