"""Docstrings in Google's and NumPy's styles: the description, and what they say of the parameters."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterator
from dataclasses import dataclass, field

_SECTIONS = (
    "args|arguments|parameters|params|other parameters|returns?|yields?|raises|examples?|notes?|attributes"
    "|see also|references|warnings?|warns|todo"
)
_GOOGLE_HEAD = re.compile(rf"(?P<name>{_SECTIONS})\s*:\s*", re.IGNORECASE)
_NUMPY_HEAD = re.compile(rf"(?P<name>{_SECTIONS})\s*", re.IGNORECASE)
_PARAMETER_SECTIONS = ("args", "arguments", "parameters", "params", "other parameters")
#: ``city (str, optional): …`` and ``city : str, optional``; the name alone is a line in NumPy's style, too.
_GOOGLE_PARAMETER = re.compile(r"\*{0,2}(?P<name>\w+)\s*(?:\((?P<type>[^)]*)\))?\s*:\s*(?P<text>.*)")
_NUMPY_PARAMETER = re.compile(r"\*{0,2}(?P<name>\w+)\s*(?::\s*(?P<type>.*))?")


@dataclass(frozen=True)
class ParameterText:
    """Text of a docstring on one parameter."""

    text: str = ""
    #: Its type, as it is written there; empty if it is not.
    type: str = ""


@dataclass(frozen=True)
class Docstring:
    """A docstring without its sections, and the parameters that these describe."""

    description: str = ""
    parameters: dict[str, ParameterText] = field(default_factory=dict)

    @classmethod
    def parse(cls, text: str) -> Docstring:
        """Read a docstring; one in neither style is all description."""
        lines = inspect.cleandoc(text).split("\n")
        description: list[str] = []
        parameters: dict[str, ParameterText] = {}
        section, body = "", description
        for line, is_head, is_numpy in _marked(lines):
            if not is_head:
                body.append(line)
                continue
            if section:
                parameters |= dict(_parameters(body, section == "numpy"))
            is_of_parameters = line in _PARAMETER_SECTIONS
            section, body = ("numpy" if is_numpy else "google") if is_of_parameters else "", []
        if section:
            parameters |= dict(_parameters(body, section == "numpy"))
        return cls("\n".join(description).strip(), parameters)


def _marked(lines: list[str]) -> Iterator[tuple[str, bool, bool]]:
    """Yield each line, or the name of the section that begins there; whether it does; whether in NumPy's style."""
    skip = False
    for number, line in enumerate(lines):
        if skip:
            skip = False
            continue
        below = lines[number + 1] if number + 1 < len(lines) else ""
        if re.fullmatch(r"-{3,}\s*", below) and (head := _NUMPY_HEAD.fullmatch(line)):
            skip = True
            yield head["name"].lower(), True, True
        elif head := _GOOGLE_HEAD.fullmatch(line):
            yield head["name"].lower(), True, False
        else:
            yield line, False, False


def _parameters(lines: list[str], is_numpy: bool) -> Iterator[tuple[str, ParameterText]]:
    """Yield the name and the text of each parameter of a section."""
    indent = min((len(line) - len(line.lstrip()) for line in lines if line.strip()), default=0)
    pattern = _NUMPY_PARAMETER if is_numpy else _GOOGLE_PARAMETER
    name, kind, words = "", "", list[str]()
    for line in lines:
        is_first = bool(line.strip()) and len(line) - len(line.lstrip()) == indent
        if is_first and (match := pattern.fullmatch(line.strip())):
            if name:
                yield name, ParameterText(" ".join(words), kind)
            name, kind = match["name"], (match["type"] or "").strip()
            words = [match["text"].strip()] if not is_numpy and match["text"] else []
        elif line.strip():
            words.append(line.strip())
    if name:
        yield name, ParameterText(" ".join(words), kind)
