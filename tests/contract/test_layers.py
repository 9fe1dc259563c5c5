"""Imports go down the layers; cli alone imports inside functions; what starts at once needs no torch."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import fewmask

ROOT = Path(fewmask.__file__).parent
PREDICTION = {"collection", "prediction", "inputs", "record", "restore", "windows", "trust", "reading"}
LAYERS = (
    {"__init__", "__main__", "cli"},
    {"api", "demo", "comparison", "label_audit"},
    {"job", "intake", "listing", "doctor", "failure"},
    {"report", "figures", "overlays", "changes"},
    {"order"},
    {"plan", "resolution", "training", "evaluation", "audit", "pairing", "exemplar"}
    | {"calibrate", "triage", "suggest", "review"},
    {"methods"} | PREDICTION,
    {"predictors", "data"},
    {
        "nets",
        "diffusion",
        "losses",
        "metrics",
        "dice_table",
        "statistics",
        "runs",
        "progress",
        "memory",
        "device",
        "deformation",
        "rows",
    },
    {"types", "config", "recipe", "seeding", "errors", "choice", "distributed"},
)
APART = ({"methods"}, PREDICTION), ({"predictors"}, {"data"})
"""Parts of one layer that never import each other."""
LAZY = {"__init__", "cli", "listing", "failure", "doctor", "config", "recipe", "runs", "progress", "device"}
"""Modules whose import must not bring in torch, monai, scipy or matplotlib: help and listings need them."""


def modules() -> list[Path]:
    return sorted(path for path in ROOT.rglob("*.py"))


def part(path: Path) -> str:
    """The first name below fewmask: `data` for data/grid.py, `plan` for plan.py."""
    return path.relative_to(ROOT).parts[0].removesuffix(".py")


def imported(tree: ast.AST) -> set[str]:
    """The parts of fewmask that a module imports when it is run, apart from what only type checkers see."""
    names: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module == "fewmask":
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and (node.module or "").startswith("fewmask."):
            names.add(node.module.split(".")[1])
        elif isinstance(node, ast.Import):
            names |= {alias.name.split(".")[1] for alias in node.names if alias.name.startswith("fewmask.")}
    return names - {"__version__"}


def without_type_checking(tree: ast.Module) -> ast.Module:
    body = [node for node in tree.body if not (isinstance(node, ast.If) and "TYPE_CHECKING" in ast.dump(node.test))]
    return ast.Module(body=body, type_ignores=[])


def layer_of(name: str) -> int:
    return next(index for index, layer in enumerate(LAYERS) if name in layer)


def test_every_module_has_a_layer() -> None:
    parts = {part(path) for path in modules()}
    listed = set().union(*LAYERS)
    assert parts - listed == set(), "put the new module into LAYERS"
    assert listed - parts == set(), "a module of LAYERS is gone"
    assert len(modules()) > 50


@pytest.mark.parametrize("path", modules(), ids=lambda path: str(path.relative_to(ROOT)))
def test_imports_go_down(path: Path) -> None:
    tree = without_type_checking(ast.parse(path.read_text(encoding="utf-8")))
    own = part(path)
    for other in imported(tree) - {own}:
        assert layer_of(other) >= layer_of(own), f"{own} imports {other}, which stands above it"
        for left, right in APART:
            assert not (own in left and other in right), f"{own} and {other} never import each other"
            assert not (own in right and other in left), f"{own} and {other} never import each other"


@pytest.mark.parametrize("path", modules(), ids=lambda path: str(path.relative_to(ROOT)))
def test_imports_are_absolute(path: Path) -> None:
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        assert not (isinstance(node, ast.ImportFrom) and node.level), f"{path.name}: relative import"


def test_methods_never_import_data() -> None:
    files = sorted((ROOT / "methods").glob("*.py"))
    for path in files:
        assert not imported(ast.parse(path.read_text(encoding="utf-8"))) & {
            "data",
            "training",
            "collection",
            "prediction",
        }, path.name
    assert len(files) >= 5


@pytest.mark.parametrize("name", sorted(LAZY))
def test_light_modules_stay_light(name: str) -> None:
    module = "fewmask" if name == "__init__" else f"fewmask.{name}"
    script = (
        f"import sys, {module}; print(*({{'torch', 'monai', 'scipy', 'matplotlib', 'nibabel'}} & set(sys.modules)))"
    )
    found = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == ""


def test_readers_and_scan_import_no_torch() -> None:
    script = (
        "import sys, fewmask.data.scan, fewmask.data.splits, fewmask.data.prepare; "
        "print('torch' in sys.modules, 'monai' in sys.modules)"
    )
    found = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert found.stdout.split() == ["False", "False"]
