# SPDX-License-Identifier: Apache-2.0
"""A Prometheus that a test makes up: it knows what some expressions come to."""

from __future__ import annotations

from collections import Counter

from aiohttp import web


class Answers:
    """A Prometheus that knows the value of some expressions, and an error for all others."""

    def __init__(self) -> None:
        self.totals: dict[str, float] = {}
        self.asked: Counter[str] = Counter()

    async def answer(self, request: web.Request) -> web.Response:
        query = str((await request.post())["query"])
        self.asked[query] += 1
        if query not in self.totals:
            return web.json_response(
                {"status": "error", "errorType": "bad_data", "error": f"cannot parse {query}"},
                status=400,
            )
        sample = [1_800_000_000, str(self.totals[query])]
        data = {"resultType": "vector", "result": [{"metric": {}, "value": sample}]}
        return web.json_response({"status": "success", "data": data})
