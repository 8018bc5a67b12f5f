"""Prompts that end with a question mark.

IPython parses ``%puq_chat What is a cell?`` as a request for help on ``cell``: its help syntax precedes its magics.
This transformer handles such lines first. It works on tokens, like IPython's own, so that strings do not change.
"""

from __future__ import annotations

import re
from tokenize import DEDENT, INDENT, TokenInfo

from IPython.core.inputtransformer2 import (
    TokenTransformBase,
    assemble_continued_line,
    find_end_of_continued_line,
)
from IPython.core.interactiveshell import InteractiveShell

# A prompt follows: `%puq_chat?` is a request for help.
_PROMPT_LINE = re.compile(
    r"(?P<target>[^%\"'#]*=\s*)?%(?P<name>puq_(?:chat|compare|fix|image|speak))\s+(?P<line>[^\s?].*)",
    re.DOTALL,
)


class QuestionMarkTransformer(TokenTransformBase):
    """A line magic whose prompt ends with a question mark."""

    priority = 1  # before the help syntax

    @classmethod
    def find(cls, tokens_by_line: list[list[TokenInfo]]) -> QuestionMarkTransformer | None:
        """Return a transformer of the first such line; None if there is none."""
        for tokens in tokens_by_line:
            significant = [token for token in tokens if token.type not in (INDENT, DEDENT)]
            if len(significant) > 3 and significant[-2].string == "?":
                first = significant[0]
                if _PROMPT_LINE.match(first.line[first.start[1] :]):
                    return cls(first.start)
        return None

    def transform(self, lines: list[str]) -> list[str]:
        """Return the lines with a call of the magic in place of the line."""
        start = (self.start_line, self.start_col)
        end = find_end_of_continued_line(lines, self.start_line)
        match = _PROMPT_LINE.match(assemble_continued_line(lines, start, end))
        if match is None:
            return lines
        indent = lines[self.start_line][: self.start_col]
        call = f"get_ipython().run_line_magic({match['name']!r}, {match['line'].rstrip()!r})"
        return [*lines[: self.start_line], f"{indent}{match['target'] or ''}{call}\n", *lines[end + 1 :]]


def install(shell: InteractiveShell) -> None:
    """Add the transformer."""
    shell.input_transformer_manager.token_transformers.append(QuestionMarkTransformer)


def uninstall(shell: InteractiveShell) -> None:
    """Remove the transformer."""
    transformers = shell.input_transformer_manager.token_transformers
    transformers[:] = [each for each in transformers if each is not QuestionMarkTransformer]
