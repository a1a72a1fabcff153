# SPDX-License-Identifier: Apache-2.0
"""Failures of the API as `metav1.Status`, in the words that a kube-apiserver uses."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from simulator.apiserver.resources import Resource


class StatusError(Exception):
    """A request that fails; `code` is the HTTP status, `body()` the `metav1.Status`."""

    def __init__(self, code: int, reason: str, message: str, **details: Any) -> None:
        super().__init__(message)
        self.code = code
        self.reason = reason
        self.message = message
        self.details = details

    def body(self) -> dict[str, Any]:
        """Return the Status object."""
        body: dict[str, Any] = {
            "kind": "Status",
            "apiVersion": "v1",
            "metadata": {},
            "status": "Failure",
            "message": self.message,
            "reason": self.reason,
            "code": self.code,
        }
        if self.details:
            body["details"] = self.details
        return body


def not_found(resource: Resource, name: str) -> StatusError:
    """Return the 404 of an object that does not exist."""
    return StatusError(
        404,
        "NotFound",
        f'{resource.qualified} "{name}" not found',
        name=name,
        group=resource.group,
        kind=resource.plural,
    )


def already_exists(resource: Resource, name: str) -> StatusError:
    """Return the 409 of a create."""
    return StatusError(
        409,
        "AlreadyExists",
        f'{resource.qualified} "{name}" already exists',
        name=name,
        group=resource.group,
        kind=resource.plural,
    )


def conflict(resource: Resource, name: str, why: str = "") -> StatusError:
    """Return the 409 of a write whose precondition does not hold."""
    why = why or (
        "the object has been modified; please apply your changes to the latest version "
        "and try again"
    )
    return StatusError(
        409,
        "Conflict",
        f'Operation cannot be fulfilled on {resource.qualified} "{name}": {why}',
        name=name,
        group=resource.group,
        kind=resource.plural,
    )


def invalid(resource: Resource, name: str, field: str, why: str) -> StatusError:
    """Return the 422 of an object that validation refuses."""
    return StatusError(
        422,
        "Invalid",
        f'{resource.kind} "{name}" is invalid: {field}: {why}',
        name=name,
        group=resource.group,
        kind=resource.kind,
        causes=[{"reason": "FieldValueInvalid", "field": field, "message": why}],
    )


def bad_request(message: str) -> StatusError:
    """Return the 400 of a request that cannot be understood."""
    return StatusError(400, "BadRequest", message)


def expired(message: str) -> StatusError:
    """Return the 410 of a resourceVersion or continue token that is too old."""
    return StatusError(410, "Expired", message)
