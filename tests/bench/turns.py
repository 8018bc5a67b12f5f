"""One question in one kernel, and the figures that follow from the server's record and the kernel's."""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import accumulate

from answers import Shape
from kernel import Execution, Message
from serving import Record


@dataclass
class Turn:
    """A cell that asked for a stream, with the stream's shape and what the server wrote when."""

    shape: Shape
    execution: Execution
    record: Record

    @property
    def cpu_per_chunk(self) -> float:
        """The kernel's CPU, µs a chunk."""
        return self.execution.cpu * 1e6 / len(self.record.writes)

    @property
    def to_wire(self) -> float:
        """From the execute request's sending to the HTTP request's first byte, ms."""
        return _ms(self.record.arrived - self.execution.sent)

    @property
    def messages(self) -> float:
        """Messages that put something on the screen."""
        return len(self.execution.shown)

    @property
    def wire_ratio(self) -> float:
        """All IOPub bytes of the cell (every frame of every message) against the answer's bytes."""
        return sum(message.wire_bytes for message in self.execution.messages) / self.text_bytes

    @property
    def content_ratio(self) -> float:
        """The bytes of the messages' content alone against the answer's bytes."""
        return sum(message.content_bytes for message in self.execution.messages) / self.text_bytes

    @property
    def text_bytes(self) -> int:
        """The answer's size in UTF-8."""
        return len(self.shape.text().encode())

    @property
    def peak(self) -> float:
        """The most IOPub bytes in any second, kB."""
        return peak(self.execution.messages) / 1000

    @property
    def first(self) -> float:
        """From the first chunk's write to the arrival of the first message with that chunk in it, ms."""
        return self.delays[0]

    @cached_property
    def delays(self) -> list[float]:
        """For each chunk the ms from its write to the arrival of the first message that has all of it."""
        reached: list[int] = []
        times: list[int] = []
        for message in self.execution.messages:
            if message.progress > (reached[-1] if reached else 0):
                reached.append(message.progress)
                times.append(message.time)
        # White space at a chunk's end may come with the next one: it is nothing to see.
        pieces = self.shape.pieces()
        ends = [
            end - len(piece) + len(piece.rstrip())
            for end, piece in zip(accumulate(map(len, pieces)), pieces, strict=True)
        ]
        found = (bisect_left(reached, end) for end in ends)
        arrivals = [times[index] if index < len(times) else None for index in found]
        return [
            math.inf if arrival is None else _ms(arrival - write)
            for arrival, write in zip(arrivals, self.record.writes, strict=True)
        ]

    @property
    def tail(self) -> float:
        """From the last chunk's write until the whole text is published, ms; infinite if it never is."""
        return self.delays[-1]

    @property
    def to_idle(self) -> float:
        """From the last chunk's write until the kernel is idle, ms."""
        return _ms(self.execution.idle - self.record.writes[-1])


def peak(messages: Sequence[Message], window: int = 1_000_000_000) -> int:
    """The most bytes that arrived within any `window` ns, by sliding it from message to message."""
    most = inside = first = 0
    for message in messages:
        inside += message.wire_bytes
        while messages[first].time <= message.time - window:
            inside -= messages[first].wire_bytes
            first += 1
        most = max(most, inside)
    return most


def percentile(values: Sequence[float], percent: float) -> float:
    """The nearest-rank percentile: a value that did occur."""
    ordered = sorted(values)
    return ordered[max(0, math.ceil(len(ordered) * percent / 100) - 1)]


def _ms(nanoseconds: int) -> float:
    return nanoseconds / 1e6
