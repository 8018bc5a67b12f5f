"""Recorder widget: the microphone where the browser has one, else a button to upload a file.

The recording is passed to a callback. Messages of widgets reach the kernel only between two cells, so the callback
runs long after the cell that showed the recorder; its printed output would be lost. It uses ``set_message`` and
``show_result`` instead.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any
from uuid import uuid4

import anywidget
import ipywidgets  # type: ignore[import-untyped, unused-ignore]
import traitlets
from IPython.display import display, update_display

from puq_magics.core.errors import PuqError
from puq_magics.widgets.saved import hide_missing_widget

HERE = Path(__file__).parent
STATES = ("idle", "asking", "recording", "recorded", "transcribing", "done", "failed", "no_microphone")
#: A recording's limits, in seconds and bytes. Jupyter servers drop a connection that brings over 10 MiB at once.
MAX_SECONDS, MAX_BYTES = 600.0, 8 << 20
#: What the button to upload takes: some systems take .webm and .mp4 for video.
ACCEPTED_UPLOADS = "audio/*,.webm,.mp4"

RecordingCallback = Callable[[bytes, str], None]

_NO_WIDGET_LABEL = "No recorder above? This front end needs anywidget for that."
_UPLOAD_LABEL = "Upload an audio file instead (10 MB at most):"
_STATIC_TEXT = (
    "A voice recorder was here. Run the cell to record, or transcribe a file: %puq_transcribe talk.mp3"
)


class _Microphone(anywidget.AnyWidget):
    """Browser side of the recorder, in recorder.js."""

    _esm = HERE / "recorder.js"
    _css = HERE / "recorder.css"

    max_seconds = traitlets.Float(MAX_SECONDS).tag(sync=True)
    max_bytes = traitlets.Int(MAX_BYTES).tag(sync=True)
    #: What Python said last, as ``state`` and ``words``. The browser answers with messages, which keep their order.
    kernel_message = traitlets.Dict().tag(sync=True)


class Recorder(ipywidgets.VBox):  # type: ignore[misc, unused-ignore]
    """Record a voice, or upload a file, and call ``on_recorded(data, mime)`` with it.

    ``mime`` is what the browser calls it (``audio/webm;codecs=opus``, ``audio/ogg;codecs=opus``, ``audio/mp4``, a
    file's own), and may be empty for a file. A recording ends by itself after ``max_seconds`` seconds or
    ``max_bytes`` bytes. While ``on_recorded`` runs the state is ``transcribing``, and ``done`` when it returns,
    unless it says something itself; what it raises is shown in the recorder, and kept as ``error``.

    Display it by itself: then ``show_result`` has a place below it, which stays in the saved notebook.
    """

    #: One of ``STATES``; may be observed.
    state = traitlets.Enum(STATES, "idle")
    #: The words beside the button; may be observed.
    message = traitlets.Unicode()
    #: What was recorded or uploaded last, and what the browser calls it; kept, so that nothing said is lost.
    data: bytes | None = None
    mime: str = ""
    #: What ``on_recorded`` raised last.
    error: BaseException | None = None

    def __init__(
        self, on_recorded: RecordingCallback, *, max_seconds: float = MAX_SECONDS, max_bytes: int = MAX_BYTES
    ) -> None:
        self._on_recorded = on_recorded
        self._result: Mapping[str, Any] = {
            "text/plain": _STATIC_TEXT,
            "text/html": f'<em class="puq-recorder-saved">{escape(_STATIC_TEXT)}</em>',
        }
        self._result_id = uuid4().hex
        self._microphone = _Microphone(max_seconds=max_seconds, max_bytes=max_bytes)
        self._message_label = ipywidgets.Label(_NO_WIDGET_LABEL, _dom_classes=("puq-recorder-hint",))
        self._upload = ipywidgets.FileUpload(
            accept=ACCEPTED_UPLOADS, description="Upload audio", tooltip=_UPLOAD_LABEL
        )
        upload_label = ipywidgets.Label(_UPLOAD_LABEL)
        # recorder.css hides this where there is a microphone; without anywidget there is no such sheet.
        upload_box = ipywidgets.VBox(
            (self._message_label, upload_label, self._upload), _dom_classes=("puq-recorder-stand-in",)
        )
        super().__init__((self._microphone, upload_box), _dom_classes=("puq-recorder-box",))
        self._microphone.on_msg(self._on_message)
        self._upload.observe(self._on_upload, "value")

    def set_message(self, text: str, *, state: str | None = None) -> None:
        """Show ``text`` (plain; lines are kept) and, if given, enter ``state``; works from any thread."""
        self._set_state(state or self.state, text)
        self._microphone.kernel_message = {"state": self.state, "words": text}
        self._message_label.value = text

    def show_result(self, bundle: Mapping[str, Any], metadata: Mapping[str, Any] | None = None) -> None:
        """Show a MIME bundle below the recorder, in place of the one before; ``metadata`` is saved with it."""
        self._result = bundle
        update_display(dict(bundle), raw=True, display_id=self._result_id, metadata=metadata)

    def _set_state(self, state: str, words: str) -> None:
        self.state, self.message = state, words

    def _on_message(self, _: object, content: Mapping[str, Any], buffers: Sequence[memoryview]) -> None:
        """Handle a message of the microphone: its state, or a recording."""
        match content:
            case {"kind": "state", "state": str(state), "words": str(words)} if state in STATES:
                self._set_state(state, words)
            case {"kind": "recording", "mime": str(mime)} if len(buffers) == 1:
                self._handle_recording(bytes(buffers[0]), mime)

    def _on_upload(self, change: Mapping[str, Any]) -> None:
        for file in change["new"]:
            self._upload.value = ()  # so that the same file may be chosen again
            self._handle_recording(bytes(file["content"]), str(file["type"]))

    def _handle_recording(self, data: bytes, mime: str) -> None:
        self.data, self.mime, self.error = data, mime, None
        self.set_message("Transcribing…", state="transcribing")
        try:
            self._on_recorded(data, mime)
        except PuqError as exc:
            self._fail(exc, "\n".join(filter(None, (exc.message, exc.hint))))
        except KeyboardInterrupt as exc:
            self._fail(exc, "Interrupted.")
        except Exception as exc:  # noqa: BLE001  # a widget's callback has nobody above it who would show it
            self._fail(exc, f"{type(exc).__name__}: {exc}")
        else:
            if self.state == "transcribing":
                self.set_message("Transcribed.", state="done")

    def _fail(self, error: BaseException, words: str) -> None:
        self.error = error
        self.set_message(words, state="failed")

    def _repr_mimebundle_(self, **kwargs: Any) -> dict[str, Any]:
        bundle: dict[str, Any] = super()._repr_mimebundle_(**kwargs)
        return bundle | {"text/plain": ""}  # the result below stands for it

    def _ipython_display_(self) -> None:
        display(self._repr_mimebundle_(), raw=True)
        hide_missing_widget("puq-recorder-box")
        # A saved notebook holds no widgets: this is what is left of it. recorder.css hides it beside a live one.
        display(dict(self._result), raw=True, display_id=self._result_id)

    def __repr__(self) -> str:
        return f"<Recorder {self.state}{f' {self.message!r}' if self.message else ''}>"
