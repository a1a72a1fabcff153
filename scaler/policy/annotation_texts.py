# SPDX-License-Identifier: Apache-2.0
"""Pure: the values of annotations, the origin of each, and a bounded list of their problems."""

from __future__ import annotations

import difflib
import json
import re
from typing import TYPE_CHECKING

from scaler import budgets
from scaler.model import AnnotationProblem, Setting, SettingOrigin
from scaler.policy.annotations import ANNOTATIONS, ENABLED, PAUSED, PREFIX, Annotation

if TYPE_CHECKING:
    from collections.abc import Mapping

BY_NAME: Mapping[str, Annotation] = {annotation.name: annotation for annotation in ANNOTATIONS}
WHOLE_NUMBER = re.compile(r"[0-9]{1,64}")
INTEGER = re.compile(r"-?[0-9]{1,64}")
_MAX_SHOWN_LENGTH = 80
_MAX_VALUE_BYTES = 1024


class AnnotationTexts:
    """A Deployment's annotations with its Namespace's as defaults; collects problems."""

    def __init__(
        self, own: Mapping[str, str], defaults: Mapping[str, str] | None, namespace: str
    ) -> None:
        self.problems: list[AnnotationProblem] = []
        self._unnamed = 0
        self._own = own
        self._defaults = {
            name: value for name, value in (defaults or {}).items() if name != ENABLED
        }
        self._annotations = {**self._defaults, **own}
        self._opts_in_namespace = (defaults or {}).get(ENABLED)
        self._namespace = namespace
        self._elsewhere = "" if defaults is None else f", here or on the Namespace {namespace}"

    def named(self) -> tuple[AnnotationProblem, ...]:
        """Return the problems; the last one counts those that exceed the budget."""
        if not self._unnamed:
            return tuple(self.problems)
        more = AnnotationProblem(
            annotation=budgets.ANNOTATIONS_LEFT_OUT,
            value=None,
            message=f"and {self._unnamed} more",
            stands_for=self._unnamed,
            is_form=True,
        )
        return (*self.problems, more)

    def _append(self, problem: AnnotationProblem) -> None:
        if len(self.problems) < budgets.PROBLEMS:
            self.problems.append(problem)
        else:
            self._unnamed += 1

    def _add(self, name: str, message: str, *, is_form: bool) -> None:
        value = self._annotations.get(name)
        is_default = name in self._defaults and name not in self._own
        if is_default:
            message = f"{message} (default of the Namespace {self._namespace})"
        self._append(
            AnnotationProblem(
                annotation=name[:_MAX_SHOWN_LENGTH],
                value=None if value is None else budgets.clipped(value, _MAX_VALUE_BYTES),
                message=message,
                namespace=self._namespace if is_default else None,
                is_form=is_form,
            )
        )

    def _problem(self, name: str, text: str, *, is_form: bool = False) -> None:
        value = self._annotations.get(name)
        self._add(name, text if value is None else f"{_shown(value)} {text}", is_form=is_form)

    def _refuse(self, name: str, why: str) -> None:
        self._problem(name, f"{why}; allowed is {BY_NAME[name].allowed}", is_form=True)

    def _paired(self, name: str, other: str) -> str | None:
        """Return an annotation's text; refuse each of two annotations without the other."""
        for one, missing in ((name, other), (other, name)):
            if one in self._annotations and missing not in self._annotations:
                self._problem(one, f"requires {missing}, which is missing")
        return self._annotations.get(name)

    def settings(self) -> tuple[Setting, ...]:
        """Return the value and the origin of every annotation that has a value or a default."""
        return tuple(
            Setting(annotation=row.name, value=value, origin=self._origin(row.name))
            for row in ANNOTATIONS
            if (value := self._annotations.get(row.name, row.default)) is not None
        )

    def _origin(self, name: str) -> SettingOrigin:
        if name in self._own:
            return SettingOrigin.OWN
        return SettingOrigin.NAMESPACE if name in self._defaults else SettingOrigin.BUILT_IN

    def no_opt_in_of_namespace(self) -> None:
        """Refuse an opt-in on the Namespace."""
        if self._opts_in_namespace is None:
            return
        self._append(
            AnnotationProblem(
                annotation=ENABLED,
                value=budgets.clipped(self._opts_in_namespace, _MAX_VALUE_BYTES),
                message=f"has no effect on the Namespace {self._namespace}: set it on each"
                f" Deployment; {PAUSED} on the Namespace stops all of them",
                namespace=self._namespace,
                is_form=True,
            )
        )

    def known_names(self) -> None:
        """Refuse unknown annotations with the gpu-scaler/ prefix."""
        unknown = [
            name
            for name in sorted(self._annotations)
            if name.startswith(PREFIX)
            and name not in BY_NAME
            and name != budgets.ANNOTATIONS_LEFT_OUT
        ]
        self._unnamed += max(0, len(unknown) - budgets.PROBLEMS)
        for name in unknown[: budgets.PROBLEMS]:
            given = name.removeprefix(PREFIX)[:_MAX_SHOWN_LENGTH].lower()
            near = difflib.get_close_matches(
                given, [known.removeprefix(PREFIX) for known in BY_NAME], n=1
            )
            # One list of the known names is enough.
            known = f"; allowed are {', '.join(BY_NAME)}" if name == unknown[0] else ""
            if near:
                known = f"; did you mean {PREFIX}{near[0]}?"
            self._add(name, f"is not a gpu-scaler annotation{known}", is_form=True)

    def within_budget(self) -> None:
        """Refuse annotations over the budget; the decoder has already left out the excess."""
        left_out = self._annotations.get(budgets.ANNOTATIONS_LEFT_OUT)
        if left_out is not None:
            self._add(
                budgets.ANNOTATIONS_LEFT_OUT,
                f"too many or too long, so {left_out} are ignored; allowed are"
                f" {budgets.ANNOTATIONS} annotations with {budgets.ANNOTATIONS_BYTES} bytes in"
                " total",
                is_form=True,
            )
            self._unnamed += int(left_out) if WHOLE_NUMBER.fullmatch(left_out) else 0


def _shown(value: str) -> str:
    """Return the value as the manifest has it, on one line and shortened."""
    short = value if len(value) <= _MAX_SHOWN_LENGTH else value[:_MAX_SHOWN_LENGTH] + "..."
    return json.dumps(short, ensure_ascii=not short.isprintable())
