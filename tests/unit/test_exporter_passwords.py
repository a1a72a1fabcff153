# SPDX-License-Identifier: Apache-2.0
"""Who waits for whom while passwords are checked, and what a refusal tells."""

from __future__ import annotations

import asyncio
import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.waiting import until
from toolkit.web import passwords
from toolkit.web.model import RateLimit
from toolkit.web.passwords import CONCURRENT_CHECKS, PLACES_PER_ADDRESS, Passwords
from toolkit.web.rate_limit import TokenBucket


def hash_of(cost: int) -> str:
    return f"$2y${cost:02d}$" + "a" * 53


@pytest.fixture
def work(monkeypatch):
    """What each check would take, by the password; no password is right but `right`."""
    done: dict[str, int] = {}

    def matches(password: str, hashed: str) -> bool:
        done[password] = done.get(password, 0) + (1 << int(hashed[4:6]))
        return password == "right" and hashed.endswith("a")

    monkeypatch.setattr(passwords, "_matches", matches)
    return done


@pytest.mark.parametrize(
    "costs",
    [
        pytest.param((4,), id="one user"),
        pytest.param((10, 10), id="equal costs"),
        pytest.param((4, 12), id="the lowest and a high one"),
        pytest.param((12, 14, 10, 18), id="four"),
    ],
)
async def test_a_refusal_takes_the_highest_cost_whoever_is_asked_for(work, costs):
    users = {f"user-{number}": hash_of(cost) for number, cost in enumerate(costs)}
    checker = Passwords()
    for name in (*users, "nobody", ""):
        assert await checker.is_user(users, name, f"wrong-{name}", address="a") is False
    assert set(work.values()) == {1 << max(costs)}


async def test_what_is_remembered_is_not_checked_again_until_the_hash_changes(work):
    users = {"ann": hash_of(4)}
    checker = Passwords()
    for _ in range(3):
        assert await checker.is_user(users, "ann", "right", address="a")
        assert await checker.is_user(users, "ann", "wrong", address="a") is False
    assert work == {"right": 16, "wrong": 16}
    assert await checker.is_user({"ann": hash_of(5)}, "ann", "right", address="a")
    assert work["right"] == 16 + 32


async def test_an_address_waits_for_itself_alone(monkeypatch):
    proceed, begun = threading.Event(), []

    def matches(password: str, _: str) -> bool:
        begun.append(password)
        if password.startswith("guess"):
            proceed.wait(60)
        return password == "right"

    monkeypatch.setattr(passwords, "_matches", matches)
    users = {"ann": hash_of(4)}
    checker = Passwords()
    async with asyncio.TaskGroup() as group:
        guesses = [
            group.create_task(checker.is_user(users, "ann", f"guess-{n}", address="guesser"))
            for n in range(24)
        ]
        await until(lambda: begun and sum(one.done() for one in guesses) == 24 - PLACES_PER_ADDRESS)
        assert {one.result() for one in guesses if one.done()} == {None}
        for n in range(6):
            assert await checker.is_user(users, "ann", "right", address=f"client-{n}")
            users = {"ann": hash_of(5 + n)}
        assert begun.count("right") == 6
        proceed.set()
    assert {one.result() for one in guesses} == {None, False}
    assert await checker.is_user(users, "ann", "guess-again", address="guesser") is False


async def test_addresses_take_turns(monkeypatch):
    proceed, begun = threading.Event(), []

    def matches(password: str, _: str) -> bool:
        begun.append(password)
        proceed.wait(60)
        return False

    monkeypatch.setattr(passwords, "_matches", matches)
    checker = Passwords()
    async with asyncio.TaskGroup() as group:
        for address in ("a", "b", "c"):
            for n in range(3):
                password = f"{address}{n}"
                group.create_task(
                    checker.is_user({"ann": hash_of(4)}, "ann", password, address=address)
                )
        await until(lambda: len(begun) == CONCURRENT_CHECKS)
        proceed.set()
    assert {one[0] for one in begun[:3]} == {"a", "b", "c"}


@given(
    burst=st.integers(0, 50),
    interval=st.floats(0.001, 100),
    gaps=st.lists(st.floats(0, 200), max_size=60),
)
def test_a_rate_limit_lets_no_more_in_than_burst_and_one_per_interval(burst, interval, gaps):
    bucket = TokenBucket(RateLimit(interval_seconds=interval, burst=burst))
    now, passed = 0.0, 0
    for gap in gaps:
        now += gap
        passed += bucket.take(now)
        assert passed <= burst + now / interval + 1e-6
    assert passed >= min(burst, len(gaps))
