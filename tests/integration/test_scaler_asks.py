# SPDX-License-Identifier: Apache-2.0
"""Whom `status`, `why-not` and `explain` ask, and what they say of another answer."""

from __future__ import annotations

import json

import pytest
from aiohttp import web

from tests.exporterweb import exporter
from tests.running import run_program
from tests.serving import serving

KUBECONFIG = {
    "apiVersion": "v1",
    "kind": "Config",
    "current-context": "one",
    "clusters": [{"name": "c", "cluster": {"server": "http://127.0.0.1:9"}}],
    "users": [{"name": "u", "user": {}}],
    "contexts": [
        {"name": "one", "context": {"cluster": "c", "user": "u", "namespace": "prod"}},
        {"name": "two", "context": {"cluster": "c", "user": "u"}},
    ],
}


def kubeconfig(folder):
    file = folder / "config"
    file.write_text(json.dumps(KUBECONFIG))
    return file


@pytest.mark.parametrize(
    ("arguments", "path"),
    [
        (["prod/web"], "/prod/web"),
        (["web", "-n", "prod"], "/prod/web"),
        (["deploy/web", "--namespace=prod"], "/prod/web"),
        (["sts/db"], "/default/statefulsets.apps:db"),
    ],
)
async def test_a_name_as_in_kubectl(arguments, path):
    asked = []

    async def answer(request: web.Request) -> web.Response:
        asked.append(request.path)
        return web.json_response({"error": "there is no such Deployment"}, status=404)

    async with serving(answer) as url:
        status, _, err = await run_program("explain", *arguments, f"--server={url}")
    assert (status, asked) == (1, [f"/api/v1/decisions{path}"])
    assert err == "gpu-scaler: there is no such Deployment\n"


async def test_an_unknown_context_lists_those_that_there_are(tmp_path):
    file = kubeconfig(tmp_path)
    status, out, err = await run_program("status", f"--kubeconfig={file}", "--context=nope")
    assert (status, out) == (1, "")
    assert "nope; it has one, two" in err


async def test_an_exporter_at_the_scalers_address_is_named():
    async with exporter() as address:
        status, out, err = await run_program("status", f"--server=http://{address}")
    assert (status, out) == (1, "")
    assert "this is a gpu-exporter" in err


async def test_another_program_is_named_by_its_page():
    async def answer(request: web.Request) -> web.Response:
        found = request.path == "/"
        page = "<title>Somebody else</title>" if found else "no"
        return web.Response(text=page, status=200 if found else 404, content_type="text/html")

    async with serving(answer) as url:
        status, _, err = await run_program("status", f"--server={url}")
    assert status == 1
    assert "answered 404" in err
    assert "Somebody else" in err


async def test_why_not_with_nothing_to_say_says_so():
    decisions = [{"namespace": "prod", "name": "web", "outcome": "scaled"}]

    async def answer(_: web.Request) -> web.Response:
        return web.json_response({"decisions": decisions})

    async with serving(answer) as url:
        status, out, err = await run_program("why-not", f"--server={url}")
    assert (status, out) == (0, "")
    assert "every Deployment was scaled" in err
