"""Value of ``%%puq_compare``: answers to one prompt, side by side."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from puq_magics.outputs.control_chars import strip_control_chars
from puq_magics.outputs.markdown.feed import escape_inline
from puq_magics.outputs.results.base import DisplayOnce
from puq_magics.outputs.results.chat import ChatResult
from puq_magics.outputs.results.footer import Footer
from puq_magics.outputs.results.provenance import BLIND_KIND, METADATA_KEY, Provenance, hash_content

_COLUMNS = '<div style="display: flex; flex-wrap: wrap; gap: 0 1.5em; align-items: flex-start">'
_COLUMN = '<div style="flex: 1 1 17em; min-width: 0; overflow-x: auto; border-top: 1px solid #8888">'


@dataclass
class Answer:
    """One arm's answer, as far as it is known."""

    #: Name of the arm, such as the model and what varies.
    name: str
    result: ChatResult | None = None
    #: Why there is none, or only a part.
    error: str = ""


@dataclass(repr=False)
class CompareResult(DisplayOnce):
    """Answers of all arms, in the order shown; ``result["a name"]`` and ``result[0]`` are those of one."""

    answers: Sequence[Answer]
    #: True until the votes are in: the arms are shown as A, B and so on.
    names_hidden: bool = False
    already_displayed: bool = field(default=False, init=False, compare=False)

    def __len__(self) -> int:
        return len(self.answers)

    def __iter__(self) -> Iterator[Answer]:
        return iter(self.answers)

    def __getitem__(self, key: int | str) -> ChatResult:
        found = (
            self.answers[key]
            if isinstance(key, int)
            else next((answer for answer in self.answers if answer.name == key), None)
        )
        if found is None or found.result is None:
            raise KeyError(f"{key}: {found.error if found else 'no such arm'}")
        return found.result

    @property
    def names(self) -> list[str]:
        """Names of the arms as they are shown: letters while they are hidden."""
        if self.names_hidden:
            return [chr(ord("A") + number) for number in range(len(self.answers))]
        return [answer.name for answer in self.answers]

    @property
    def display_metadata(self) -> dict[str, Any]:
        """Implement `DisplayOnce`: the provenance of each answer; one that tells no names while they are hidden."""
        results = [each.result for each in self.answers if each.result]
        records = [each.provenance for each in results if each.provenance]
        if self.names_hidden and records:
            records = [self._blind_provenance(records)]
        return {METADATA_KEY: [each.to_json() for each in records]} if records else {}

    def _blind_provenance(self, records: Sequence[Provenance]) -> Provenance:
        names = f"{', '.join(self.names)} (blind)"
        costs = [each.cost for each in records if each.cost is not None]
        return Provenance(
            kind=BLIND_KIND,
            requested_model=names,
            model=names,
            messages_hash=hash_content(sorted(each.messages_hash for each in records)),
            at=min((each.at for each in records if each.at), default=None),
            cost=sum(costs) if costs else None,
            cell_hash=records[0].cell_hash,
        )

    def _repr_mimebundle_(self, **_: object) -> dict[str, str]:
        return columns_bundle(
            [(name, self.body(answer)) for name, answer in zip(self.names, self.answers, strict=True)]
        )

    def _to_terminal(self, text: str) -> str:
        from puq_magics.outputs.views.terminal_text import format_for_terminal

        return format_for_terminal(text)

    def body(self, answer: Answer) -> dict[str, str]:
        """Return the MIME bundle of one arm."""
        result = answer.result
        error = "failed" if answer.error and self.names_hidden else answer.error  # it could name the model
        problems = [error] if error else []
        if result is None:
            return status_body(error or "no answer")
        footer = result.footer
        first = result.time_to_first_token
        facts = [*([] if first is None else [f"{first:.2f} s to the first token"]), *footer.facts[1:]]
        if self.names_hidden:  # price and speed would tell
            facts = []
        elif result.model != answer.name:
            facts.append(result.model)
        return result.bundle(Footer(tuple(facts), (*footer.warnings, *problems)))

    def __repr__(self) -> str:
        return f"<CompareResult of {', '.join(self.names)}>"


def columns_bundle(columns: Sequence[tuple[str, dict[str, str]]]) -> dict[str, str]:
    """Return the bundles of some arms side by side where there is room, else below one another."""
    parts = [
        f"{_COLUMN}\n\n**{escape_inline(name)}**\n\n{body['text/markdown']}\n\n</div>\n"
        for name, body in columns
    ]
    plain = [f"--- {strip_control_chars(name)}\n{body['text/plain']}" for name, body in columns]
    return {
        "text/markdown": f"{_COLUMNS}\n" + "\n".join(parts) + "</div>",
        "text/plain": "\n\n".join(plain),
    }


def status_body(text: str) -> dict[str, str]:
    """Return the bundle of an arm that has no answer, or none yet."""
    return {"text/markdown": f"*{escape_inline(text)}*", "text/plain": strip_control_chars(text)}
