# SPDX-License-Identifier: Apache-2.0
"""API server address and credentials, from the in-cluster service account or a kubeconfig.

`kubernetes.aio.config` parses kubeconfig files, exec plugins, OIDC and client certificates. This
module adds the refresh: token files and exec credentials are reread at least every minute (bound
service account tokens expire after an hour, on EKS after at most a day), and rotated certificates
give a new TLS context.
"""

from __future__ import annotations

import asyncio
import inspect
import logging
import os
import ssl
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from yaml import YAMLError

from scaler.kube.contexts import kubeconfig_files, read_contexts
from scaler.kube.errors import ConfigurationError
from toolkit.log_once import OutageLog

log = logging.getLogger(__name__)

SERVICE_ACCOUNT = Path("/var/run/secrets/kubernetes.io/serviceaccount")
_IN_CLUSTER = "in-cluster service account"
REFRESH_SECONDS = 60.0
LOAD_TIMEOUT_SECONDS = 60.0
MAX_CONTEXTS_NAMED = 20


@dataclass(frozen=True, slots=True, kw_only=True)
class ApiAccess:
    """The connection settings of a request; `tls` is None for plain HTTP."""

    server: str
    authorization: str | None = None
    tls: ssl.SSLContext | None = None
    tls_server_name: str | None = None
    proxy: str | None = None


class ApiCredentials:
    """The server's address with credentials that stay valid while the process runs."""

    def __init__(self, access: ApiAccess) -> None:
        """Use fixed settings without files, as tests, the simulator and `kubectl proxy` need."""
        self._access = access
        # Both loaders of `kubernetes.aio.config` read files and plugins each time they are asked.
        self._loader: Any = None
        self._configuration: Any = None
        self._certificates: tuple[object, ...] | None = None
        self._read_at_seconds = time.monotonic()
        self._outage = OutageLog(log, "Cannot reread the API credentials; the old ones stay in use")
        self._lock = asyncio.Lock()

    @property
    def server(self) -> str:
        """The API server's base URL without a trailing slash."""
        return self._access.server

    @classmethod
    async def in_cluster(cls, service_account: Path = SERVICE_ACCOUNT) -> ApiCredentials:
        """Use the service account mounted into this pod; raises ConfigurationError."""
        from kubernetes.aio.config.incluster_config import InClusterConfigLoader  # noqa: PLC0415

        loader = InClusterConfigLoader(  # type: ignore[no-untyped-call]
            token_filename=str(service_account / "token"),
            cert_filename=str(service_account / "ca.crt"),
            try_refresh_token=False,
        )
        return await cls._from_loader(loader, _new_configuration(), _IN_CLUSTER)

    @classmethod
    async def from_kubeconfig(
        cls, path: str | None = None, context: str | None = None
    ) -> ApiCredentials:
        """Use a kubeconfig: `path`, else $KUBECONFIG, else ~/.kube/config.

        Raises ConfigurationError with the file and the problem.
        """
        from kubernetes.aio.config import load_kube_config  # noqa: PLC0415

        files = kubeconfig_files(path)
        what = f"kubeconfig {files}" + (f", context {context}" if context else "")
        if not any(_is_file(part, what) for part in files.split(os.pathsep) if part):
            message = f"{what}: no such file; set --kubeconfig or KUBECONFIG"
            raise ConfigurationError(message)
        known = {} if context is None else read_contexts(path).namespaces
        if known and context not in known:
            names = ", ".join(sorted(known)[:MAX_CONTEXTS_NAMED])
            raise ConfigurationError(f"kubeconfig {files} has no context {context}; it has {names}")
        configuration = _new_configuration()
        try:
            async with asyncio.timeout(LOAD_TIMEOUT_SECONDS):
                loader = await load_kube_config(  # type: ignore[no-untyped-call]
                    config_file=files,
                    context=context,
                    client_configuration=configuration,
                    persist_config=False,
                )
        except Exception as error:  # the library raises KeyError, TypeError, YAMLError and more
            raise ConfigurationError(f"{what}: {_why_unusable(error)}") from error
        return await cls._from_loader(loader, configuration, what)

    @classmethod
    async def load(
        cls, kubeconfig: str | None = None, context: str | None = None
    ) -> ApiCredentials:
        """Use the kubeconfig if one is named, else the service account if there is one."""
        named = kubeconfig or context or os.environ.get("KUBECONFIG")
        if not named and _is_file(f"{SERVICE_ACCOUNT}/token", _IN_CLUSTER):
            return await cls.in_cluster()
        return await cls.from_kubeconfig(kubeconfig, context)

    @classmethod
    async def _from_loader(cls, loader: Any, configuration: Any, what: str) -> ApiCredentials:
        credentials = cls(ApiAccess(server=""))
        credentials._loader = loader
        credentials._configuration = configuration
        try:
            await credentials._read()
        except Exception as error:  # ConfigException, OSError, ssl.SSLError
            raise ConfigurationError(f"{what}: {error}") from error
        return credentials

    async def access(self, *, refresh: bool = False) -> ApiAccess:
        """Return the settings for the next request; rereads files that may have changed.

        `refresh` rereads them at once, after a 401.
        """
        if self._loader is None:
            return self._access
        async with self._lock:
            if refresh or time.monotonic() - self._read_at_seconds >= REFRESH_SECONDS:
                await self._refresh()
            return self._access

    async def _refresh(self) -> None:
        try:
            await self._read()
            self._outage.worked()
        except Exception as error:  # noqa: BLE001  (the old token may well be valid still)
            self._read_at_seconds = time.monotonic()
            self._outage.failed(error)

    async def _read(self) -> None:
        async with asyncio.timeout(LOAD_TIMEOUT_SECONDS):
            result = self._loader.load_and_set(self._configuration)
            if inspect.isawaitable(result):
                await result
        configuration = self._configuration
        token = configuration.api_key.get("BearerToken")
        certificates = _certificate_versions(configuration)
        tls = self._access.tls
        if certificates != self._certificates:
            tls = _tls_context(configuration)
        self._access = ApiAccess(
            server=str(configuration.host).rstrip("/"),
            # A token file usually ends in a newline, which a header cannot contain.
            authorization=token.strip() if token else None,
            tls=tls,
            tls_server_name=configuration.tls_server_name,
            proxy=configuration.proxy,
        )
        self._certificates = certificates
        self._read_at_seconds = time.monotonic()


def _why_unusable(error: Exception) -> str:
    """Return the problem in one line; includes the exception's type if its text says too little."""
    text = " ".join(str(error).split())
    if isinstance(error, TimeoutError):
        return f"timed out after {LOAD_TIMEOUT_SECONDS:g} s while loading credentials"
    if isinstance(error, OSError) and error.strerror:
        # The file may be one that the kubeconfig names.
        return f"cannot read {error.filename or 'a file'}: {error.strerror}"
    if isinstance(error, TypeError | KeyError | AttributeError | ValueError | YAMLError):
        return f"is not a kubeconfig: {type(error).__name__}: {text}"
    return text


def _is_file(path: str, what: str) -> bool:
    """Return whether the file exists; raises ConfigurationError if that cannot be determined."""
    try:
        return Path(path).expanduser().is_file()
    except OSError as error:
        raise ConfigurationError(f"{what}: {_why_unusable(error)}") from error


def _new_configuration() -> Any:
    from kubernetes.aio.client import Configuration  # noqa: PLC0415

    return Configuration()


def _certificate_versions(configuration: Any) -> tuple[object, ...]:
    paths = (configuration.ssl_ca_cert, configuration.cert_file, configuration.key_file)
    return (
        configuration.verify_ssl,
        *((path, Path(path).stat().st_mtime_ns) if path else None for path in paths),
    )


def _tls_context(configuration: Any) -> ssl.SSLContext | None:
    if not str(configuration.host).startswith("https"):
        return None
    context = ssl.create_default_context(cafile=configuration.ssl_ca_cert)
    # Since Python 3.13 the default is strict, and refuses the CAs that many clusters were
    # installed with (no authority key identifier); kubectl accepts them.
    context.verify_flags &= ~ssl.VERIFY_X509_STRICT
    if configuration.cert_file:
        context.load_cert_chain(configuration.cert_file, keyfile=configuration.key_file)
    if not configuration.verify_ssl:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context
