"""What somebody typed for a chat magic: filled in, and with what goes along."""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from puq_magics.api.types import Message
from puq_magics.session.chat_turn import Content
from puq_magics.magics.options import read_params
from puq_magics.prompts.image_resize import Limits
from puq_magics.prompts.template import Filled, fill
from puq_magics.session.session import Workspace

_RESERVED = ("model", "messages", "stream", "temperature", "max_completion_tokens")
_UNSENDABLE = ("self", "on_retry")  # names of the client's own


@dataclass(frozen=True)
class Typed:
    """Options and a prompt, and the variables that it may name."""

    workspace: Workspace
    args: argparse.Namespace
    prompt: str
    variables: Mapping[str, Any]

    def words(self, text: str) -> Filled:
        """A text, filled in; images are an error in it."""
        return Filled(text) if self.args.raw else self._fill(text, None)

    def content(self) -> tuple[Content, tuple[str, ...]]:
        """What the user's message says: words, or parts that begin with them; and notes. Raises InputError."""
        filled = Filled(self.prompt) if self.args.raw else self._fill(self.prompt, self._limits)
        parts, notes = filled.parts, filled.notes
        if self.args.attach:
            from puq_magics.prompts.attachments import attach

            limit = self.workspace.settings.attach_limit
            found = attach(self.args.attach, self.variables, limit=limit, picture_limits=self._limits)
            parts, notes = (*parts, *found.parts), (*notes, *found.notes)
        return ([{"type": "text", "text": filled.text}, *parts] if parts else filled.text), notes

    def params(self) -> dict[str, Any]:
        """Further fields of the request; those that are None are not sent. Raises InputError."""
        args, settings = self.args, self.workspace.settings
        params: dict[str, Any] = {
            "temperature": settings.temperature if args.temperature is None else args.temperature,
            "max_completion_tokens": args.max_tokens or settings.max_tokens,
        }
        return params | read_params(args.param, _RESERVED, _UNSENDABLE)

    def model(self, otherwise: str | None = None) -> str:
        """The model to ask. Raises ConfigurationError."""
        args = self.args
        return self.workspace.model("chat", args.model or otherwise, look_up=not args.dry_run)

    @property
    def _limits(self) -> Limits:
        return Limits(side=self.workspace.settings.image_side)

    def _fill(self, text: str, images: Limits | None) -> Filled:
        return fill(text, self.variables, limit=self.workspace.settings.fill_limit, images=images)


def told(messages: Sequence[Message], notes: Sequence[str] = ()) -> str:
    """Messages, for people, and below them the notes that would stand in the footer."""
    said = [f"{message['role']}: {_words(message['content'])}" for message in messages]
    return "\n\n".join([*said, *notes])


def _words(content: object) -> str:
    if not isinstance(content, list | tuple):
        return str(content)
    from puq_magics.prompts.conversation.export import described

    return "\n\n".join(str(part.get("text") or f"with it: {described(part)}") for part in content)
