"""The notebooks: short, stripped, illustrated, and running on small data without a network."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from unittest import mock

import nbformat
import pytest
from nbclient import NotebookClient

import seg4eo_xr as seg
from seg4eo_xr.testing import synthetic_sentinel2

EXAMPLES = Path(__file__).parents[1] / "examples"
NOTEBOOKS = sorted(EXAMPLES.glob("*.ipynb"))
STORIES = (
    "01_first_map",
    "02_prepare_patches",
    "03_train_and_compare",
    "04_map_a_large_scene",
    "05_how_good_is_my_map",
    "06_sentinel2_from_stac",
    "07_continental_plan",
)
# Those of a few seconds run always.
_FAST = ("02_prepare_patches",)
_MOST_CELLS = 25
_CELL_SECONDS = 300
# Warnings of the library are part of a story; any other means that something is used wrongly.
_WARNING = re.compile(r"^\S+:\d+: (\w*Warning): ", re.MULTILINE)
# Except one that rasterio silences inside rasterize, in a way that another thread can undo.
_UNDONE = {"NotGeoreferencedWarning"}

each_notebook = pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)


def read(path):
    return nbformat.read(path, as_version=4)


def code_of(notebook):
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def test_there_is_one_notebook_a_story():
    assert tuple(path.stem for path in NOTEBOOKS) == STORIES


@each_notebook
def test_a_notebook_is_kept_without_traces_of_a_run(path):
    notebook = read(path)
    nbformat.validate(notebook)
    for cell in code_of(notebook):
        assert cell.outputs == []
        assert cell.execution_count is None
    assert all(cell.metadata == {} for cell in notebook.cells)
    assert notebook.metadata == {
        "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
        "language_info": {"name": "python"},
    }


@each_notebook
def test_a_notebook_is_a_short_story_with_pictures(path):
    notebook = read(path)
    assert len(notebook.cells) <= _MOST_CELLS
    assert notebook.cells[0].source.startswith("# ")
    assert notebook.cells[-1].cell_type == "markdown" or "cleanup" in notebook.cells[-1].source
    assert any(".plot" in cell.source or "plot_" in cell.source for cell in code_of(notebook))
    story = "".join(cell.source for cell in notebook.cells)
    for target in re.findall(r"\]\((\w+\.ipynb)\)", story):
        assert (EXAMPLES / target).is_file()


@each_notebook
def test_a_notebook_names_no_place_of_a_machine(path):
    text = path.read_text(encoding="utf-8")
    for place in ("/home/", "/root", "/tmp", "/work", "/Users/", "C:\\\\"):
        assert place not in text


def runs():
    for path in NOTEBOOKS:
        marks = [] if path.stem in _FAST else [pytest.mark.slow, pytest.mark.timeout(900)]
        yield pytest.param(path, id=path.stem, marks=marks)


@pytest.mark.parametrize("path", list(runs()))
def test_a_notebook_runs_and_shows_pictures(path, tmp_path):
    notebook = read(path)
    NotebookClient(
        notebook,
        timeout=_CELL_SECONDS,
        kernel_name="python3",
        resources={"metadata": {"path": str(tmp_path)}},
    ).execute()
    outputs = [output for cell in code_of(notebook) for output in cell.outputs]
    pictures = [output for output in outputs if "image/png" in output.get("data", {})]
    assert pictures
    told = "".join(output.text for output in outputs if output.output_type == "stream")
    assert set(_WARNING.findall(told)) <= own_warnings() | _UNDONE
    assert list(tmp_path.iterdir()) == []  # all that it writes goes into a temporary folder


def own_warnings():
    """Names of the library's warnings."""
    return {name for name in seg.__all__ if name.endswith("Warning")}


def run_cell(name, word, variables):
    """Run the first cell of a notebook that has a word in it."""
    source = next(cell.source for cell in code_of(read(EXAMPLES / name)) if word in cell.source)
    exec(compile(source, name, "exec"), variables)


def test_without_the_extra_for_catalogues_a_notebook_names_it():
    with (
        mock.patch("importlib.util.find_spec", return_value=None),
        pytest.raises(ImportError, match=re.escape('pip install -e ".[stac]"')),
    ):
        run_cell("06_sentinel2_from_stac.ipynb", "find_spec", {})


def test_without_the_extra_for_web_maps_a_notebook_names_it():
    scene, labels = synthetic_sentinel2((32, 32))
    variables = {"unseen": scene, "result": labels.to_dataset(name="classes")}
    with mock.patch.dict(sys.modules, {"folium": None}):
        run_cell("01_first_map.ipynb", "explore", variables)
    assert "'.[notebook]'" in variables["page"]


def test_the_table_of_notebooks_names_each():
    text = (EXAMPLES / "README.md").read_text(encoding="utf-8")
    assert tuple(re.findall(r"\]\((\w+)\.ipynb\)", text)) == STORIES
