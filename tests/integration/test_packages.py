# SPDX-License-Identifier: Apache-2.0
"""The wheel and the sdist, installed as a user installs them."""

from __future__ import annotations

import os
import subprocess
import sys
import tomllib
import zipfile

import pytest

from tests.cluster import tools
from tests.pages.markdown import ROOT

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
VERSION = PROJECT["version"]

# Dependencies come from the package index.
pytestmark = pytest.mark.needs("network")


def run(*command, cwd=ROOT, path=""):
    # Nothing of the tests' own environment may help.
    environment = {
        name: value for name, value in os.environ.items() if not name.startswith("PYTHON")
    }
    environment["PATH"] = f"{path}:{environment['PATH']}"
    words = [str(word) for word in command]
    return subprocess.run(
        words, check=False, cwd=cwd, env=environment, capture_output=True, text=True
    )


def checked(*command, cwd=ROOT, path=""):
    done = run(*command, cwd=cwd, path=path)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def hatchling(folder, *arguments, cwd=ROOT):
    checked(sys.executable, "-m", "hatchling", "build", "-d", folder, *arguments, cwd=cwd)


@pytest.fixture(scope="module")
def packages(tmp_path_factory):
    """A wheel made from the tree, and one made from the sdist, as an index's users build it."""
    folder = tmp_path_factory.mktemp("packages")
    hatchling(folder / "tree")
    (sdist,) = (folder / "tree").glob("*.tar.gz")
    checked("tar", "xzf", sdist, cwd=folder)
    unpacked = folder / sdist.name.removesuffix(".tar.gz")
    hatchling(folder / "sdist", "-t", "wheel", cwd=unpacked)
    (tree_wheel,) = (folder / "tree").glob("*.whl")
    (sdist_wheel,) = (folder / "sdist").glob("*.whl")
    return tree_wheel, sdist_wheel


@pytest.fixture(scope="module")
def installed(packages, tmp_path_factory):
    """The folder of the programs in a bare virtual environment with the wheel."""
    venv = tmp_path_factory.mktemp("bare") / "venv"
    checked(sys.executable, "-m", "venv", venv)
    pip = (venv / "bin" / "python", "-m", "pip", "install", "--quiet")
    # The locked versions, so that a new release of a dependency cannot fail this test.
    checked(*pip, "--require-hashes", "-r", ROOT / "requirements.lock")
    checked(*pip, "--no-index", packages[1])
    return venv / "bin"


def test_the_sdist_has_all_that_the_wheel_needs(packages):
    from_tree, from_sdist = (set(zipfile.ZipFile(wheel).namelist()) for wheel in packages)
    assert from_sdist == from_tree
    assert {"scaler/web/static/index.html", "scaler/web/static/page.css"} <= from_tree


@pytest.mark.parametrize("program", ["gpu-exporter", "gpu-scaler", "gpu-simulator"])
def test_each_program_runs_from_a_bare_environment(installed, tmp_path, program):
    assert checked(installed / program, "--version", cwd=tmp_path) == f"{program} {VERSION}\n"


def test_the_scaler_checks_a_manifest(installed, tmp_path):
    manifest = ROOT / "daemonset" / "example.yaml"
    assert checked(installed / "gpu-scaler", "check", manifest, cwd=tmp_path) == ""


def kubectl(installed, folder, *arguments):
    return run(tools.path_of("kubectl"), *arguments, cwd=folder, path=installed)


@pytest.mark.needs("kubectl")
def test_kubectl_finds_the_plugin(installed, tmp_path):
    done = kubectl(installed, tmp_path, "gpu-scaler", "--version")
    assert done.stdout == f"gpu-scaler {VERSION}\n", done.stderr
    done = kubectl(installed, tmp_path, "gpu-scaler", "explain", "--help")
    assert done.stdout.startswith("usage: kubectl gpu-scaler explain "), done.stderr


@pytest.mark.needs("kubectl")
@pytest.mark.parametrize(
    ("words", "completed"),
    [
        (["expl"], ["explain"]),
        (["status", "-o", "j"], ["json"]),
        (["run", "--prometheus.ti"], ["--prometheus.timeout"]),
        (["completion", "z"], ["zsh"]),
    ],
)
def test_kubectl_completes_the_plugins_words(installed, tmp_path, words, completed):
    done = kubectl(installed, tmp_path, "__complete", "gpu-scaler", *words)
    *choices, directive = done.stdout.splitlines()
    assert choices == completed, done.stderr
    assert directive == ":4"


@pytest.mark.needs("kubectl")
def test_kubectl_offers_files_where_the_plugin_reads_one(installed, tmp_path):
    done = kubectl(installed, tmp_path, "__complete", "gpu-scaler", "check", "")
    assert done.stdout.splitlines() == [":0"], done.stderr
