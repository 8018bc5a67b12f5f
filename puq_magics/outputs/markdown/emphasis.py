"""Heal the end of a growing text: close emphasis, show half a link as its text."""

import re
import unicodedata

_DELIMITERS = re.compile(r"\*+|_+|~~")
#: Further back than this an open delimiter is taken for a plain sign.
_MAX_LOOKBACK = 400
_MAX_LABEL_CHARS = 200


def close_emphasis(pieces: list[str], opaque: list[bool]) -> str:
    """Join the pieces of a growing block; those marked opaque hold no Markdown that could be completed."""
    pieces = list(pieces)
    _strip_open_label(pieces, opaque)
    while pieces and not (stripped := pieces[-1].rstrip(" \n")):
        pieces.pop()
    if not pieces:
        return ""
    if not opaque[len(pieces) - 1]:
        pieces[-1] = stripped
    mask = "".join("\0" if hidden else piece for piece, hidden in zip(pieces, opaque, strict=False))
    closing, leftover = _open_delimiters(mask)
    text = "".join(pieces)
    if leftover:
        text = text[: len(text) - leftover].rstrip(" ")
    return text + closing


def _strip_open_label(pieces: list[str], opaque: list[bool]) -> None:
    """Remove the brackets of ``[text`` and ``[text]`` at the end, in place: most become links."""
    seen = 0
    for index in range(len(pieces) - 1, -1, -1):
        if opaque[index]:
            seen += 1
            continue
        piece = pieces[index]
        last = index == len(pieces) - 1
        body = piece[:-1] if last and piece.endswith("]") else piece
        opening = body.rfind("[")
        if body.rfind("]") > opening:
            return
        if opening >= 0:
            pieces[index] = body[:opening] + body[opening + 1 :]
            if index and pieces[index - 1] == "&#33;" and not opening:
                pieces[index - 1] = ""
            _drop_last_bracket(pieces, index)
            return
        seen += len(piece)
        if seen > _MAX_LABEL_CHARS:
            return


def _drop_last_bracket(pieces: list[str], opening: int) -> None:
    if opening < len(pieces) - 1 and pieces[-1].endswith("]"):
        pieces[-1] = pieces[-1][:-1]


def _is_punctuation(character: str) -> bool:
    return character == "\0" or unicodedata.category(character)[0] in "PS"


def _flanking(before: str, after: str) -> tuple[bool, bool]:
    """Return whether a delimiter run between these characters is left- and right-flanking (CommonMark 6.2)."""
    space_before, space_after = before.isspace(), after.isspace()
    sign_before, sign_after = _is_punctuation(before), _is_punctuation(after)
    left = not space_after and (not sign_after or space_before or sign_before)
    right = not space_before and (not sign_before or space_after or sign_after)
    return left, right


def _close_delimiters(stack: list[list[str]], run: str) -> str:
    """Close what ``run`` closes on the stack; return what is left of the run."""
    while run and any(entry[0][0] == run[0] for entry in stack):
        while stack[-1][0][0] != run[0]:
            stack.pop()
        width = min(len(run), len(stack[-1][0]))
        run = run[width:]
        stack[-1][0] = stack[-1][0][width:]
        if not stack[-1][0]:
            stack.pop()
    return run


def _open_delimiters(text: str) -> tuple[str, int]:
    """Return what closes the emphasis that is open at the end, and how much of a last run leads nowhere."""
    stack: list[list[str]] = []
    for match in _DELIMITERS.finditer(text, max(0, len(text) - _MAX_LOOKBACK)):
        run = match[0]
        before = text[match.start() - 1] if match.start() else " "
        at_end = match.end() == len(text)
        after = " " if at_end else text[match.end()]
        left, right = _flanking(before, after)
        if run[0] == "_" and left and right:
            left, right = _is_punctuation(before), _is_punctuation(after)
        if right:
            run = _close_delimiters(stack, run)
        if run and at_end:
            return "".join(entry[0] for entry in reversed(stack)), len(run)
        if run and left and not (run == "*" and before.isalnum()):
            stack.append([run])
    return "".join(entry[0] for entry in reversed(stack)), 0
