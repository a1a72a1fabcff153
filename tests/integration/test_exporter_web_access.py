"""Who may read an exporter with a web configuration file, while that file changes."""

from __future__ import annotations

import asyncio
import ssl
import sys

import aiohttp
import pytest

from exporter import webaccess
from exporter.config import EXIT_USAGE
from exporter.webconfig import WebConfigError
from tests.cluster.certificates import Authority
from tests.exporterweb import WebFile, exporter, get, hashed
from tests.waiting import until

HEADERS = {"X-Content-Type-Options": "nosniff", "X-Frame-Options": "deny"}
RELOADED = "nvidia_gpu_exporter_web_config_last_reload_successful"


@pytest.fixture(autouse=True)
def _impatient(monkeypatch):
    """Look often for changed files."""
    monkeypatch.setattr(webaccess, "POLL_SECONDS", 0.02)


@pytest.fixture
def file(tmp_path):
    return WebFile(tmp_path, Authority(tmp_path, "ca"))


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
            assert (f"{RELOADED} 1.0" in text) == (expected == 200)
            assert headers.get("WWW-Authenticate") == ("Basic" if expected == 401 else None)


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


async def test_an_address_that_another_exporter_has_is_refused(file):
    file.write(tls_server_config=file.tls)
    async with exporter(file) as address:
        with pytest.raises(OSError, match="address already in use"):
            async with exporter(file, listen_port=int(address.partition(":")[2])):
                pass
        assert (await get(address, file.client()))[0] == 200


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
