"""Read error bodies of any shape, and make errors of them."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from contextlib import suppress
from html import unescape
from typing import Any

from puq_magics.api.sse import is_error_type, is_keep_alive
from puq_magics.core.errors import (
    APIStatusError,
    AuthenticationError,
    BadRequestError,
    InvalidResponseError,
    NotFoundError,
    PaymentRequiredError,
    PermissionDeniedError,
    RateLimitError,
    ServerError,
    UnprocessableEntityError,
)
from puq_magics.core.text import one_line

# Characters of an error's body, and of an HTML page, that are read.
_MAX_BODY_CHARS, _MAX_HTML_CHARS = 64_000, 5_000
_STATUS_ERRORS: dict[int, tuple[type[APIStatusError], str, str]] = {
    400: (BadRequestError, "the router rejected the request", "Check the model and the options."),
    401: (
        AuthenticationError,
        "the router does not accept the API key",
        "Log in with a key that is valid for this host: %puq_login",
    ),
    402: (
        PaymentRequiredError,
        "the balance is used up, or the plan's limit is reached",
        "Top up the account.",
    ),
    403: (PermissionDeniedError, "the API key has no access to this", "Grant it in the dashboard."),
    404: (NotFoundError, "the router has no such model or endpoint", "Check the model and the base URL."),
    413: (APIStatusError, "the request is too large for the router", "Send less in one request."),
    422: (
        UnprocessableEntityError,
        "the router cannot process this request",
        "Check the model and the options.",
    ),
    429: (RateLimitError, "too many requests", "Wait a little, then try again."),
}
_FILE_TOO_LARGE = (
    APIStatusError,
    "the file is too large for the router",
    "Send a shorter or a compressed one (MP3, Opus).",
)
# Error texts of several servers for a prompt that is longer than the model can read.
_CONTEXT_LENGTH_PATTERN = (
    r"context[_ ](?:length|window|size)|maximum context|model's context|prompt is too long"
)
_CONTEXT_LENGTH_HINT = (
    "Send less: a shorter prompt, or fewer turns of a conversation (PuqMagics.context_turns)."
)
#: Fields that hold an error's text, its code, and an answer; compared in lower case without underscores.
_TEXT_KEYS = (
    "error", "errors", "err", "message", "msg", "errmsg", "detail", "details", "errordescription", "errormessage",
    "errormsg", "errtips", "usermessage", "statusmsg", "messages", "issues", "description", "hint", "reason", "title",
    "exception", "fault", "faultstring", "innererror", "metadata", "raw", "baseresp",
)  # fmt: skip
_OWN_CODE_KEYS = ("errorcode", "errcode", "errno")  # whatever stands beside them
_ERROR_CODE_KEYS = ("code", *_OWN_CODE_KEYS, "statuscode")
_CODE_KEYS = (*_ERROR_CODE_KEYS, "type")
_ANSWER_KEYS = ("choices", "data", "text", "images", "usage", "models", "segments")
#: Fields of an object without an answer that make it an error, and those that make it a status message.
_ERROR_KEYS = ("detail", "errors", "err", "fault", "errordescription", "errormessage", "errormsg", "errmsg")
_STATE_KEYS = ("object", "type", "status", "event")
_ERROR_STATE = re.compile(r"(?:.*\.)?(?:error|failed|failure|exception)", re.IGNORECASE)
#: Fields in which a chunk with choices can say that it failed.
_CODE_FIELDS = frozenset(
    {
        "code", "error_code", "errorCode", "errcode", "err_no", "errno", "status_code", "statusCode", "base_resp",
        "header",
    }
)  # fmt: skip
_SUCCESS = re.compile(
    r"(?:(?:request|operation) )?(?:ok|success|successful|succeeded|successfully|done)|.{0,4}成功",
    re.IGNORECASE,
)
_ERROR_WORDS = re.compile(
    r"error|fail|exception|invalid|exceed|denied|unauthori[sz]ed|forbidden|not (?:found|allowed|supported|enough)"
    r"|limit|quota|insufficient|unavailable|time(?:d )?-?out|overload|too (?:many|long|large)|busy|abort|cancel+ed"
    r"|crash|died|unable|can(?:no|')t|could not|refused|reject|expired|out of memory|stopped|closed|went wrong"
    r"|broken|interrupted",
    re.IGNORECASE,
)
_MAX_DEPTH, _MAX_ENTRIES = 6, 5
_QUOTA = (
    PaymentRequiredError,
    "a quota is used up: this account's, or the router's at its provider",
    "Check the plan and the balance (%puq_balance), or use another model.",
)
#: Error texts and codes of several servers for a spent quota: always, and unless a rate is meant.
_QUOTA_CODE = re.compile(r"insufficient_?\w*quota|billing_\w*limit", re.IGNORECASE)
_QUOTA_TEXT = re.compile(
    r"insufficient[_ ]?(?:quota|balance|credit|fund)|balance is (?:insufficient|not enough|too low)"
    r"|exceeded.{0,30}\b(?:quota|credits)|(?:quota|credits?).{0,30}(?:exceeded|exhausted|used up|depleted|not enough)"
    r"|balance is too low|(?:out of|no) credits|not enough (?:credit|balance|fund)|billing[_ ](?:hard[_ ])?limit"
    r"|spending limit|in arrears|余额不足|额度不足|额度已用|欠费",
    re.IGNORECASE,
)
_RATE_TEXT = re.compile(
    r"per[_ ](?:second|minute|hour|day)|rate[_ -]limit|(?:retry|try again) (?:in|after) \d|requests? limit"
    r"|\b[rt]p[md]\b",
    re.IGNORECASE,
)
_SERVER = (ServerError, "the router failed", "Try again; if it persists, contact the router's support.")
_OTHER = (APIStatusError, "the router rejected the request", "Check the base URL.")


def make_status_error(
    status: int,
    body: bytes,
    *,
    request_id: str | None = None,
    retry_after: float | None = None,
    sent_file: bool = False,
) -> APIStatusError:
    """Return the error for an answer with a status of 400 or more; its body may be JSON, HTML, text or empty."""
    detail, code = parse_error_body(body)
    kind, summary, hint = _STATUS_ERRORS.get(status, _SERVER if status >= 500 else _OTHER)
    reason = ""
    if status == 402 and code == "SUBSCRIPTION_LIMIT":
        summary, hint, reason = (
            "the limit of the plan is reached",
            "Change the plan in the dashboard.",
            "plan",
        )
    elif status in (400, 403, 429, 503) and is_quota_spent(body, retry_after):
        kind, summary, hint, reason = *_QUOTA, "quota"
    elif status == 413 and sent_file:
        kind, summary, hint = _FILE_TOO_LARGE
    elif status in (400, 413, 422) and re.search(_CONTEXT_LENGTH_PATTERN, f"{detail} {code}", re.I):
        hint, reason = _CONTEXT_LENGTH_HINT, "context_length"
    return kind(
        append_detail(
            f"{summary} ({status} {_status_phrase(status)})".replace(" )", ")"),
            _strip_status_prefix(detail, status),
        ),
        status=status,
        hint=hint,
        code=code,
        detail=detail,
        request_id=request_id,
        retry_after=retry_after,
        reason=reason,
    )


def is_quota_spent(body: bytes, retry_after: float | None = None) -> bool:
    """Return whether an error means that a quota is spent, which waiting a little does not mend."""
    detail, code = parse_error_body(body)
    if _QUOTA_CODE.search(body[:_MAX_BODY_CHARS].decode("utf-8", "replace")):
        return True
    text = f"{code} {detail}"
    is_rate = retry_after is not None or _RATE_TEXT.search(text)
    return not is_rate and _QUOTA_TEXT.search(text) is not None


def raise_for_error_object(answer: object) -> None:
    """Raise InvalidResponseError if a decoded answer of status 200, which may be in a list, reports an error."""
    for each in answer if isinstance(answer, list) else [answer]:
        if isinstance(each, dict) and (error := find_error(each)) is not None:
            raise InvalidResponseError(
                append_detail("the router answered with an error", *error), hint="Try again."
            )


def find_error(
    answer: Mapping[str, Any], event_type: str = "message", *, is_event: bool = False
) -> tuple[str, str | None] | None:
    """Return the text and the code of the error that an answer or an event reports; None without one.

    ``event_type`` is that of a server-sent event. Routers report errors in many shapes: ``{"error": …}``, also in a
    choice; ``{"object": "error", …}``; ``{"detail": …}``; ``{"code": 500, "msg": …}``; ``{"base_resp": …}``. A
    message alone is an error in place of an answer; in an event of a stream (``is_event``) if it reads like one.
    """
    for place in _places(answer):
        error = place.get("error") or place.get("Error")
        is_success = isinstance(error, dict) and "code" in error and not _is_error_code(error["code"])
        if error and not is_success and (not isinstance(error, dict) or any(error.values())):
            return describe_error(place)
    return describe_error(answer) if _is_error(answer, event_type, is_event) else None


def _places(answer: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    """Yield an answer and the objects in it that can hold an error."""
    choices = answer.get("choices")
    for place in (
        answer,
        answer.get("response"),
        answer.get("data"),
        answer.get("x_groq"),
        *(choices if isinstance(choices, list) else ()),
    ):
        if isinstance(place, dict):
            yield place
            for name in ("delta", "message"):
                if isinstance(part := place.get(name), dict):
                    yield part


def _is_error(answer: Mapping[str, Any], event_type: str, is_event: bool) -> bool:
    """Return whether an answer or an event without ``error`` is one all the same."""
    is_chunk = event_type == "message" and answer.get("object") == "chat.completion.chunk"
    is_chunk = is_chunk and bool(answer.get("choices"))
    if is_chunk and _CODE_FIELDS.isdisjoint(answer):
        return False  # nearly all
    states = [state for key in _STATE_KEYS if isinstance(state := answer.get(key), str)]
    if not is_chunk and any(map(is_error_type, (event_type, *states))):
        return True
    if event_type != "message":
        return False
    named = _normalize_keys(answer)
    inner = [value for key in ("baseresp", "header") if isinstance(value := named.get(key), dict)]
    places = [named, *map(_normalize_keys, inner)]
    if any(answer.get(key) for key in _ANSWER_KEYS) or "text" in answer:
        return not _holds_answer(answer) and any(_has_failed(place, answer.get("text")) for place in places)
    if _says_error(named) or any(map(_has_error_code, places)):
        return True
    message = named.get("message") or named.get("msg")
    has_code = any(place.get(key) not in (None, "") for place in places for key in _ERROR_CODE_KEYS)
    if not isinstance(message, str) or states or has_code or is_keep_alive(message):
        return False
    return not is_event or _ERROR_WORDS.search(message) is not None


def _says_error(named: Mapping[str, Any]) -> bool:
    """Return whether a field of an object without an answer says that it is an error."""
    status = named.get("status")
    return (
        named.get("success") is False
        or named.get("ok") is False
        or named.get("iserror") is True
        or (isinstance(status, int) and status >= 400)
        or any(named.get(key) for key in _ERROR_KEYS)
        or any(value and key.endswith("exception") for key, value in named.items())
    )


def _holds_answer(answer: Mapping[str, Any]) -> bool:
    """Return whether an answer has content: an error beside it would not be one of the answer."""
    if any(answer.get(key) for key in ("data", "images", "models", "segments")):
        return True
    choices = answer.get("choices")
    for choice in choices if isinstance(choices, list) else ():
        if isinstance(choice, dict):
            part = choice.get("delta") or choice.get("message")
            fields = part if isinstance(part, dict) else {}
            if choice.get("text") or any(value for name, value in fields.items() if name != "role"):
                return True
    return False


def _has_failed(named: Mapping[str, Any], text: object) -> bool:
    """Return whether a code beside the empty fields of an answer says that it failed.

    ``code`` may be of anything, such as the model: it counts with a message, if one of the two is that of an error.
    """
    if any(_is_error_code(named.get(key)) for key in _OWN_CODE_KEYS):
        return True
    code, message = str(named.get("code")), _message(named)
    if text or not message or not _has_error_code(named):
        return False
    is_of_http = re.fullmatch(r"[45]\d\d", code) is not None
    return (
        "statuscode" in named or is_of_http or (code.isdecimal() and _ERROR_WORDS.search(message) is not None)
    )


def _has_error_code(named: Mapping[str, Any]) -> bool:
    is_success = _SUCCESS.fullmatch(_message(named).strip(" .!"))
    return not is_success and any(_is_error_code(named.get(key)) for key in _ERROR_CODE_KEYS)


def _message(named: Mapping[str, Any]) -> str:
    texts = (named.get(key) for key in ("message", "msg", "statusmsg"))
    return next((text for text in texts if isinstance(text, str)), "")


def _is_error_code(code: object) -> bool:
    return code not in (None, "", False) and str(code).lower() not in ("0", "200", "201", "ok", "success")


def no_answer_error(answer: object, expected: str) -> InvalidResponseError:
    """Return the error for an answer that lacks what is expected of it, with the router's text."""
    detail, _ = parse_error_json(answer) if isinstance(answer, dict) else ("", None)
    return InvalidResponseError(
        append_detail(f"the answer holds no {expected}", detail), hint="Check the base URL."
    )


def not_json_error(body: bytes) -> InvalidResponseError:
    """Return the error for a body that is not JSON."""
    detail, _ = parse_error_body(body)
    if not detail:
        return InvalidResponseError(
            "the answer is empty.", hint="Check the base URL; a proxy may be in the way."
        )
    return InvalidResponseError(
        append_detail("the answer is not JSON", detail),
        hint="Check the base URL; a proxy may have answered instead.",
    )


def append_detail(message: str, detail: str, code: str | None = None) -> str:
    """Return the message, with the router's code and text behind it if there are any, as one sentence."""
    message = f"{message} ({code})" if code and code not in detail else message
    text = f"{message}: {detail}" if detail else message
    return text if text.rstrip("”'\")").endswith((".", "!", "?", "…")) else f"{text}."


def _strip_status_prefix(detail: str, status: int) -> str:
    """Remove the status that many servers begin their text with, such as ``Unauthorized:``."""
    phrase = re.escape(_status_phrase(status))
    return re.sub(rf"^(?:(?:{status}|{phrase})\b[\s:.,–-]*)+", "", detail, flags=re.I) if phrase else detail


def parse_error_body(body: bytes) -> tuple[str, str | None]:
    """Return the text of an error's body, as one line without markup, and the router's code for it or None."""
    text = body[:_MAX_BODY_CHARS].decode("utf-8-sig", "replace").strip()
    try:
        return describe_error(json.loads(text))
    except (ValueError, RecursionError):
        return one_line(_summarize_html(text) if text.startswith("<") else text), None


def describe_error(value: object) -> tuple[str, str | None]:
    """Return the text and the code of a decoded error; where no text is found, all of it if it holds one."""
    text, code = parse_error_json(value)
    return (text if text or not _holds_text(value) else one_line(_to_json(value))), code


def _holds_text(value: object, depth: int = 0) -> bool:
    """Return whether there is a text in an error, beside its codes."""
    if depth > _MAX_DEPTH:
        return False
    if isinstance(value, dict):
        fields = _normalize_keys(value)
        return any(_holds_text(each, depth + 1) for name, each in fields.items() if name not in _CODE_KEYS)
    if isinstance(value, list):
        return any(_holds_text(each, depth + 1) for each in value)
    return isinstance(value, str) and bool(value.strip())


def parse_error_json(value: object) -> tuple[str, str | None]:
    """Return the text and the code of a decoded error, of any shape.

    Texts of an error and of what it wraps, such as the provider's, are joined with colons.
    """
    texts: list[str] = []
    codes: list[str] = []
    while isinstance(value, dict) and len(value) == 1 and isinstance(value.get("error"), dict):
        value = value["error"]
    _collect_error(value, texts, codes, 0)
    return one_line(": ".join(texts)), one_line(codes[-1], 80) if codes else None


def _collect_error(value: object, texts: list[str], codes: list[str], depth: int) -> None:
    if isinstance(value, str):
        value = _decode_object(value)
    if isinstance(value, str):
        text = value.strip()
        if text and not any(text in other for other in texts):
            texts[:] = [other for other in texts if other not in text] + [text]
    elif isinstance(value, dict) and depth < _MAX_DEPTH:
        _collect_error_fields(value, texts, codes, depth)
    elif isinstance(value, list) and depth < _MAX_DEPTH:
        for each in value[:_MAX_ENTRIES]:
            _collect_error(each, texts, [], depth + 1)
    elif value is not None and value is not False:
        texts.append(_to_json(value))


def _collect_error_fields(error: Mapping[str, Any], texts: list[str], codes: list[str], depth: int) -> None:
    named = _normalize_keys(error)
    code = next((named[key] for key in _CODE_KEYS if named.get(key)), None)
    if isinstance(code, str | int) and not isinstance(code, bool) and not _ERROR_STATE.fullmatch(str(code)):
        codes.append(str(code))
    if isinstance(named.get("loc"), list) and isinstance(named.get("msg"), str):  # of a field, by FastAPI
        named = {"msg": f"{'.'.join(map(str, named['loc']))}: {named['msg']}"}
    found = len(texts)
    for key in _TEXT_KEYS:
        if named.get(key) not in (None, True):
            _collect_error(named[key], texts, codes, depth + 1)
    if len(texts) == found:
        for key, value in named.items():
            entries = value if isinstance(value, list) else [value]
            is_nested = any(isinstance(entry, dict) and entry for entry in entries)
            if is_nested and key not in (*_TEXT_KEYS, *_CODE_KEYS):
                _collect_error(value, texts, codes, depth + 1)
    if depth and not any(key in named for key in (*_TEXT_KEYS, *_CODE_KEYS)) and len(texts) == found:
        texts.append(_to_json(error))


def _normalize_keys(fields: Mapping[str, Any]) -> dict[str, Any]:
    return {str(key).lower().replace("_", ""): value for key, value in fields.items()}


def _decode_object(text: str) -> object:
    """Return the object in a text that is JSON: some routers pass another's body on as text."""
    if text.lstrip()[:1] == "{":
        with suppress(ValueError, RecursionError):
            return json.loads(text)
    return text


def _to_json(value: object) -> str:
    try:
        return json.dumps(value, ensure_ascii=False)
    except RecursionError:
        return "…"


def _summarize_html(text: str) -> str:
    text = re.sub(r"(?is)<(script|style)\b.*?</\1>|<!--.*?-->", " ", text[:_MAX_HTML_CHARS])
    title = re.search(r"(?is)<title[^<>]*>([^<]*)", text)
    content = unescape(title.group(1) if title else re.sub(r"<[^<>]*>", " ", text)).strip()
    return f"an HTML page, “{one_line(content, 200)}”" if content else "an HTML page"


def _status_phrase(status: int) -> str:
    from http import HTTPStatus  # by the time that there is a status it is loaded

    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return ""
