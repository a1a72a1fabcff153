# SPDX-License-Identifier: Apache-2.0
"""Apply the web configuration file: TLS contexts, authentication, and reload on change."""

from __future__ import annotations

import base64
import binascii
import ipaddress
import os
import ssl
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from aiohttp import hdrs, web

from toolkit.listening.sockets import peer_address
from toolkit.web.config import parse_web_config
from toolkit.web.model import ClientAuth, TlsVersion, WebConfig, WebConfigError
from toolkit.web.passwords import Passwords
from toolkit.web.pem_files import as_file
from toolkit.web.rate_limit import TokenBucket

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from aiohttp.typedefs import Handler

    from toolkit.web.model import Tls

POLL_SECONDS: Final = 2.0
MAX_FILE_BYTES: Final = 1 << 20
_VERSIONS: Final = {
    TlsVersion.TLS_1_2: ssl.TLSVersion.TLSv1_2,
    TlsVersion.TLS_1_3: ssl.TLSVersion.TLSv1_3,
}
_MODES: Final = {
    ClientAuth.NONE: ssl.CERT_NONE,
    ClientAuth.IF_GIVEN: ssl.CERT_OPTIONAL,
    ClientAuth.REQUIRED: ssl.CERT_REQUIRED,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Loaded:
    """A loaded file: its configuration and its TLS context, None for plain HTTP.

    `client_ca` is the CA certificate for clients (PEM). `stamp` identifies the files' versions.
    """

    config: WebConfig
    tls: ssl.SSLContext | None
    client_ca: bytes
    stamp: Mapping[str, tuple[int, int, int]]

    @property
    def trust(self) -> tuple[ClientAuth | None, bytes]:
        """How clients are verified."""
        tls = self.config.tls
        return (None, b"") if tls is None else (tls.client_auth, self.client_ca)


def load(path: str) -> Loaded:
    """Read the file and the certificates that it refers to. Blocks.

    Raises:
        WebConfigError: with every problem: the file, the key, the value and what is allowed.
    """
    # Import the library only if a file is used.
    from toolkit.web.strict_yaml import read_yaml  # noqa: PLC0415

    try:
        before = _stamp([path])
        config = parse_web_config(read_yaml(_read(path)), Path(path).parent)
    except WebConfigError as error:
        raise WebConfigError([f"{path}: {problem}" for problem in error.problems]) from None
    except Exception as error:
        raise WebConfigError([f"{path}: {_why_unreadable(error)}"]) from error
    if config.tls is None:
        return Loaded(config=config, tls=None, client_ca=b"", stamp=before)
    try:
        stamp = before | _stamp(_files(config.tls))
        client_ca = _pem(config.tls.client_ca_file, config.tls.client_ca)
        context = _context(config.tls, client_ca)
    except (OSError, ValueError) as error:
        files = ", ".join(_files(config.tls)) or "PEM text"
        raise WebConfigError([f"{path}: tls_server_config ({files}): {error}"]) from error
    return Loaded(config=config, tls=context, client_ca=client_ca, stamp=stamp)


def _why_unreadable(error: Exception) -> str:
    """Return the reason in one line."""
    if isinstance(error, OSError):
        return f"cannot be read: {error.strerror}"
    if isinstance(error, UnicodeDecodeError):
        return f"is not UTF-8 text: {error.reason}"
    mark = getattr(error, "problem_mark", None)
    if mark is not None:
        return f"line {mark.line + 1} is not YAML: {getattr(error, 'problem', '')}"
    return f"is not YAML: {' '.join(str(error).split())}"


def has_changed(path: str, loaded: Loaded) -> bool:
    """Whether one of the files has changed since it was read. Blocks."""
    try:
        return _stamp(loaded.stamp) != loaded.stamp
    except OSError:
        return True


class WebAuth:
    """An aiohttp middleware that applies the users, headers and rate limit of the loaded file."""

    def __init__(self, config: WebConfig, *, open_paths: Collection[str] = ()) -> None:
        """`open_paths` need no password: the kubelet's probes have none."""
        self._open_paths = frozenset(open_paths)
        self._passwords = Passwords()
        self._bucket: TokenBucket | None = None
        self.follow(config)

    def follow(self, config: WebConfig) -> None:
        """Use this configuration from now on."""
        self.config = config
        limit = config.rate_limit
        if limit is None:
            self._bucket = None
        elif self._bucket is None or self._bucket.limit != limit:
            self._bucket = TokenBucket(limit)

    @web.middleware
    async def handle(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """Reject unauthorized requests with 401 or 403, and add the headers to all responses."""
        try:
            response = await self._answer(request, handler)
        except web.HTTPException as refusal:
            refusal.headers.update(self.config.headers)
            raise
        response.headers.update(self.config.headers)
        return response

    async def _answer(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        is_open = request.path in self._open_paths
        if self._bucket is not None and not is_open and not self._bucket.take(time.monotonic()):
            return web.Response(status=429, text="Too Many Requests\n")
        if not self._has_allowed_san(request):
            return web.Response(
                status=403, text="the client certificate has no allowed subject alternative name\n"
            )
        if self.config.users and not is_open:
            answer = await self._is_user(request)
            if answer is None:
                return web.Response(
                    status=503, text="too many password checks from this address are in progress\n"
                )
            if not answer:
                return web.Response(
                    status=401, text="Unauthorized\n", headers={hdrs.WWW_AUTHENTICATE: "Basic"}
                )
        return await handler(request)

    def _has_allowed_san(self, request: web.Request) -> bool:
        allowed = self.config.tls.client_allowed_sans if self.config.tls else ()
        if not allowed:
            return True
        assert request.transport is not None
        certificate = request.transport.get_extra_info("peercert") or {}
        names = {_name(*one) for one in certificate.get("subjectAltName", ())}
        return any(not names.isdisjoint({one, _address(one)}) for one in allowed)

    async def _is_user(self, request: web.Request) -> bool | None:
        """Whether name and password are a user's; None if too many checks are waiting already."""
        credentials = _credentials(request.headers.get(hdrs.AUTHORIZATION, ""))
        if credentials is None:
            return False
        return await self._passwords.is_user(
            self.config.users, *credentials, address=peer_address(request.transport)
        )


def _name(kind: str, value: str) -> object:
    return _address(value) if kind == "IP Address" else value


def _address(text: str) -> object:
    """Return an IP address, or the text itself if it is not one."""
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        return text
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    return mapped or address


def _credentials(header: str) -> tuple[str, str] | None:
    scheme, _, encoded = header.partition(" ")
    if scheme.lower() != "basic":
        return None
    try:
        name, colon, password = base64.b64decode(encoded, validate=True).decode().partition(":")
    except (binascii.Error, UnicodeDecodeError):
        return None
    return (name, password) if colon else None


def _context(tls: Tls, client_ca: bytes) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = _VERSIONS[tls.min_version]
    if tls.max_version is not None:
        context.maximum_version = _VERSIONS[tls.max_version]
        if context.maximum_version < context.minimum_version:
            msg = f"max_version {tls.max_version} is below min_version {tls.min_version}"
            raise ValueError(msg)
    if tls.ciphers:
        context.set_ciphers(":".join(tls.ciphers))
    if not tls.prefer_server_ciphers:
        context.options &= ~ssl.OP_CIPHER_SERVER_PREFERENCE
    if tls.curve is not None:
        context.set_ecdh_curve(tls.curve)
    with (
        as_file(_pem(tls.cert_file, tls.cert)) as cert,
        as_file(_pem(tls.key_file, tls.key)) as key,
    ):
        # Without a password, OpenSSL would prompt for the one of an encrypted key.
        context.load_cert_chain(cert, key, password=str)
    # An empty CA file must not fall back to the system's CAs.
    if tls.has_client_ca:
        with as_file(client_ca) as ca:
            context.load_verify_locations(ca)
    elif tls.client_auth is not ClientAuth.NONE:
        context.load_default_certs(ssl.Purpose.CLIENT_AUTH)
    context.verify_mode = _MODES[tls.client_auth]
    return context


def _pem(file: str, text: str) -> bytes:
    return Path(file).read_bytes() if file else text.encode()


def _files(tls: Tls) -> list[str]:
    return [one for one in (tls.cert_file, tls.key_file, tls.client_ca_file) if one]


def _stamp(paths: Collection[str]) -> dict[str, tuple[int, int, int]]:
    # A mounted Secret changes by a new symbolic link, so the device and inode change.
    return {
        path: (info.st_dev ^ info.st_ino, info.st_mtime_ns, info.st_size)
        for path in paths
        for info in [os.stat(path)]
    }


def _read(path: str) -> str:
    with Path(path).open("rb") as file:
        content = file.read(MAX_FILE_BYTES + 1)
    if len(content) > MAX_FILE_BYTES:
        raise WebConfigError([f"longer than {MAX_FILE_BYTES} bytes"])
    return content.decode()
