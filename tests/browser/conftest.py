# SPDX-License-Identifier: Apache-2.0
"""One browser for the tests of a file."""

from __future__ import annotations

import pytest_asyncio

from tests.browser.chromium import running_browser


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def browser():
    async with running_browser() as running:
        yield running
