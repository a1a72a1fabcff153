# SPDX-License-Identifier: Apache-2.0
"""Pure: the annotations that set the minimum and the maximum, at all times and at some."""

from __future__ import annotations

from typing import TYPE_CHECKING

from scaler.policy.annotation_texts import BY_NAME, WHOLE_NUMBER
from scaler.policy.annotations import MAX_REPLICAS, MIN_REPLICAS, QUERY, QUEUE, SCHEDULE
from scaler.policy.behavior_text import never_wakes
from scaler.policy.schedule import entry_text
from scaler.policy.schedule_text import parse_schedule
from scaler.policy.server_annotations import ServerAnnotations

if TYPE_CHECKING:
    from scaler.model import Behavior, ScheduleEntry

_MAX_INT32 = 2**31 - 1


class RangeAnnotations(ServerAnnotations):
    """Parses minimum, maximum and schedule, and collects the problems."""

    def whole_number(self, name: str, *, lowest: int) -> int | None:
        """Return a whole number, None if it is wrong or missing without a default."""
        value = self._annotations.get(name, BY_NAME[name].default)
        if value is None:
            self._refuse(name, f"is required{self._elsewhere}")
        elif not WHOLE_NUMBER.fullmatch(value):
            self._refuse(name, "is not a whole number")
        elif int(value) < lowest:
            self._refuse(name, "is too low")
        elif int(value) > _MAX_INT32:
            self._refuse(name, "is too high")
        else:
            return int(value)
        return None

    def schedule(self) -> tuple[ScheduleEntry, ...]:
        """Return the entries of the schedule, none if it is wrong or missing."""
        text = self._annotations.get(SCHEDULE)
        parsed = () if text is None else parse_schedule(text)
        if isinstance(parsed, str):
            self._add(SCHEDULE, parsed, is_form=True)
            return ()
        return parsed

    def replica_range(
        self,
        min_replicas: int | None,
        max_replicas: int | None,
        schedule: tuple[ScheduleEntry, ...],
        behavior: Behavior | None,
    ) -> None:
        """Refuse a minimum above its maximum, and a minimum of 0 that nothing leaves."""
        if min_replicas is not None and max_replicas is not None and min_replicas > max_replicas:
            self._problem(
                MAX_REPLICAS,
                f"is below {MIN_REPLICAS}; allowed is at least {min_replicas}",
            )
        for number, entry in enumerate(schedule, 1):
            least = min_replicas if entry.min_replicas is None else entry.min_replicas
            most = max_replicas if entry.max_replicas is None else entry.max_replicas
            if least is not None and most is not None and least > most:
                self._add(
                    SCHEDULE,
                    f"entry {number} ({entry_text(entry)}) has the minimum {least}, which is above"
                    f" its maximum {most}",
                    is_form=False,
                )
        if min_replicas == 0:
            self._may_be_zero(MIN_REPLICAS, behavior)
        elif any(entry.min_replicas == 0 for entry in schedule):
            self._may_be_zero(SCHEDULE, behavior)

    def _may_be_zero(self, name: str, behavior: Behavior | None) -> None:
        if QUERY not in self._annotations and QUEUE not in self._annotations:
            self._zero_problem(
                name,
                f"requires {QUERY} or {QUEUE}, because without pods there are no metrics of pods"
                " to scale up on; allowed is 1 or more",
            )
        if behavior is not None and (why := never_wakes(behavior.scale_up)):
            self._zero_problem(name, why)

    def _zero_problem(self, name: str, text: str) -> None:
        if name == SCHEDULE:
            self._add(name, f"a minimum of 0 {text}", is_form=False)
        else:
            self._problem(name, text)
