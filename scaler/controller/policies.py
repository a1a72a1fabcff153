# SPDX-License-Identifier: Apache-2.0
"""The policies of all Deployments, parsed when annotations change and within a budget per loop.

Anybody who may write annotations may change them as often as they like. Parsing takes a bounded
time per loop and is fair between namespaces; what does not fit waits for the next loop. So a flood
of changes in one namespace delays that namespace only.
"""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, TypeAlias

from scaler.budgets import PARSING_SECONDS, PARSING_SLICE_SECONDS
from scaler.model import AnnotationProblem
from scaler.policy.annotations import ENABLED
from scaler.policy.parse import parse_policy
from scaler.readings.unexpected import unexpected

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence
    from collections.abc import Set as AbstractSet

    from scaler.controller.plans import Policy
    from scaler.model import DeploymentState

Texts: TypeAlias = "tuple[Mapping[str, str], Mapping[str, str] | None]"

WAITS: Policy = ()
"""The policy of a Deployment whose annotations wait to be parsed."""


class Policies:
    """Policies by uid; `parse` is called once for each change of the texts behind one.

    It gets the Deployment and the policy that it had before, None where it had none.
    """

    def __init__(
        self,
        parse: Callable[[DeploymentState, Policy | None], Policy],
        *,
        clock: Callable[[], float] = time.thread_time,
    ) -> None:
        """`clock` counts processor time, so that a busy machine delays nobody."""
        self._parse = parse
        self._clock = clock
        self._known: dict[str, tuple[Texts, Policy]] = {}
        self._waiting: dict[str, None] = {}
        self._served: dict[str, None] = {}

    async def of(self, deployments: Sequence[DeploymentState]) -> Mapping[str, Policy]:
        """Return the policies by uid, `WAITS` for those that are parsed in a later loop."""
        changed = {one.uid: one for one in deployments if not self._is_known(one)}
        # Those that already wait keep their places, the longest wait first.
        self._waiting = {
            **{uid: None for uid in self._waiting if uid in changed},
            **dict.fromkeys(uid for uid in changed if uid not in self._waiting),
        }
        left_seconds, slice_seconds = PARSING_SECONDS, 0.0
        for deployment in self._in_fair_order(changed[uid] for uid in self._waiting):
            if left_seconds <= 0:
                break
            if slice_seconds > PARSING_SLICE_SECONDS:
                await asyncio.sleep(0)
                slice_seconds = 0.0
            begun = self._clock()
            known = self._known.get(deployment.uid)
            policy = self._parse(deployment, None if known is None else known[1])
            self._known[deployment.uid] = (_texts(deployment), policy)
            del self._waiting[deployment.uid]
            self._served.pop(deployment.ref.namespace, None)
            self._served[deployment.ref.namespace] = None
            took = self._clock() - begun
            left_seconds -= took
            slice_seconds += took
        return {
            one.uid: WAITS if one.uid in self._waiting else self._known[one.uid][1]
            for one in deployments
        }

    def keep_only(self, uids: AbstractSet[str]) -> None:
        """Forget all other Deployments."""
        for gone in self._known.keys() - uids:
            del self._known[gone]

    def _is_known(self, deployment: DeploymentState) -> bool:
        known = self._known.get(deployment.uid)
        return known is not None and known[0] == _texts(deployment)

    def _in_fair_order(self, waiting: Iterable[DeploymentState]) -> Iterable[DeploymentState]:
        """Yield one Deployment of each namespace, then the next of each; the last served last."""
        queues: dict[str, list[DeploymentState]] = {}
        for deployment in waiting:
            queues.setdefault(deployment.ref.namespace, []).append(deployment)
        for queue in queues.values():
            queue.reverse()
        self._served = {name: None for name in self._served if name in queues}
        order = [name for name in queues if name not in self._served] + list(self._served)
        while order:
            for name in order:
                yield queues[name].pop()
            order = [name for name in order if queues[name]]


def parsed_policy(deployment: DeploymentState, *, query_supported: bool) -> Policy:
    """Return the policy of a Deployment's annotations and their defaults, or its problems."""
    try:
        return parse_policy(
            deployment.annotations,
            query_supported=query_supported,
            defaults=deployment.defaults,
            namespace=deployment.ref.namespace,
        )
    except MemoryError:
        # Not the annotations' fault, and the answer would stand until they change.
        raise
    except Exception as error:  # noqa: BLE001  (one Deployment's annotations must not stop the others)
        problem = unexpected(str(deployment.ref), error)
        return (AnnotationProblem(annotation=ENABLED, value=None, message=problem),)


def _texts(deployment: DeploymentState) -> Texts:
    return (deployment.annotations, deployment.defaults)
