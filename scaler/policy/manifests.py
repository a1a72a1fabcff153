"""Pure: checks the gpu-scaler annotations in Kubernetes manifests; reports file and line."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import yaml

from scaler.decision.gpu_requests import NO_GPU, requests_gpu
from scaler.model import SERVER_METRICS, TOTAL_METRICS, ScalingPolicy
from scaler.policy.annotations import ENABLED, PREFIX
from scaler.policy.parse import default_problems, parse_policy

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

_MAX_DEPTH = 100
_MAX_LIST_DEPTH = 5
_TEXT_TAG = "tag:yaml.org,2002:str"


class _ManifestLoader(yaml.SafeLoader):
    """Composes nodes with their lines; constructs no objects, so tags and aliases are harmless."""

    _depth = 0

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        self._depth += 1
        if self._depth > _MAX_DEPTH:
            mark = self.peek_event().start_mark  # type: ignore[no-untyped-call]
            raise yaml.MarkedYAMLError(None, None, "nested too deeply", mark)
        node = super().compose_node(parent, index)
        self._depth -= 1
        return node


@dataclass(frozen=True, slots=True, kw_only=True)
class _Entry:
    """One `gpu-scaler/*` key; `is_text` is False for unquoted numbers and the like."""

    line: int
    value: str
    is_text: bool


@dataclass(frozen=True, slots=True, kw_only=True, order=True)
class _Finding:
    """One message about a line of one of the files."""

    file_name: str
    line: int
    message: str


@dataclass(frozen=True, slots=True, kw_only=True)
class _Object:
    """One object of a file."""

    file_name: str
    node: yaml.MappingNode

    @property
    def kind(self) -> str:
        return _text(self.node, "kind")

    @property
    def metadata(self) -> yaml.Node | None:
        return _child(self.node, "metadata")

    @property
    def name(self) -> str:
        return _text(self.metadata, "name")

    @property
    def namespace(self) -> str:
        return _text(self.metadata, "namespace")

    def finding(self, line: int, text: str) -> _Finding:
        place = f"{self.namespace}/" if self.namespace else ""
        where = f"[{self.kind or 'object'} {place}{self.name or '(no name)'}]"
        return _Finding(file_name=self.file_name, line=line, message=f"{where} {text}")

    def entries(self, parent: yaml.Node | None, field: str) -> dict[str, _Entry]:
        """Return the `gpu-scaler/*` keys of a mapping; the last of duplicate keys wins."""
        mapping = _child(parent, field)
        if not isinstance(mapping, yaml.MappingNode):
            return {}
        return {
            key.value: _Entry(
                line=key.start_mark.line + 1,
                value=value.value if isinstance(value, yaml.ScalarNode) else "",
                is_text=value.tag == _TEXT_TAG,
            )
            for key, value in mapping.value
            if isinstance(key, yaml.ScalarNode) and key.value.startswith(PREFIX)
        }


def check_manifests(files: Iterable[tuple[str, str]]) -> list[str]:
    """Return the problems with the gpu-scaler annotations of files, as `file:line: [object] text`.

    `files` are pairs of name and text: multi-document YAML, JSON, or Lists. A file that is not YAML
    gives one message. Checks every `gpu-scaler/*` annotation of a Deployment as the scaler does,
    assuming that `--prometheus.url` is set, with the defaults of its Namespace if one of the files
    has it. Also reports annotations in places that the scaler ignores, and Deployments with GPU
    targets whose pods request no GPU. Never raises.
    """
    objects: list[_Object] = []
    findings: list[_Finding] = []
    order: dict[str, int] = {}
    for file_name, text in files:
        order.setdefault(file_name, len(order))
        found, problem = _read(file_name, text)
        objects += found
        findings += problem
    defaults = {
        item.name: item.entries(item.metadata, "annotations")
        for item in objects
        if item.kind == "Namespace" and item.name
    }
    for item in objects:
        findings += _check_object(item, defaults)
    unique = sorted(set(findings), key=lambda one: (order[one.file_name], one))
    return [f"{one.file_name}:{one.line}: {one.message}" for one in unique]


def _read(file_name: str, text: str) -> tuple[list[_Object], list[_Finding]]:
    """Return the objects of a file up to the first syntax error, and that error."""
    objects: list[_Object] = []
    findings: list[_Finding] = []

    def refuse(line: int, why: str | None) -> None:
        message = f"is not valid YAML: {why}"
        findings.append(_Finding(file_name=file_name, line=line, message=message))

    try:
        for document in yaml.compose_all(text, Loader=_ManifestLoader):
            objects += (_Object(file_name=file_name, node=node) for node in _objects(document, 0))
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        refuse(mark.line + 1 if mark is not None else 1, error.problem or error.context)
    except yaml.reader.ReaderError as error:
        refuse(text.count("\n", 0, error.position) + 1, error.reason)
    return objects, findings


def _objects(node: yaml.Node | None, depth: int) -> Iterator[yaml.MappingNode]:
    """Yield the document itself, or the items of a List."""
    if not isinstance(node, yaml.MappingNode) or depth > _MAX_LIST_DEPTH:
        return
    items = _child(node, "items")
    if _text(node, "kind").endswith("List") and isinstance(items, yaml.SequenceNode):
        for item in items.value:
            yield from _objects(item, depth + 1)
    else:
        yield node


def _check_object(
    item: _Object, defaults: Mapping[str, Mapping[str, _Entry]]
) -> Iterator[_Finding]:
    def misplaced(parent: yaml.Node | None, field: str, place: str) -> Iterator[_Finding]:
        for key, entry in item.entries(parent, field).items():
            yield item.finding(
                entry.line,
                f"{key}: has no effect {place}; move it to metadata.annotations of the Deployment",
            )

    template = _child(_child(_child(item.node, "spec"), "template"), "metadata")
    yield from misplaced(item.metadata, "labels", "as a label")
    yield from misplaced(template, "annotations", "on the pod template")
    yield from misplaced(template, "labels", "as a label of the pod template")
    entries = item.entries(item.metadata, "annotations")
    if item.kind == "Deployment":
        if entries:
            yield from _check_deployment(item, entries, defaults.get(item.namespace))
    elif item.kind == "Namespace":
        yield from _check_namespace(item, entries)
    else:
        place = f"on a {item.kind or 'object without a kind'}"
        yield from misplaced(item.metadata, "annotations", place)


def _check_namespace(item: _Object, entries: Mapping[str, _Entry]) -> Iterator[_Finding]:
    yield from _unquoted(item, entries)
    first_line = min((entry.line for entry in entries.values()), default=1)
    for problem in default_problems(_values(entries), item.name):
        entry = entries.get(problem.annotation)
        line = first_line if entry is None else entry.line
        yield item.finding(line, f"{problem.annotation}: {problem.message}")


def _check_deployment(
    item: _Object, entries: Mapping[str, _Entry], defaults: Mapping[str, _Entry] | None
) -> Iterator[_Finding]:
    yield from _unquoted(item, entries)
    first_line = min(entry.line for entry in entries.values())
    if ENABLED not in entries:
        yield item.finding(
            first_line,
            f'{ENABLED}: is missing, so the other annotations have no effect; set it to "true"'
            ' or "false"',
        )
    policy = parse_policy(
        _values(entries),
        query_supported=True,
        defaults=None if defaults is None else _values(defaults),
        namespace=item.namespace,
    )
    if isinstance(policy, ScalingPolicy):
        without_gpus = TOTAL_METRICS | SERVER_METRICS
        if any(target.metric not in without_gpus for target in policy.targets):
            yield from _check_gpus(item)
        return
    for problem in policy:
        # `_check_namespace` reports an invalid value once, on the Namespace.
        if problem.namespace is not None and problem.is_form:
            continue
        owner = entries.get(problem.annotation, entries.get(ENABLED))
        yield item.finding(
            first_line if owner is None else owner.line, f"{problem.annotation}: {problem.message}"
        )


def _check_gpus(item: _Object) -> Iterator[_Finding]:
    """Report pods that request no GPU; a patch without containers is not checked."""
    pod = _child(_child(_child(item.node, "spec"), "template"), "spec")
    containers = _child(pod, "containers")
    if not isinstance(containers, yaml.SequenceNode) or not containers.value:
        return
    claims = _child(pod, "resourceClaims")
    has_claims = isinstance(claims, yaml.SequenceNode) and bool(claims.value)
    if requests_gpu(_resources(pod, containers), claims=has_claims) is False:
        yield item.finding(containers.start_mark.line + 1, NO_GPU)


def _resources(
    pod: yaml.Node | None, containers: yaml.SequenceNode
) -> Iterator[tuple[str, object]]:
    started = _child(pod, "initContainers")
    sidecars = [
        one
        for one in (started.value if isinstance(started, yaml.SequenceNode) else ())
        if _text(one, "restartPolicy") == "Always"
    ]
    for container in (*containers.value, *sidecars):
        for part in ("limits", "requests"):
            found = _child(_child(container, "resources"), part)
            if isinstance(found, yaml.MappingNode):
                for name, quantity in found.value:
                    if isinstance(name, yaml.ScalarNode) and isinstance(quantity, yaml.ScalarNode):
                        yield name.value, quantity.value


def _unquoted(item: _Object, entries: Mapping[str, _Entry]) -> Iterator[_Finding]:
    for name, entry in entries.items():
        if not entry.is_text:
            yield item.finding(entry.line, f"{name}: must be a string; put the value in quotes")


def _values(entries: Mapping[str, _Entry]) -> dict[str, str]:
    return {name: entry.value for name, entry in entries.items()}


def _child(node: yaml.Node | None, field: str) -> yaml.Node | None:
    if isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            if isinstance(key, yaml.ScalarNode) and key.value == field:
                child: yaml.Node = value
                return child
    return None


def _text(node: yaml.Node | None, field: str) -> str:
    child = _child(node, field)
    return child.value if isinstance(child, yaml.ScalarNode) else ""
