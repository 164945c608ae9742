"""What the library tells: warnings of one family, and one tree of loggers."""

import ast
import logging
import subprocess
import sys
import textwrap
import warnings
from pathlib import Path

import geopandas as gpd
import pytest
from shapely import Polygon

import seg4eo_xr as seg
from seg4eo_xr.testing import synthetic_sentinel2

PACKAGE = Path(seg.__file__).parent
CATEGORIES = sorted(name for name in seg.__all__ if name.endswith("Warning"))
# Modules that give warnings on as they come.
PASSING_ON = ("seg4eo_xr/notices.py", "seg4eo_xr/jobs/tally.py")


def modules() -> dict[str, ast.Module]:
    return {
        str(path.relative_to(PACKAGE.parent)): ast.parse(path.read_text(encoding="utf-8"))
        for path in sorted(PACKAGE.rglob("*.py"))
    }


def calls(tree: ast.Module, owners: set[str], names: set[str]) -> list[ast.Call]:
    """Calls such as ``warnings.warn(...)``: of `names`, on a variable among `owners`."""
    return [
        node
        for node in ast.walk(tree)
        if isinstance(node, ast.Call)
        and isinstance(node.func, ast.Attribute)
        and node.func.attr in names
        and isinstance(node.func.value, ast.Name)
        and node.func.value.id in owners
    ]


def warnings_of(tree: ast.Module) -> list[ast.Call]:
    """Calls of ``warnings.warn(...)``, and of the ``warn(...)`` that listeners hear."""
    heard = [
        node
        for node in ast.walk(tree)
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "warn"
    ]
    return calls(tree, {"warnings"}, {"warn"}) + heard


class TestCategories:
    def test_every_warning_has_a_public_category_and_a_place(self):
        found, wrong = set(), []
        for name, tree in modules().items():
            for call in () if name in PASSING_ON else warnings_of(tree):
                category = ast.unparse(call.args[1]) if len(call.args) > 1 else "none"
                found.add(category)
                if category not in CATEGORIES or "stacklevel" not in {k.arg for k in call.keywords}:
                    wrong.append(f"{name}:{call.lineno}: {category}")
        assert not wrong
        assert found == set(CATEGORIES) - {"Seg4EOWarning"}

    def test_every_category_is_public(self):
        defined = {
            node.name
            for tree in modules().values()
            for node in ast.walk(tree)
            if isinstance(node, ast.ClassDef) and node.name.endswith("Warning")
        }
        assert defined == set(CATEGORIES)

    @pytest.mark.parametrize("name", CATEGORIES)
    def test_all_are_of_one_family_and_documented(self, name):
        category = getattr(seg, name)
        assert issubclass(category, seg.Seg4EOWarning)
        assert category.__doc__
        assert category.__doc__ != seg.Seg4EOWarning.__doc__ or category is seg.Seg4EOWarning

    @pytest.mark.parametrize("category", [seg.Seg4EOWarning, seg.LabelWarning])
    def test_a_filter_silences_the_category_and_leaves_others(self, category, bow_tie):
        scene, _ = synthetic_sentinel2((64, 64))
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            warnings.filterwarnings("ignore", category=category)
            warnings.warn("another", UserWarning, stacklevel=1)
            seg.open_labels(bow_tie(scene), like=scene)
        assert [str(warning.message) for warning in caught] == ["another"]

    def test_a_warning_points_at_the_line_of_the_caller(self, bow_tie):
        scene, _ = synthetic_sentinel2((64, 64))
        with pytest.warns(seg.LabelWarning) as caught:
            seg.open_labels(bow_tie(scene), like=scene)
        assert caught[0].filename == __file__


@pytest.fixture
def bow_tie():
    """Make labels of which one polygon crosses itself."""

    def make(scene):
        left, bottom, right, top = scene.rio.bounds()
        corners = [(left, bottom), (right, top), (right, bottom), (left, top)]
        return gpd.GeoDataFrame(geometry=[Polygon(corners)], crs=scene.rio.crs)

    return make


class TestLog:
    def test_loggers_are_named_as_their_modules(self):
        made = [
            (name, ast.unparse(call))
            for name, tree in modules().items()
            for call in calls(tree, {"logging"}, {"getLogger"})
            if "/cli/" not in name
        ]
        own = [name for name, code in made if code == "logging.getLogger(__name__)"]
        assert {"seg4eo_xr/scenes/open.py", "seg4eo_xr/training/fit.py"} < set(own)
        others = {name for name, code in made if code != "logging.getLogger(__name__)"}
        # those that turn the logs of others down, or bring that of workers here
        assert others == {
            "seg4eo_xr/notices.py",
            "seg4eo_xr/training/devices.py",
            "seg4eo_xr/jobs/own_worker.py",
            "seg4eo_xr/jobs/worker_log.py",
        }

    def test_what_a_user_must_see_is_a_warning_and_no_line_of_a_log(self):
        loud = {"warning", "error", "critical", "exception"}
        found = [
            f"{name}:{call.lineno}"
            for name, tree in modules().items()
            for call in calls(tree, {"_LOGGER"}, loud)
        ]
        assert not found

    def test_importing_shows_nothing_and_sets_no_level_nor_handler(self):
        code = """
            import logging, seg4eo_xr
            root, tree = logging.getLogger(), logging.getLogger("seg4eo_xr")
            print(root.handlers, root.level, tree.handlers, tree.level, tree.propagate)
        """
        done = subprocess.run(
            [sys.executable, "-c", textwrap.dedent(code)],
            capture_output=True,
            text=True,
            check=True,
        )
        assert done.stdout.strip() == "[] 30 [<NullHandler (NOTSET)>] 0 True"
        assert not done.stderr

    def test_a_log_tells_what_was_opened_and_what_was_written(self, tmp_path, caplog):
        scene, labels = synthetic_sentinel2((64, 64))
        scene.rio.to_raster(tmp_path / "scene.tif")
        labels.rio.to_raster(tmp_path / "labels.tif")
        with caplog.at_level(logging.INFO, logger="seg4eo_xr"):
            opened = seg.open_scene(tmp_path / "scene.tif")
            seg.open_labels(tmp_path / "labels.tif", like=opened)
            seg.write_classes(seg.ClassTable.from_codes([0, 1]), tmp_path / "classes.csv")
        told = {(record.name, record.levelname, record.getMessage()) for record in caplog.records}
        about = f"64 × 64 px, bands {', '.join(scene.band.values)}, uint16, {scene.rio.crs}"
        opening = f"opened {tmp_path / 'scene.tif'}: {about}"
        assert ("seg4eo_xr.scenes.open", "INFO", opening) in told
        assert ("seg4eo_xr.staging", "INFO", f"wrote {tmp_path / 'classes.csv'}") in told
        assert any(name == "seg4eo_xr.scenes.labels" for name, *_ in told)
