from __future__ import annotations

from typing import Any

import pytest
from traitlets import TraitError

from puq_magics.core.errors import ConfigurationError
from puq_magics.session.settings import EffectiveSettings, PuqMagics, is_sandbox, model_setting

WRONG = [
    ("base_url", "no url"),
    ("base_url", "https://user:secret@router.example"),
    ("base_url", "https://router.example?key=1"),
    ("base_url", "sandbox-remote"),
    ("base_url", 5),
    ("auth_scheme", "two words"),
    ("auth_scheme", "Token\r\nX: y"),
    ("auth_scheme", "x" * 41),
    ("allow_http", "maybe"),
    ("cassette_mode", "rewind"),
    ("cassette_pace", -1),
    ("cassette_pace", float("inf")),
    ("timeout", -1),
    ("timeout", 0),
    ("timeout", "soon"),
    ("timeout", float("inf")),
    ("timeout", float("nan")),
    ("max_retries", -1),
    ("max_retries", 11),
    ("max_retries", 1.5),
    ("chat_model", 4),
    ("aliases", "fast"),
    ("aliases", {"fast": 4}),
    ("system", 5),
    ("temperature", "warm"),
    ("temperature", float("nan")),
    ("max_tokens", 0),
    ("max_tokens", "many"),
    ("live", "yes"),
    ("footer", "loud"),
    ("image_model", 5),
    ("image_size", "potato"),
    ("image_size", "0x10"),
    ("model_kinds", {"a/b": "painting"}),
    ("max_embed_mb", -1),
    ("max_speech_chars", 0),
    ("budget", -0.5),
    ("price_unit", 0),
    ("ledger", "yes"),
    ("chat", "two words"),
    ("chat", "a/b"),
    ("chat", 5),
    ("context_limit", 0),
    ("context_turns", -1),
    ("max_value_chars", 0),
    ("max_attachment_chars", 0),
    ("image_max_side", 1),
]
RIGHT: dict[str, Any] = {
    "base_url": "https://router.example/v1/",
    "auth_scheme": "My_Scheme",
    "allow_http": True,
    "timeout": 5.0,
    "max_retries": 4,
    "chat_model": "a/b",
    "aliases": {"fast": "a/b"},
    "system": "Be brief.",
    "temperature": 0.5,
    "max_tokens": 100,
    "live": False,
    "footer": "short",
    "image_model": "a/image",
    "speech_model": "a/tts",
    "transcribe_model": "a/whisper",
    "model_kinds": {"a/*": "speech"},
    "voice": "alloy",
    "image_size": "512x512",
    "max_embed_mb": 2.5,
    "max_speech_chars": 500,
    "budget": 0.5,
    "price_unit": 1000,
    "ledger": False,
    "chat": "main",
    "context_limit": 4000,
    "context_turns": 10,
    "max_value_chars": 500,
    "max_attachment_chars": 500,
    "image_max_side": 512,
    "policy": "lesson.toml",
    "cassette": "lesson",
    "cassette_mode": "replay",
    "cassette_pace": 2.0,
}


def test_each_setting_is_set_by_config_and_documented(shell: Any) -> None:
    text = shell.run("%config PuqMagics").out
    for name, value in RIGHT.items():
        assert f"PuqMagics.{name}=" in text
        shell.run(f"%config PuqMagics.{name} = {value!r}")
        assert getattr(shell.session.settings, name) == value
        assert shell.run(f"%config PuqMagics.{name}").value == value
    assert set(RIGHT) == set(PuqMagics.class_own_traits(config=True))


@pytest.mark.parametrize(("name", "value"), WRONG)
def test_a_wrong_value_is_refused_and_the_old_one_stays(name: str, value: object) -> None:
    settings = PuqMagics()
    for old in (getattr(settings, name), RIGHT[name]):
        setattr(settings, name, old)
        with pytest.raises(TraitError):
            setattr(settings, name, value)
        assert getattr(settings, name) == old


@pytest.mark.parametrize(("name", "value"), WRONG)
def test_a_wrong_value_by_config(shell: Any, caplog: Any, name: str, value: object) -> None:
    shell.names["value"] = value
    shell.run(f"%config PuqMagics.{name} = {RIGHT[name]!r}")
    shell.run(f"%config PuqMagics.{name} = value")  # IPython logs the error; its line goes to stderr
    (record,) = caplog.records
    assert record.levelname == "ERROR"
    assert len(record.getMessage().splitlines()) == 1
    assert getattr(shell.session.settings, name) == RIGHT[name]
    shell.run("%config PuqMagics.max_retries = 3")
    assert shell.session.settings.max_retries == 3


def test_a_wrong_value_is_told_in_a_kernel(fresh_kernel: Any) -> None:
    cell = fresh_kernel.run("%config PuqMagics.base_url = 'no url'")
    assert "'no url' is not a base URL. Write it like https://api.puq.ai" in cell.out
    assert "Traceback" not in cell.out


def test_an_unknown_setting_is_told_in_a_kernel(fresh_kernel: Any) -> None:
    assert (
        "`chat_modle` not recognized by `PuqMagics`"
        in fresh_kernel.run("%config PuqMagics.chat_modle = 'a/b'").out
    )


@pytest.mark.parametrize(
    ("name", "variable", "text", "value", "default"),
    [
        (
            "base_url",
            "PUQ_BASE_URL",
            " https://router.example ",
            "https://router.example",
            "https://api.puq.ai",
        ),
        ("auth_scheme", "PUQ_AUTH_SCHEME", "Bearer", "Bearer", "Token"),
        ("timeout", "PUQ_TIMEOUT", "7.5", 7.5, None),
        ("live", "PUQ_LIVE", "0", False, True),
    ],
)
def test_config_is_over_the_environment_over_the_default(
    name: str, variable: str, text: str, value: object, default: object
) -> None:
    environ: dict[str, str] = {}
    settings = PuqMagics()
    effective = EffectiveSettings(settings, environ)
    assert getattr(effective, name) == default
    environ[variable] = "  "
    assert getattr(effective, name) == default
    environ[variable] = text
    assert getattr(effective, name) == value
    own = RIGHT[name] if name != "live" else True
    setattr(settings, name, own)
    assert getattr(effective, name) == own
    setattr(settings, name, None)
    assert getattr(effective, name) == value


@pytest.mark.parametrize("text", ["0", "false", "No", "OFF"])
def test_words_for_not_live(text: str) -> None:
    assert EffectiveSettings(PuqMagics(), {"PUQ_LIVE": text}).live is False


@pytest.mark.parametrize("text", ["soon", "0", "-1", "inf", "nan"])
def test_a_wrong_timeout_of_the_environment(text: str) -> None:
    with pytest.raises(ConfigurationError, match="PUQ_TIMEOUT"):
        _ = EffectiveSettings(PuqMagics(), {"PUQ_TIMEOUT": text}).timeout


def test_a_wrong_scheme_of_the_environment() -> None:
    with pytest.raises(ConfigurationError, match="not an authentication scheme"):
        _ = EffectiveSettings(PuqMagics(), {"PUQ_AUTH_SCHEME": "two words"}).auth_scheme


def test_per_call_is_over_config(sandbox_shell: Any, monkeypatch: Any) -> None:
    sandbox_shell.run("%config PuqMagics.temperature = 0.5\n%config PuqMagics.max_tokens = 900")
    sandbox_shell.run("%config PuqMagics.system = 'Be brief.'")
    set_ones = sandbox_shell.echoed_request("%puq_chat hi")
    assert (set_ones["temperature"], set_ones["max_completion_tokens"]) == (0.5, 900)
    assert set_ones["messages"][0]["content"] == "Be brief."
    own = sandbox_shell.echoed_request("%puq_chat -t 0 --max-tokens 800 -s Hey hi")
    assert (own["temperature"], own["max_completion_tokens"]) == (0.0, 800)
    assert own["messages"][0]["content"] == "Hey"
    assert sandbox_shell.echoed_request("%puq_chat hi") == set_ones


def test_the_models_precedence_and_aliases(sandbox_shell: Any, monkeypatch: Any) -> None:
    sandbox_shell.run("%config PuqMagics.aliases = {'e': 'sandbox/echo', 's': 'sandbox/short'}")
    monkeypatch.setenv("PUQ_CHAT_MODEL", "s")
    assert sandbox_shell.run("%puq_chat hi").value.model == "sandbox/short"
    sandbox_shell.run("%config PuqMagics.chat_model = 'e'")
    assert sandbox_shell.run("%puq_chat hi").value.model == "sandbox/echo"
    assert sandbox_shell.run("%puq_chat -m s hi").value.model == "sandbox/short"
    assert sandbox_shell.run("%%puq_chat s\nhi").value.model == "sandbox/short"


@pytest.mark.slow
def test_the_time_limit_is_kept(sandbox_shell: Any, monkeypatch: Any) -> None:
    monkeypatch.setenv("PUQ_TIMEOUT", "3")  # seconds: longer than the words before the silence take anywhere
    error = sandbox_shell.error("%puq_chat -m sandbox/silence hi")
    assert "sent nothing for too long" in str(error)
    assert error.partial.endswith("only a time limit")


@pytest.mark.parametrize("name", ["sandbox", "sandbox-local"])
def test_the_names_of_local_routers_are_base_urls(name: str) -> None:
    assert PuqMagics(base_url=name).base_url == name
    assert is_sandbox(name)
    assert EffectiveSettings(PuqMagics(), {"PUQ_BASE_URL": f" {name} "}).is_sandbox
    assert (
        EffectiveSettings(PuqMagics(base_url="https://router.example"), {"PUQ_BASE_URL": name}).is_sandbox
        is False
    )


def test_the_environment_can_name_the_sandbox(shell: Any, monkeypatch: Any) -> None:
    monkeypatch.setenv("PUQ_BASE_URL", "sandbox")
    assert shell.run("%puq_chat hi").value.model == "sandbox/chat"
    assert shell.session.sandbox.running


@pytest.mark.parametrize(
    ("kind", "variable"),
    [
        ("chat", "PUQ_CHAT_MODEL"),
        ("image", "PUQ_IMAGE_MODEL"),
        ("speech", "PUQ_SPEECH_MODEL"),
        ("transcription", "PUQ_TRANSCRIBE_MODEL"),
    ],
)
def test_the_model_of_each_kind(kind: str, variable: str) -> None:
    environ: dict[str, str] = {}
    settings = PuqMagics()
    effective = EffectiveSettings(settings, environ)
    assert effective.model(kind) is None
    environ[variable] = " a/b "
    assert effective.model(kind) == "a/b"
    setattr(settings, model_setting(kind), "c/d")
    assert effective.model(kind) == "c/d"


@pytest.mark.parametrize(
    ("setting", "text", "path"),
    [
        (None, "", ""),
        (None, "0", None),
        (None, "off", None),
        (None, "1", ""),
        (None, "/data/calls.sqlite", "/data/calls.sqlite"),
        (False, "/data/calls.sqlite", None),
        (True, "0", ""),
        (True, "/data/calls.sqlite", "/data/calls.sqlite"),
    ],
)
def test_where_calls_are_noted(setting: bool | None, text: str, path: str | None) -> None:
    assert EffectiveSettings(PuqMagics(ledger=setting), {"PUQ_LEDGER": text}).ledger_path == path
