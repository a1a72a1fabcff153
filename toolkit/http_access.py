# SPDX-License-Identifier: Apache-2.0
"""Pure: how an HTTP client verifies a server and authenticates to it."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class HttpAccess:
    """How to verify a server and authenticate to it; files are read again periodically.

    `server_name` is the name in the server's certificate if it is not the URL's host.
    `header_files` are pairs of a header's name and the file with its value.
    """

    ca_file: str | None = None
    server_name: str | None = None
    insecure_skip_verify: bool = False
    cert_file: str | None = None
    key_file: str | None = None
    username: str | None = None
    password_file: str | None = None
    bearer_token_file: str | None = None
    headers: tuple[tuple[str, str], ...] = ()
    header_files: tuple[tuple[str, str], ...] = ()
