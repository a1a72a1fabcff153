"""Rights that were granted just now: the API server's authorizer learns of them by watches."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    JsonObject = dict[str, Any]

REVIEWS: Final = "/apis/authorization.k8s.io/v1/subjectaccessreviews"
DEADLINE_SECONDS: Final = 30.0
POLL_SECONDS: Final = 0.05


def wait_until_in_force(
    request: Callable[[str, str, JsonObject], JsonObject], documents: Sequence[JsonObject]
) -> None:
    """Wait until accounts may do what the roles and bindings among `documents` say.

    Raises:
        AssertionError: they may not in time.
    """
    end = time.monotonic() + DEADLINE_SECONDS
    for review in _reviews(documents):
        body = {"apiVersion": "authorization.k8s.io/v1", "kind": "SubjectAccessReview"}
        while not request("POST", REVIEWS, body | {"spec": review})["status"]["allowed"]:
            assert time.monotonic() < end, f"not in force within {DEADLINE_SECONDS:g} s: {review}"
            time.sleep(POLL_SECONDS)


def _reviews(documents: Sequence[JsonObject]) -> Iterator[JsonObject]:
    """Ask about one right by each binding to a role that is there too."""
    roles = {
        (one["kind"], one["metadata"].get("namespace", ""), one["metadata"]["name"]): one
        for one in documents
        if one["kind"] in ("Role", "ClusterRole") and one.get("rules")
    }
    for binding in documents:
        if binding["kind"] not in ("RoleBinding", "ClusterRoleBinding"):
            continue
        namespace = binding["metadata"].get("namespace", "")
        kind, name = binding["roleRef"]["kind"], binding["roleRef"]["name"]
        role = roles.get((kind, namespace if kind == "Role" else "", name))
        if role is None:
            continue
        asked = _asked(role["rules"][0], namespace)
        for subject in binding["subjects"]:
            if subject["kind"] == "ServiceAccount":
                account = f"{subject['namespace']}:{subject['name']}"
                yield {"user": f"system:serviceaccount:{account}"} | asked


def _asked(rule: JsonObject, namespace: str) -> JsonObject:
    if "resources" not in rule:
        path = rule["nonResourceURLs"][0]
        return {"nonResourceAttributes": {"path": path, "verb": rule["verbs"][0]}}
    resource, _, subresource = rule["resources"][0].partition("/")
    attributes = {
        "namespace": namespace,
        "verb": rule["verbs"][0],
        "group": rule["apiGroups"][0],
        "resource": resource,
        "subresource": subresource,
        "name": rule.get("resourceNames", [""])[0],
    }
    return {"resourceAttributes": attributes}
