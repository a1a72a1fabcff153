"""Who may read an exporter with a web configuration file, and what bad clients can do to it."""

from __future__ import annotations

import asyncio
import errno
import ssl
import sys
import threading
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import aiohttp
import bcrypt
import pytest
import yaml

from exporter import endpoint, webaccess
from exporter.app import running
from exporter.config import EXIT_USAGE, Config
from exporter.webconfig import WebConfigError
from simulator.driver import GpuSpec, SimulatedDriver
from simulator.nvml.binding import bind
from tests.cluster.certificates import Authority
from tests.waiting import until

if TYPE_CHECKING:
    from pathlib import Path

    from multidict import CIMultiDictProxy

HEADERS = {"X-Content-Type-Options": "nosniff", "X-Frame-Options": "deny"}
RELOADED = "nvidia_gpu_exporter_web_config_last_reload_successful"


@pytest.fixture(autouse=True)
def _impatient(monkeypatch):
    """Look often for changed files and idle clients."""
    monkeypatch.setattr(endpoint, "REAP_SECONDS", 0.02)
    monkeypatch.setattr(webaccess, "POLL_SECONDS", 0.02)


@pytest.fixture
def authority(tmp_path):
    return Authority(tmp_path, "ca")


@pytest.fixture
def file(tmp_path, authority):
    return WebFile(tmp_path, authority)


class WebFile:
    """A web configuration file, its certificates beside it."""

    def __init__(self, folder: Path, authority: Authority) -> None:
        self.path = folder / "web.yaml"
        self.authority = authority
        self.certificate = authority.issue("server", hosts=["127.0.0.1"])
        self.tls = {"cert_file": "server.crt", "key_file": "server.key"}

    def write(self, **sections) -> None:
        new = self.path.with_suffix(".new")
        new.write_text(yaml.safe_dump(sections))
        new.replace(self.path)

    def client(self, **certificate) -> ssl.SSLContext:
        """The TLS of a client that knows the CA and shows a certificate if one is given."""
        context = ssl.create_default_context(cafile=self.authority.file)
        if certificate:
            context.load_cert_chain(**certificate)
        return context


def hashed(password: str) -> str:
    return bcrypt.hashpw(password.encode(), bcrypt.gensalt(rounds=4)).decode()


def _binding():
    return bind(SimulatedDriver([GpuSpec()]))


@asynccontextmanager
async def exporter(file: WebFile | None = None, **changes):
    """Run an exporter; yields its host and port."""
    config = Config(
        listen_host="127.0.0.1",
        listen_port=0,
        node_name="node-1",
        pod_resources_socket="",
        nvml_interval_seconds=0.1,
        web_config_file=str(file.path) if file else "",
        **changes,
    )
    async with running(config, _binding()) as started:
        yield "{}:{}".format(*started.address)


async def get(
    address: str, tls: ssl.SSLContext | None = None, *, path: str = "/metrics", user=None
) -> tuple[int, str, CIMultiDictProxy[str]]:
    """Return the status, the text and the headers of a new connection's answer."""
    headers = {"Authorization": aiohttp.encode_basic_auth(*user)} if user else {}
    scheme = "https" if tls else "http"
    async with (
        aiohttp.ClientSession(headers=headers) as session,
        session.get(f"{scheme}://{address}{path}", ssl=tls or True) as response,
    ):
        return response.status, await response.text(), response.headers


async def serial(address: str, tls: ssl.SSLContext) -> int:
    """Return the serial number of the server's certificate."""
    host, _, port = address.partition(":")
    _, writer = await asyncio.open_connection(host, int(port), ssl=tls)
    certificate = writer.get_extra_info("peercert")
    writer.close()
    return int(certificate["serialNumber"], 16)


async def test_without_a_file_everybody_reads_and_nothing_is_said_of_one():
    async with exporter() as address:
        status, text, _ = await get(address)
    assert status == 200
    assert RELOADED not in text


async def test_tls_and_headers(file):
    file.write(tls_server_config=file.tls, http_server_config={"headers": HEADERS})
    async with exporter(file) as address:
        status, text, headers = await get(address, file.client())
        assert status == 200
        assert f"{RELOADED} 1.0" in text
        assert {name: headers[name] for name in HEADERS} == HEADERS
        with pytest.raises(aiohttp.ClientError):
            await get(address)


async def test_headers_stand_on_refusals_and_pages_that_are_not_there(file):
    file.write(
        http_server_config={"headers": HEADERS}, basic_auth_users={"prometheus": hashed("right")}
    )
    async with exporter(file) as address:
        refused = await get(address)
        missing = await get(address, path="/none", user=("prometheus", "right"))
    assert [refused[0], missing[0]] == [401, 404]
    for _, _, headers in (refused, missing):
        assert {name: headers[name] for name in HEADERS} == HEADERS


@pytest.mark.parametrize(
    ("versions", "spoken"),
    [
        pytest.param({}, "TLSv1.2", id="1.2 unless told otherwise"),
        pytest.param({"min_version": "TLS13"}, None, id="not where 1.3 is the least"),
    ],
)
async def test_a_client_that_speaks_tls_1_2(file, versions, spoken):
    file.write(tls_server_config=file.tls | versions)
    client = file.client()
    client.maximum_version = ssl.TLSVersion.TLSv1_2
    async with exporter(file) as address:
        if spoken is None:
            with pytest.raises(aiohttp.ClientConnectorError):
                await get(address, client)
            return
        assert (await get(address, client))[0] == 200


async def test_client_certificates(file, tmp_path):
    other = Authority(tmp_path, "other-ca")
    right = file.authority.issue("prometheus", hosts=["prometheus"])
    unnamed = file.authority.issue("somebody", hosts=["somebody"])
    foreign = other.issue("foreign", hosts=["prometheus"])
    file.write(
        tls_server_config=file.tls
        | {
            "client_auth_type": "RequireAndVerifyClientCert",
            "client_ca_file": "ca.crt",
            "client_allowed_sans": ["prometheus"],
        }
    )

    def shown(one):
        return file.client(certfile=one.certificate, keyfile=one.key)

    async with exporter(file) as address:
        assert (await get(address, shown(right)))[0] == 200
        status, text, _ = await get(address, shown(unnamed))
        assert (status, text) == (403, "the client certificate has none of the allowed names\n")
        for tls in (file.client(), shown(foreign)):
            with pytest.raises(aiohttp.ClientError):
                await get(address, tls)


async def test_a_client_certificate_may_be_left_out_but_not_be_wrong(file, tmp_path):
    foreign = Authority(tmp_path, "other-ca").issue("foreign")
    file.write(
        tls_server_config=file.tls
        | {"client_auth_type": "VerifyClientCertIfGiven", "client_ca_file": "ca.crt"}
    )
    async with exporter(file) as address:
        assert (await get(address, file.client()))[0] == 200
        with pytest.raises(aiohttp.ClientError):
            await get(address, file.client(certfile=foreign.certificate, keyfile=foreign.key))


@pytest.mark.parametrize(
    ("user", "expected"),
    [
        pytest.param(("prometheus", "right"), 200, id="right"),
        pytest.param(("prometheus", "wrong"), 401, id="wrong password"),
        pytest.param(("prometheus", ""), 401, id="no password"),
        pytest.param(("nobody", "right"), 401, id="unknown user"),
        pytest.param(("ann", "x" * 100), 200, id="a password longer than bcrypt looks at"),
        pytest.param(None, 401, id="nobody"),
    ],
)
async def test_passwords(file, user, expected):
    file.write(
        basic_auth_users={"prometheus": hashed("right"), "ann": hashed("x" * 72)},
    )
    async with exporter(file) as address:
        # The second answer comes from what is remembered of the first.
        for _ in range(2):
            status, text, headers = await get(address, user=user)
            assert status == expected
            assert ("nvidia_gpu_duty_cycle" in text) == (expected == 200)
            assert headers.get("WWW-Authenticate") == ("Basic" if expected == 401 else None)


async def test_a_flood_of_guesses_neither_locks_out_nor_delays_whom_it_knows(file, monkeypatch):
    right = ("prometheus", "right")
    file.write(basic_auth_users={"prometheus": hashed("right")})
    proceed = threading.Event()
    real, checked = webaccess._matches, []

    def slowly(password: str, known: str) -> bool:
        checked.append(password)
        if password.startswith("guess"):
            proceed.wait(10)
        return real(password, known)

    monkeypatch.setattr(webaccess, "_matches", slowly)
    async with exporter(file) as address, asyncio.TaskGroup() as tasks:
        assert (await get(address, user=right))[0] == 200
        guesses = [
            tasks.create_task(get(address, user=("prometheus", f"guess-{number}")))
            for number in range(200)
        ]
        await until(lambda: any(one.done() for one in guesses), what="a guess is refused at once")
        for _ in range(3):
            assert (await get(address, user=right))[0] == 200
        proceed.set()
        assert {(await one)[0] for one in guesses} == {401, 503}
        for number in range(150):
            assert (await get(address, user=("nobody", f"{number}")))[0] == 401
        assert (await get(address, user=right))[0] == 200
        assert checked.count("right") == 1, "it was remembered all the time"


@pytest.mark.parametrize("value", ["Bearer abc", "Basic", "Basic !!!", "Basic /w==", "basic Og=="])
async def test_credentials_that_are_none(file, value):
    file.write(basic_auth_users={"prometheus": hashed("right")})
    async with (
        exporter(file) as address,
        aiohttp.ClientSession() as session,
        session.get(f"http://{address}/metrics", headers={"Authorization": value}) as response,
    ):
        assert response.status == 401


async def test_the_kubelets_probes_need_no_password(file):
    file.write(basic_auth_users={"prometheus": hashed("right")})
    async with exporter(file) as address:
        assert (await get(address, path="/healthz"))[0] == 200
        assert (await get(address, path="/readyz"))[0] in (200, 503)
        for path in ("/", "/healthz/", "//healthz", "/metrics?/healthz", "/other"):
            assert (await get(address, path=path))[0] == 401, path


async def test_a_renewed_certificate_is_served_to_new_connections_and_old_ones_go_on(file):
    file.write(tls_server_config=file.tls)
    tls = file.client()
    async with exporter(file) as address, aiohttp.ClientSession() as session:
        first = await serial(address, tls)
        async with session.get(f"https://{address}/metrics", ssl=tls) as response:
            await response.read()
            connection = response.connection
        file.authority.issue("server", hosts=["127.0.0.1"])

        async def is_renewed() -> bool:
            return await serial(address, tls) != first

        await until(is_renewed, what="the new certificate")
        async with session.get(f"https://{address}/metrics", ssl=tls) as response:
            assert response.status == 200
        assert connection is None or not connection.closed


async def test_a_password_that_is_changed(file):
    file.write(basic_auth_users={"prometheus": hashed("first")})
    async with exporter(file) as address:
        assert (await get(address, user=("prometheus", "first")))[0] == 200
        file.write(basic_auth_users={"prometheus": hashed("second")})

        async def is_changed() -> bool:
            return (await get(address, user=("prometheus", "second")))[0] == 200

        await until(is_changed, what="the new password")
        assert (await get(address, user=("prometheus", "first")))[0] == 401


async def test_a_broken_file_leaves_the_one_before_in_use_until_it_is_mended(file, caplog):
    users = {"prometheus": hashed("right")}
    right = ("prometheus", "right")
    file.write(basic_auth_users=users)
    async with exporter(file) as address:

        async def reloaded() -> bool:
            return f"{RELOADED} 1.0" in (await get(address, user=right))[1]

        async def not_reloaded() -> bool:
            return f"{RELOADED} 0.0" in (await get(address, user=right))[1]

        assert await reloaded()
        file.write(basic_auth_users={"prometheus": "not hashed"})
        await until(not_reloaded)
        assert (await get(address))[0] == 401
        file.write(basic_auth_users=users | {"ann": hashed("hers")})
        await until(reloaded)
        assert (await get(address, user=("ann", "hers")))[0] == 200
    told = [one.message for one in caplog.records if "not reloaded" in one.message]
    assert told == ["web configuration not reloaded; the one before stays in use"]


async def test_tls_can_be_switched_on_while_running(file):
    file.write()
    async with exporter(file) as address:
        assert (await get(address))[0] == 200
        file.write(tls_server_config=file.tls)

        async def is_on() -> bool:
            try:
                return (await get(address, file.client()))[0] == 200
            except aiohttp.ClientError:
                return False

        await until(is_on, what="TLS")
        with pytest.raises(aiohttp.ClientError):
            await get(address)


async def test_an_address_that_cannot_be_bound_anew_leaves_the_one_before(
    file, monkeypatch, caplog
):
    file.write(tls_server_config=file.tls)
    loop = asyncio.get_running_loop()
    async with exporter(file) as address:
        before = await serial(address, file.client())

        async def full(*_: object, **__: object) -> None:
            raise OSError(errno.EMFILE, "Too many open files")

        with monkeypatch.context() as patched:
            patched.setattr(loop, "create_server", full)
            file.authority.issue("server", hosts=["127.0.0.1"])
            await until(lambda: "not reloaded" in caplog.text)
            status, text, _ = await get(address, file.client())
            assert status == 200
            assert f"{RELOADED} 0.0" in text

        async def is_renewed() -> bool:
            return await serial(address, file.client()) != before

        await until(is_renewed, what="the new certificate")
        assert f"{RELOADED} 1.0" in (await get(address, file.client()))[1]


async def test_a_file_that_cannot_be_used_ends_the_start(file):
    for sections, problem in (
        ({"tls_server_config": {**file.tls, "key_file": "none.key"}}, "none.key"),
        ({"tls_server_config": {**file.tls, "key_file": "ca.crt"}}, "tls_server_config"),
        ({"tls_config": {}}, "tls_config: unknown"),
    ):
        file.write(**sections)
        with pytest.raises(WebConfigError, match=problem):
            async with exporter(file):
                pass


async def test_the_program_says_what_is_wrong_with_a_file(file):
    file.path.write_text("{")
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "exporter", "--pod-resources.socket="),
        *("--web.listen-address=127.0.0.1:0", f"--web.config.file={file.path}"),
        stderr=asyncio.subprocess.PIPE,
    )
    _, said = await asyncio.wait_for(process.communicate(), 20)
    assert process.returncode == EXIT_USAGE
    assert b"the web configuration cannot be used" in said
    assert f"{file.path}: line 1 is not YAML: expected the node content".encode() in said


async def test_more_requests_at_once_than_allowed_are_refused_at_once(file, monkeypatch):
    checking = asyncio.Event()
    proceed = asyncio.Event()

    async def slowly(_self, _request) -> bool:
        checking.set()
        await proceed.wait()
        return True

    monkeypatch.setattr(webaccess.Access, "_is_user", slowly)
    file.write(basic_auth_users={"prometheus": hashed("right")})
    async with exporter(file, max_requests=1) as address:
        first = asyncio.create_task(get(address))
        await checking.wait()
        status, text, _ = await get(address)
        assert (status, text) == (503, "1 requests are answered already; try again later\n")
        proceed.set()
        assert (await first)[0] == 200
        assert (await get(address))[0] == 200


@pytest.mark.parametrize(
    "request_",
    [
        pytest.param(b"GET /" + b"x" * 9000 + b" HTTP/1.1\r\nHost: a\r\n\r\n", id="a long path"),
        pytest.param(
            b"GET /metrics HTTP/1.1\r\nHost: a\r\nX: " + b"x" * 9000 + b"\r\n\r\n", id="a header"
        ),
        pytest.param(
            b"GET /metrics HTTP/1.1\r\nHost: a\r\n"
            + b"".join(b"X%d: y\r\n" % number for number in range(5000))
            + b"\r\n",
            id="many headers",
        ),
    ],
)
async def test_headers_past_the_limits(request_):
    async with exporter() as address:
        host, _, port = address.partition(":")
        reader, writer = await asyncio.open_connection(host, int(port))
        writer.write(request_)
        answer = await asyncio.wait_for(reader.readline(), 5)
        writer.close()
        assert answer.startswith((b"HTTP/1.0 4", b"HTTP/1.1 4"))
        assert (await get(address))[0] == 200


async def test_what_is_no_http_writes_no_log_but_our_own_failures_do(caplog, monkeypatch):
    async with exporter() as address:
        host, _, port = address.partition(":")
        for nonsense in (b"GET metrics HTTP/1.1\r\nHost: a\r\n\r\n", b"GET / HTTP/1.1\r\n\r\n"):
            reader, writer = await asyncio.open_connection(host, int(port))
            writer.write(nonsense)
            assert b" 400 " in await asyncio.wait_for(reader.readline(), 5)
            writer.close()
        assert [one.message for one in caplog.records if one.levelname == "ERROR"] == []

        def broken(*_arguments, **_options):
            raise ValueError("a bug")

        monkeypatch.setattr("exporter.exposition.Exposition.render", broken)
        assert (await get(address))[0] == 500
    assert [str(one.exc_info[1]) for one in caplog.records if one.exc_info] == ["a bug"]


@pytest.mark.parametrize(
    "method", ["HEAD", "OPTIONS", "POST", "PUT", "DELETE", "TRACE", "PROPFIND"]
)
async def test_only_reading_is_answered(method):
    async with exporter() as address, aiohttp.ClientSession() as session:
        async with session.request(method, f"http://{address}/metrics") as response:
            assert response.status == (200 if method == "HEAD" else 405)
            assert (method == "HEAD") == (await response.read() == b"")
        assert (await get(address))[0] == 200


@pytest.mark.parametrize(
    "sent",
    [
        pytest.param(b"", id="silent"),
        pytest.param(b"GET /metrics HTTP/1.1\r\nHost:", id="in the middle of its headers"),
        pytest.param(
            b"GET /metrics HTTP/1.1\r\nHost: a\r\n\r\n" * 3000, id="asking and never reading"
        ),
    ],
)
async def test_a_client_that_does_not_go_on_is_disconnected(monkeypatch, sent):
    monkeypatch.setattr(endpoint, "IDLE_SECONDS", 0.2)
    async with exporter() as address:
        host, _, port = address.partition(":")
        _, writer = await asyncio.open_connection(host, int(port))
        assert isinstance(writer.transport, asyncio.Transport)
        writer.transport.pause_reading()
        writer.write(sent)
        # Others are served meanwhile.
        assert (await get(address))[0] == 200

        async def is_cut() -> bool:
            writer.write(b"x")
            return writer.transport.is_closing()

        await until(is_cut, what="the end of the connection")


@pytest.mark.parametrize(
    "sent",
    [
        pytest.param(b"", id="silent"),
        pytest.param(b"\x16\x03\x01\x02\x00\x01", id="in the middle of its greeting"),
    ],
)
async def test_a_client_that_does_not_agree_on_tls_is_disconnected(file, monkeypatch, sent):
    monkeypatch.setattr(endpoint, "HANDSHAKE_SECONDS", 0.2)
    file.write(tls_server_config=file.tls)
    async with exporter(file) as address:
        host, _, port = address.partition(":")
        reader, writer = await asyncio.open_connection(host, int(port))
        writer.write(sent)
        assert (await get(address, file.client()))[0] == 200
        await until(reader.at_eof, what="the end of the connection")
        writer.close()


async def test_of_too_many_connections_those_that_asked_nothing_for_longest_end(monkeypatch):
    monkeypatch.setattr(endpoint, "MAX_CONNECTIONS", 20)
    async with exporter() as address, aiohttp.ClientSession() as session:
        host, _, port = address.partition(":")
        silent = [await asyncio.open_connection(host, int(port)) for _ in range(60)]

        async def scraped() -> None:
            async with session.get(f"http://{address}/metrics") as response:
                assert response.status == 200

        async def open_now() -> int:
            await scraped()
            return sum(not reader.at_eof() for reader, _ in silent)

        async def few() -> bool:
            return await open_now() < 20

        await until(few, what="few connections")
        assert await open_now() > 0, "no more than too many are ended"
        assert not silent[-1][0].at_eof(), "the newest stay"
        for _, writer in silent:
            writer.close()
