"""Provenance of an answer: which model was asked what, when, and what it cost; without a word of the prompt."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from hashlib import sha256
from math import isfinite
from typing import Any

from puq_magics.core.text import one_line

#: Key of an output's metadata, in a notebook; its value is a list of records.
METADATA_KEY = "puq"
#: Key of the first answers of a run beside it: ``{"answers": [[label, text], …], "total": number, "cut": number}``.
ANSWERS_KEY = "puq_answers"
#: Kinds of a record of many answers: the runs, and a comparison whose names are hidden until the vote.
RUN_KINDS, BLIND_KIND = ("map", "grid"), "compare"
_MAX_TEXT, _MAX_PARAMS, _MAX_COST = 200, 40, 1e12
_HASH = re.compile(r"[0-9a-f]{8,64}")
#: Parameters whose values are words of the API, and no part of what was asked.
_NAMED_CHOICES = frozenset(
    (
        "audio_format",
        "background",
        "language",
        "output_format",
        "quality",
        "reasoning_effort",
        "response_format",
        "size",
        "style",
        "voice",
    )
)
_CHOICE = re.compile(r"[\w.:-]{1,32}", re.ASCII)


@dataclass(frozen=True, kw_only=True)
class Provenance:
    """Record of how an answer came about; texts of the request are in it as hashes only."""

    #: ``chat``, ``image``, ``speech`` or ``transcription``; of many answers ``map``, ``grid`` or ``compare``.
    kind: str
    #: The model as it was asked for, and as the router names the one that answered.
    requested_model: str
    model: str
    #: Parameters of the request: numbers and names; texts are hashed.
    params: Mapping[str, Any] = field(default_factory=dict)
    #: SHA-256 of the messages, or of the prompt or the file that was sent.
    messages_hash: str
    #: When the request was made.
    at: datetime | None
    #: Estimate in credits; None where it is not known.
    cost: float | None = None
    #: SHA-256 (its beginning) of the text of the cell that asked; empty outside of a notebook's cells.
    cell_hash: str = ""

    def to_json(self) -> dict[str, Any]:
        """Return the record as JSON, for the metadata of a notebook's output."""
        record: dict[str, Any] = {
            "kind": self.kind,
            "asked": one_line(self.requested_model, _MAX_TEXT),
            "answered": one_line(self.model, _MAX_TEXT),
            "params": dict(self.params),
            "messages": self.messages_hash,
            "at": f"{self.at:%Y-%m-%dT%H:%M:%SZ}" if self.at else None,
            "cost": self.cost,
            "cell": self.cell_hash,
        }
        return {name: value for name, value in record.items() if value not in (None, "", {})}

    @classmethod
    def from_json(cls, record: object) -> Provenance | None:
        """Return the provenance in a record that anybody may have written; None for what is none."""
        if not isinstance(record, dict) or not isinstance(record.get("asked"), str):
            return None
        params = record.get("params")
        return cls(
            kind=_text(record.get("kind")),
            requested_model=_text(record["asked"]),
            model=_text(record.get("answered")),
            params=_known_params(params) if isinstance(params, dict) else {},
            messages_hash=_hash(record.get("messages")),
            at=_parse_time(record.get("at")),
            cost=_cost(record.get("cost")),
            cell_hash=_hash(record.get("cell")),
        )


def hash_content(content: object) -> str:
    """Return the SHA-256 of bytes, of a text, or of JSON in its canonical form."""
    if not isinstance(content, bytes):
        text = json.dumps(content, sort_keys=True, ensure_ascii=False, default=str, separators=(",", ":"))
        content = text.encode("utf-8", "surrogatepass")
    return sha256(content).hexdigest()


def hash_cell(source: str) -> str:
    """Return a hash of a cell's text, whatever its line ends; empty for an empty one."""
    text = "\n".join(line.rstrip() for line in source.strip().splitlines())
    return hash_content(text)[:16] if text else ""


def describe_params(params: Mapping[str, Any]) -> dict[str, Any]:
    """Return the parameters for a record: what may hold a text, or a key, as a hash."""
    return {name: _describe_param(name, value) for name, value in sorted(params.items()) if value is not None}


def _describe_param(name: str, value: object) -> object:
    if isinstance(value, bool | int) or (isinstance(value, float) and isfinite(value)):
        return value
    if name in _NAMED_CHOICES and isinstance(value, str) and _CHOICE.fullmatch(value):
        return value
    return f"sha256:{hash_content(value)[:12]}"


def _known_params(params: Mapping[Any, Any]) -> dict[str, Any]:
    shown = [(name, value) for name, value in params.items() if isinstance(value, str | int | float)]
    return {
        _text(name): _text(value) if isinstance(value, str) else value for name, value in shown[:_MAX_PARAMS]
    }


def _text(value: object) -> str:
    return value[:_MAX_TEXT] if isinstance(value, str) else ""


def _cost(value: object) -> float | None:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return float(value) if 0 <= value < _MAX_COST else None


def _hash(value: object) -> str:
    return value if isinstance(value, str) and _HASH.fullmatch(value) else ""


def _parse_time(value: object) -> datetime | None:
    try:
        at = datetime.fromisoformat(value) if isinstance(value, str) else None
        return at.astimezone(UTC) if at is not None and at.tzinfo is not None else None
    except (ValueError, OverflowError):
        return None
