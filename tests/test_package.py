from __future__ import annotations

import ast
import doctest
import importlib
import importlib.metadata
import re
import subprocess
import sys
import tomllib
from collections import Counter
from pathlib import Path

import pytest

import puq_magics

ROOT = Path(puq_magics.__file__).parent
PROJECT = ROOT.parent
SOURCES = sorted(ROOT.rglob("*.py"))


def parsed(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


def listed(path: Path) -> list[str] | None:
    """The ``__all__`` of a module, as it is written."""
    for node in parsed(path).body:
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "__all__":
            names: list[str] = ast.literal_eval(node.value)
            return names
    return None


def test_every_module_says_what_it_is() -> None:
    assert [str(path) for path in SOURCES if not ast.get_docstring(parsed(path))] == []


def test_what_is_listed_is_sorted_and_there() -> None:
    with_list = [path for path in SOURCES if listed(path) is not None]
    assert ROOT / "__init__.py" in with_list
    for path in with_list:
        names = listed(path)
        assert names is not None
        assert names == sorted(names), path
        assert len(names) == len(set(names)), path
        parts = path.relative_to(PROJECT).with_suffix("").parts
        module = importlib.import_module(".".join(part for part in parts if part != "__init__"))
        assert [name for name in names if not hasattr(module, name)] == [], path


@pytest.mark.parametrize("name", ["puq_magics", "puq_magics.api"])
def test_an_unknown_name_is_an_attribute_error(name: str) -> None:
    module = importlib.import_module(name)
    with pytest.raises(AttributeError, match="no_such_name"):
        _ = module.no_such_name


def test_lazy_names_are_the_real_ones() -> None:
    from puq_magics.api.client import Router
    from puq_magics.core.errors import PuqError

    assert puq_magics.Router is Router
    assert puq_magics.PuqError is PuqError


def test_it_is_typed() -> None:
    assert (ROOT / "py.typed").is_file()


def test_the_version_is_in_one_place() -> None:
    project = tomllib.loads((PROJECT / "pyproject.toml").read_text(encoding="utf-8"))
    assert project["project"]["dynamic"] == ["version"]
    assert "version" not in project["project"]
    assert project["tool"]["hatch"]["version"]["path"] == "puq_magics/core/version.py"
    assert importlib.metadata.version("puq_magics") == puq_magics.__version__
    holders = [path for path in SOURCES if f'"{puq_magics.__version__}"' in path.read_text(encoding="utf-8")]
    assert holders == [ROOT / "core" / "version.py"]


_WITHOUT_IPYTHON = """
import sys
sys.modules["IPython"] = None
import puq_magics, puq_magics.api
puq_magics.api.Router("key-of-12-signs", "http://127.0.0.1:9").close()
assert not any(name.startswith("IPython.") for name in sys.modules)
"""


def test_the_api_works_without_ipython() -> None:
    subprocess.run([sys.executable, "-W", "error", "-c", _WITHOUT_IPYTHON], check=True)


def test_experiments_load_the_schema_library_only_for_a_schema() -> None:
    names = "experiments", "magics.compare", "magics.grid", "magics.map"
    code = f"import sys, {', '.join(f'puq_magics.{name}' for name in names)}"
    subprocess.run([sys.executable, "-c", f"{code}\nassert 'jsonschema' not in sys.modules"], check=True)


def test_importing_the_package_imports_nothing_else_of_it() -> None:
    code = "import sys, puq_magics; print(*sorted(n for n in sys.modules if n.startswith('puq_magics')))"
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert done.stdout.split() == ["puq_magics"]


def test_docstrings_begin_with_a_verb_or_a_noun() -> None:
    others = re.compile(
        r"(What|Where|Whether|How|Why|That|Those|Which|See|When|Who|From|So|The same|It|There|Nothing|More)\b"
    )
    texts = [
        f"{path.stem}: {text}"
        for path in SOURCES
        for node in ast.walk(parsed(path))
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef)
        and (text := ast.get_docstring(node) or "")
        and others.match(text)
    ]
    assert texts == []


def test_no_class_name_stands_for_two_things() -> None:
    names = Counter(
        node.name.lstrip("_")
        for path in SOURCES
        for node in ast.walk(parsed(path))
        if isinstance(node, ast.ClassDef)
    )
    assert [name for name, count in names.items() if count > 1] == []


#: Modules with examples that need a router or a conversation; the tests of these provide it.
EXAMPLES_WITH_FIXTURES = {
    "puq_magics.api",
    "puq_magics.api.client",
    "puq_magics.prompts.conversation.conversation",
}
EXAMPLES = {
    ".".join(part for part in path.relative_to(PROJECT).with_suffix("").parts if part != "__init__")
    for path in SOURCES
    if ">>> " in path.read_text(encoding="utf-8")
}


@pytest.mark.parametrize("module", sorted(EXAMPLES - EXAMPLES_WITH_FIXTURES))
def test_the_examples_of_docstrings_run(module: str) -> None:
    assert doctest.testmod(importlib.import_module(module)).failed == 0


README = (PROJECT / "README.md").read_text(encoding="utf-8")


def test_the_readme_is_short_and_has_the_two_commands() -> None:
    assert len(README.splitlines()) <= 200
    for command in (
        'pip install -e ".[lab]" && jupyter lab notebooks/quickstart.ipynb',
        'pip install -e ".[test]" && pytest',
    ):
        assert f"```console\n{command}\n```" in README


def test_the_readmes_links_lead_to_files() -> None:
    links = [link for link in re.findall(r"\]\(([^)\s]+)\)", README) if "://" not in link]
    assert len(links) > 5
    assert [link for link in links if not (PROJECT / link).is_file()] == []


def test_the_readme_lists_every_magic_and_every_option_of_chat() -> None:
    from puq_magics.magics.commands import CHAT_COMMAND, PuqCommands

    magics = {name for names in PuqCommands.magics.values() for name in names}
    assert [name for name in magics if not re.search(rf"`%%?{name}[` ]", README)] == []
    table = README.split("## Options of `%%puq_chat`")[1].split("\n## ")[0]
    options = [option.flags for option in CHAT_COMMAND.options]
    assert [flags for flags in options if not any(re.search(rf"{flag}\b", table) for flag in flags)] == []
