"""Build a chat call from options and prompt, and process its answer."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from puq_magics.api.types import Message
from puq_magics.core.errors import InputError, InvalidAnswerError, InvalidResponseError, PuqError
from puq_magics.core.text import one_line
from puq_magics.magics.options import RAW_HINT, chat_params, is_dry_run
from puq_magics.magics.views import chat_view
from puq_magics.outputs.results.chat import ChatResult
from puq_magics.outputs.views.view import ChatView
from puq_magics.prompts.image_resize import ImageLimits
from puq_magics.prompts.template import FilledText, fill_template
from puq_magics.session.calls import run_call
from puq_magics.session.chat_call import ChatCall, ChatSpec
from puq_magics.session.chat_turn import TurnContext
from puq_magics.session.session import LAST_RESULT, Session

if TYPE_CHECKING:
    from puq_magics.prompts.conversation.turns import MessageContent
    from puq_magics.prompts.schema.schema import Schema
    from puq_magics.session.tool_rounds import ToolRounds


_FORMAT_INSTRUCTIONS = {
    "json": "Answer with one JSON document and nothing else: no words around it, no code fence, no comments.",
    "html": "Answer with one piece of HTML and nothing else: no words around it, no code fence, no scripts.",
}


@dataclass
class AnswerProcessor:
    """Post-process one answer; request one repair when it is invalid."""

    session: Session
    format: str
    schema: Schema | None = None
    all_blocks: bool = False
    save: Path | None = None
    force: bool = False
    #: Whether the calls may exceed the budget.
    over_budget: bool = False
    #: The functions that the model may call.
    tools: ToolRounds | None = None
    #: What the last answer lacks, when it is to be repaired or is given up.
    problem: PuqError | None = None
    _is_repair: bool = False
    _is_stored: bool = False

    @classmethod
    def from_args(
        cls, session: Session, args: argparse.Namespace, variables: Mapping[str, Any]
    ) -> AnswerProcessor:
        """Create it from the options. Raises InputError for a bad combination of options, or an invalid schema."""
        answer_format = args.format or ("markdown" if args.schema is None else "json")
        if args.schema is not None and answer_format != "json":
            raise InputError(f"--schema is for JSON, not for -f {answer_format}.", hint="Remove one of them.")
        if args.all_blocks and answer_format != "code":
            raise InputError("--all-blocks is for -f code.", hint="Write -f code --all-blocks.")
        schema = None
        if args.schema is not None:
            from puq_magics.prompts.schema.schema import Schema

            schema = Schema.from_spec(args.schema, variables)
        if answer_format == "html":
            from puq_magics.outputs.results.formats import check_format_support

            check_format_support(answer_format)
        save, tools = _save_path(args), _tool_rounds(session, args, variables)
        return cls(session, answer_format, schema, args.all_blocks, save, args.force, args.over_budget, tools)

    @property
    def format_instructions(self) -> str:
        """Return instructions on the format for the model, where no field of the request can require it."""
        return (
            self.schema.instructions if self.schema is not None else _FORMAT_INSTRUCTIONS.get(self.format, "")
        )

    def ask(self, spec: ChatSpec, view: Callable[[], ChatView], out: str | None) -> ChatResult:
        """Ask, and once more if the answer cannot be read. Raises InvalidResponseError, and as ``chat``."""
        spec = replace(spec, format=self.format)
        if self.session.in_notebook:
            view = RepairView(view, self).for_call
        result = self._run(spec, view, out)
        if isinstance(self.problem, InvalidAnswerError) and self.can_repair(result):
            result = self._ask_for_repair(self._repair_spec(spec, result, self.problem), result, view, out)
        if self.problem is not None:
            raise self.problem from None
        return result

    def _ask_for_repair(
        self, repair: ChatSpec, first: ChatResult, view: Callable[[], ChatView], out: str | None
    ) -> ChatResult:
        """Ask for the repair; where none comes, the first answer is kept, which was paid for. Raises as ``chat``."""
        self._is_repair = True
        try:
            return self._run(repair, view, out)
        except BaseException as problem:
            if not self._is_stored:
                self._store(first, repair)
            if isinstance(problem, PuqError):
                is_last = self.session.namespace.get(LAST_RESULT) is first
                place = "_puq.text" if is_last else "_puq.attempts[0]"
                instruction = f"The repair request failed; the first answer is in {place}."
                problem.hint = f"{instruction} {problem.hint}".rstrip()
            raise

    def _run(self, spec: ChatSpec, view: Callable[[], ChatView], out: str | None) -> ChatResult:
        def _call(spec: ChatSpec, view: ChatView) -> ChatResult:
            call = ProcessedChatCall(spec, self)
            return run_call(self.session, call, view, out, over_budget=self.over_budget)

        return _call(spec, view()) if self.tools is None else self.tools.run(spec, view, _call, self._store)

    def process(self, result: ChatResult, spec: ChatSpec) -> None:
        """Extract data or code from the answer, and store it unless a repair will be requested."""
        self.problem = None
        if self.tools is not None and self.tools.continues(result):
            result.is_intermediate = True
            return
        if not result.status and self.format in ("json", "code"):
            self._extract(result)
        if self.problem is not None:
            problem = self.problem.message.removesuffix(".")
            if self.can_repair(result):
                result.add_note(f"{problem}; asking once more")
                return
            result.add_note(problem)
        self._store(result, spec)

    def _store(self, result: ChatResult, spec: ChatSpec) -> None:
        """Commit the answer to its conversation, and save it to a file if requested."""
        self._is_stored = bool(result.text) and not result.has_failed
        if spec.context is not None:
            spec.context.commit(result)
        if self.save is not None and not result.status:
            self._save(result, self.save)

    def _extract(self, result: ChatResult) -> None:
        """Take out of the text what was asked for."""
        from puq_magics.prompts.extraction import extract_json

        try:
            if result.refusal:
                raise InvalidResponseError(f"the model refused: {one_line(result.refusal)}")
            if self.schema is not None:
                answer = self.schema.read_answer(result.text, is_complete=not result.is_cut_off)
                result.data, result.parsed = answer.data, answer.parsed
                _note_repairs(result, answer.repairs)
                if answer.problem is not None:
                    raise answer.problem
            elif self.format == "json":
                document = extract_json(result.text)
                result.data = result.parsed = document.data
                _note_repairs(result, document.repairs)
        except PuqError as problem:  # not JSON, not valid by the schema, or the schema has a circular $ref
            is_cut = result.is_cut_off
            rest = "It was cut off: %puq_chat --continue continues it."
            instruction = "The text of both attempts is in _puq.attempts."
            problem.hint = (
                rest if is_cut else instruction if self._is_repair else "The answer's text is in _puq.text."
            )
            self.problem = problem
        if self.format == "code":
            self._add_code_cell(result)

    def _add_code_cell(self, result: ChatResult) -> None:
        """Put the code into a new cell, where it is read before anybody runs it."""
        from puq_magics.outputs.results.formats import clean_cell_source
        from puq_magics.prompts.extraction import extract_code

        code, skipped = extract_code(result.text, all_blocks=self.all_blocks)
        if not code:
            result.add_note("there is no code in the answer")
            return
        if skipped:
            others = "1 block is" if len(skipped) == 1 else f"{len(skipped)} blocks are"
            way = "" if self.all_blocks else " (--all-blocks takes those of one language)"
            result.add_note(f"{others} not in the cell below{way}")
        where = self.session.next_cell.add(clean_cell_source(code))
        result.add_note(f"the code is {where}", is_warning=False)

    def can_repair(self, result: ChatResult) -> bool:
        """Return whether this answer is invalid, and is to be repaired."""
        can = bool(result.text) and not result.is_cut_off and isinstance(self.problem, InvalidAnswerError)
        return can and not self._is_repair

    def _repair_spec(self, spec: ChatSpec, result: ChatResult, problem: InvalidAnswerError) -> ChatSpec:
        """Build the request that asks for a corrected answer."""
        messages = [
            *result.messages,
            {"role": "assistant", "content": result.text},
            {"role": "user", "content": problem.repair_prompt},
        ]
        refused = bool(spec.fallback_messages) and tuple(spec.fallback_messages) == tuple(result.messages)
        params = {
            key: value for key, value in spec.params.items() if not (refused and key == "response_format")
        }
        question = spec.question or spec.messages
        fallback_messages = () if refused or not spec.fallback_messages else messages
        return replace(
            spec,
            messages=messages,
            params=params,
            question=question,
            fallback_messages=fallback_messages,
            partial_text="",
            previous_attempts=(result,),
            notes=(),
        )

    def _save(self, result: ChatResult, path: Path) -> None:
        from puq_magics.core.files import save_text

        try:
            saved = save_text(_file_content(result, self.all_blocks), path, force=self.force)
        except InputError as error:
            result.add_note(f"not saved: {error.message} The answer is in _puq: _puq.save(…)")
        else:
            result.add_note(f"saved as {saved}", is_warning=False)


class RepairView:
    """Shows an answer and its repair in one output: what is to be repaired is shown only if no repair comes."""

    def __init__(self, new_view: Callable[[], ChatView], processor: AnswerProcessor) -> None:
        self._new_view = new_view
        self._view = new_view()
        self._is_intermediate = False
        self._processor = processor
        self._first: ChatResult | None = None

    def __getattr__(self, name: str) -> Any:
        return getattr(self._view, name)

    def for_call(self) -> ChatView:
        """Return it for the next call, below what was shown of the calls of functions."""
        if self._is_intermediate:
            self._view = self._new_view()
        return cast(ChatView, self)

    def show_result(self, result: ChatResult) -> None:
        """Implement `ChatView`."""
        self._is_intermediate = result.is_intermediate
        if self._processor.can_repair(result):
            self._first = result
        else:
            self._view.show_result(result)

    def abandon(self) -> None:
        """Implement `ChatView`."""
        if self._first is None:
            self._view.abandon()
        else:
            self._view.show_result(self._first)


class ProcessedChatCall(ChatCall):
    """Chat call whose answer is processed before it is recorded and shown."""

    def __init__(self, spec: ChatSpec, processor: AnswerProcessor) -> None:
        super().__init__(spec)
        self._processor = processor

    def finalize(self, result: ChatResult) -> None:
        """Process the answer; the processor commits the turn."""
        self._processor.process(result, self.spec)


def _tool_rounds(
    session: Session, args: argparse.Namespace, variables: Mapping[str, Any]
) -> ToolRounds | None:
    """Return the functions that the options name, described for the model; None if they name none."""
    if args.tools is None and args.tools_auto is None:
        return None
    if session.policy is not None:
        session.policy.check_tools()
    from puq_magics.session.tool_rounds import ToolRounds

    if args.continue_:
        raise InputError("--tools cannot be combined with --continue.", hint="Remove it, or ask anew.")
    return ToolRounds.from_names(session, args.tools or (), args.tools_auto or (), args.rounds, variables)


def _save_path(args: argparse.Namespace) -> Path | None:
    if args.save is None:
        return None
    from puq_magics.magics.options import resolve_save_path

    return resolve_save_path(args, ())


def _file_content(result: ChatResult, all_blocks: bool) -> str:
    """Return the text to save: the code, the JSON, sanitized HTML, or the answer as it is."""
    from puq_magics.outputs.results.formats import format_json, sanitize_html
    from puq_magics.prompts.extraction import extract_code

    if result.format == "code":
        return extract_code(result.text, all_blocks=all_blocks)[0] or result.text
    if result.format == "html":
        return sanitize_html(result.text)
    return result.text if result.data is None else f"{format_json(result.data)}\n"


def _note_repairs(result: ChatResult, repairs: Sequence[str]) -> None:
    """Add to the footer what was repaired in the JSON; as a warning where a value may be another one."""
    from puq_magics.prompts.lenient_json import NOT_A_NUMBER
    from puq_magics.prompts.schema.schema import GUESSED

    if repairs:
        is_doubtful = bool({GUESSED, NOT_A_NUMBER} & set(repairs))
        result.add_note(f"JSON repaired: {', '.join(repairs)}", is_warning=is_doubtful)


@dataclass(frozen=True)
class ChatInput:
    """Options and a prompt, and the variables that it may name."""

    session: Session
    args: argparse.Namespace
    prompt: str
    variables: Mapping[str, Any]

    def instruction(self, text: str) -> FilledText:
        """A text, filled in; images are an error in it."""
        return FilledText(text) if self.args.raw else self._fill(text, None)

    def content(self) -> tuple[MessageContent, tuple[str, ...]]:
        """Return the user's message, as text or as parts that begin with it; and notes. Raises InputError."""
        filled = FilledText(self.prompt) if self.args.raw else self._fill(self.prompt, self._image_limits)
        parts, notes = filled.parts, filled.notes
        if self.args.attach:
            from puq_magics.prompts.attachments import attach

            limit = self.session.settings.max_attachment_chars
            found = attach(
                self.args.attach,
                self.variables,
                limit=limit,
                image_limits=self._image_limits,
                cells=self.session.cells,
            )
            parts, notes = (*parts, *found.parts), (*notes, *found.notes)
        return ([{"type": "text", "text": filled.text}, *parts] if parts else filled.text), notes

    def model(self, default: str | None = None) -> str:
        """The model to ask. Raises ConfigurationError."""
        args = self.args
        return self.session.model("chat", args.model or default, suggest_models=not args.dry_run)

    @property
    def _image_limits(self) -> ImageLimits:
        return ImageLimits(max_side=self.session.settings.image_max_side)

    def _fill(self, text: str, images: ImageLimits | None) -> FilledText:
        limit = self.session.settings.max_value_chars
        return fill_template(text, self.variables, limit=limit, images=images, raw_hint=RAW_HINT)


def ask(
    session: Session, args: argparse.Namespace, prompt: str, variables: Mapping[str, Any]
) -> ChatResult | None:
    """Ask as the options say, and show the answer; None when nothing is to be sent. Raises PuqError."""
    processor = AnswerProcessor.from_args(session, args, variables)
    chat_input = ChatInput(session, args, prompt, variables)
    spec = _build_continuation(chat_input) if args.continue_ else _build_question(chat_input, processor)
    if is_dry_run(args):
        from puq_magics.magics.dry_run import format_messages, show_dry_run

        show_dry_run(session, args, ChatCall(spec), format_messages(spec.messages, spec.notes))
        return None
    return processor.ask(spec, lambda: chat_view(session, args, processor.format), args.out)


def _build_question(chat_input: ChatInput, processor: AnswerProcessor) -> ChatSpec:
    """Build the call for a question that stands alone or joins a conversation."""
    args, session, schema = chat_input.args, chat_input.session, processor.schema
    content, notes = chat_input.content()
    context = TurnContext.for_question(
        session,
        content,
        chat=args.chat,
        system=args.system,
        advance=not args.dry_run,
    )
    messages, omitted_notes = context.messages("" if schema is not None else processor.format_instructions)
    params, fallback_messages = chat_params(args, session), list[Message]()
    if processor.tools is not None:
        if "tools" in params:
            raise InputError("--param tools and --tools exclude each other.", hint="Remove one of them.")
        params["tools"] = processor.tools.definitions
    if schema is not None and "response_format" not in params:
        params["response_format"] = schema.response_format
        fallback_messages, _ = context.messages(processor.format_instructions)
    return ChatSpec(
        chat_input.model(),
        messages,
        stream=not args.no_stream,
        params=params,
        notes=(*args.option_notes, *notes, *omitted_notes),
        fallback_messages=fallback_messages,
        context=context,
    )


def _build_continuation(chat_input: ChatInput) -> ChatSpec:
    """Build the call for the rest of an answer. Raises InputError."""
    from puq_magics.session.chat_turn import find_unfinished_answer

    args, session = chat_input.args, chat_input.session
    for option, value in (("-a", args.attach), ("-s", args.system)):
        if value is not None:
            raise InputError(
                f"{option} cannot be combined with --continue: the request is sent again as it was.",
                hint="Remove it, or ask anew.",
            )
    instruction = chat_input.instruction(chat_input.prompt)
    last = find_unfinished_answer(session, chat=args.chat, prompt=instruction.text)
    return ChatSpec(
        chat_input.model(default=last.model),
        last.messages(instruction.text),
        stream=not args.no_stream,
        params=chat_params(args, session),
        notes=(*instruction.notes, *last.notes),
        partial_text=last.context.partial_text,
        question=last.question,
        context=last.context,
    )
