"""The words of the house: whatever is public says what it is, and what it takes and gives."""

from __future__ import annotations

import ast
import inspect
import itertools
import json
import re
from importlib import import_module
from pathlib import Path

import pytest

import seg4eo_xr as seg
from seg4eo_xr import accessor, html
from seg4eo_xr.plotting import __all__ as plotting_names

PACKAGE = Path(seg.__file__).parent
CHECKOUT = PACKAGE.parent
ACCESSORS = (accessor.SceneAccessor, accessor.MapAccessor)
# Methods that bear another name than the function they pass their arguments to.
OTHER_NAMES = {
    "to_cog": "write_cog",
    "to_zarr": "write_zarr",
    "to_region": "write_region",
    "statistics": "map_statistics",
    "change": "map_change",
    "overlay": "plotting.plot_overlay",
    "compare": "plotting.plot_comparison",
    "explore": "plotting.explore",
}


def public_nodes(path: Path) -> list[tuple[str, ast.AST]]:
    """Classes, functions, and methods and properties of classes, that no underscore hides."""
    kinds = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)
    found = []
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        if isinstance(node, kinds) and not node.name.startswith("_"):
            inner = node.body if isinstance(node, ast.ClassDef) else []
            members = [part for part in inner if isinstance(part, kinds)]
            found += [(node.name, node)]
            found += [(f"{node.name}.{m.name}", m) for m in members if not m.name.startswith("_")]
    return found


def is_described_elsewhere(node: ast.AST) -> bool:
    """Whether a signature repeats one that is described, as that of an overload."""
    decorators = " ".join(map(ast.unparse, getattr(node, "decorator_list", ())))
    return bool(re.search(r"overload|\.setter", decorators))


def test_no_public_name_lacks_a_docstring():
    lacking = [
        f"{path.relative_to(PACKAGE)}: {name}"
        for path in sorted(PACKAGE.rglob("*.py"))
        for name, node in public_nodes(path)
        if not is_described_elsewhere(node) and not ast.get_docstring(node)
    ]
    assert not lacking


def section(text: str, title: str) -> str:
    """Body of a NumPy section, or nothing."""
    found = re.search(rf"^{title}\n-+\n(.*?)(?=^\w[\w ]*\n-+$|\Z)", text, re.M | re.S)
    return found[1] if found else ""


def described(text: str) -> set[str]:
    """Names in the section Parameters: ``a, b`` and ``**changes`` each by itself."""
    head = r"^(\*{0,2}\w+(?:, \*{0,2}\w+)*)(?: : .*)?$"
    heads = re.findall(head, section(text, "Parameters"), re.M)
    return {name.strip("* ") for head in heads for name in head.split(",")}


def described_fields(kind: type) -> set[str]:
    """Fields of a class of options, each with a text below it, which the command line shows too."""
    body = ast.parse(inspect.getsource(kind)).body[0].body
    return {
        field.target.id
        for field, text in itertools.pairwise(body)
        if isinstance(field, ast.AnnAssign) and isinstance(getattr(text, "value", 0), ast.Constant)
    }


def taken(function: object) -> set[str]:
    return {name for name in inspect.signature(function).parameters if name[0] != "_"} - {"self"}


def public_objects() -> list[tuple[str, object]]:
    plotting = import_module("seg4eo_xr.plotting")
    found = [(name, getattr(seg, name)) for name in seg.__all__]
    return found + [(f"plotting.{name}", getattr(plotting, name)) for name in plotting_names]


OBJECTS = dict(public_objects())
FUNCTIONS = {name: value for name, value in OBJECTS.items() if inspect.isfunction(value)}
CLASSES = {
    name: value
    for name, value in OBJECTS.items()
    if inspect.isclass(value) and not issubclass(value, Warning)
}


@pytest.mark.parametrize("name", sorted({**FUNCTIONS, **CLASSES}))
def test_every_parameter_of_the_public_interface_is_described(name):
    subject = OBJECTS[name]
    told = described(inspect.getdoc(subject))
    if name in CLASSES:
        for kind in subject.__mro__:
            if not kind.__module__.startswith("seg4eo_xr"):
                continue
            told |= described(inspect.getdoc(kind)) | described_fields(kind)
    assert not taken(subject) - told


@pytest.mark.parametrize("name", sorted(FUNCTIONS))
def test_every_public_function_tells_what_it_gives_or_refuses(name):
    told = inspect.getdoc(FUNCTIONS[name])
    returns_nothing = inspect.signature(FUNCTIONS[name]).return_annotation == "None"
    assert section(told, "Raises" if returns_nothing else "Returns")


def written_examples() -> str:
    """What README and the notebooks show."""
    texts = [(CHECKOUT / "README.md").read_text(encoding="utf-8")]
    for path in sorted((CHECKOUT / "examples").glob("*.ipynb")):
        cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
        texts += ["".join(cell["source"]) for cell in cells if cell["cell_type"] == "code"]
    return "\n".join(texts)


def test_every_public_function_has_an_example():
    texts = written_examples()
    # Whole runs of minutes are shown by README and the notebooks, which are run as well.
    lacking = [
        name
        for name, function in FUNCTIONS.items()
        if ">>> " not in inspect.getdoc(function)
        and not re.search(rf"\b{name.split('.')[-1]}\b", texts)
        and name != "run_demo"
    ]
    assert not lacking


def test_no_example_is_skipped():
    for path in PACKAGE.rglob("*.py"):
        assert "doctest: +SKIP" not in path.read_text(encoding="utf-8"), path.name


def methods(kind: type) -> dict[str, object]:
    return {name: value for name, value in vars(kind).items() if not name.startswith("_")}


@pytest.mark.parametrize("kind", ACCESSORS)
def test_a_method_of_the_accessors_points_to_the_function_it_is(kind):
    for name, method in methods(kind).items():
        if name == "plot":
            continue
        function = OTHER_NAMES.get(name, name)
        assert f"`seg4eo_xr.{function}`" in " ".join(method.__doc__.split()), name
        assert function in OBJECTS, name


@pytest.mark.parametrize("kind", ACCESSORS)
def test_a_method_of_the_accessors_takes_what_its_function_takes(kind):
    for name, method in methods(kind).items():
        if name in ("plot", "normalize"):
            continue
        own = inspect.signature(method).parameters
        theirs = inspect.signature(OBJECTS[OTHER_NAMES.get(name, name)]).parameters
        catches_all = any(one.kind is one.VAR_KEYWORD for one in own.values())
        assert catches_all or set(theirs) - set(own) <= {next(iter(theirs))}, name
        kept = {key for key, one in own.items() if one.kind is not one.VAR_KEYWORD} - {"self"}
        assert kept <= set(theirs), name
        for key in kept:
            assert own[key].default == theirs[key].default or name == "explore", (name, key)


def test_whatever_shows_itself_in_a_notebook_is_framed_alike():
    """A method `_repr_html_` is made of `card_html`, or of other objects' `_repr_html_`."""
    shows = 0
    for path in PACKAGE.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.FunctionDef) and node.name == "_repr_html_":
                shows += 1
                assert re.search(r"card_html|describe_html", ast.unparse(node)), path.name
    assert shows > 12
    assert "card_html" in inspect.getsource(import_module("seg4eo_xr.patches.report"))
    assert html.card_html("kind", "name").startswith('<div class="seg4eo">')
