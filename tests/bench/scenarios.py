"""What is measured in the kernel. Each scenario gives a table; `plan` says how much of it is run."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

from answers import SIX_KILOBYTES, Body, Shape
from kernel import CellError, Kernel, Running
from report import Table, UpperLimit
from rig import BenchmarkSession
from subjects import BARE, NULL, Subject
from turns import Turn, percentile

NOT_IMPORTED_BY_LOADING = ("requests", "ipywidgets", "jinja2", "numpy")


@dataclass(frozen=True)
class Plan:
    """How much to run: the full measure, or enough to see that nothing is far off."""

    burst_chunks: int = 20_000
    burst_rounds: int = 5
    paced: tuple[tuple[int, int], ...] = ((2_000, 3), (20_000, 2))  # (chunks, rounds)
    latency_rates: tuple[int, ...] = (50, 200)
    latency_chunks: int = SIX_KILOBYTES
    first_rounds: int = 15
    pause: float = 60.0
    interrupts: int = 5
    loads: int = 5
    later_requests: int = 10
    browser_rounds: int = 3


QUICK = Plan(
    burst_rounds=3,
    paced=((2_000, 2),),
    latency_rates=(200,),
    latency_chunks=400,
    first_rounds=5,
    pause=8.0,
    interrupts=2,
    loads=2,
    browser_rounds=1,
)
TINY = Plan(
    burst_chunks=500,
    burst_rounds=1,
    paced=((200, 1),),
    latency_rates=(200,),
    latency_chunks=40,
    first_rounds=1,
    pause=3.0,
    interrupts=1,
    loads=1,
    later_requests=2,
    browser_rounds=1,
)


class _Limits(NamedTuple):
    cpu: UpperLimit
    volume: UpperLimit
    tail: UpperLimit | None = None
    peak: UpperLimit | None = None


def burst(rig: BenchmarkSession, plan: Plan) -> Table:
    """As many chunks as the socket takes, one write each: what a chunk costs."""
    shape = Shape(chunks=plan.burst_chunks)
    table = Table(f"Burst: {plan.burst_chunks:,} chunks, {len(shape.text()) / 1000:.0f} kB")
    _volume(
        rig, table, shape, plan.burst_rounds, _Limits(UpperLimit(1.0), UpperLimit(4), tail=UpperLimit(150))
    )
    return table


def paced(rig: BenchmarkSession, plan: Plan) -> Table:
    """1,000 chunks a second: CPU, and whether the output grows with the text or with its square."""
    table = Table("Paced: 1,000 chunks a second")
    for chunks, rounds in plan.paced:
        shape = Shape(chunks=chunks, rate=1000)
        limits = _Limits(UpperLimit(1.6), UpperLimit(15), peak=UpperLimit(100, worst=True))
        _volume(rig, table, shape, rounds, limits, prefix=f"{chunks:,}: ")
    if len(plan.paced) > 1:
        _growth(table, plan.paced[0][0], plan.paced[-1][0])
    return table


def _volume(
    rig: BenchmarkSession, table: Table, shape: Shape, rounds: int, limits: _Limits, prefix: str = ""
) -> None:
    row = {
        "cpu": table.row(f"{prefix}CPU, µs a chunk"),
        "ratio": table.row(f"{prefix}CPU ÷ bare loop, by pair", limits.cpu),
        "messages": table.row(f"{prefix}messages shown"),
        "wire": table.row(f"{prefix}IOPub bytes, all frames ÷ text", limits.volume),
        "content": table.row(f"{prefix}IOPub bytes, content only ÷ text"),
        "peak": table.row(f"{prefix}IOPub kB in the busiest second", limits.peak),
        "tail": table.row(f"{prefix}last chunk → all published, ms", limits.tail),
        "idle": table.row(f"{prefix}last chunk → kernel idle, ms"),
        "rss": table.row(f"{prefix}resident memory gained, MB"),
    }
    before = {subject: rig.kernel(subject).rss() for subject in rig.subjects}
    for order in rig.rounds(rounds):
        turns = {subject.name: rig.ask(subject, shape) for subject in order}
        for subject in order:
            turn = turns[subject.name]
            row["cpu"].add(subject.name, turn.cpu_per_chunk)
            row["idle"].add(subject.name, turn.to_idle)
            if BARE.name in turns and subject is not BARE:
                row["ratio"].add(subject.name, turn.cpu_per_chunk / turns[BARE.name].cpu_per_chunk)
            if subject.shows:
                for name, value in _shown(turn).items():
                    row[name].add(subject.name, value)
    for subject in rig.subjects:
        row["rss"].add(subject.name, (rig.kernel(subject).rss() - before[subject]) / 1e6)


def _shown(turn: Turn) -> dict[str, float]:
    return {
        "messages": turn.messages,
        "wire": turn.wire_ratio,
        "content": turn.content_ratio,
        "peak": turn.peak,
        "tail": turn.tail,
    }


def _growth(table: Table, small: int, large: int) -> None:
    """Linear output: ten times the text gives ten times the bytes, so the ratio to the text stays."""
    low, high = (table.row(f"{count:,}: IOPub bytes, all frames ÷ text").samples for count in (small, large))
    row = table.row(f"that ratio at {large:,} ÷ at {small:,}", UpperLimit(1.5))
    for name in low.keys() & high.keys():
        row.add(name, statistics.median(high[name]) / statistics.median(low[name]))


def latency(rig: BenchmarkSession, plan: Plan) -> Table:
    """How long a chunk takes from the server's write to its publication, by body and by speed."""
    size = len(Shape(chunks=plan.latency_chunks).text()) / 1000
    table = Table(f"Sent → published, an answer of {size:.1f} kB, ms")
    bodies: tuple[tuple[str, Body, bool], ...] = (
        ("chunked", "chunked", False),
        ("close-delimited", "close", False),
        ("gzip", "gzip", False),
        ("TLS", "chunked", True),
    )
    for rate in plan.latency_rates:
        for label, body, tls in bodies:
            middle = table.row(f"{rate}/s, {label}: p50", UpperLimit(70))
            late = table.row(f"{rate}/s, {label}: p99", UpperLimit(200))
            for subject in _showing(rig):
                try:
                    delays = rig.ask(subject, Shape(plan.latency_chunks, rate, body), tls).delays
                except CellError as failure:  # the other bodies are worth knowing
                    rig.note(f"{subject}, {label}", failure)
                    continue
                middle.add(subject.name, percentile(delays, 50))
                late.add(subject.name, percentile(delays, 99))
    return table


def first_output(rig: BenchmarkSession, plan: Plan) -> Table:
    """From the first chunk's write to its publication."""
    table = Table("First chunk sent → first output published, ms")
    after_head = table.row("50 ms after the response's head", UpperLimit(3))
    with_head = table.row("with the response's head")
    for order in rig.rounds(plan.first_rounds):
        for subject in filter(lambda subject: subject.shows, order):
            after_head.add(subject.name, rig.ask(subject, Shape(12, 100)).first)
            with_head.add(subject.name, rig.ask(subject, Shape(12, 100, lead=0)).first)
    return table


def pause(rig: BenchmarkSession, plan: Plan) -> Table:
    """What a stream costs that says nothing for a while. All subjects wait at once, each in its process."""
    table = Table(f"A stream that pauses for {plan.pause:g} s")
    row = table.row("CPU in the pause, % of a core", UpperLimit(0.5))
    shape = Shape(chunks=40, rate=200, pause_after=20, pause=plan.pause)
    kernels = {subject: rig.kernel(subject) for subject in rig.subjects}
    rig.server.set_answer(shape)
    started = [(kernel, _start(kernel, subject, shape)) for subject, kernel in kernels.items()]
    time.sleep(1.2)  # all are in the pause now, and what they do on entering it is done
    before = {subject: kernel.cpu_seconds() for subject, kernel in kernels.items()}
    span = plan.pause - 1.7
    time.sleep(span)
    for subject, kernel in kernels.items():
        row.add(subject.name, 100 * (kernel.cpu_seconds() - before[subject]) / span)
    for kernel, running in started:
        kernel.finish(running)
    rig.server.records()
    return table


def interrupt(rig: BenchmarkSession, plan: Plan) -> Table:
    """From the stop button to an idle kernel."""
    table = Table("Interrupt → idle kernel, ms")
    shapes = {
        "in the flow, 200 chunks a second": Shape(chunks=2000, rate=200),
        "in a pause": Shape(chunks=40, rate=200, pause_after=20, pause=30),
    }
    for label, shape in shapes.items():
        row = table.row(label, UpperLimit(300, worst=True))
        for number, order in enumerate(rig.rounds(plan.interrupts)):
            for subject in order:
                kernel = rig.kernel(subject)
                rig.server.set_answer(shape)
                running = _start(kernel, subject, shape)
                time.sleep(0.8 + 0.037 * number)  # not always at the same place of the subject's rhythm
                stopped = time.monotonic_ns()
                kernel.interrupt()
                execution = kernel.finish(running, failing=True)
                row.add(subject.name, (execution.idle - stopped) / 1e6)
    return table


def _start(kernel: Kernel, subject: Subject, shape: Shape) -> Running:
    if subject.prepare:
        kernel.run(subject.prepare)
    return kernel.start(subject.cell, shape.text(), subject.mime)


def loading(rig: BenchmarkSession, plan: Plan) -> Table:
    """Fresh kernels: what loading costs and brings, and how long questions take to leave."""
    table = Table("Loading and asking, in fresh kernels")
    shape = Shape(chunks=5)
    # Not measured: the first import of all writes byte code.
    for subject in (NULL, *rig.subjects):
        with rig.new_kernel(subject) as kernel:
            kernel.run(subject.load)
    for order in rig.rounds(plan.loads):
        stub = _load(rig, NULL, table, None, shape)
        for subject in order:
            _load(rig, subject, table, stub, shape, plan.later_requests)
    return table


_TIMED_LOAD = """
import sys, time
_modules, _start = set(sys.modules), time.perf_counter()
{load}
_took, _new = time.perf_counter() - _start, set(sys.modules) - _modules
"""


def _load(
    rig: BenchmarkSession, subject: Subject, table: Table, stub: float | None, shape: Shape, later: int = 0
) -> float:
    """Load in a fresh kernel, then ask; gives the load's ms."""
    with rig.new_kernel(subject) as kernel:
        loaded = kernel.run(_TIMED_LOAD.format(load=subject.load))
        took = 1000 * float(kernel.value("_took"))
        unwanted = kernel.value(f"len(_new & set({NOT_IMPORTED_BY_LOADING!r}))")
        table.row("load, ms").add(subject.name, took)
        table.row("new modules", UpperLimit(40)).add(subject.name, kernel.value("len(_new)"))
        table.row(f"of these, {', '.join(NOT_IMPORTED_BY_LOADING)}", UpperLimit(0)).add(
            subject.name, unwanted
        )
        if stub is None:
            return took
        table.row("load over the stub's, ms", UpperLimit(25)).add(subject.name, took - stub)
        rig.set_up(kernel, subject)
        rig.server.set_answer(shape)
        load = (loaded.idle - loaded.sent) / 1e6
        wired = load + rig.ask_in(kernel, subject, shape).to_wire
        table.row("load + first question on the wire, ms", UpperLimit(120)).add(subject.name, wired)
        for _ in range(later):
            table.row("later question on the wire, ms", UpperLimit(8)).add(
                subject.name, rig.ask_in(kernel, subject, shape).to_wire
            )
    return took


def in_browser(rig: BenchmarkSession, plan: Plan) -> Table:
    """What a reader sees and the browser pays; needs playwright, JupyterLab and Chromium."""
    from browser import measure

    return measure(rig, plan.browser_rounds)


def _showing(rig: BenchmarkSession) -> list[Subject]:
    return [subject for subject in rig.subjects if subject.shows]


SCENARIOS: dict[str, Callable[[BenchmarkSession, Plan], Table]] = {
    "burst": burst,
    "paced": paced,
    "first": first_output,
    "latency": latency,
    "pause": pause,
    "interrupt": interrupt,
    "loading": loading,
    "browser": in_browser,
}
