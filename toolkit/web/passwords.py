# SPDX-License-Identifier: Apache-2.0
"""Checks passwords against bcrypt hashes, which is slow, fairly between client addresses.

One check at a time runs for each address, so guesses from one address do not delay another. A
refusal takes equally long for every name, so that timing does not reveal which users exist.
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import secrets
from collections import OrderedDict
from typing import TYPE_CHECKING, Final

from toolkit.listening.fair_queue import FairQueue

if TYPE_CHECKING:
    from collections.abc import Mapping

CONCURRENT_CHECKS: Final = 2
"""Each takes tens of milliseconds of a core, and there may be one core."""
PLACES_PER_ADDRESS: Final = 8
_REMEMBERED: Final = 100
_COST: Final = slice(4, 6)
_NOBODY: Final = "$2b${cost:02d}$CwTycUXWue0Thq9StjUM0uJ8Jt3u4tCMJ1vXcY7pqz0RkJj8zX9yS"
"""The hash of a password that nobody knows."""


class Passwords:
    """Caches recent results by name, hash and password, so a new hash is checked again."""

    def __init__(self) -> None:
        self._key = secrets.token_bytes(32)
        # Separate caches, so that guesses do not evict accepted passwords.
        self._accepted: OrderedDict[bytes, None] = OrderedDict()
        self._refused: OrderedDict[bytes, None] = OrderedDict()
        self._checks = asyncio.Semaphore(CONCURRENT_CHECKS)
        self._queue = FairQueue()

    async def is_user(
        self, users: Mapping[str, str], name: str, password: str, *, address: str
    ) -> bool | None:
        """Whether the password is the user's; None if too many checks of this address wait."""
        hashed = users.get(name)
        highest = max((_cost(one) for one in users.values()), default=0)
        text = "\0".join((name, hashed or "", password))
        given = hmac.digest(self._key, text.encode(), hashlib.sha256)
        if given in self._accepted:
            return True
        if given in self._refused:
            return False
        if self._queue.length(address) >= PLACES_PER_ADDRESS:
            return None
        # Both are first come, first served: the addresses take turns, and so do their requests.
        async with self._queue.turn(address), self._checks:
            is_user = await asyncio.to_thread(_is_right, password, hashed, highest)
        _remember(given, self._accepted if is_user else self._refused)
        return is_user


def _is_right(password: str, hashed: str | None, highest_cost: int) -> bool:
    """Check a password; a refusal always takes as long as the highest cost. Blocks."""
    if hashed is None:
        _matches(password, _NOBODY.format(cost=highest_cost))
        return False
    if _matches(password, hashed):
        return True
    # Each cost takes twice as long as the previous one, so these add up to the highest.
    for cost in range(_cost(hashed), highest_cost):
        _matches(password, _NOBODY.format(cost=cost))
    return False


def _matches(password: str, hashed: str) -> bool:
    import bcrypt  # noqa: PLC0415  (imported only if there are users)

    try:
        # bcrypt uses only 72 bytes; the library rejects longer passwords since 5.0.
        return bcrypt.checkpw(password.encode()[:72], hashed.encode())
    except ValueError:
        return False


def _cost(hashed: str) -> int:
    return int(hashed[_COST])


def _remember(given: bytes, known: OrderedDict[bytes, None]) -> None:
    known[given] = None
    if len(known) > _REMEMBERED:
        known.popitem(last=False)
