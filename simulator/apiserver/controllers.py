# SPDX-License-Identifier: Apache-2.0
"""The controllers' loop: what a change touches is synchronized until nothing moves any more."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING

from simulator.apiserver.deployments import sync_deployment
from simulator.apiserver.replicasets import sync_replica_set
from simulator.apiserver.resources import DEPLOYMENTS, PODS, REPLICA_SETS
from simulator.apiserver.status import StatusError
from simulator.apiserver.store import key_of

if TYPE_CHECKING:
    from simulator.apiserver.changes import Change
    from simulator.apiserver.store import Store

log = logging.getLogger(__name__)

_KINDS = (DEPLOYMENTS, REPLICA_SETS, PODS)
_RECHECK_SECONDS = 0.5


class Controllers:
    """Deployments and ReplicaSets kept as their specs say, from the store's own history."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._seen = dict.fromkeys(_KINDS, store.revision)
        self._deployments: dict[str, tuple[str, str]] = {}
        self._replica_sets: dict[str, tuple[str, str]] = {}
        self._waiting: dict[str, tuple[str, str]] = {}

    async def run(self) -> None:
        """Work for ever; cancel to stop."""
        logs = [self._store.log(kind) for kind in _KINDS]
        changed = [log_.subscribe() for log_ in logs]
        try:
            while True:
                for event in changed:
                    event.clear()
                self.work()
                waits = [asyncio.ensure_future(event.wait()) for event in changed]
                try:
                    await asyncio.wait(
                        waits,
                        timeout=_RECHECK_SECONDS if self._waiting else None,
                        return_when=asyncio.FIRST_COMPLETED,
                    )
                finally:
                    for wait in waits:
                        wait.cancel()
        finally:
            for log_, event in zip(logs, changed, strict=True):
                log_.unsubscribe(event)

    def work(self) -> None:
        """Synchronize whatever changed, and what that changes in turn."""
        self._replica_sets.update(self._waiting)
        self._waiting.clear()
        self._gather()
        while self._deployments or self._replica_sets:
            while self._replica_sets:
                uid, key = self._replica_sets.popitem()
                self._sync(REPLICA_SETS, uid, key)
            while self._deployments:
                uid, key = self._deployments.popitem()
                self._sync(DEPLOYMENTS, uid, key)
            self._gather()

    def _sync(self, kind: object, uid: str, key: tuple[str, str]) -> None:
        try:
            if kind is REPLICA_SETS:
                if sync_replica_set(self._store, self._store.get(REPLICA_SETS, *key)):
                    self._waiting[uid] = key
            else:
                sync_deployment(self._store, self._store.get(DEPLOYMENTS, *key))
        except StatusError as error:
            if error.code != 404:
                log.warning("Cannot synchronize", extra={"object": key[1], "error": str(error)})
        except Exception:  # one broken object must not stop the controllers of all others
            log.exception("Synchronizing failed", extra={"object": key[1]})

    def _gather(self) -> None:
        for kind in _KINDS:
            try:
                changes = self._store.log(kind).since(self._seen[kind])
            except StatusError:  # compacted under our feet: look at everything
                changes = []
                for thing in self._store.list_(DEPLOYMENTS):
                    self._deployments[thing["metadata"]["uid"]] = key_of(thing)
                for thing in self._store.list_(REPLICA_SETS):
                    self._replica_sets[thing["metadata"]["uid"]] = key_of(thing)
            self._seen[kind] = self._store.revision
            for change in changes:
                self._touch(kind, change)

    def _touch(self, kind: object, change: Change) -> None:
        thing = change.thing
        uid = thing["metadata"]["uid"]
        if kind is DEPLOYMENTS:
            if change.type != "DELETED":
                self._deployments[uid] = key_of(thing)
            return
        if kind is REPLICA_SETS and change.type != "DELETED":
            self._replica_sets[uid] = key_of(thing)
        for owner in thing["metadata"].get("ownerReferences") or ():
            if owner.get("controller"):
                key = (thing["metadata"]["namespace"], owner["name"])
                if owner["kind"] == "Deployment":
                    self._deployments[owner["uid"]] = key
                elif owner["kind"] == "ReplicaSet":
                    self._replica_sets[owner["uid"]] = key
