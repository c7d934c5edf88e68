"""The rules of the house: imports run downward, without a cycle; no global; cfg stops at the builders."""

from __future__ import annotations

import ast
import importlib
from functools import cache
from pathlib import Path

import pytest

PACKAGE = "maskrcnn_benchmark"
ROOT = Path(__file__).parents[1]
FILES = sorted((ROOT / PACKAGE).rglob("*.py"))

# A part may import those of a lower height, and itself. Parts of equal height do not know each other.
HEIGHT = {
    "__main__": 9,
    "commands": 8,
    "models": 7,
    "benchmark": 7,
    "analysis": 7,
    "weights": 6,
    "engine": 5,
    "modeling": 4,
    "data": 4,
    "solver": 4,
    "structures": 3,
    "layers": 2,
    "html": 1,
    "utils": 1,
    "config": 0,
}
# A part's folders, each of which stands on what is listed with a lower height; "" is the part's root.
FLOORS = {"benchmark": {"": 0, "measure": 1, "report": 1, "run": 2}}
FORBIDDEN_NAMES = ("utils.py", "misc", "helper")
# Paths of old that user code imports: a line or two that lead to where things are now.
DOORS = {
    "maskrcnn_benchmark.config.paths_catalog",
    "maskrcnn_benchmark.data.datasets.evaluation.coco",
    "maskrcnn_benchmark.models.load",
    "maskrcnn_benchmark.utils.checkpoint",
}
CFG_NAMES = ("cfg", "_cfg")
BUILDERS = ("build_", "make_", "_build_", "_make_")
# The family's signatures that take the config.
CFG_EXCEPTIONS = {("maskrcnn_benchmark/weights/checkpoint.py", "DetectronCheckpointer.__init__")}


def name_of(path: Path) -> str:
    """The dotted module name of a file; a package's own for its __init__.py."""
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {name_of(path): path for path in FILES}


@cache
def tree_of(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"), filename=str(path))


def imports_of(path: Path) -> set[str]:
    """Every module of the package that a file imports, anywhere in it."""
    found = set()
    for node in ast.walk(tree_of(path)):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import in line {node.lineno}"
            for alias in node.names:
                submodule = f"{node.module}.{alias.name}"
                found.add(submodule if submodule in MODULES else str(node.module))
    return {name for name in found if name.split(".")[0] == PACKAGE}


def part_of(module: str) -> str | None:
    """engine, modeling, ...; None for the package itself."""
    parts = module.split(".")
    return parts[1] if len(parts) > 1 else None


def floor_of(module: str) -> str:
    """The folder within its part: run, measure, ...; "" for the part's root."""
    parts = module.split(".")
    floor = parts[2] if len(parts) > 2 else ""
    return floor if floor in FLOORS[parts[1]] else ""


def downward(importer: str, imported: str) -> bool:
    """Whether an import is allowed."""
    above, below = part_of(importer), part_of(imported)
    if above is None or below is None:
        return True
    if above == below and above in FLOORS:
        upper, lower = floor_of(importer), floor_of(imported)
        return upper == lower or FLOORS[above][upper] > FLOORS[above][lower]
    return above == below or HEIGHT[above] > HEIGHT[below]


def test_the_walk_finds_what_it_looks_for() -> None:
    """A walk that found nothing would pass everything."""
    assert len(MODULES) > 50
    assert {part_of(module) for module in MODULES} == {None, *HEIGHT}
    assert f"{PACKAGE}.structures.bounding_box" in imports_of(MODULES[f"{PACKAGE}.structures.boxlist_ops"])
    assert not downward(f"{PACKAGE}.structures.x", f"{PACKAGE}.modeling.y")
    assert not downward(f"{PACKAGE}.data.x", f"{PACKAGE}.modeling.y")
    assert not downward(f"{PACKAGE}.benchmark.report.x", f"{PACKAGE}.benchmark.measure.y")
    assert not downward(f"{PACKAGE}.benchmark.row", f"{PACKAGE}.benchmark.report.y")
    assert all(
        (ROOT / PACKAGE / part / floor).is_dir() for part, floors in FLOORS.items() for floor in floors
    )


@pytest.mark.parametrize("module", MODULES)
def test_imports_run_downward(module: str) -> None:
    if module in DOORS:
        return
    upward = [name for name in sorted(imports_of(MODULES[module])) if not downward(module, name)]
    assert not upward, f"{module} imports {', '.join(upward)}, which does not lie below it"


@pytest.mark.parametrize("module", sorted(DOORS))
def test_doors_open_and_hold_nothing_of_their_own(module: str) -> None:
    found = importlib.import_module(module)
    assert found.__all__ and all(hasattr(found, name) for name in found.__all__)
    _, *statements = tree_of(MODULES[module]).body  # without the docstring
    assert all(isinstance(each, (ast.ImportFrom, ast.Assign)) for each in statements)
    code = MODULES[module].read_text(encoding="utf-8").splitlines()
    assert len([line for line in code if line.strip()]) <= 8


@pytest.mark.parametrize("module", [m for m in MODULES if part_of(m) == "engine"])
def test_engine_imports_neither_data_nor_modeling(module: str) -> None:
    """Model, loader and evaluator arrive as arguments."""
    found = [name for name in sorted(imports_of(MODULES[module])) if part_of(name) in ("data", "modeling")]
    assert not found, f"{module} imports {', '.join(found)}"


@pytest.mark.parametrize("module", MODULES)
def test_imports_exist(module: str) -> None:
    missing = [name for name in sorted(imports_of(MODULES[module])) if name not in MODULES]
    assert not missing, f"{module} imports {', '.join(missing)}, which is no module of the package"


def test_no_cycle() -> None:
    """Modules can be sorted so that each imports only earlier ones."""
    waiting = {module: imports_of(path) & set(MODULES) - {module} for module, path in MODULES.items()}
    while ready := [module for module, needs in waiting.items() if not needs & set(waiting)]:
        for module in ready:
            del waiting[module]
    assert not waiting, f"modules that import each other, or one that does: {', '.join(sorted(waiting))}"


@pytest.mark.parametrize("module", MODULES)
def test_no_global_and_no_star_import(module: str) -> None:
    for node in ast.walk(tree_of(MODULES[module])):
        assert not isinstance(node, ast.Global), f"{module}: global in line {node.lineno}"
        if isinstance(node, ast.ImportFrom):
            is_star = any(alias.name == "*" for alias in node.names)
            assert not is_star, f"{module}: star import in line {node.lineno}"


def test_file_names_say_what_is_inside() -> None:
    bad = [path for path in FILES if path.name.startswith(FORBIDDEN_NAMES)]
    assert not bad, f"name these files after what they hold: {bad}"


@pytest.mark.parametrize("module", [m for m in MODULES if part_of(m) != "config"])
def test_cfg_stops_at_the_builders(module: str) -> None:
    """Nothing but functions called build_... or make_... takes or reads a config."""
    path = MODULES[module]
    uses = [
        f"line {line} in {scope or 'the module'}"
        for scope, line in cfg_uses(tree_of(path), "")
        if (str(path.relative_to(ROOT)), scope) not in CFG_EXCEPTIONS
    ]
    assert not uses, f"{module}: cfg outside a builder: {'; '.join(uses)}"


def cfg_uses(node: ast.AST, scope: str) -> list[tuple[str, int]]:
    """(enclosing scope, line) of every use of a name or attribute called cfg outside builders."""
    uses: list[tuple[str, int]] = []
    for child in ast.iter_child_nodes(node):
        inner = scope
        if isinstance(child, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
            if not isinstance(child, ast.ClassDef) and child.name.startswith(BUILDERS):
                continue
            inner = f"{scope}.{child.name}" if scope else child.name
        name = getattr(child, "id", None) or getattr(child, "arg", None) or getattr(child, "attr", None)
        if name in CFG_NAMES and not isinstance(child, ast.keyword):
            uses.append((inner, getattr(child, "lineno", 0)))
        uses += cfg_uses(child, inner)
    return uses
