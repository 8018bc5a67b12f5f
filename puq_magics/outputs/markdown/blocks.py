"""Lines of an untrusted writer's Markdown into safe blocks, one line at a time.

Only as much block structure as safety and streaming need: where code starts and ends, where running text does
(formulas and inline code do not go beyond it), and where a long answer may be cut. Everything else about blocks
is left to the front end, because the running text is harmless whatever block it is taken for.
"""

import copy
import re

from puq_magics.outputs.markdown import links
from puq_magics.outputs.markdown.fences import FencedCode, IndentedCode
from puq_magics.outputs.markdown.inline import BlockEnd, escape_open_brackets, render

_QUOTE = re.compile(r"(?:[ ]{0,3}>[ ]?+)+")
_MARKERS = re.compile(r"[ ]*(?:(?:[-*+]|\d{1,9}[.)])(?:[ \t]++|\Z))+")
_FENCE = re.compile(r"(?P<indent>[ ]*)(?P<fence>`{3,}(?=[^`]*\Z)|~{3,})(?P<info>.*)\Z")
_HEADING_OR_RULE = re.compile(r"[ ]{0,3}(?:#{1,6}(?:[ ]|\Z)|(?:[-*_][ ]*){3,}\Z)")
_ROW = re.compile(r"[ ]*\|")
_DISPLAY_MARK = re.compile(r"\$\$|(?<!\\)\\[\[\]]|(?<!\\)\\(?:begin|end)\{[A-Za-z]{1,20}\*?\}")
_CODE_IN_LINE = re.compile(r"`[^`]*`")

#: A last line that could still turn out to be anything: a bullet, a rule, a fence, a delimiter row, a task.
_AMBIGUOUS = re.compile(
    r"[-*+=_#>~|:` \t]{1,400}\Z|[ ]*(?:[-*+][ ]+)?\d{1,9}[.)]?[ ]*\Z|[ ]*(?:[-*+]|\d{1,9}[.)])[ ]+\[[ xX]?\]?[ ]*\Z"
)
_PARTIAL_FENCE = re.compile(r"[ ]*(?:`{3}|~{3})[^`]*\Z")

#: A display formula that is not closed within so many characters is none.
_MAX_DISPLAY_CHARS = 4_000


class BlockParser:
    """Takes lines (without their ends), gives safe Markdown."""

    def __init__(self) -> None:
        self.output_lines: list[str] = []  # safe lines of finished blocks
        self.output_size = 0  # their characters
        self.lines: list[str] = []  # the running text at hand, without the quote's marks
        self.length = 0  # its characters, or those of the code at hand
        self.quote_prefix = ""  # the quote's marks before each of its lines
        self.fence: FencedCode | None = None  # the code at hand
        self.math_closer = ""  # what closes the display formula that is open
        self.is_table = False
        self.header: list[str] = []  # the table's first two rows, safe, once they are there
        self.in_list = False
        self.item_column = 0  # where the text of the last list item starts
        self.after_blank = True  # in the source
        self.output_ends_blank = True  # in the output
        self.dedent = 0  # spaces taken off each line since a list was cut in two
        self.is_at_start = True  # no line yet, or none since the cut
        self.is_streaming = False

    # -- lines ------------------------------------------------------------------------------------

    def add(self, line: str) -> None:
        """Process the next line."""
        self.is_at_start = False
        if self.fence is not None:
            if self.fence.add_line(line):
                self.length += len(line) + 1
                if self.fence.closed:
                    self.close()
                return
            self.close()
        line = self._dedent_line(line)
        quote = _QUOTE.match(line) if ">" in line else None
        quote_prefix = quote[0] if quote else ""
        body = line[len(quote_prefix) :]
        if self.math_closer and self._same_quote(quote_prefix) and self._continue_display_math(body):
            return
        if not body.strip():
            self.close()
            self._emit(quote_prefix.rstrip())
        elif not self._start_code(body, quote_prefix):
            self._add_text(body, quote_prefix)
        self.after_blank = not body.strip()

    def _same_quote(self, quote_prefix: str) -> bool:
        return quote_prefix.count(">") == self.quote_prefix.count(">")

    def _dedent_line(self, line: str) -> str:
        if line and line[0] not in " \t":
            self.dedent = 0
            return line
        stripped = line.lstrip(" \t")
        lead = line[: len(line) - len(stripped)].expandtabs(4)
        if stripped:
            self.dedent = min(self.dedent, len(lead))
        return lead[self.dedent :] + stripped

    def _start_code(self, body: str, quote_prefix: str) -> bool:
        """Start a code block if the line does: fenced, or indented outside a list."""
        column = self.item_column if self.in_list else 0
        if self.after_blank and not quote_prefix and not self.lines and body.startswith(" " * (column + 4)):
            self.fence = IndentedCode(column)
            return self.fence.add_line(body)
        if "```" not in body and "~~~" not in body:
            return False
        markers = _MARKERS.match(body)
        before = markers[0].expandtabs(4) if markers else ""
        found = _FENCE.match(body, markers.end() if markers else 0)
        if found is None:
            return False
        self.close()
        indent = len(before) + len(found["indent"])
        if markers:
            self.item_column = len(before)
        self.in_list = bool(markers) or (self.in_list and bool(indent))
        is_unindented = not quote_prefix and not self.in_list
        self.fence = FencedCode(
            found["fence"],
            found["info"],
            indent + self.dedent,
            quote_prefix,
            before + found["indent"],
            is_unindented,
        )
        return True

    def _add_text(self, body: str, quote_prefix: str) -> None:
        markers = _MARKERS.match(body)
        if markers:
            self.item_column = len(markers[0].expandtabs(4))
        self.in_list = bool(markers) or (self.in_list and (body[0] == " " or not self.after_blank))
        same = self._same_quote(quote_prefix)
        if same and self.is_table and "|" in body:
            self._add_table_row(body)
            return
        row = _ROW.match(body) is not None
        heading = not row and _HEADING_OR_RULE.match(body) is not None
        if markers or row or heading or self.is_table or not same or not self.lines:
            self.close()
            self.quote_prefix = quote_prefix
        definition = links.safe_definition(body) if not self.lines and "]:" in body else None
        if definition is not None:
            self._emit(quote_prefix + definition)
            self._emit(quote_prefix.rstrip())  # or the next line could be read as its title
            return
        self.is_table = row
        self._append(body)
        if heading and not self.math_closer and not self.is_streaming:
            self.close()

    def _append(self, body: str) -> None:
        self.lines.append(body)
        self.length += len(body) + 1
        if "$$" in body or "\\" in body:
            self._track_display_math(body)

    def _add_table_row(self, body: str) -> None:
        """Process a table row: the first is held back until the second shows that it is a table."""
        self._append(body)
        if not self.is_streaming:
            self.close(in_table=True)

    # -- display formulas: blank lines and bullets inside do not end them ---------------------------

    def _track_display_math(self, body: str) -> None:
        line = _CODE_IN_LINE.sub("", body)
        for found in _DISPLAY_MARK.finditer(line):
            mark = found[0]
            if self.math_closer:
                self.math_closer = "" if mark == self.math_closer else self.math_closer
            elif line[: found.start()].strip(" -*+0123456789.)"):
                break  # within a sentence: it has no blank lines
            elif mark == "$$":
                self.math_closer = "$$"
            elif mark == "\\[":
                self.math_closer = "\\]"
            elif mark.startswith("\\begin"):
                self.math_closer = "\\end" + mark[6:]

    def _continue_display_math(self, body: str) -> bool:
        if self.length > _MAX_DISPLAY_CHARS or _FENCE.match(body):
            return False
        self._append(body)
        return True

    # -- the end of a block -------------------------------------------------------------------------

    def close(self, end: BlockEnd = BlockEnd.COMPLETE, *, in_table: bool = False) -> None:
        """Finish the current block. ``in_table``: more rows of the same table follow."""
        if self.fence is not None:
            self._close_code(self.fence)
        elif self.is_table:
            self._close_rows(end)
        elif self.lines:
            text = render("\n".join(self.lines), end)
            self._emit_text(text)
        self.lines, self.length, self.math_closer = [], 0, ""
        if not in_table:
            self.is_table, self.header = False, []

    def _close_rows(self, end: BlockEnd) -> None:
        last = len(self.lines) - 1
        rows = [
            render(line, end if index == last else BlockEnd.COMPLETE, in_table=True).replace("\n", " ")
            for index, line in enumerate(self.lines)
        ]
        if not self.header and len(rows) == 2:
            self.header = [self.quote_prefix + row for row in rows]
        self._emit_text("\n".join(rows))

    def _close_code(self, fence: FencedCode) -> None:
        self.fence = None
        if fence.is_unindented:
            self._emit("")
        lines = fence.safe_lines()
        self.output_lines.extend(lines)
        self.output_size += sum(map(len, lines)) + len(lines)
        self.output_ends_blank = False
        if fence.is_unindented:
            self._emit("")
        self.after_blank = fence.is_unindented

    def _emit_text(self, text: str) -> None:
        text = escape_open_brackets(text)
        for line in text.split("\n") if text else ():
            self._emit(self.quote_prefix + line)

    def _emit(self, line: str) -> None:
        """Put out a line of running text; a blank one only where the one before is not."""
        if line or not self.output_ends_blank:
            self.output_lines.append(line)
            self.output_size += len(line) + 1
        self.output_ends_blank = not line

    @property
    def buffered_size(self) -> int:
        """Characters taken and not yet given away, about."""
        return self.output_size + self.length

    def may_close(self, line: str) -> bool:
        """Return True if the line, which may be incomplete, could end the current code."""
        return self.fence is not None and self.fence.may_close(line)

    # -- cutting a long answer ------------------------------------------------------------------------

    def is_clean_break(self, line: str) -> bool:
        """Return True if a new output can begin with this line without splitting a block."""
        if self.fence is not None or self.math_closer or not line or line[0] in " \t|>":
            return False
        return (
            self.after_blank or _HEADING_OR_RULE.match(line) is not None or _MARKERS.match(line) is not None
        )

    def split_before(self, line: str, *, longest_header: int) -> str:
        """Finish before this line, return what is finished, and go on with what was open, standing by itself.

        A table's header is repeated if it has no more than ``longest_header`` characters.
        """
        fence, header, quote_prefix = self.fence, self.header, self.quote_prefix
        continues_table = self.is_table and bool(header) and sum(map(len, header)) <= longest_header
        self.close()
        text = self.flush()
        self.after_blank = self.output_ends_blank = self.is_at_start = True
        if fence is not None:
            self.fence = fence.reopened()
        elif continues_table and line.lstrip("> ").startswith("|"):
            self.is_table, self.header, self.quote_prefix = True, header, quote_prefix
            for row in header:
                self._emit(row)
        else:
            self.dedent += len(line) - len(line.lstrip(" "))
            self.in_list = False
        return text

    def flush(self) -> str:
        """Return and forget the finished blocks."""
        text = "\n".join(self.output_lines).strip("\n")
        self.output_lines, self.output_size = [], 0
        return text

    # -- a growing end ------------------------------------------------------------------------------

    def preview(self, line: str) -> str:
        """Return the whole as it is best shown while more of ``line`` may come; this object stays as it is."""
        copied = copy.copy(self)
        copied.output_lines, copied.lines, copied.is_streaming = [], list(self.lines), True
        if self.fence is not None:
            copied.fence = copy.copy(self.fence)
            copied.fence.open_fence = copy.copy(self.fence.open_fence)
            copied.fence.lines = list(self.fence.lines)
        copied._add_partial_line(line)
        return "\n".join(self.output_lines + copied.output_lines).strip("\n")

    def _add_partial_line(self, line: str) -> None:
        half_table = self.is_table and not self.header
        if line and not self._is_ambiguous(line):
            self.add(line)
        if self.is_table and not self.header and (half_table or len(self.lines) == 1):
            self.lines = []
        self.close(BlockEnd.STREAMING)

    def _is_ambiguous(self, line: str) -> bool:
        if self.fence is not None:
            return self.may_close(line) and not line.strip(" >`~")  # text outside the quote is shown
        quote = _QUOTE.match(line)
        body = line[quote.end() :] if quote else line
        markers = _MARKERS.match(body)
        return bool(
            _AMBIGUOUS.match(body or line)
            or _PARTIAL_FENCE.match(body, markers.end() if markers else 0)
            or (not self.lines and links.is_unfinished_definition(body))
        )
