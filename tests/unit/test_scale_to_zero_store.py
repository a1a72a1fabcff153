# SPDX-License-Identifier: Apache-2.0
"""The record of zeros, while some of its workloads cannot be looked up."""

from __future__ import annotations

import asyncio
from typing import Any

from scaler.cluster.scale_to_zero_store import LOOK_SECONDS, ScaleToZeroStore
from tests.virtualtime import VirtualLoop

RECORDED = {f"uid-{name}": f"default/{name}" for name in ("awake", "hangs")}
MALFORMED: dict[str, Any] = {
    "is-empty": {},
    "is-of-nobody": {"metadata": None},
    "has-no-spec": {"metadata": {"uid": "uid-has-no-spec", "resourceVersion": "7"}},
}


class Api:
    """An API server with the record; one workload's scale never comes, another's is not one."""

    def __init__(self) -> None:
        self.recorded = dict(RECORDED)

    async def get(self, path: str, **_: object) -> Any:
        if path.endswith("/scale"):
            name = path.split("/")[-2]
            if name == "hangs":
                await asyncio.Event().wait()
            if name in MALFORMED:
                return MALFORMED[name]
            metadata = {"uid": f"uid-{name}", "resourceVersion": "7"}
            return {"metadata": metadata, "spec": {"replicas": 3}}
        return {"data": dict(self.recorded)}

    async def patch(self, _: str, body: Any, **__: object) -> None:
        for uid, text in body["data"].items():
            assert text is None
            del self.recorded[uid]


def test_one_that_hangs_delays_neither_the_loop_nor_the_records_of_others() -> None:
    loop, api = VirtualLoop(), Api()
    client: Any = api
    store = ScaleToZeroStore(client, namespace="gpu-scaler", name="zeros")

    async def reconciled() -> None:
        await store.load()
        await store.reconcile({}, frozenset())

    task = loop.create_task(reconciled())
    loop.pass_time(1.5 * LOOK_SECONDS)
    assert task.done()
    assert api.recorded == {"uid-hangs": "default/hangs"}
    loop.close()


def test_one_whose_scale_is_none_keeps_no_others() -> None:
    loop, api = VirtualLoop(), Api()
    api.recorded = {f"uid-{name}": f"default/{name}" for name in ("awake", *MALFORMED)}
    client: Any = api
    store = ScaleToZeroStore(client, namespace="gpu-scaler", name="zeros")

    async def reconciled() -> None:
        await store.load()
        await store.reconcile({}, frozenset())

    loop.run_until_complete(reconciled())
    assert api.recorded == {f"uid-{name}": f"default/{name}" for name in MALFORMED}
    loop.close()
