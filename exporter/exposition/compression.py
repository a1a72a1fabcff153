# SPDX-License-Identifier: Apache-2.0
"""Pure: gzip of bytes whose beginning is compressed once and ends in several ways.

A scrape's answer is the GPUs' families, the same for every reader until the next cycle, and the
exporter's own, which differ each time. Source: RFC 1952 and zlib's Z_FULL_FLUSH, after which
nothing refers to what came before.
"""

from __future__ import annotations

import struct
import zlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Generator

# The text is so repetitive that the fastest level already shrinks it to a tenth.
_LEVEL: Final = 1
# Deflate, no name, no time; the extra flag and the system are unknown.
_HEADER: Final = b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\xff"
_MAX_UINT32: Final = 0xFFFFFFFF
_STEP_BYTES: Final = 64 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class Gzipped:
    """Bytes that are compressed already and may be continued."""

    deflated: bytes
    crc32: int
    size_bytes: int

    def followed_by(self, rest: bytes) -> bytes:
        """Return one gzip member of these bytes and `rest`."""
        compressor = _compressor()
        end = compressor.compress(rest) + compressor.flush()
        size_bytes = (self.size_bytes + len(rest)) & _MAX_UINT32
        trailer = struct.pack("<LL", zlib.crc32(rest, self.crc32), size_bytes)
        return b"".join((_HEADER, self.deflated, end, trailer))


def gzipping(data: bytes) -> Generator[None, None, Gzipped]:
    """Compress, in steps of less than a millisecond, what any number of answers begin with."""
    compressor = _compressor()
    parts = []
    for start in range(0, len(data), _STEP_BYTES):
        parts.append(compressor.compress(data[start : start + _STEP_BYTES]))
        yield
    parts.append(compressor.flush(zlib.Z_FULL_FLUSH))
    return Gzipped(deflated=b"".join(parts), crc32=zlib.crc32(data), size_bytes=len(data))


def _compressor() -> zlib._Compress:
    return zlib.compressobj(_LEVEL, zlib.DEFLATED, -zlib.MAX_WBITS)
