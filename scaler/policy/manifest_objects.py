# SPDX-License-Identifier: Apache-2.0
"""Pure: the Kubernetes objects in YAML or JSON text, with the lines of their annotations."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

import yaml

if TYPE_CHECKING:
    from collections.abc import Iterator

_MAX_DEPTH = 100
_MAX_LIST_DEPTH = 5
_TEXT_TAG = "tag:yaml.org,2002:str"


class Severity(StrEnum):
    """What a finding means: an error is certainly wrong, a warning probably."""

    ERROR = "error"
    WARNING = "warning"


@dataclass(frozen=True, slots=True, kw_only=True)
class ManifestFinding:
    """One sentence about a line of a file; `is_syntax` is True where the file cannot be read."""

    file_name: str
    line: int
    message: str
    severity: Severity = Severity.ERROR
    is_syntax: bool = False

    def __str__(self) -> str:
        warning = "warning: " if self.severity is Severity.WARNING else ""
        return f"{self.file_name}:{self.line}: {warning}{self.message}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """The value of an annotation or label; `is_text` is False for unquoted numbers and the like."""

    line: int
    value: str
    is_text: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class ManifestObject:
    """One object of a file."""

    file_name: str
    node: yaml.MappingNode

    @property
    def kind(self) -> str:
        """`Deployment`; empty without one."""
        return text_of(self.node, "kind")

    @property
    def resource(self) -> str:
        """`deployments.apps`, as `--kinds` names it, where an s makes the plural."""
        group, slash, _ = text_of(self.node, "apiVersion").partition("/")
        plural = f"{self.kind.lower()}s"
        return f"{plural}.{group}" if slash else plural

    @property
    def metadata(self) -> yaml.Node | None:
        """`metadata`, None without one."""
        return child_of(self.node, "metadata")

    @property
    def name(self) -> str:
        """`metadata.name`; empty without one."""
        return text_of(self.metadata, "name")

    @property
    def namespace(self) -> str:
        """`metadata.namespace`; empty without one."""
        return text_of(self.metadata, "namespace")

    @property
    def has_pods(self) -> bool:
        """Whether the object has a pod template, as workloads do."""
        spec = child_of(self.node, "spec")
        return any(child_of(spec, one) is not None for one in ("template", "leaderWorkerTemplate"))

    def finding(self, line: int, text: str, severity: Severity = Severity.ERROR) -> ManifestFinding:
        """Return a finding that names the object."""
        place = f"{self.namespace}/" if self.namespace else ""
        where = f"[{self.kind or 'object'} {place}{self.name or '(no name)'}]"
        return ManifestFinding(
            file_name=self.file_name, line=line, message=f"{where} {text}", severity=severity
        )

    def entries(self, parent: yaml.Node | None, field: str) -> dict[str, Entry]:
        """Return the keys and values of a mapping; the last of duplicate keys wins."""
        mapping = child_of(parent, field)
        if not isinstance(mapping, yaml.MappingNode):
            return {}
        return {
            key.value: Entry(
                line=key.start_mark.line + 1,
                value=value.value if isinstance(value, yaml.ScalarNode) else "",
                is_text=value.tag == _TEXT_TAG,
            )
            for key, value in mapping.value
            if isinstance(key, yaml.ScalarNode)
        }


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


def read_objects(file_name: str, text: str) -> tuple[list[ManifestObject], list[ManifestFinding]]:
    """Return the objects of a file up to the first syntax error, and that error."""
    objects: list[ManifestObject] = []
    findings: list[ManifestFinding] = []

    def refuse(line: int, why: str | None) -> None:
        message = f"is not valid YAML: {why}"
        findings.append(
            ManifestFinding(file_name=file_name, line=line, message=message, is_syntax=True)
        )

    try:
        for document in yaml.compose_all(text, Loader=_ManifestLoader):
            objects += (
                ManifestObject(file_name=file_name, node=node) for node in _objects(document, 0)
            )
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
    items = child_of(node, "items")
    if text_of(node, "kind").endswith("List") and isinstance(items, yaml.SequenceNode):
        for item in items.value:
            yield from _objects(item, depth + 1)
    else:
        yield node


def child_of(node: yaml.Node | None, field: str) -> yaml.Node | None:
    """Return the value of a mapping's field, None without one."""
    if isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            if isinstance(key, yaml.ScalarNode) and key.value == field:
                child: yaml.Node = value
                return child
    return None


def text_of(node: yaml.Node | None, field: str) -> str:
    """Return the text of a mapping's field, empty without one."""
    child = child_of(node, field)
    return child.value if isinstance(child, yaml.ScalarNode) else ""
