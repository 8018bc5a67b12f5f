"""The public names, their types, and the examples of their docstrings."""

from __future__ import annotations

import doctest
import inspect
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import puq_magics
import puq_magics.api
from puq_magics.api import Router
from puq_magics.api.params import RESERVED_FIELDS, request_fields
from puq_magics.core import errors
from puq_magics.core.errors import InputError, PuqError
from puq_magics.sandbox import Sandbox

SCRIPT = Path(__file__).parent.parent / "support" / "client_script.py"
PROJECT = Path(puq_magics.__file__).parent.parent
ERRORS = {
    name for name, kind in vars(errors).items() if isinstance(kind, type) and issubclass(kind, PuqError)
}
METHODS = [name for name, value in vars(Router).items() if inspect.isfunction(value) and name[0] != "_"]


@pytest.fixture
def sandbox() -> Iterator[Sandbox]:
    with Sandbox() as sandbox:
        yield sandbox


def test_all_that_a_program_needs_is_exported() -> None:
    results = {"ChatResult", "ImageResult", "SpeechResult", "TranscriptResult"}
    assert set(puq_magics.__all__) >= ERRORS | results | {"Conversation", "Router", "Upload"}
    assert set(puq_magics.api.__all__) >= ERRORS | {"Router", "Upload", "Transport", "Response"}


@pytest.mark.parametrize("module", [puq_magics, puq_magics.api])
def test_dir_lists_the_public_names(module: object) -> None:
    names = getattr(module, "__all__")  # noqa: B009 - of any module
    assert set(dir(module)) >= set(names)
    assert all(getattr(module, name) is not None for name in names)


# Types


def check_types(tool: list[str], path: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", *tool, str(path)], cwd=PROJECT, capture_output=True, text=True, check=False
    )


@pytest.mark.types
@pytest.mark.parametrize("module", ["puq_magics", "puq_magics.api"])
def test_a_type_checker_reports_names_that_do_not_exist(module: str, tmp_path: Path) -> None:
    path = tmp_path / "typo.py"
    path.write_text(f"from {module} import Rooter\n")
    checked = check_types(["mypy", "--no-incremental"], path)
    assert checked.returncode == 1, checked.stdout
    assert "Rooter" in checked.stdout


@pytest.mark.types
def test_a_type_checker_reports_parameters_that_do_not_exist(tmp_path: Path) -> None:
    path = tmp_path / "typo.py"
    path.write_text('from puq_magics import Router\nRouter().chat("Hi", model="a/b", temprature=0)\n')
    checked = check_types(["mypy", "--no-incremental"], path)
    assert checked.returncode == 1, checked.stdout
    assert "temprature" in checked.stdout


@pytest.mark.types
def test_a_client_program_passes_mypy_strict() -> None:
    checked = check_types(["mypy", "--strict"], SCRIPT)
    assert checked.returncode == 0, checked.stdout


@pytest.mark.types
def test_a_client_program_passes_pyright_basic(tmp_path: Path) -> None:
    config = tmp_path / "pyrightconfig.json"
    config.write_text(
        f'{{"typeCheckingMode": "basic", "include": ["{SCRIPT}"], "extraPaths": ["{PROJECT}"]}}'
    )
    checked = check_types(["pyright", "--pythonpath", sys.executable, "--project"], config)
    assert checked.returncode == 0, checked.stdout + checked.stderr


def test_a_client_program_runs(sandbox: Sandbox, tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, str(SCRIPT), sandbox.token, sandbox.base_url, str(tmp_path)],
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout == "True True 256x256 Hello there.\n"


# Parameters


def test_an_unknown_parameter_is_an_error_before_anything_is_sent(sandbox: Sandbox) -> None:
    with Router(sandbox.token, sandbox.base_url) as router:
        with pytest.raises(TypeError, match=r"'temprature'.*Did you mean 'temperature'"):
            router.chat("Hello", model="sandbox/chat", temprature=0)  # type: ignore[call-arg]
        with pytest.raises(TypeError, match=r"'quallity'.*Did you mean 'quality'"):
            router.image("A cat", model="sandbox/image", quallity="low")  # type: ignore[call-arg]
        with pytest.raises(TypeError, match=r"extra_body"):
            router.speech("Hello", model="sandbox/tts", zzz=1)  # type: ignore[call-arg]
        assert router.balance() == sandbox.balance == 100


@pytest.mark.parametrize(("endpoint", "names"), RESERVED_FIELDS.items())
def test_reserved_fields(endpoint: str, names: tuple[str, ...]) -> None:
    assert request_fields(endpoint, {"extra_body": {"further": 1, "none": None}}) == {"further": 1}
    assert request_fields(endpoint, {"extra_body": {"stream": True}}) == {}  # the method decides
    for name in names:
        with pytest.raises(InputError, match=f"{name} is a reserved parameter"):
            request_fields(endpoint, {"extra_body": {name: "x"}})


# Docstrings


@pytest.mark.parametrize("name", METHODS)
def test_every_method_is_documented_with_an_example(name: str) -> None:
    doc = inspect.getdoc(getattr(Router, name)) or ""
    assert doc
    assert ">>>" in doc or name in ("close", "transcription_request")


def test_the_examples_of_docstrings_run(sandbox: Sandbox) -> None:
    runner = doctest.DocTestRunner(optionflags=doctest.ELLIPSIS)
    with Router(sandbox.token, sandbox.base_url) as router:
        names = {"router": router, "Router": Router, "token": sandbox.token, "base_url": sandbox.base_url}
        finder = doctest.DocTestFinder(recurse=True)
        examples = [*finder.find(Router, "Router"), *finder.find(puq_magics.api, "api")]
        for example in examples:
            example.globs = dict(names)
            runner.run(example)
    assert runner.summarize(verbose=False).failed == 0
    assert sum(len(example.examples) for example in examples) > 20
