# SPDX-License-Identifier: Apache-2.0
"""Pure: checks the gpu-scaler annotations in Kubernetes manifests; reports file and line."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import yaml

from scaler.decision.gpu_requests import NO_GPU, requests_gpu
from scaler.model import SERVER_METRICS, TOTAL_METRICS, ScalingPolicy
from scaler.policy.annotations import ENABLED, PREFIX
from scaler.policy.doubts import counter_doubts, near_miss, unit_doubts
from scaler.policy.manifest_objects import (
    Entry,
    ManifestFinding,
    ManifestObject,
    Severity,
    child_of,
    read_objects,
    text_of,
)
from scaler.policy.parse import default_problems, parse_policy

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Mapping

DEPLOYMENTS = "deployments.apps"


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckOptions:
    """What the checked annotations will meet: the scaled kinds, and a Prometheus or none."""

    kinds: Collection[str] = (DEPLOYMENTS,)
    query_supported: bool = True


DEFAULT_OPTIONS = CheckOptions()


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckReport:
    """The findings, what cannot be read first, then by file and line; and what was looked at."""

    findings: tuple[ManifestFinding, ...]
    annotated_objects: int

    @property
    def errors(self) -> int:
        """How many of them are no mere warnings."""
        return sum(one.severity is Severity.ERROR for one in self.findings)


def check_manifests(
    files: Iterable[tuple[str, str]], options: CheckOptions = DEFAULT_OPTIONS
) -> CheckReport:
    """Check the gpu-scaler annotations of files.

    `files` are pairs of name and text: multi-document YAML, JSON, or Lists. A file that is not YAML
    gives one finding. Checks every `gpu-scaler/*` annotation of a workload as the scaler does, with
    the defaults of its Namespace if one of the files has it. Also reports annotations in places
    that the scaler ignores, names that resemble ours, values in what seems another unit, and
    workloads with GPU targets whose pods request no GPU. Never raises.
    """
    objects: list[ManifestObject] = []
    findings: list[ManifestFinding] = []
    order: dict[str, int] = {}
    for file_name, text in files:
        order.setdefault(file_name, len(order))
        found, problem = read_objects(file_name, text)
        objects += found
        findings += problem
    defaults = {
        item.name: _ours(item.entries(item.metadata, "annotations"))
        for item in objects
        if item.kind == "Namespace" and item.name
    }
    for item in objects:
        findings += _check_object(item, defaults, options)

    def place(one: ManifestFinding) -> tuple[bool, int, int, str]:
        return not one.is_syntax, order[one.file_name], one.line, one.message

    return CheckReport(
        findings=tuple(sorted(set(findings), key=place)),
        annotated_objects=sum(
            bool(_ours(item.entries(item.metadata, "annotations"))) for item in objects
        ),
    )


def _ours(entries: Mapping[str, Entry]) -> dict[str, Entry]:
    return {key: entry for key, entry in entries.items() if key.startswith(PREFIX)}


def _check_object(
    item: ManifestObject,
    defaults: Mapping[str, Mapping[str, Entry]],
    options: CheckOptions,
) -> Iterator[ManifestFinding]:
    def misplaced(parent: yaml.Node | None, field: str, place: str) -> Iterator[ManifestFinding]:
        for key, entry in _ours(item.entries(parent, field)).items():
            yield item.finding(
                entry.line,
                f"{key}: has no effect {place}; move it to metadata.annotations of the Deployment",
            )

    template = child_of(child_of(child_of(item.node, "spec"), "template"), "metadata")
    yield from misplaced(item.metadata, "labels", "as a label")
    yield from misplaced(template, "annotations", "on the pod template")
    yield from misplaced(template, "labels", "as a label of the pod template")
    annotations = item.entries(item.metadata, "annotations")
    yield from _near_misses(item, annotations)
    entries = _ours(annotations)
    if item.kind == "Deployment" or item.resource in options.kinds:
        if entries:
            yield from _check_workload(item, entries, defaults.get(item.namespace), options)
    elif item.kind == "Namespace":
        yield from _check_namespace(item, entries)
    elif item.has_pods:
        for key, entry in entries.items():
            yield item.finding(
                entry.line,
                f"{key}: has no effect on a {item.kind}, unless the scaler runs with --kinds"
                f" {item.resource}; check with the same --kinds",
            )
    else:
        place = f"on a {item.kind or 'object without a kind'}"
        yield from misplaced(item.metadata, "annotations", place)


def _near_misses(item: ManifestObject, entries: Mapping[str, Entry]) -> Iterator[ManifestFinding]:
    for key, entry in entries.items():
        meant = near_miss(key)
        if meant is not None:
            yield item.finding(
                entry.line, f"{key}: is not read by the scaler; did you mean {meant}?"
            )


def _check_namespace(
    item: ManifestObject, entries: Mapping[str, Entry]
) -> Iterator[ManifestFinding]:
    yield from _unquoted(item, entries)
    first_line = min((entry.line for entry in entries.values()), default=1)
    for problem in default_problems(_values(entries), item.name):
        entry = entries.get(problem.annotation)
        line = first_line if entry is None else entry.line
        yield item.finding(line, f"{problem.annotation}: {problem.message}")


def _check_workload(
    item: ManifestObject,
    entries: Mapping[str, Entry],
    defaults: Mapping[str, Entry] | None,
    options: CheckOptions,
) -> Iterator[ManifestFinding]:
    yield from _unquoted(item, entries)
    first_line = min(entry.line for entry in entries.values())
    if ENABLED not in entries:
        yield item.finding(
            first_line,
            f'{ENABLED}: is missing, so the other annotations have no effect; set it to "true"'
            ' or "false"',
        )

    def line_of(annotation: str) -> int:
        owner = entries.get(annotation, entries.get(ENABLED))
        return first_line if owner is None else owner.line

    policy = parse_policy(
        _values(entries),
        query_supported=options.query_supported,
        defaults=None if defaults is None else _values(defaults),
        namespace=item.namespace,
    )
    if isinstance(policy, ScalingPolicy):
        for annotation, doubt in (*unit_doubts(policy.targets), *counter_doubts(policy)):
            text = f"{annotation}: {doubt}"
            yield item.finding(line_of(annotation), text, Severity.WARNING)
        without_gpus = TOTAL_METRICS | SERVER_METRICS
        if any(target.metric not in without_gpus for target in policy.targets):
            yield from _check_gpus(item)
        return
    for problem in policy:
        # `_check_namespace` reports an invalid value once, on the Namespace.
        if problem.namespace is not None and problem.is_form:
            continue
        yield item.finding(line_of(problem.annotation), f"{problem.annotation}: {problem.message}")


def _check_gpus(item: ManifestObject) -> Iterator[ManifestFinding]:
    """Report pods that request no GPU; a patch without containers is not checked."""
    pod = child_of(child_of(child_of(item.node, "spec"), "template"), "spec")
    containers = child_of(pod, "containers")
    if not isinstance(containers, yaml.SequenceNode) or not containers.value:
        return
    claims = child_of(pod, "resourceClaims")
    has_claims = isinstance(claims, yaml.SequenceNode) and bool(claims.value)
    if requests_gpu(_resources(pod, containers), claims=has_claims) is False:
        yield item.finding(containers.start_mark.line + 1, NO_GPU)


def _resources(
    pod: yaml.Node | None, containers: yaml.SequenceNode
) -> Iterator[tuple[str, object]]:
    started = child_of(pod, "initContainers")
    sidecars = [
        one
        for one in (started.value if isinstance(started, yaml.SequenceNode) else ())
        if text_of(one, "restartPolicy") == "Always"
    ]
    for container in (*containers.value, *sidecars):
        for part in ("limits", "requests"):
            found = child_of(child_of(container, "resources"), part)
            if isinstance(found, yaml.MappingNode):
                for name, quantity in found.value:
                    if isinstance(name, yaml.ScalarNode) and isinstance(quantity, yaml.ScalarNode):
                        yield name.value, quantity.value


def _unquoted(item: ManifestObject, entries: Mapping[str, Entry]) -> Iterator[ManifestFinding]:
    for name, entry in entries.items():
        if not entry.is_text:
            yield item.finding(entry.line, f"{name}: must be a string; put the value in quotes")


def _values(entries: Mapping[str, Entry]) -> dict[str, str]:
    return {name: entry.value for name, entry in entries.items()}
