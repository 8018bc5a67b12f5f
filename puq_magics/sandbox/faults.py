"""Failing on purpose: which of the next paid requests are refused, and how."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace

_FAULT = re.compile(r"(?P<status>[45]\d\d)(?::(?P<times>\d{1,6}))?")


@dataclass(frozen=True)
class Fault:
    """One status, for so many requests; ``times`` None is for all that come."""

    status: int
    times: int | None = None

    def __str__(self) -> str:
        return str(self.status) if self.times is None else f"{self.status}:{self.times}"


@dataclass(frozen=True)
class FaultPlan:
    """Faults in the order in which they come: ``429:2,500`` is two 429, then nothing but 500."""

    faults: tuple[Fault, ...] = ()

    @classmethod
    def parse(cls, text: str | None) -> FaultPlan:
        """Read ``STATUS[:TIMES][,…]``; None and the empty string plan nothing.

        Raises ValueError for anything else.
        """
        return cls(tuple(_fault(part.strip()) for part in (text or "").split(",") if part.strip()))

    def take(self) -> tuple[int | None, FaultPlan]:
        """The status that the next request is to fail with, or None, and the plan that is left."""
        for position, fault in enumerate(self.faults):
            if fault.times is None:
                return fault.status, FaultPlan(self.faults[position:])
            if fault.times > 0:
                left = replace(fault, times=fault.times - 1)
                return fault.status, FaultPlan((left, *self.faults[position + 1 :]))
        return None, FaultPlan()

    def __str__(self) -> str:
        return ",".join(str(fault) for fault in self.faults if fault.times != 0)


def _fault(text: str) -> Fault:
    match = _FAULT.fullmatch(text)
    if match is None:
        raise ValueError(f"{text!r} is no fault: write STATUS or STATUS:TIMES, such as 429:2 (400 to 599)")
    times = match["times"]
    return Fault(int(match["status"]), None if times is None else int(times))
