from __future__ import annotations

import asyncio
import gc
import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from tornado.iostream import StreamClosedError

from puq_magics.sandbox.local.engine import Engine, EngineError, RunningEngine

Ask = Callable[[RunningEngine], dict[str, Any]]
Wait = Callable[[str], Callable[[], None]]
Gone = asyncio.Future[None]


@pytest.fixture
def make_engine() -> Iterator[Callable[..., Engine]]:
    made: list[Engine] = []

    def _make(*behaviour: str, idle: float = 600.0) -> Engine:
        made.append(Engine("stub", "stub_engine", behaviour, idle))
        return made[-1]

    yield _make
    for engine in made:
        engine.stop()


@pytest.fixture
def load_gate(tmp_path: Path) -> Path:
    """What an engine waits for when it loads; `opened` in a thread, lest the loop waits for a process to read."""
    os.mkfifo(tmp_path / "gate")
    return tmp_path / "gate"


async def opened(load_gate: Path) -> None:
    await asyncio.to_thread(load_gate.write_bytes, b"")


def never() -> Gone:
    """A client that stays."""
    return asyncio.get_running_loop().create_future()


async def acquire(engine: Engine) -> int | None:
    """Have a turn, and tell in which process it was."""
    async with engine.acquire(never()):
        return engine.pid


class EngineClient:
    """A client that takes a turn, in a task of its own, and keeps it until it is told to `leave`."""

    def __init__(self, engine: Engine) -> None:
        self.disconnected = never()
        self.served: asyncio.Future[RunningEngine] = asyncio.get_running_loop().create_future()
        self._left = asyncio.Event()
        self._engine = engine
        self.task = asyncio.create_task(self._call())

    async def _call(self) -> None:
        async with self._engine.acquire(self.disconnected) as running:
            self.served.set_result(running)
            await self._left.wait()

    async def leave(self) -> None:
        self._left.set()
        await self.task


async def callers(engine: Engine, number: int) -> list[EngineClient]:
    """So many of them, in line in this order."""
    made = [EngineClient(engine) for _ in range(number)]
    await asyncio.sleep(0)  # each runs until it waits
    return made


def test_it_is_loaded_when_first_asked_and_stays(
    make_engine: Callable[..., Engine], engine_info: Ask
) -> None:
    engine = make_engine()
    assert engine.pid is None

    async def scene() -> None:
        async with engine.acquire(never()) as running:
            first = engine.pid
            assert (await asyncio.to_thread(engine_info, running))["pid"] == first
        assert await acquire(engine) == first

    asyncio.run(scene())
    engine.stop()
    assert engine.pid is None


def test_turns_are_taken_one_at_a_time_in_order(make_engine: Callable[..., Engine]) -> None:
    async def scene() -> None:
        waiting = await callers(make_engine(), 4)
        while waiting:
            await waiting[0].served
            assert not any(caller.served.done() for caller in waiting[1:])
            await waiting.pop(0).leave()

    asyncio.run(scene())


def test_who_leaves_gives_up_the_place_in_line(make_engine: Callable[..., Engine]) -> None:
    async def scene() -> None:
        first, impatient, cancelled, last = await callers(make_engine(), 4)
        await first.served
        impatient.disconnected.set_result(None)
        with pytest.raises(StreamClosedError):
            await impatient.task
        cancelled.task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await cancelled.task
        await first.leave()
        await last.served
        await last.leave()

    asyncio.run(scene())


def test_who_leaves_as_the_turn_comes_leaves_it_to_the_next(make_engine: Callable[..., Engine]) -> None:
    async def scene() -> None:
        first, second, last = await callers(make_engine(), 3)
        await first.served
        second.disconnected.set_result(None)
        await first.leave()  # both in one round of the loop
        with pytest.raises(StreamClosedError):
            await second.task
        await last.served
        await last.leave()

    asyncio.run(scene())


def test_who_leaves_while_it_loads_leaves_it_to_the_next(
    make_engine: Callable[..., Engine], load_gate: Path
) -> None:
    async def scene() -> None:
        first, second = await callers(make_engine("gate", str(load_gate)), 2)
        first.disconnected.set_result(None)
        with pytest.raises(StreamClosedError):
            await first.task
        assert not second.served.done()
        await opened(load_gate)  # and so the loop runs while it loads
        await second.served
        await second.leave()

    asyncio.run(scene())


def test_a_turn_that_fails_ends(make_engine: Callable[..., Engine]) -> None:
    engine = make_engine()

    async def scene() -> None:
        with pytest.raises(LookupError):
            async with engine.acquire(never()):
                raise LookupError
        assert await acquire(engine)

    asyncio.run(scene())


def test_it_is_unloaded_after_idling_and_loaded_again(
    make_engine: Callable[..., Engine], wait_for_end: Wait
) -> None:
    engine = make_engine(idle=0)

    async def scene() -> None:
        async with engine.acquire(never()) as running:
            first = engine.pid
            wait = wait_for_end(running.url)
        await asyncio.to_thread(wait)
        assert engine.pid is None
        assert await acquire(engine) != first

    asyncio.run(scene())


def test_it_does_not_idle_while_somebody_waits(make_engine: Callable[..., Engine]) -> None:
    engine = make_engine(idle=0)

    async def scene() -> None:
        first, second = await callers(engine, 2)
        running = await first.served
        await first.leave()
        assert await second.served == running
        for _ in range(5):
            await asyncio.sleep(0)  # time for whatever is due
        assert engine.pid is not None
        await second.leave()

    asyncio.run(scene())


def test_a_new_turn_ends_the_idling(make_engine: Callable[..., Engine]) -> None:
    engine = make_engine(idle=0.001)

    async def scene() -> None:
        loop = asyncio.get_running_loop()
        await acquire(engine)
        async with engine.acquire(never()):
            due = loop.create_future()
            loop.call_later(0.01, due.set_result, None)  # comes after what was due earlier
            await due
            assert engine.pid is not None

    asyncio.run(scene())


def test_what_is_killed_in_mid_answer_is_told_and_started_again(
    make_engine: Callable[..., Engine], engine_info: Ask
) -> None:
    engine = make_engine()

    async def scene() -> None:
        async with engine.acquire(never()):
            first = engine.pid
            assert first is not None
            os.kill(first, signal.SIGKILL)
            assert await engine.exit_description() == "ended by signal 9 (SIGKILL)"
        async with engine.acquire(never()) as running:
            second = (await asyncio.to_thread(engine_info, running))["pid"]
        assert second != first

    asyncio.run(scene())


def test_a_connection_that_ends_says_nothing_of_an_engine_that_lives(
    make_engine: Callable[..., Engine], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("puq_magics.sandbox.local.engine._EXIT_TIMEOUT", 0)
    engine = make_engine()

    async def scene() -> None:
        async with engine.acquire(never()):
            assert await engine.exit_description() == "has closed the connection"

    asyncio.run(scene())


def test_why_it_cannot_start_and_that_it_is_tried_again(
    make_engine: Callable[..., Engine], tmp_path: Path
) -> None:
    wanted = tmp_path / "model"
    engine = make_engine("unless", str(wanted))

    async def scene() -> None:
        for _ in range(2):
            with pytest.raises(EngineError, match=f"^The stub engine cannot start: {wanted} is not there$"):
                await acquire(engine)
        wanted.touch()
        assert await acquire(engine)

    asyncio.run(scene())


def test_stopping_ends_what_is_loading(make_engine: Callable[..., Engine], load_gate: Path) -> None:
    engine = make_engine("gate", str(load_gate))

    async def scene() -> None:
        (caller,) = await callers(engine, 1)
        while engine.pid is None:
            await asyncio.sleep(0)
        await asyncio.to_thread(engine.stop)
        with pytest.raises(EngineError, match="was stopped"):
            await caller.task
        assert await engine.exit_description() == "was stopped"

    asyncio.run(scene())


def test_a_loop_may_end_and_another_go_on_with_it(make_engine: Callable[..., Engine]) -> None:
    engine = make_engine()

    async def left_running() -> int | None:
        first, _second = await callers(engine, 2)
        await first.served
        return engine.pid

    async def scene() -> int | None:
        first, second = await callers(engine, 2)  # in line again
        await first.served
        await first.leave()
        await second.leave()
        return engine.pid

    assert asyncio.run(left_running()) == asyncio.run(scene()) is not None


def test_a_loop_may_end_while_it_loads(
    make_engine: Callable[..., Engine], load_gate: Path, caplog: pytest.LogCaptureFixture
) -> None:
    engine = make_engine("gate", str(load_gate))

    async def left_running() -> None:
        await callers(engine, 2)
        while engine.pid is None:
            await asyncio.sleep(0)

    asyncio.run(left_running())
    load_gate.write_bytes(b"")
    assert asyncio.run(acquire(engine))
    assert caplog.records == []


def test_it_ends_with_its_last_owner(wait_for_end: Wait) -> None:
    engines = [Engine("stub", "stub_engine")]

    async def scene() -> str:
        async with engines[0].acquire(never()) as running:
            return running.url

    wait = wait_for_end(asyncio.run(scene()))
    engines.clear()
    gc.collect()
    wait()


def test_several_at_once_are_of_no_concern_to_each_other(
    make_engine: Callable[..., Engine], engine_info: Ask
) -> None:
    async def scene() -> None:
        made = [make_engine() for _ in range(3)]
        taken = [(await callers(engine, 1))[0] for engine in made]
        told = [await asyncio.to_thread(engine_info, await caller.served) for caller in taken]
        assert [known["pid"] for known in told] == [engine.pid for engine in made]
        for caller in taken:
            await caller.leave()

    asyncio.run(scene())
