# SPDX-License-Identifier: Apache-2.0
"""Pure: the flags of `--servers.*` -> how model servers in pods are read."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from scaler.readings.servers.credentials_text import has_credentials
from scaler.readings.settings import ALL_NAMESPACES, NAMESPACE, ServersSettings
from toolkit.cli.http_access import add_access_arguments, parse_access

if TYPE_CHECKING:
    from toolkit.cli.flags import Flags, Values

MAX_TIMEOUT_SECONDS = 30.0
_NAMESPACES = re.compile(rf"{NAMESPACE.pattern}|{re.escape(ALL_NAMESPACES)}")


def add_servers_arguments(flags: Flags) -> None:
    """Add the flags of the model servers."""
    flags.text("servers.timeout", "DURATION", "2s", "timeout for one model server, up to 30s")
    add_access_arguments(flags, "servers", "model servers")
    flags.text(
        "servers.credentials-namespaces",
        "NAMES",
        "",
        "namespaces to whose pods the token, password or client certificate is sent, separated by"
        " commas; * for all (required with one of them)",
    )
    flags.text(
        "servers.credentials-file",
        "FILE",
        None,
        "YAML list of credentials for further namespaces, each with namespaces, bearerTokenFile,"
        " tlsCAFile, tlsCertFile and tlsKeyFile",
    )


def parse_servers(values: Values) -> ServersSettings:
    """Return how to read model servers."""
    access = parse_access(values, "servers")
    flag = "servers.credentials-namespaces"
    namespaces = values.names(flag, _NAMESPACES, "a namespace name, or * for all")
    if has_credentials(access) and not namespaces:
        values.problem(
            flag,
            "required with a token, password or client certificate for model servers: any pod of"
            " these namespaces may see them",
        )
    elif namespaces and not has_credentials(access):
        values.problem(
            flag, "there are no credentials to send, such as --servers.bearer-token-file"
        )
    return ServersSettings(
        timeout_seconds=values.seconds("servers.timeout", highest=MAX_TIMEOUT_SECONDS),
        access=access,
        namespaces=namespaces,
        credentials_file=values.optional("servers.credentials-file"),
    )
