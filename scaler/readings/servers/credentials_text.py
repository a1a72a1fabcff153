# SPDX-License-Identifier: Apache-2.0
"""Pure: the list in `--servers.credentials-file` -> the access for each namespace."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

from scaler.budgets import shown
from scaler.readings.settings import ALL_NAMESPACES, NAMESPACE
from toolkit.http_access import HttpAccess

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import PurePath

MAX_ENTRIES: Final = 1000
NAMESPACES: Final = "namespaces"
FILES: Final = {
    "bearerTokenFile": "bearer_token_file",
    "tlsCAFile": "ca_file",
    "tlsCertFile": "cert_file",
    "tlsKeyFile": "key_file",
}


class CredentialsError(ValueError):
    """The file is invalid; the message names the first wrong entry."""


def without_credentials(access: HttpAccess) -> HttpAccess:
    """Return how certificates are verified, without what identifies the scaler."""
    return HttpAccess(
        ca_file=access.ca_file,
        server_name=access.server_name,
        insecure_skip_verify=access.insecure_skip_verify,
    )


def has_credentials(access: HttpAccess) -> bool:
    """Return whether the access has a token, a password or a client certificate."""
    return access != without_credentials(access)


def parse_credentials(
    document: object, folder: PurePath, default: HttpAccess
) -> Mapping[str, HttpAccess]:
    """Return the access by namespace, `*` for all others.

    Relative paths are relative to `folder`, the file's own. Entries without a CA file verify
    certificates as `default` does.

    Raises:
        CredentialsError: an entry is invalid.
    """
    if not isinstance(document, list) or len(document) > MAX_ENTRIES:
        raise CredentialsError(f"not a list of up to {MAX_ENTRIES} entries")
    found: dict[str, HttpAccess] = {}
    for number, entry in enumerate(document, start=1):
        try:
            namespaces, access = _entry(entry, folder, without_credentials(default))
            for namespace in namespaces:
                if namespace in found:
                    raise CredentialsError(f"{namespace!r} has credentials already")
                found[namespace] = access
        except CredentialsError as error:
            raise CredentialsError(f"entry {number}: {error}") from None
    return found


def _entry(entry: Any, folder: PurePath, default: HttpAccess) -> tuple[list[str], HttpAccess]:
    if not isinstance(entry, dict):
        raise CredentialsError(f"not a mapping with {NAMESPACES} and files")
    unknown = [shown(key) for key in entry if key not in (NAMESPACES, *FILES)]
    if unknown:
        allowed = ", ".join((NAMESPACES, *FILES))
        raise CredentialsError(f"unknown key {unknown[0]!r}; allowed: {allowed}")
    namespaces = entry.get(NAMESPACES)
    if not isinstance(namespaces, list) or not namespaces:
        raise CredentialsError(f"{NAMESPACES} is not a list of namespaces, or of `*` for all")
    for name in namespaces:
        if name != ALL_NAMESPACES and not (isinstance(name, str) and NAMESPACE.fullmatch(name)):
            raise CredentialsError(f"{NAMESPACES}: {shown(name)!r} is not a namespace")
    files: dict[str, Any] = {}
    for key, field in FILES.items():
        if key not in entry:
            continue
        path = entry[key]
        if not isinstance(path, str) or not path or not path.isprintable():
            raise CredentialsError(f"{key} is not the path of a file")
        files[field] = str(folder / path)
    if not files:
        raise CredentialsError(f"names no file; allowed: {', '.join(FILES)}")
    if ("cert_file" in files) != ("key_file" in files):
        raise CredentialsError("tlsCertFile and tlsKeyFile must be set together")
    return namespaces, replace(default, **files)
