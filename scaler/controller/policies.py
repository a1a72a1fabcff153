# SPDX-License-Identifier: Apache-2.0
"""The policies of all Deployments, parsed when annotations change and within a budget per loop.

Anybody who may write annotations may change them as often as they like.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, TypeAlias

from scaler.budgets import PARSING_SECONDS
from scaler.controller.fair_turns import FairTurns
from scaler.model import AnnotationProblem
from scaler.policy.annotations import ENABLED
from scaler.policy.parse import parse_policy
from scaler.readings.unexpected import unexpected

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from collections.abc import Set as AbstractSet

    from scaler.controller.plans import Policy
    from scaler.model import DeploymentState

Texts: TypeAlias = "tuple[Mapping[str, str], Mapping[str, str] | None]"

WAITS: Policy = ()
"""The policy of a Deployment whose annotations, or schedule, wait for a later loop."""


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
        """`clock` counts processor time."""
        self._parse = parse
        self._turns = FairTurns(PARSING_SECONDS, clock=clock)
        self._known: dict[str, tuple[Texts, Policy]] = {}

    async def of(self, deployments: Sequence[DeploymentState]) -> Mapping[str, Policy]:
        """Return the policies by uid, `WAITS` for those that are parsed in a later loop."""
        changed = {one.uid: one for one in deployments if not self._is_known(one)}

        def parse(uid: str) -> None:
            known = self._known.get(uid)
            policy = self._parse(changed[uid], None if known is None else known[1])
            self._known[uid] = (_texts(changed[uid]), policy)

        waiting = await self._turns.take(
            {uid: one.ref.namespace for uid, one in changed.items()}, parse
        )
        return {
            one.uid: WAITS if one.uid in waiting else self._known[one.uid][1] for one in deployments
        }

    def keep_only(self, uids: AbstractSet[str]) -> None:
        """Forget all other Deployments."""
        for gone in self._known.keys() - uids:
            del self._known[gone]

    def _is_known(self, deployment: DeploymentState) -> bool:
        known = self._known.get(deployment.uid)
        return known is not None and known[0] == _texts(deployment)


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
