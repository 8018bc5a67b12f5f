"""The limit on calls under way: growth, cuts, pauses."""

from __future__ import annotations

from threading import Thread

from puq_magics.experiments.limiter import AdaptiveLimiter


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


def answer_round(limiter: AdaptiveLimiter) -> None:
    """Make as many calls as the limit allows, and answer them."""
    number = limiter.limit
    for _ in range(number):
        assert limiter.acquire()
    for _ in range(number):
        limiter.release(answered=True)


def test_it_starts_at_twenty_and_doubles_up_to_the_ceiling() -> None:
    limiter = AdaptiveLimiter(64, clock=Clock())
    limits = [limiter.limit]
    for _ in range(3):
        answer_round(limiter)
        limits.append(limiter.limit)
    assert limits == [20, 40, 64, 64]
    assert AdaptiveLimiter(4).limit == 4


def test_a_rate_limit_cuts_it_once_in_a_cool_down_and_then_it_grows_slowly() -> None:
    clock = Clock()
    limiter = AdaptiveLimiter(20, clock=clock)
    for _ in range(20):
        assert limiter.acquire()
    for _ in range(20):
        limiter.record_rate_limit(None)
        limiter.release()
    assert limiter.limit == 16
    answer_round(limiter)
    assert limiter.limit == 16
    clock.now += 15
    answer_round(limiter)
    assert limiter.limit in (16, 17)
    limiter.record_rate_limit(None)
    assert limiter.limit < 16


def test_retry_after_stops_all_calls() -> None:
    clock = Clock()
    limiter = AdaptiveLimiter(2, clock=clock)
    limiter.record_rate_limit(1000.0)
    admitted: list[bool] = []
    thread = Thread(target=lambda: admitted.append(limiter.acquire()))
    thread.start()
    limiter.stop()
    thread.join(10)
    assert admitted == [False]


def test_a_server_error_stops_only_the_growth() -> None:
    limiter = AdaptiveLimiter(64, clock=Clock())
    limiter.record_server_error()
    answer_round(limiter)
    assert limiter.limit == 20
