# SPDX-License-Identifier: Apache-2.0
"""Pure: the flags for TLS and credentials of an HTTP client."""

from __future__ import annotations

from typing import TYPE_CHECKING

from toolkit.http_access import HttpAccess

if TYPE_CHECKING:
    from toolkit.cli.flags import Flags, Values


def add_access_arguments(flags: Flags, prefix: str, what: str) -> None:
    """Add the flags; their names begin with `prefix`."""
    flags.text(f"{prefix}.tls-ca-file", "FILE", None, f"PEM file of the CAs that verify {what}")
    flags.text(
        f"{prefix}.tls-server-name", "NAME", None, f"name to verify in the certificate of {what}"
    )
    flags.switch(
        f"{prefix}.tls-insecure-skip-verify", f"accept any certificate of {what} (insecure)"
    )
    flags.text(
        f"{prefix}.tls-cert-file", "FILE", None, f"PEM file of the client certificate for {what}"
    )
    flags.text(f"{prefix}.tls-key-file", "FILE", None, "PEM file of the client certificate's key")
    flags.text(f"{prefix}.username", "NAME", None, f"user name for {what} (basic auth)")
    flags.text(f"{prefix}.password-file", "FILE", None, "file with the password")
    flags.text(f"{prefix}.bearer-token-file", "FILE", None, "file with a bearer token")


def parse_access(values: Values, prefix: str) -> HttpAccess:
    """Return what the flags of `prefix` say."""

    def text(name: str) -> str | None:
        return values.optional(f"{prefix}.{name}")

    def together(one: str, other: str) -> None:
        if (text(one) is None) != (text(other) is None):
            values.problems.append(f"--{prefix}.{one} and --{prefix}.{other} must be set together")

    together("username", "password-file")
    together("tls-cert-file", "tls-key-file")
    if text("password-file") and text("bearer-token-file"):
        values.problems.append(
            f"--{prefix}.password-file and --{prefix}.bearer-token-file are mutually exclusive"
        )
    return HttpAccess(
        ca_file=text("tls-ca-file"),
        server_name=text("tls-server-name"),
        insecure_skip_verify=values.switch(f"{prefix}.tls-insecure-skip-verify"),
        cert_file=text("tls-cert-file"),
        key_file=text("tls-key-file"),
        username=text("username"),
        password_file=text("password-file"),
        bearer_token_file=text("bearer-token-file"),
    )
