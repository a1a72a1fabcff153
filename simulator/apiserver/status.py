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
    return _about(resource, name, 404, "NotFound", f'{resource.qualified} "{name}" not found')


def already_exists(resource: Resource, name: str) -> StatusError:
    """Return the 409 of a create."""
    message = f'{resource.qualified} "{name}" already exists'
    return _about(resource, name, 409, "AlreadyExists", message)


def conflict(resource: Resource, name: str, why: str = "") -> StatusError:
    """Return the 409 of a write whose precondition does not hold."""
    why = why or (
        "the object has been modified; please apply your changes to the latest version "
        "and try again"
    )
    message = f'Operation cannot be fulfilled on {resource.qualified} "{name}": {why}'
    return _about(resource, name, 409, "Conflict", message)


def invalid(resource: Resource, name: str, field: str, why: str) -> StatusError:
    """Return the 422 of an object that validation refuses."""
    causes = [{"reason": "FieldValueInvalid", "field": field, "message": why}]
    message = f'{resource.kind} "{name}" is invalid: {field}: {why}'
    return _about(resource, name, 422, "Invalid", message, kind=resource.kind, causes=causes)


def bad_request(message: str) -> StatusError:
    """Return the 400 of a request that cannot be understood."""
    return StatusError(400, "BadRequest", message)


def expired(message: str) -> StatusError:
    """Return the 410 of a resourceVersion or continue token that is too old."""
    return StatusError(410, "Expired", message)


def _about(
    resource: Resource, name: str, code: int, reason: str, message: str, **details: Any
) -> StatusError:
    details = {"name": name, "group": resource.group, "kind": resource.plural} | details
    return StatusError(code, reason, message, **details)
