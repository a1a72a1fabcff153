"""The web configuration file at work: TLS contexts and checked passwords, read anew on change."""

from __future__ import annotations

import asyncio
import base64
import binascii
import hashlib
import hmac
import logging
import os
import secrets
import ssl
from collections import OrderedDict
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from aiohttp import hdrs, web

from exporter.webconfig import ClientAuth, TlsVersion, WebConfig, WebConfigError, parse_web_config

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from aiohttp.typedefs import Handler

    from exporter.webconfig import Tls

log = logging.getLogger(__name__)

POLL_SECONDS: Final = 2.0
MAX_FILE_BYTES: Final = 1 << 20
_REMEMBERED: Final = 100
# Each check takes tens of milliseconds of a core; guesses must take neither all of them nor all
# places of those who are answered at once.
_CONCURRENT_CHECKS: Final = 2
_WAITING_CHECKS: Final = 10
# Of a password that nobody knows, for users that do not exist, so that time tells nothing.
_NOBODY: Final = "$2b$10$CwTycUXWue0Thq9StjUM0uJ8Jt3u4tCMJ1vXcY7pqz0RkJj8zX9yS"
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
    """A file as it was read: what it asks for, and the TLS context of it, None for plain HTTP."""

    config: WebConfig
    tls: ssl.SSLContext | None
    stamp: Mapping[str, tuple[int, int, int]]


def load(path: str) -> Loaded:
    """Read the file and the certificates that it names. Blocks.

    Raises:
        WebConfigError: with every problem; the file names the key, the value and what is allowed.
    """
    import yaml  # noqa: PLC0415  (only those who use the file pay for it)

    try:
        before = _stamp([path])
        text = _read(path)
        config = parse_web_config(yaml.safe_load(text), Path(path).parent)
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise WebConfigError([f"{path}: {_why_unreadable(error)}"]) from error
    except WebConfigError as error:
        raise WebConfigError([f"{path}: {problem}" for problem in error.problems]) from None
    if config.tls is None:
        return Loaded(config=config, tls=None, stamp=before)
    try:
        stamp = before | _stamp(_files(config.tls))
        context = _context(config.tls)
    except (OSError, ValueError) as error:
        files = ", ".join(_files(config.tls))
        raise WebConfigError([f"{path}: tls_server_config ({files}): {error}"]) from error
    return Loaded(config=config, tls=context, stamp=stamp)


def _why_unreadable(error: Exception) -> str:
    """Return it in one line."""
    if isinstance(error, OSError):
        return f"cannot be read: {error.strerror}"
    if isinstance(error, UnicodeDecodeError):
        return f"is not UTF-8 text: {error.reason}"
    mark = getattr(error, "problem_mark", None)
    if mark is not None:
        return f"line {mark.line + 1} is not YAML: {getattr(error, 'problem', '')}"
    return f"is not YAML: {' '.join(str(error).split())}"


def has_changed(path: str, loaded: Loaded) -> bool:
    """Whether a file of it is another one than was read. Blocks."""
    try:
        return _stamp(loaded.stamp) != loaded.stamp
    except OSError:
        return True


class Access:
    """Who may read: the users and headers of the file as last read, as an aiohttp middleware."""

    def __init__(self, config: WebConfig, *, open_paths: Collection[str] = ()) -> None:
        """`open_paths` need no password: kubelet's probes have none."""
        self.config = config
        self._open_paths = frozenset(open_paths)
        self._key = secrets.token_bytes(32)
        # Apart, so that guesses push out nobody who was let in.
        self._accepted: OrderedDict[bytes, None] = OrderedDict()
        self._refused: OrderedDict[bytes, None] = OrderedDict()
        self._checks = asyncio.Semaphore(_CONCURRENT_CHECKS)
        self._checking = 0

    @web.middleware
    async def handle(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """Answer 401 or 403 to whoever may not read, and add the headers to all answers."""
        try:
            response = await self._answer(request, handler)
        except web.HTTPException as refusal:
            refusal.headers.update(self.config.headers)
            raise
        response.headers.update(self.config.headers)
        return response

    async def _answer(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        if not self._has_allowed_san(request):
            return web.Response(
                status=403, text="the client certificate has none of the allowed names\n"
            )
        if self.config.users and request.path not in self._open_paths:
            answer = await self._is_user(request)
            if answer is None:
                return web.Response(status=503, text="too many passwords are being checked\n")
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
        return any(value in allowed for _, value in certificate.get("subjectAltName", ()))

    async def _is_user(self, request: web.Request) -> bool | None:
        """Whether name and password are a user's; None if too many wait for that already."""
        name, password = _credentials(request.headers.get(hdrs.AUTHORIZATION, ""))
        hashed = self.config.users.get(name)
        text = "\0".join((name, hashed or "", password))
        given = hmac.digest(self._key, text.encode(), hashlib.sha256)
        if given in self._accepted:
            return True
        if given in self._refused:
            return False
        if self._checking >= _WAITING_CHECKS:
            return None
        self._checking += 1
        try:
            async with self._checks:
                matches = await asyncio.to_thread(_matches, password, hashed or _NOBODY)
        finally:
            self._checking -= 1
        is_user = matches and hashed is not None
        _remember(given, self._accepted if is_user else self._refused)
        return is_user


def _remember(given: bytes, known: OrderedDict[bytes, None]) -> None:
    known[given] = None
    if len(known) > _REMEMBERED:
        known.popitem(last=False)


def _credentials(header: str) -> tuple[str, str]:
    scheme, _, encoded = header.partition(" ")
    if scheme.lower() != "basic":
        return "", ""
    try:
        name, _, password = base64.b64decode(encoded, validate=True).decode().partition(":")
    except (binascii.Error, UnicodeDecodeError):
        return "", ""
    return name, password


def _matches(password: str, hashed: str) -> bool:
    import bcrypt  # noqa: PLC0415

    try:
        # No more than 72 bytes ever counted; the library refuses longer ones since 5.0.
        return bcrypt.checkpw(password.encode()[:72], hashed.encode())
    except ValueError:
        return False


def _context(tls: Tls) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = _VERSIONS[tls.min_version]
    if tls.max_version is not None:
        context.maximum_version = _VERSIONS[tls.max_version]
        if context.maximum_version < context.minimum_version:
            msg = f"max_version {tls.max_version} is below min_version {tls.min_version}"
            raise ValueError(msg)
    if tls.ciphers:
        context.set_ciphers(":".join(tls.ciphers))
    context.load_cert_chain(tls.cert_file, tls.key_file)
    if tls.client_ca_file is not None:
        context.load_verify_locations(tls.client_ca_file)
    context.verify_mode = _MODES[tls.client_auth]
    return context


def _files(tls: Tls) -> list[str]:
    return [one for one in (tls.cert_file, tls.key_file, tls.client_ca_file) if one is not None]


def _stamp(paths: Collection[str]) -> dict[str, tuple[int, int, int]]:
    # A mounted Secret changes by a symbolic link to another file: device and inode tell.
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
