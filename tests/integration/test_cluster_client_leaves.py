# SPDX-License-Identifier: Apache-2.0
"""A watch that the client leaves is gone at once, whatever the server does then."""

from __future__ import annotations

import asyncio
import gc
import socket
import ssl
import threading
import warnings
from typing import TYPE_CHECKING

from scaler.kube.client import KubeClient
from scaler.kube.credentials import ApiAccess, ApiCredentials
from tests.cluster.certificates import Authority

if TYPE_CHECKING:
    from pathlib import Path

HEAD = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n"


def test_no_connection_is_left_where_the_server_does_not_say_goodbye(tmp_path: Path):
    authority = Authority(tmp_path, "ca")
    certificate = authority.issue("server", hosts=["127.0.0.1"])
    server_tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    server_tls.load_cert_chain(certificate.certificate, certificate.key)
    may_end = threading.Event()
    listener = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        accepted, _ = listener.accept()
        with server_tls.wrap_socket(accepted, server_side=True) as connection:
            connection.recv(65536)
            connection.sendall(HEAD)
            # No answer to the client's close_notify.
            may_end.wait()

    async def watch() -> None:
        tls = ssl.create_default_context(cafile=str(authority.file))
        server = f"https://127.0.0.1:{listener.getsockname()[1]}"
        async with (
            KubeClient(ApiCredentials(ApiAccess(server=server, tls=tls))) as client,
            client.stream("/pods", params={}, idle_timeout_seconds=60) as chunks,
        ):
            assert await anext(chunks) == b"{}"

    with listener:
        thread = threading.Thread(target=serve)
        thread.start()
        try:
            with warnings.catch_warnings(record=True) as caught:
                warnings.simplefilter("always", ResourceWarning)
                asyncio.run(watch())
                gc.collect()
        finally:
            may_end.set()
            thread.join()
    assert [str(one.message) for one in caught if one.category is ResourceWarning] == []
