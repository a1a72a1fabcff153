# SPDX-License-Identifier: Apache-2.0
"""Pure: the fields of an encoded protobuf message that have a length, which is all we read.

protobuf's own library takes 2 MB of memory. Source: https://protobuf.dev/programming-guides/encoding
"""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterator

_VARINT, _FIXED64, _WITH_LENGTH, _FIXED32 = 0, 1, 2, 5
_FIXED_BYTES: Final = {_FIXED64: 8, _FIXED32: 4}
_MAX_VARINT_BYTES: Final = 10


class WireError(Exception):
    """The bytes are not an encoded message."""


def fields(message: bytes) -> Iterator[tuple[int, bytes]]:
    """Yield the number and the content of each field with a length; raises WireError."""
    at, end = 0, len(message)
    while at < end:
        tag, at = _varint(message, at)
        number, wire_type = tag >> 3, tag & 7
        if not number:
            raise WireError("a field has the number 0")
        if wire_type == _WITH_LENGTH:
            length, begin = _varint(message, at)
            at = begin + length
            if at <= end:
                yield number, message[begin:at]
        elif wire_type == _VARINT:
            _, at = _varint(message, at)
        elif wire_type in _FIXED_BYTES:
            at += _FIXED_BYTES[wire_type]
        else:
            raise WireError(f"field {number} has the wire type {wire_type}")
    if at > end:
        raise WireError("the message is truncated")


def by_number(message: bytes) -> defaultdict[int, list[bytes]]:
    """Return the contents of the fields with a length by the fields' numbers; raises WireError."""
    found: defaultdict[int, list[bytes]] = defaultdict(list)
    for number, content in fields(message):
        found[number].append(content)
    return found


def _varint(message: bytes, at: int) -> tuple[int, int]:
    """Return the number that begins at `at`, and where it ends."""
    if at < len(message) and (first := message[at]) < 0x80:
        return first, at + 1
    value = 0
    for place, byte in enumerate(message[at : at + _MAX_VARINT_BYTES]):
        value |= (byte & 0x7F) << 7 * place
        if byte < 0x80:
            return value, at + place + 1
    raise WireError("a number does not end")
