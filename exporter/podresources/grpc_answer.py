# SPDX-License-Identifier: Apache-2.0
"""Pure: the answer to one unary gRPC call, put together from what its HTTP/2 stream carries.

Sources: grpc/grpc, doc/PROTOCOL-HTTP2.md, doc/statuscodes.md and doc/http-grpc-status-mapping.md.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final
from urllib.parse import unquote_to_bytes

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

INTERNAL: Final = "INTERNAL"
"""An answer that breaks the protocol."""
UNAVAILABLE: Final = "UNAVAILABLE"
DEADLINE_EXCEEDED: Final = "DEADLINE_EXCEEDED"
_OK: Final = "0"
_CODES: Final = {
    "1": "CANCELLED",
    "2": "UNKNOWN",
    "3": "INVALID_ARGUMENT",
    "4": DEADLINE_EXCEEDED,
    "5": "NOT_FOUND",
    "6": "ALREADY_EXISTS",
    "7": "PERMISSION_DENIED",
    "8": "RESOURCE_EXHAUSTED",
    "9": "FAILED_PRECONDITION",
    "10": "ABORTED",
    "11": "OUT_OF_RANGE",
    "12": "UNIMPLEMENTED",
    "13": INTERNAL,
    "14": UNAVAILABLE,
    "15": "DATA_LOSS",
    "16": "UNAUTHENTICATED",
}
_UNKNOWN: Final = "UNKNOWN"
_OF_HTTP_STATUS: Final = {
    "400": INTERNAL,
    "401": "UNAUTHENTICATED",
    "403": "PERMISSION_DENIED",
    "404": "UNIMPLEMENTED",
    "429": UNAVAILABLE,
    "502": UNAVAILABLE,
    "503": UNAVAILABLE,
    "504": UNAVAILABLE,
}
# By the error code of RST_STREAM; the others mean that the protocol was broken.
_OF_RESET: Final = {
    7: UNAVAILABLE,
    8: "CANCELLED",
    11: "RESOURCE_EXHAUSTED",
    12: "PERMISSION_DENIED",
}
MAX_DETAILS_CHARACTERS: Final = 1024
_PREFIX_BYTES: Final = 5


class GrpcError(Exception):
    """A call failed; `code` is the name of the gRPC code, such as UNAVAILABLE."""

    def __init__(self, code: str, details: str) -> None:
        super().__init__(f"{code}: {details}")
        self.code = code
        self.details = details


def framed(message: bytes) -> bytes:
    """Return a message as it is sent: uncompressed, its length before it."""
    return b"\0" + len(message).to_bytes(4, "big") + message


def reset_error(error_code: int) -> GrpcError:
    """Return what a stream means that the server reset."""
    code = _OF_RESET.get(error_code, INTERNAL)
    return GrpcError(code, f"the server reset the stream with error {error_code}")


class GrpcAnswer:
    """Takes the parts of one answer in their order; every method raises GrpcError.

    No more is kept than one message of `max_bytes`.
    """

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._status: Mapping[str, str] = {}
        self._received = bytearray()
        self._length: int | None = None

    def on_headers(self, headers: Iterable[tuple[bytes, bytes]]) -> None:
        """Take the headers; an answer without a message has its status here."""
        fields = _text(headers)
        self._status = fields
        http_status = fields.get(":status", "")
        content_type = fields.get("content-type", "")
        if http_status != "200":
            code = _OF_HTTP_STATUS.get(http_status, _UNKNOWN)
            raise GrpcError(code, f"the server answered HTTP status {http_status[:3]}")
        if not content_type.startswith("application/grpc"):
            raise GrpcError(_UNKNOWN, f"the server answered {_shortened(content_type)!r}, not gRPC")

    def on_data(self, data: bytes) -> None:
        """Take a part of the message."""
        self._received += data
        if self._length is None and len(self._received) >= _PREFIX_BYTES:
            self._length = self._announced()
        if self._length is not None and len(self._received) > _PREFIX_BYTES + self._length:
            raise GrpcError(INTERNAL, "the server sent more than one message")

    def _announced(self) -> int:
        if self._received[0]:
            raise GrpcError(INTERNAL, "the message is compressed, which was not asked for")
        length = int.from_bytes(self._received[1:_PREFIX_BYTES], "big")
        if length > self._max_bytes:
            message = f"the message of {length} bytes is larger than {self._max_bytes}"
            raise GrpcError("RESOURCE_EXHAUSTED", message)
        return length

    def on_trailers(self, trailers: Iterable[tuple[bytes, bytes]]) -> None:
        """Take the status that follows the message."""
        self._status = _text(trailers)

    def message(self) -> bytes:
        """Return the message of an answer that has ended."""
        status = self._status.get("grpc-status")
        if status is None:
            raise GrpcError(_UNKNOWN, "the server ended the call without a status")
        if status != _OK:
            details = unquote_to_bytes(self._status.get("grpc-message", ""))
            code = _CODES.get(status, _UNKNOWN)
            raise GrpcError(code, _shortened(details.decode(errors="replace")))
        if self._length is None or len(self._received) != _PREFIX_BYTES + self._length:
            raise GrpcError(INTERNAL, "the message is truncated")
        return bytes(memoryview(self._received)[_PREFIX_BYTES:])


def _text(headers: Iterable[tuple[bytes, bytes]]) -> dict[str, str]:
    return {name.decode("latin-1"): value.decode("latin-1") for name, value in headers}


def _shortened(text: str) -> str:
    """Return text that logs and terminals can show."""
    shown = (one if one.isprintable() else "\N{REPLACEMENT CHARACTER}" for one in text)
    return "".join(shown)[:MAX_DETAILS_CHARACTERS]
