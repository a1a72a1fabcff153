# SPDX-License-Identifier: Apache-2.0
"""YAML as Go's strict decoder reads strings: scalars as written, no duplicate keys."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import yaml

if TYPE_CHECKING:
    from collections.abc import Hashable

_KEPT_TAGS: Final = ("tag:yaml.org,2002:null", "tag:yaml.org,2002:merge")


class _Loader(yaml.SafeLoader):
    """Loads strings, nulls, lists and mappings; the meaning of a string depends on its key."""

    # `X-XSS-Protection: 1` is the string 1, and a user may be called 42 or no.
    yaml_implicit_resolvers = {  # noqa: RUF012  (as the library declares it)
        first: [(tag, pattern) for tag, pattern in resolvers if tag in _KEPT_TAGS]
        for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
    }

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        """Reject a duplicate key: one of the two values would be ignored."""
        seen = set()
        for key, _ in node.value:
            if key.tag == "tag:yaml.org,2002:merge" or not isinstance(key, yaml.ScalarNode):
                continue
            if key.value in seen:
                raise yaml.constructor.ConstructorError(
                    problem=f"duplicate key {key.value!r}", problem_mark=key.start_mark
                )
            seen.add(key.value)
        return super().construct_mapping(node, deep)


def read_yaml(text: str) -> object:
    """Return the document in `text`; raises yaml.YAMLError."""
    return yaml.load(text, _Loader)
