# SPDX-License-Identifier: Apache-2.0
"""What a test needs beyond Python: whether it is there, and the words that bring it."""

from __future__ import annotations

import re
import shutil
import sys

import pytest

from tests import needs
from tests.cluster import tools
from tests.cluster.tools import golang


@pytest.mark.parametrize("need", tools.BY_NAME)
def test_a_pinned_program_is_built(monkeypatch, need):
    monkeypatch.setattr(golang, "installed", golang.needed)
    assert needs.remedy(need) == "make cluster-tools"


@pytest.mark.parametrize(
    "found",
    [
        pytest.param(None, id="no Go"),
        pytest.param("1.24.13", id="a Go that is too old"),
    ],
)
def test_go_comes_before_the_build(monkeypatch, found):
    monkeypatch.setattr(golang, "installed", lambda: found)
    remedy = f"install Go >= {golang.needed()}, then make cluster-tools"
    assert needs.remedy("etcd") == remedy


@pytest.mark.parametrize("need", tools.SERVERS)
def test_a_model_server_needs_no_go(monkeypatch, need):
    monkeypatch.delattr(golang, "installed")
    assert needs.remedy(need) == "make cluster-tools"


@pytest.mark.parametrize("need", [*needs.INSTALLED, *needs.OF_THE_MACHINE])
def test_what_is_not_built_needs_no_go(monkeypatch, need):
    monkeypatch.delattr(golang, "installed")
    remedy = needs.remedy(need)
    assert remedy.startswith("apt-get install ") == (need in needs.INSTALLED)
    assert remedy


@pytest.mark.parametrize("need", ["linux", "network"])
def test_what_this_machine_is_not_is_missing(monkeypatch, need):
    monkeypatch.setattr(sys, "platform", "darwin")
    monkeypatch.setattr(needs, "own_address", lambda: None)
    assert not needs.is_there.__wrapped__(need)


def test_nothing_comes_in_two_ways():
    built = tools.BY_NAME.keys() | tools.SERVERS.keys()
    assert len(built) == len(tools.BY_NAME) + len(tools.SERVERS)
    assert not needs.INSTALLED.keys() & built


@pytest.mark.parametrize("need", [*tools.BY_NAME, *tools.SERVERS])
def test_a_program_on_the_path_is_not_the_pinned_one(monkeypatch, need):
    monkeypatch.setattr(tools, "find", lambda _: None)
    monkeypatch.setattr(shutil, "which", lambda name: f"/usr/bin/{name}")
    assert not needs.is_there.__wrapped__(need)


@pytest.mark.parametrize(
    ("found", "enough"),
    [
        pytest.param("1.25.0", True, id="the lowest"),
        pytest.param("1.25", True, id="without a patch number"),
        pytest.param("1.26.8", True, id="newer"),
        pytest.param("1.100.0", True, id="numbers, not letters"),
        pytest.param("1.25.3 X:nodwarf5", True, id="with experiments"),
        pytest.param("devel go1.27-0123abc", True, id="from source"),
        pytest.param("1.24.13", False, id="older"),
        pytest.param("1.9.7", False, id="much older"),
    ],
)
def test_which_go_is_enough(monkeypatch, found, enough):
    monkeypatch.setattr(golang, "needed", lambda: "1.25.0")
    complaint = golang.problem(found)
    if enough:
        assert complaint is None
    else:
        assert complaint == f"Go >= 1.25.0 is needed, and `go` is {found}"


@pytest.mark.parametrize("folder", sorted({tool.folder for tool in tools.TOOLS}))
def test_every_module_is_content_with_the_go_that_is_asked_for(folder):
    (tool, *_) = (tool for tool in tools.TOOLS if tool.folder == folder)
    (line,) = re.findall(r"^go (.+)$", (tool.module / "go.mod").read_text(), re.M)
    only_named = tool.name in tools.ONLY_NAMED
    asked_for = golang.needed([tool.name] if only_named else None)
    assert golang.numbers(line) <= golang.numbers(asked_for)
