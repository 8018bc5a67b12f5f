"""TeX of an untrusted writer: what is a formula, what is a price, and which formulas may be typeset.

Front ends cut formulas out *before* they read Markdown and put them back afterwards, so a formula must be one for
them too: its braces balance by their count, no ``$`` inside, all on one line.
"""

import re

from puq_magics.outputs.markdown.tex_commands import is_bounded

_ENVIRONMENT = re.compile(r"\\(begin|end)\{([^{}\n]*)\}")
_ENVIRONMENT_NAMES = (
    "align aligned alignat alignedat array bmatrix Bmatrix cases CD dcases displaymath eqnarray equation flalign"
    " gather gathered math matrix multline pmatrix rcases smallmatrix split subarray vmatrix Vmatrix"
)
_MATH_ENVIRONMENTS = frozenset(_ENVIRONMENT_NAMES.split())

_TEX_TOKEN = re.compile(r"\\.|[{}]", re.S)
_JUPYTER_TOKEN = re.compile(r"\\(?:begin|end)\{[a-z]*\*?\}|\\[{}$]|[{}]", re.I)

_COMMENT = re.compile(r"(?<!\\)((?:\\\\)*)%[^\n]*")
_BARE_PERCENT = re.compile(r"(?<!\\)%")
_LABEL = re.compile(r"\\label\s*\{[^{}]*\}")
_NESTED_FORMULA = re.compile(r"(?<!\\)\$([^$]*)(?<!\\)\$")  # a formula in the words of a formula
_MARKDOWN_IN_TEX = re.compile(
    r"<(?=[A-Za-z/!?])|!(?=\[)|\](?=[(:\[])|@(?=@)|~(?=~)|&(?=[#\w])|[wW]{3}(?=\.)|:(?=//)|`"
)
_TEX_SIGN = re.compile(r"[\\^_={}]")
_WORD = re.compile(r"(?<![\\A-Za-z])[A-Za-z]{3,}")
_PRICE = re.compile(r"\d[\d.,]*(?:[kKmMbB]|bn|%)?(?:[\s)\]*,;:!?–—-]|\.\s)")


def _balanced(tex: str, token: re.Pattern[str]) -> bool:
    depth = 0
    for found in token.findall(tex):
        if found == "{":
            depth += 1
        elif found == "}":
            depth -= 1
            if depth < 0:
                return False
    return depth == 0


def _separate(match: re.Match[str]) -> str:
    return "‘" if match[0] == "`" else match[0] + " "


def _one_line(tex: str) -> str:
    if "\n" not in tex:
        return _BARE_PERCENT.sub(r"\\%", tex).strip()  # a comment there would hide the rest
    tex = _COMMENT.sub(r"\1", tex)
    return " ".join(tex.split())


def sanitize_tex(tex: str, *, in_table: bool = False) -> str | None:
    """Return the formula (without delimiters) as safe Markdown, or None if it must not be typeset."""
    tex = _NESTED_FORMULA.sub(r"\\(\1\\)", _LABEL.sub(" ", _one_line(tex)).strip())
    if not tex or "$" in tex.replace(r"\$", ""):
        return None
    if not is_bounded(tex):
        return None
    if not (_balanced(tex, _TEX_TOKEN) and _balanced(tex, _JUPYTER_TOKEN)):
        return None
    if in_table:
        tex = tex.replace(r"\|", r"\Vert ").replace("|", r"\vert ")
    tex = _MARKDOWN_IN_TEX.sub(_separate, tex)
    closed = tex.rfind("]") + 1
    tex = tex[:closed] + tex[closed:].replace("[", r"\lbrack ")
    return tex + " " if tex.endswith("\\") else tex


def is_formula(tex: str, after: str) -> bool:
    """Return True if ``$tex$`` followed by ``after`` is a formula, not two prices."""
    if not tex or "\n\n" in tex or len(tex) > 2_000:
        return False
    if not _TEX_SIGN.search(tex) and ("`" in tex or (_PRICE.match(tex) and _WORD.search(tex))):
        return False  # a dollar of a price and one of a piece of code, say
    if tex[0].isspace() or tex[-1].isspace():
        return tex[0].isspace() and tex[-1].isspace() and _TEX_SIGN.search(tex) is not None
    if after[:1].isdigit():
        return False
    return not (after[:1].isalnum() and tex[-1] in "/:=,-–+(")


def may_be_formula(rest: str) -> bool:
    """Return True if an open ``$`` followed by ``rest`` could still become a formula."""
    if not rest:
        return True
    if "\n\n" in rest or len(rest) > 600 or _PRICE.match(rest):
        return False
    if _TEX_SIGN.search(rest):
        return True
    return not rest[0].isspace() and rest.count(" ") < 5


def find_environments(text: str) -> dict[int, int]:
    r"""Return where each outermost ``\begin{…}`` of a mathematical environment starts, and where its end ends."""
    spans: dict[int, int] = {}
    stack: list[tuple[str, int]] = []
    for match in _ENVIRONMENT.finditer(text):
        kind, name = match[1], match[2]
        if kind == "begin":
            stack.append((name, match.start()))
        elif stack and stack[-1][0] == name:
            _, start = stack.pop()
            if is_environment(name):
                spans[start] = match.end()
        else:
            stack.clear()
    return spans


def is_environment(name: str) -> bool:
    """Return True if ``name`` is an environment that MathJax typesets without delimiters."""
    return name.removesuffix("*") in _MATH_ENVIRONMENTS
