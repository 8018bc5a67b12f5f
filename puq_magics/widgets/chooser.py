"""Model chooser widget: search as you type, entirely in the front end.

The kernel sends the list once, and receives only the choice. If the front end has no anywidget, a ``Combobox``
replaces the chooser. Names and descriptions are untrusted: text, never markup.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from html import escape
from pathlib import Path
from typing import Any, Protocol

import anywidget
import ipywidgets  # type: ignore[import-untyped, unused-ignore]
import traitlets
from IPython.display import display

from puq_magics.api.types import model_kind
from puq_magics.widgets.saved import hide_missing_widget

HERE = Path(__file__).parent
#: What of all descriptions goes to the front end, in characters: ten thousand long ones would hold up the page.
MAX_DESCRIPTION_CHARS = 400_000
UNKNOWN_PRICE = "–"
#: Shown with the stand-in; where anywidget is missing its widget is an error in a red frame.
FALLBACK_NOTE = """<style>.puq-chooser-box > :has(.jupyter-widgets-error-widget) { display: none }</style>
This front end has no anywidget: install it where JupyterLab runs for a table with prices."""


class ModelLike(Protocol):
    """Fields of a model that are shown; `puq_magics.api.types.Model` has them."""

    @property
    def code(self) -> str:
        """Name to send as ``model``."""

    @property
    def name(self) -> str:
        """Display name."""

    @property
    def provider(self) -> str:
        """Provider; may be empty."""

    @property
    def description(self) -> str:
        """A sentence or two; may be empty."""

    @property
    def input_price(self) -> float | None:
        """In the unit the list has; None when that does not say."""

    @property
    def output_price(self) -> float | None:
        """In the same unit."""


LineTemplate = str | Callable[[Any], str]
ModelKindFunction = Callable[[Any], str]


def _kind_by_code(model: ModelLike) -> str:
    return model_kind(model.code)


class ModelChooser(anywidget.AnyWidget):
    """Table of models with a search field, usable with the keyboard or a pointer.

    ``models`` are shown in the order given; of two with one code the first counts, and one whose code nobody
    could send (with spaces or control characters in it) is left out. ``kind_of(model)`` says what each is for,
    and ``kind`` which of these are shown at first (``""`` for all). ``price_unit`` are the words that prices are
    in. ``line`` makes the line that sets the same by hand, to be copied from the widget: a function of the model,
    or a template such as ``"%config PuqMagics.{kind}_model = {code!r}"`` with ``code``, ``name``, ``provider``
    and ``kind``. ``search`` are the words in the search field at first.

    ``value`` is the code chosen, or ``""``; ``chooser.observe(fn, "value")`` calls ``fn`` when it changes. It may
    be set to a code that is not in the list, which the widget then says.

    Displayed by itself it brings its stand-in for front ends without anywidget, and a text with the choice that
    stays in the saved notebook. Inside other widgets use it as it is, or ``chooser.with_fallback()``.
    """

    _esm = HERE / "chooser.js"
    _css = HERE / "chooser.css"

    #: Whether the cell that is running has shown it, so that its value is not shown a second time.
    already_displayed = False

    value = traitlets.Unicode("", help="the code of the chosen model, or ''").tag(sync=True)
    kind = traitlets.Unicode("chat", help="the kind that is shown, or '' for all").tag(sync=True)
    _rows: traitlets.List[Any] = traitlets.List().tag(sync=True)
    _unit = traitlets.Unicode("").tag(sync=True)
    _search = traitlets.Unicode("").tag(sync=True)
    #: The code chosen and its line: the front end shows the line with no other code.
    _line: traitlets.List[str] = traitlets.List(["", ""]).tag(sync=True)

    def __init__(
        self,
        models: Sequence[ModelLike],
        kind_of: ModelKindFunction | None = None,
        kind: str = "chat",
        value: str | None = None,
        *,
        price_unit: str = "",
        line: LineTemplate = "",
        search: str = "",
        **rest: Any,
    ) -> None:
        self._line_template = line
        self._kind_of = kind_of or _kind_by_code
        self._models = {model.code: model for model in _selectable(models)}
        limit = min(200, MAX_DESCRIPTION_CHARS // max(1, len(self._models)))
        rows = [_row(model, self._kind_of(model), limit) for model in self._models.values()]
        super().__init__(_rows=rows, _unit=price_unit, _search=search, kind=kind, value=value or "", **rest)

    @property
    def models(self) -> tuple[Any, ...]:
        """The models of the table."""
        return tuple(self._models.values())

    @property
    def chosen(self) -> Any | None:
        """The model chosen; None when there is none, or it is not in the list."""
        return self._models.get(self.value)

    @property
    def line(self) -> str:
        """The line that sets the same by hand; empty when nothing is chosen, or no ``line`` was given."""
        model = self.chosen
        if model is None:
            return ""
        if callable(self._line_template):
            return _to_printable(self._line_template(model))
        fields = {
            "code": model.code,
            "name": _clean_text(model.name),
            "provider": _clean_text(model.provider),
        }
        return self._line_template.format(kind=_clean_text(self._kind_of(model)), **fields)

    @property
    def text(self) -> str:
        """Text of the choice, and the line below it."""
        if not self.value:
            return "No model chosen."
        model = self.chosen
        kind = (
            f"{_clean_text(self._kind_of(model))} model" if model is not None else "model (not in the list)"
        )
        return "\n".join(filter(None, [f"Chosen {kind}: {_to_printable(self.value)}", self.line]))

    def with_fallback(self) -> ipywidgets.VBox:
        """The chooser in a box with its `fallback`, which shows only where the chooser does not."""
        combobox = fallback(self.models, self._kind_of, self.kind, self.value)
        traitlets.link((self, "value"), (combobox, "value"))
        note = ipywidgets.HTML(FALLBACK_NOTE)
        for widget in (note, combobox):  # chooser.css hides them: only a front end with anywidget has that
            widget.add_class("puq-chooser-fallback")
        return _Box((self, note, combobox), _dom_classes=("puq-chooser-box",))

    @traitlets.observe("value")
    def _on_value_change(self, _: object) -> None:
        self._line = [self.value, self.line]

    def _ipython_display_(self) -> None:
        if self.already_displayed:
            return
        box = self.with_fallback()
        display(box._repr_mimebundle_() | {"text/plain": ""}, raw=True)  # the text below stands for it
        hide_missing_widget("puq-chooser-box")
        handle = display(self._static_bundle(), raw=True, display_id=True)
        if handle is not None:
            self.observe(lambda _: handle.update(self._static_bundle(), raw=True), "value")

    def _static_bundle(self) -> dict[str, str]:
        """Return the text that a saved notebook shows instead of the widget."""
        return {
            "text/plain": self.text,
            "text/html": f'<pre class="puq-chooser-saved">{escape(self.text)}</pre>',
        }

    def __repr__(self) -> str:
        return f"<ModelChooser of {len(self._models)} models, value={self.value!r}>"


class _Box(ipywidgets.VBox):  # type: ignore[misc, unused-ignore]
    """Box that a front end without widgets shows as text."""

    def __repr__(self) -> str:
        return "Model chooser"


def fallback(
    models: Sequence[ModelLike],
    kind_of: ModelKindFunction | None = None,
    kind: str = "chat",
    value: str | None = None,
    **rest: Any,
) -> ipywidgets.Combobox:
    """A text field that completes the codes of one kind (``""`` for all), for front ends without anywidget.

    Its ``value`` means what the chooser's does.
    """
    kind_of = kind_of or _kind_by_code
    codes = [model.code for model in _selectable(models) if kind in ("", kind_of(model))]
    options = {
        "description": "Model",
        "placeholder": f"Type the code of one of {len(codes):,} models",
        "layout": ipywidgets.Layout(width="32em", max_width="100%"),
    }
    return ipywidgets.Combobox(options=codes, value=value or "", ensure_option=True, **(options | rest))


def _selectable(models: Sequence[ModelLike]) -> Iterator[ModelLike]:
    """The models that can be chosen, each code once."""
    seen: set[str] = set()
    for model in models:
        code = model.code
        if code and code not in seen and code.isprintable() and " " not in code:
            seen.add(code)
            yield model


def _row(model: ModelLike, kind: str, limit: int) -> list[str]:
    description = _clean_text(model.description)
    if len(description) > limit:
        description = description[: max(0, limit - 1)].rstrip() + "…"
    prices = [_price(model.input_price), _price(model.output_price)]
    return [
        model.code,
        _clean_text(model.name),
        _clean_text(model.provider),
        _clean_text(kind),
        *prices,
        description,
    ]


def _price(price: object) -> str:
    if isinstance(price, bool) or not isinstance(price, int | float) or not math.isfinite(price):
        return UNKNOWN_PRICE
    return f"{price:,.0f}" if abs(price) >= 100_000 else f"{price:,.5g}"


def _to_printable(text: str) -> str:
    return text if text.isprintable() else "".join(c if c.isprintable() else " " for c in text)


def _clean_text(text: str | None, limit: int = 300) -> str:
    """Return one line of printable text: no control or bidi characters, no halves of surrogate pairs."""
    return " ".join(_to_printable((text or "")[:limit]).split())
