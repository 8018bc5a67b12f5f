"""From a chat magic's options and prompt to the call; imported when the first one runs, not when they are loaded."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from puq_magics.api.types import Message
from puq_magics.core.errors import InputError, PuqError
from puq_magics.magics.options import read_params
from puq_magics.magics.views import chat_view
from puq_magics.outputs.results.chat import ChatResult
from puq_magics.outputs.views.view import View
from puq_magics.prompts.image_resize import Limits
from puq_magics.prompts.template import Filled, fill
from puq_magics.session.chat_call import ChatCall, ChatSpec, chat
from puq_magics.session.chat_turn import Content, Joining
from puq_magics.session.session import LAST_RESULT, Session

if TYPE_CHECKING:
    from puq_magics.prompts.schema.schema import Schema


_IN_WORDS = {
    "json": "Answer with one JSON document and nothing else: no words around it, no code fence, no comments.",
    "html": "Answer with one piece of HTML and nothing else: no words around it, no code fence, no scripts.",
}


@dataclass
class Answering:
    """What is to be made of one answer, repaired once at most."""

    session: Session
    format: str
    schema: Schema | None = None
    all_blocks: bool = False
    save: Path | None = None
    force: bool = False
    #: Keeps the answer in its conversation.
    keep: Callable[[ChatResult], None] | None = None
    #: What the last answer lacks, when it is to be repaired or is given up.
    problem: PuqError | None = None
    _is_repair: bool = False
    _is_kept: bool = False

    @classmethod
    def of(cls, session: Session, args: argparse.Namespace, variables: Mapping[str, Any]) -> Answering:
        """As the options say. Raises InputError for those that do not go together, and for a schema that is none."""
        wanted = args.format or ("markdown" if args.schema is None else "json")
        if args.schema is not None and wanted != "json":
            raise InputError(f"--schema is for JSON, not for -f {wanted}.", hint="Leave one of them out.")
        if args.all_blocks and wanted != "code":
            raise InputError("--all-blocks is for -f code.", hint="Write -f code --all-blocks.")
        schema = None
        if args.schema is not None:
            from puq_magics.prompts.schema.schema import Schema

            schema = Schema.of(args.schema, variables)
        if wanted == "html":
            from puq_magics.outputs.results.formats import check_format

            check_format(wanted)
        return cls(session, wanted, schema, args.all_blocks, _target(args), args.force)

    @property
    def fallback_messages(self) -> str:
        """What the model is told of the format, where no field of the request says it."""
        return self.schema.instructions if self.schema is not None else _IN_WORDS.get(self.format, "")

    def ask(self, call: ChatSpec, view: Callable[[], View], out: str | None) -> ChatResult:
        """Ask, and once more if the answer cannot be read. Raises InvalidResponseError, and as ``chat``."""
        call = replace(call, format=self.format, finish=self._finish)
        result = chat(self.session, call, view(), out)
        if self.problem is not None and self._may_repair(result):
            result = self._ask_again(self._repair(call, result, self.problem), result, view, out)
        if self.problem is not None:
            raise self.problem from None
        return result

    def _ask_again(
        self, repair: ChatSpec, first: ChatResult, view: Callable[[], View], out: str | None
    ) -> ChatResult:
        """Ask for the repair; where none comes, the first answer is kept, which was paid for. Raises as ``chat``."""
        self._is_repair = True
        try:
            return chat(self.session, repair, view(), out)
        except BaseException as problem:
            if not self._is_kept:
                self._keep(first)
            if isinstance(problem, PuqError):
                is_last = self.session.namespace.get(LAST_RESULT) is first
                place = "_puq.text" if is_last else "_puq.attempts[0]"
                words = f"This was to repair the first answer, which is in {place}."
                problem.hint = f"{words} {problem.hint}".rstrip()
            raise

    def _finish(self, result: ChatResult) -> None:
        """See ChatSpec."""
        self.problem = None
        if not result.broken_off and self.format in ("json", "code"):
            self._read(result)
        if self.problem is not None:
            if self._may_repair(result):
                result.note(f"{_said(self.problem)}; asking once more")
                return
            result.note(_said(self.problem))
        self._keep(result)

    def _keep(self, result: ChatResult) -> None:
        """Make it a turn, and a file."""
        self._is_kept = bool(result.text) and not result.has_failed
        if self.keep is not None:
            self.keep(result)
        if self.save is not None and not result.broken_off:
            self._save(result, self.save)

    def _read(self, result: ChatResult) -> None:
        """Take out of the text what was asked for."""
        from puq_magics.prompts.extraction import json_of

        try:
            if self.schema is not None:
                result.data = self.schema.check(result.text)
            elif self.format == "json":
                result.data = json_of(result.text)
        except (
            PuqError
        ) as problem:  # the answer is not JSON or does not fit; or the schema goes round in circles
            is_cut = result.finish_reason == "length"
            rest = "It was cut off: %puq_chat --continue goes on with it."
            words = "The words of both tries are kept: _puq.attempts"
            problem.hint = rest if is_cut else words if self._is_repair else "Its words are kept: _puq.text"
            self.problem = problem
        if self.format == "code":
            self._put_code_below(result)

    def _put_code_below(self, result: ChatResult) -> None:
        """Put the code into a new cell, where it is read before anybody runs it."""
        from puq_magics.outputs.results.formats import cell_source
        from puq_magics.prompts.extraction import code_of

        code, left = code_of(result.text, all_blocks=self.all_blocks)
        if not code:
            result.note("there is no code in the answer")
            return
        if left:
            others = "1 block is" if len(left) == 1 else f"{len(left)} blocks are"
            way = "" if self.all_blocks else " (--all-blocks takes those of one language)"
            result.note(f"{others} not in the cell below{way}")
        is_added = self.session.next_cell.add(cell_source(code))
        where = "added to the cell below" if is_added else "in the cell below"
        result.remarks = (*result.remarks, f"the code is {where}, not run")

    def _may_repair(self, result: ChatResult) -> bool:
        can = bool(result.text) and result.finish_reason != "length" and hasattr(self.problem, "repair")
        return can and not self._is_repair

    def _repair(self, call: ChatSpec, result: ChatResult, problem: PuqError) -> ChatSpec:
        """The same question, with the answer that does not do and what is wrong with it behind it."""
        messages = [
            *result.messages,
            {"role": "assistant", "content": result.text},
            {"role": "user", "content": getattr(problem, "repair", problem.message)},
        ]
        refused = bool(call.fallback_messages) and tuple(call.fallback_messages) == tuple(result.messages)
        params = {
            key: value for key, value in call.params.items() if not (refused and key == "response_format")
        }
        question = call.question or call.messages
        fallback_messages = () if refused or not call.fallback_messages else messages
        return replace(
            call,
            messages=messages,
            params=params,
            question=question,
            fallback_messages=fallback_messages,
            begun="",
            earlier=(result,),
            notes=(),
        )

    def _save(self, result: ChatResult, path: Path) -> None:
        from puq_magics.core.files import save_text

        try:
            saved = save_text(_written(result, self.all_blocks), path, force=self.force)
        except InputError as error:
            result.note(f"not saved: {error.message} The answer is in _puq: _puq.save(…)")
        else:
            result.remarks = (*result.remarks, f"saved as {saved}")


def _target(args: argparse.Namespace) -> Path | None:
    if args.save is None:
        return None
    from puq_magics.magics.options import save_target

    return save_target(args, ())


def _written(result: ChatResult, all_blocks: bool) -> str:
    """What goes into a file: the code, the JSON, HTML without what acts, or the answer as it is."""
    from puq_magics.outputs.results.formats import pretty_json, safe_html
    from puq_magics.prompts.extraction import code_of

    if result.format == "code":
        return code_of(result.text, all_blocks=all_blocks)[0] or result.text
    if result.format == "html":
        return safe_html(result.text)
    return result.text if result.data is None else f"{pretty_json(result.data)}\n"


def _said(problem: PuqError) -> str:
    words = problem.message.removesuffix(".")
    return words[:1].lower() + words[1:]


_RESERVED = ("model", "messages", "stream", "temperature", "max_completion_tokens")
_UNSENDABLE = ("self", "on_retry")  # names of the client's own


@dataclass(frozen=True)
class Typed:
    """Options and a prompt, and the variables that it may name."""

    session: Session
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

            limit = self.session.settings.max_attachment_chars
            found = attach(self.args.attach, self.variables, limit=limit, picture_limits=self._limits)
            parts, notes = (*parts, *found.parts), (*notes, *found.notes)
        return ([{"type": "text", "text": filled.text}, *parts] if parts else filled.text), notes

    def params(self) -> dict[str, Any]:
        """Further fields of the request; those that are None are not sent. Raises InputError."""
        args, settings = self.args, self.session.settings
        params: dict[str, Any] = {
            "temperature": settings.temperature if args.temperature is None else args.temperature,
            "max_completion_tokens": args.max_tokens or settings.max_tokens,
        }
        return params | read_params(args.param, _RESERVED, _UNSENDABLE)

    def model(self, otherwise: str | None = None) -> str:
        """The model to ask. Raises ConfigurationError."""
        args = self.args
        return self.session.model("chat", args.model or otherwise, suggest_models=not args.dry_run)

    @property
    def _limits(self) -> Limits:
        return Limits(side=self.session.settings.image_max_side)

    def _fill(self, text: str, images: Limits | None) -> Filled:
        return fill(text, self.variables, limit=self.session.settings.max_value_chars, images=images)


def told(messages: Sequence[Message], notes: Sequence[str] = ()) -> str:
    """Messages, for people, and below them the notes that would stand in the footer."""
    said = [f"{message['role']}: {_words(message['content'])}" for message in messages]
    return "\n\n".join([*said, *notes])


def _words(content: object) -> str:
    if not isinstance(content, list | tuple):
        return str(content)
    from puq_magics.prompts.conversation.export import described

    return "\n\n".join(str(part.get("text") or f"with it: {described(part)}") for part in content)


def ask(
    session: Session, args: argparse.Namespace, prompt: str, variables: Mapping[str, Any]
) -> ChatResult | None:
    """Ask as the options say, and show the answer; None when nothing is to be sent. Raises PuqError."""
    answering = Answering.of(session, args, variables)
    typed = Typed(session, args, prompt, variables)
    call = _go_on(typed, answering) if args.proceed else _question(typed, answering)
    if args.dry_run:
        from puq_magics.magics.dry_run import preview

        print(preview(session, ChatCall(call), told=told(call.messages, call.notes)))  # noqa: T201 - what was asked for
        return None
    return answering.ask(call, lambda: chat_view(session, args, answering.format), args.out)


def _question(typed: Typed, answering: Answering) -> ChatSpec:
    """A question that stands alone, or joins a conversation."""
    args, schema = typed.args, answering.schema
    content, notes = typed.content()
    system = None if args.system is None else typed.words(args.system)
    joining = Joining.of(typed.session, args, content, None if system is None else system.text)
    answering.keep = joining.keep
    messages, left_out = joining.messages("" if schema is not None else answering.fallback_messages)
    params, fallback_messages = typed.params(), list[Message]()
    if schema is not None and "response_format" not in params:
        params["response_format"] = schema.response_format
        fallback_messages, _ = joining.messages(answering.fallback_messages)
    return ChatSpec(
        typed.model(),
        messages,
        stream=not args.no_stream,
        params=params,
        notes=(*(system.notes if system is not None else ()), *notes, *left_out),
        fallback_messages=fallback_messages,
        chat=joining.name,
        turn=joining.key,
    )


def _go_on(typed: Typed, answering: Answering) -> ChatSpec:
    """The rest of an answer."""
    from puq_magics.session.chat_turn import unfinished

    words = typed.words(typed.prompt)
    last = unfinished(typed.session, typed.args, words.text)
    answering.keep = last.keep
    return ChatSpec(
        typed.model(otherwise=last.model),
        last.messages(words.text),
        stream=not typed.args.no_stream,
        params=typed.params(),
        notes=(*words.notes, *last.notes),
        begun=last.text,
        question=last.question,
        chat=last.chat,
        turn=last.turn,
    )
