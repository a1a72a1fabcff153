# SPDX-License-Identifier: Apache-2.0
"""A stock HPA on the exporters' duty cycle."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import pytest_asyncio

from tests.cluster.hpa import ServingUnderHpa, serving_under_hpa

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from tests.cluster.chain.running import Chain

pytestmark = pytest.mark.asyncio(loop_scope="package")


async def test_a_stock_hpa_scales_out_and_in(serving):
    await serving.scales_out_and_in()


@pytest_asyncio.fixture(loop_scope="package")
async def serving(chain: Chain) -> AsyncIterator[ServingUnderHpa]:
    async with serving_under_hpa(chain.client, chain.nodes, "chain-serving") as serving:
        yield serving
