"""Pure: the gpu-scaler annotations in Kubernetes manifests, checked with file and line."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import yaml

from scaler.model import ScalingPolicy
from scaler.policy import ENABLED, PREFIX, parse_policy

if TYPE_CHECKING:
    from collections.abc import Iterator

_MAX_DEPTH = 100
_MAX_LIST_DEPTH = 5
_TEXT_TAG = "tag:yaml.org,2002:str"


class _ManifestLoader(yaml.SafeLoader):
    """Composes nodes with their lines; nothing is constructed, so tags and aliases are harmless."""

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


def check_manifest(text: str, file_name: str) -> list[str]:
    """What is wrong with the gpu-scaler annotations of a file, as `file:line: [object] text`.

    Reads multi-document YAML, JSON and Lists; a file that is no YAML is one message. Every
    `gpu-scaler/*` annotation of a Deployment is checked as the scaler would (a query is taken to
    have its source), and those in places where the scaler never looks are named. Never raises.
    """
    findings: list[tuple[int, str]] = []
    try:
        for document in yaml.compose_all(text, Loader=_ManifestLoader):
            for manifest in _objects(document, 0):
                findings += _check_object(manifest)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line = mark.line + 1 if mark is not None else 1
        findings.append((line, f"is not valid YAML: {error.problem or error.context}"))
    except yaml.reader.ReaderError as error:
        line = text.count("\n", 0, error.position) + 1
        findings.append((line, f"is not valid YAML: {error.reason}"))
    return [f"{file_name}:{line}: {message}" for line, message in sorted(findings)]


def _objects(node: yaml.Node | None, depth: int) -> Iterator[yaml.MappingNode]:
    """The objects of a document: itself, or the items of a List."""
    if not isinstance(node, yaml.MappingNode) or depth > _MAX_LIST_DEPTH:
        return
    items = _child(node, "items")
    if _text(node, "kind").endswith("List") and isinstance(items, yaml.SequenceNode):
        for item in items.value:
            yield from _objects(item, depth + 1)
    else:
        yield node


def _check_object(manifest: yaml.MappingNode) -> list[tuple[int, str]]:
    kind, metadata = _text(manifest, "kind"), _child(manifest, "metadata")
    name, namespace = _text(metadata, "name") or "(no name)", _text(metadata, "namespace")
    where = f"[{kind or 'object'} {f'{namespace}/' if namespace else ''}{name}]"
    findings: list[tuple[int, str]] = []

    def misplaced(parent: yaml.Node | None, field: str, place: str) -> None:
        for key, entry in _entries(parent, field).items():
            findings.append(
                (
                    entry.line,
                    f"{where} {key}: has no effect {place}; it belongs in metadata.annotations of"
                    " the Deployment",
                )
            )

    misplaced(metadata, "labels", "as a label")
    template = _child(_child(_child(manifest, "spec"), "template"), "metadata")
    misplaced(template, "annotations", "on the pod template")
    misplaced(template, "labels", "as a label of the pod template")
    if kind != "Deployment":
        misplaced(metadata, "annotations", f"on a {kind or 'object without a kind'}")
        return findings
    entries = _entries(metadata, "annotations")
    if entries:
        findings += [(line, f"{where} {text}") for line, text in _check_annotations(entries)]
    return findings


def _check_annotations(entries: dict[str, _Entry]) -> Iterator[tuple[int, str]]:
    for name, entry in entries.items():
        if not entry.is_text:
            yield entry.line, f"{name}: must be text: put its value in quotes"
    first_line = min(entry.line for entry in entries.values())
    if ENABLED not in entries:
        yield (
            first_line,
            f'{ENABLED}: is absent, so the other annotations have no effect; set it to "true"'
            ' or "false"',
        )
    policy = parse_policy(
        {name: entry.value for name, entry in entries.items()}, query_supported=True
    )
    if isinstance(policy, ScalingPolicy):
        return
    for problem in policy:
        owner = entries.get(problem.annotation, entries.get(ENABLED))
        line = first_line if owner is None else owner.line
        yield line, f"{problem.annotation}: {problem.message}"


def _entries(parent: yaml.Node | None, field: str) -> dict[str, _Entry]:
    """The `gpu-scaler/*` keys of a mapping such as metadata.annotations; the last of equals."""
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
