# SPDX-License-Identifier: Apache-2.0
"""Who may read an exporter with a web configuration file, while that file changes."""

from __future__ import annotations

import asyncio
import ssl
import sys

import aiohttp
import pytest

from tests.cluster.certificates import Authority
from tests.exporterweb import exporter, get, hashed
from tests.waiting import until
from toolkit.cli.arguments import EXIT_USAGE
from toolkit.listening.listener import BindError
from toolkit.web import auth
from toolkit.web.model import WebConfigError

HEADERS = {"X-Content-Type-Options": "nosniff", "X-Frame-Options": "deny"}
RELOADED = "nvidia_gpu_exporter_web_config_last_reload_successful"


@pytest.fixture(autouse=True)
def _impatient(monkeypatch):
    """Look often for changed files."""
    monkeypatch.setattr(auth, "POLL_SECONDS", 0.02)


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
        assert (status, text) == (
            403,
            "the client certificate has no allowed subject alternative name\n",
        )
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


@pytest.mark.parametrize(
    ("san", "allowed"),
    [
        pytest.param("2001:db8::1", "2001:db8::1", id="as it is written"),
        pytest.param("2001:db8::1", "2001:0DB8:0:0:0:0:0:1", id="an address written in full"),
        pytest.param("2001:0db8:0::0:1", "2001:db8::1", id="a certificate written in full"),
        pytest.param("10.0.0.1", "10.0.0.1", id="an IPv4 address"),
        pytest.param("10.0.0.1", "::ffff:10.0.0.1", id="an IPv4 address as IPv6"),
        pytest.param("one", "one", id="a name"),
    ],
)
async def test_allowed_names_are_compared_as_addresses(file, san, allowed):
    right = file.authority.issue("right", hosts=[san])
    wrong = file.authority.issue("wrong", hosts=["2001:db8::2", "10.0.0.2", "two"])
    file.write(
        tls_server_config=file.tls
        | {
            "client_auth_type": "RequireAndVerifyClientCert",
            "client_ca_file": "ca.crt",
            "client_allowed_sans": ["somebody else", allowed],
        }
    )
    async with exporter(file) as address:
        for one, status in ((right, 200), (wrong, 403)):
            tls = file.client(certfile=one.certificate, keyfile=one.key)
            assert (await get(address, tls))[0] == status


async def test_certificate_key_and_ca_in_the_file_itself(file, tmp_path):
    client = file.authority.issue("prometheus")
    file.write(
        tls_server_config={
            "cert": (tmp_path / "server.crt").read_text(),
            "key": (tmp_path / "server.key").read_text(),
            "client_ca": file.authority.file.read_text(),
            "client_auth_type": "RequireAndVerifyClientCert",
        }
    )
    async with exporter(file) as address:
        tls = file.client(certfile=client.certificate, keyfile=client.key)
        assert (await get(address, tls))[0] == 200
        with pytest.raises(aiohttp.ClientError):
            await get(address, file.client())


async def test_a_certificate_that_no_ca_of_the_system_signed_is_refused(file):
    client = file.authority.issue("prometheus")
    file.write(tls_server_config=file.tls | {"client_auth_type": "VerifyClientCertIfGiven"})
    async with exporter(file) as address:
        assert (await get(address, file.client()))[0] == 200
        with pytest.raises(aiohttp.ClientError):
            await get(address, file.client(certfile=client.certificate, keyfile=client.key))


async def test_one_curve_is_the_only_one(file):
    file.write(tls_server_config=file.tls | {"curve_preferences": ["CurveP384"]})
    async with exporter(file) as address:
        for curve, spoken in (("secp384r1", True), ("prime256v1", False)):
            client = file.client()
            client.set_ecdh_curve(curve)
            if spoken:
                assert (await get(address, client))[0] == 200
            else:
                with pytest.raises(aiohttp.ClientError):
                    await get(address, client)


async def test_requests_past_the_rate_limit_are_refused_and_probes_are_none(file):
    file.write(rate_limit={"interval": "1h", "burst": 3})
    async with exporter(file) as address:
        assert [(await get(address))[0] for _ in range(5)] == [200, 200, 200, 429, 429]
        assert (await get(address, path="/healthz"))[0] == 200
        # Another limit begins again; none is none.
        file.write(rate_limit={"interval": "1h", "burst": 4})

        async def is_let_in() -> bool:
            return (await get(address))[0] == 200

        await until(is_let_in, what="the new limit")
        while await is_let_in():
            pass
        file.write()
        await until(is_let_in, what="no limit")
        assert {(await get(address))[0] for _ in range(9)} == {200}


async def test_a_rate_limit_without_burst_lets_nobody_in(file):
    file.write(rate_limit={"interval": "1s"})
    async with exporter(file) as address:
        assert (await get(address))[0] == 429


async def test_an_address_that_another_exporter_has_is_refused(file):
    file.write(tls_server_config=file.tls)
    async with exporter(file) as address:
        with pytest.raises(BindError, match="Address already in use"):
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
    _, output = await asyncio.wait_for(process.communicate(), 60)
    assert process.returncode == EXIT_USAGE
    assert b"The web configuration cannot be used" in output
    assert f"{file.path}: line 1 is not YAML: expected the node content".encode() in output
