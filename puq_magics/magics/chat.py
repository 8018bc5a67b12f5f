"""``%puq_chat`` and ``%%puq_chat``: ask a model, stream the answer."""

from __future__ import annotations

import argparse
from typing import Any

from IPython.core.magic import line_cell_magic, magics_class, no_var_expand

from puq_magics.api.errors import InputError
from puq_magics.magics import options
from puq_magics.magics.base import WorkspaceMagics
from puq_magics.magics.options import CommandLine, read_params
from puq_magics.outputs.markdown import plain
from puq_magics.outputs.results import ChatResult
from puq_magics.outputs.view import QuietView, View
from puq_magics.prompts.template import Filled, fill
from puq_magics.session.calls import ChatCall, chat
from puq_magics.session.workspace import Workspace

COMMAND = CommandLine(
    options.MODEL,
    options.SYSTEM,
    options.TEMPERATURE,
    options.MAX_TOKENS,
    options.NO_STREAM,
    options.OUT,
    options.RAW,
    options.PARAM,
    options.QUIET,
    options.DRY_RUN,
)
_RESERVED = ("model", "messages", "stream", "temperature", "max_completion_tokens")
_UNSENDABLE = ("self", "on_retry")  # names of the client's own


@magics_class
class PuqChatMagics(WorkspaceMagics):
    """Ask a model."""

    @no_var_expand
    @line_cell_magic
    @COMMAND
    def puq_chat(self, line: str, cell: str | None = None) -> ChatResult | None:
        """Ask a model; the answer streams in as Markdown, and is the value of the magic.

        In a line the prompt follows the options; in a cell it is the body, and the first word of the line may be
        the model: ``%%puq_chat openai/gpt-4o``. ``{{name}}`` is filled from your variables.
        """
        if cell is None:
            args, prompt = COMMAND.read(line)
        else:
            args, prompt = _read_cell_line(line), cell.strip("\n")
        if not prompt.strip():
            raise InputError(
                "the prompt is empty.", hint="Write it below %%puq_chat, or behind the options of %puq_chat."
            )
        call = self._call(args, prompt)
        if args.dry_run:
            print(_preview(call, self.workspace))  # noqa: T201 - what was asked for
            return None
        return chat(self.workspace, call, self._view(args), args.out)

    def _call(self, args: argparse.Namespace, prompt: str) -> ChatCall:
        settings = self.workspace.settings
        filled = self._fill(prompt, args)
        told = Filled(settings.system or "") if args.system is None else self._fill(args.system, args)
        messages = [{"role": "system", "content": told.text}] if told.text else []
        messages.append({"role": "user", "content": filled.text})
        params: dict[str, Any] = {
            "temperature": settings.temperature if args.temperature is None else args.temperature,
            "max_completion_tokens": args.max_tokens or settings.max_tokens,
        }
        params |= read_params(args.param, _RESERVED, _UNSENDABLE)
        model = self.workspace.chat_model(args.model)
        return ChatCall(
            model, messages, stream=not args.no_stream, params=params, notes=told.notes + filled.notes
        )

    def _fill(self, text: str, args: argparse.Namespace) -> Filled:
        return Filled(text) if args.raw else fill(text, self.workspace.namespace)

    def _view(self, args: argparse.Namespace) -> View:
        workspace = self.workspace
        footer, live = workspace.settings.footer, workspace.effective.live
        if args.quiet:
            return QuietView()
        if workspace.in_notebook:
            from puq_magics.outputs.live import NotebookView

            return NotebookView(footer=footer, live=live)
        from puq_magics.outputs.terminal import TerminalView

        return TerminalView(footer=footer, live=live)


def _read_cell_line(line: str) -> argparse.Namespace:
    """The line of a cell: options, and the model as a word of its own, before or after them."""
    hint = "The prompt goes below, into the cell."
    args, word = COMMAND.read_around(line, hint)
    if word and args.model is not None:
        raise InputError(f"{word!r} is one too many: -m names the model.", hint=hint)
    args.model = word or args.model
    return args


def _preview(call: ChatCall, workspace: Workspace) -> str:
    characters = sum(len(str(message["content"])) for message in call.messages)
    request = call.as_curl(workspace)
    return f"{plain(request)}\n\nabout {max(1, characters // 4):,} tokens of prompt; nothing was sent"
