"""The cassette of a session: where it is, and the router that records to it or replays from it."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from puq_magics.api.base_url import BaseURL
from puq_magics.core.errors import PuqError
from puq_magics.core.files import expand_path
from puq_magics.core.text import one_line
from puq_magics.outputs.paths import notebook_folder
from puq_magics.replay.cassette import SUFFIX, Cassette, cassette_path, recording_name
from puq_magics.replay.differences import missing_error
from puq_magics.replay.fingerprint import fingerprint_call
from puq_magics.replay.notebook_run import USE_LOG
from puq_magics.replay.redaction import Redaction
from puq_magics.replay.transport import CassetteSettings, CassetteTransport, RequestNumbers

if TYPE_CHECKING:
    from puq_magics.api.request import Transport
    from puq_magics.session.cell_tracker import CellTracker
    from puq_magics.session.settings import EffectiveSettings

_DEFAULT_NAME = "puq"


class CassetteRecorder:
    """Cassette in use, with the places that have sent requests."""

    def __init__(
        self, effective: EffectiveSettings, cell_tracker: CellTracker, namespace: Mapping[str, object]
    ) -> None:
        self._effective = effective
        self._cell_tracker = cell_tracker
        self._namespace = namespace
        self._cassettes: dict[Path, tuple[Cassette, RequestNumbers]] = {}
        self._journals: TemporaryDirectory[str] | None = None
        self._journal_count = 0
        #: True if errors are recorded.
        self.errors = os.environ.get("PUQ_CASSETTE_ERRORS", "").strip() not in ("", "0")

    @property
    def mode(self) -> str:
        """The mode in force. Raises ConfigurationError."""
        return self._effective.cassette_mode

    @property
    def cassette(self) -> Cassette:
        """The cassette in force. Raises InputError for a name that cannot be a path."""
        return self._open()[0]

    def _open(self) -> tuple[Cassette, RequestNumbers]:
        folder = cassette_folder(self._effective.cassette, notebook_name(self._namespace))
        if folder not in self._cassettes:
            cells = self._cell_tracker
            numbers = RequestNumbers(lambda: (cells.name, cells.execution_number))
            self._cassettes[folder] = Cassette(folder), numbers
        return self._cassettes[folder]

    def wrap(
        self,
        make_transport: Callable[[], Transport],
        address: BaseURL,
        redact_answer: Callable[[str], str],
    ) -> Transport:
        """Return the transport of the mode in force; what it records is redacted. Raises ConfigurationError."""
        mode = self.mode
        if mode == "off":
            return make_transport()
        cassette, numbers = self._open()
        inner = None
        if mode in ("record", "auto"):
            cassette.prepare_recording()
            inner = make_transport()
        elif mode == "replay":
            cassette.check_exists()
        settings = CassetteSettings(mode, self._effective.cassette_pace, self.errors)  # type: ignore[arg-type]
        return CassetteTransport(
            cassette,
            settings,
            address,
            inner,
            numbers=numbers,
            on_problem=_report,
            on_use=_log_use,
            redact_answer=redact_answer,
        )

    def check(self) -> None:
        """Check that the mode in force can use the cassette. Raises ConfigurationError."""
        if self.mode in ("record", "auto"):
            self.cassette.prepare_recording()
        elif self.mode == "replay":
            self.cassette.check_exists()
        if self.mode != "off":
            _ = self.cassette.names

    def new_journal_folder(self) -> Path:
        """Return a new temporary folder for the journal of a run; it is removed when the session ends."""
        if self._journals is None:
            self._journals = TemporaryDirectory(prefix="puq-runs-")
        self._journal_count += 1
        folder = Path(self._journals.name) / str(self._journal_count)
        folder.mkdir()
        return folder

    def find_call(self, name: str, arguments: Any) -> tuple[str, str] | None:
        """Return the recorded status and result of a function's call; None if it is to be run.

        Raises RecordingError in a replay without a recording: it runs no function.
        """
        if self.mode not in ("replay", "auto"):
            return None
        cassette, numbers = self._open()
        requested = fingerprint_call(name, arguments)
        number = numbers.next_number(requested.name)
        found = cassette.find(requested.name, number, exact=self.mode == "auto")
        if found is None and self.mode == "replay":
            raise missing_error(cassette, requested)
        if found is None:
            numbers.release_number(requested.name)
            return None
        response = cassette.read(found).get("response")
        _log_use(found)
        response = response if isinstance(response, dict) else {}
        return str(response.get("status", "done")), str(response.get("result", ""))

    def record_call(self, name: str, arguments: Any, status: str, result: str) -> None:
        """Record what came of a function's call, if answers are recorded."""
        if self.mode not in ("record", "auto"):
            return
        cassette, numbers = self._open()
        requested = fingerprint_call(name, arguments)
        file_name = recording_name(requested.name, numbers.next_number(requested.name))
        response = {"status": status, "result": Redaction().mask(result)}
        try:
            cassette.write(file_name, {"request": requested.document, "response": response}, {})
        except PuqError as error:
            _report(f"The function's result was not recorded: {error}")
        else:
            _log_use(file_name)

    def close(self) -> None:
        """Remove the journals of this session's runs."""
        journals, self._journals = self._journals, None
        if journals is not None:
            journals.cleanup()

    def default_models(self) -> Mapping[str, str]:
        """Return the models that were used by default when the cassette was recorded."""
        models = self.cassette.read_settings().get("default_models")
        return {str(kind): str(code) for kind, code in models.items()} if isinstance(models, dict) else {}

    def record_default_models(self, models: Mapping[str, str]) -> None:
        """Keep the models that are used by default now."""
        try:
            self.cassette.write_settings(models)
        except PuqError as error:
            _report(f"The default models were not recorded: {error}")


def cassette_folder(name: str, default: str) -> Path:
    """Return the folder of a cassette by its name or path, from the notebook's folder. Raises InputError."""
    return (notebook_folder() / cassette_path(expand_path(name or default))).absolute()


def list_cassettes() -> list[str]:
    """Return the names of the cassettes beside the notebook."""
    names = {path.name.removesuffix(".zip") for path in notebook_folder().glob(f"*{SUFFIX}*")}
    return sorted(name.removesuffix(SUFFIX) for name in names if name.endswith(SUFFIX))


def notebook_name(namespace: Mapping[str, object], environ: Mapping[str, str] = os.environ) -> str:
    """Return the name of the notebook's file without its ending; ``puq`` if no front end says it."""
    for named in (environ.get("JPY_SESSION_NAME", ""), namespace.get("__vsc_ipynb_file__", "")):
        path = Path(str(named))
        if path.suffix == ".ipynb":
            return path.stem
    return _DEFAULT_NAME


def _report(text: str) -> None:
    sys.stderr.write(f"{one_line(text, 400)}\n")


def _log_use(name: str) -> None:
    if path := os.environ.get(USE_LOG):
        with open(path, "a", encoding="utf-8") as file:
            file.write(f"{name}\n")
