"""Imports run one way: a file imports only from floors below its own, and wings never import each other."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]

GROUND = {"emolabel.labels": 1, "emolabel.errors": 1, "emolabel.version": 1}
FLOORS = {
    "emolabel.types": 2,
    "emolabel.sampling": 2,
    "emolabel.config": 2,
    "emolabel.schema": 2,
    "emolabel.metrics": 2,
    "emolabel.media": 3,
    "emolabel.faces": 3,
    "emolabel.models": 3,
    "emolabel.pipeline": 4,
    "emolabel.demo": 5,
    "emolabel.api": 5,
    "emolabel.summary": 5,
    "emolabel.cli": 5,
    "emolabel.__main__": 6,
    "emolabel": 6,
    "training": 5,
    "jobs": 6,
}
WINGS = ("emolabel.media", "emolabel.faces", "emolabel.models")
RAY_ALLOWED = ("emolabel.pipeline", "training.run_folds", "jobs")


def unit_of(module: str) -> str | None:
    """The longest known prefix of a dotted name."""
    known = [name for name in {**GROUND, **FLOORS} if module == name or module.startswith(name + ".")]
    return max(known, key=len) if known else None


def imports_of(path: Path) -> set[str]:
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative imports hide the direction"
            assert node.module is not None
            found.update(f"{node.module}.{alias.name}" for alias in node.names)
    return found


def source_files() -> list[Path]:
    return sorted(path for folder in ("emolabel", "training", "jobs") for path in (ROOT / folder).rglob("*.py"))


@pytest.mark.parametrize("path", source_files(), ids=lambda p: str(p.relative_to(ROOT)))
def test_imports_run_downwards(path: Path) -> None:
    module = ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
    own = unit_of(module)
    assert own is not None, f"{module} stands on no floor: add it to FLOORS"
    floors = {**GROUND, **FLOORS}
    for imported in imports_of(path):
        unit = unit_of(imported)
        if unit is None or unit == own:
            continue
        if module == "emolabel":  # the front door re-exports what users call
            continue
        assert unit != "emolabel", f"{module} imports the front door: {imported}"
        assert not (own in WINGS and unit in WINGS), f"{module} imports another wing: {imported}"
        assert floors[unit] <= floors[own], f"{module} (floor {floors[own]}) imports {imported} (floor {floors[unit]})"


@pytest.mark.parametrize("path", source_files(), ids=lambda p: str(p.relative_to(ROOT)))
def test_only_the_engines_own_modules_import_ray(path: Path) -> None:
    module = ".".join(path.relative_to(ROOT).with_suffix("").parts)
    uses_ray = any(name.split(".")[0] == "ray" for name in imports_of(path))
    assert not uses_ray or module.startswith(RAY_ALLOWED), f"{module} imports ray"
