# SPDX-License-Identifier: Apache-2.0
"""The image, built by buildah from the Dockerfile on a stand-in for the base image.

What stays unproven here is the base image itself and the arm64 build: docs/release.md.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tomllib
from importlib.util import MAGIC_NUMBER
from pathlib import Path

import pytest
import yaml

from tests.image.engine import REPOSITORY, STAND_IN
from tests.image.shipped import ARGUMENTS
from tests.kubeconfigs import LOADS, USERS, kubeconfig

PROJECT = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]
FORBIDDEN = re.compile(
    r"(pip\d?(\.\d+)?|ensurepip|setuptools|wheel|hatchling|cyclonedx\w*|idlelib|tkinter"
    r"|gcc(-\d+)?|cc|c\+\+|g\+\+(-\d+)?|clang(-\d+)?|ld|as|make|python[\d.]*-config)"
)
MAX_BYTES = 350_000_000
MAX_SITE_PACKAGES_BYTES = 80_000_000


def paths(root: Path) -> list[Path]:
    found = subprocess.run(
        ["find", root, "-xdev", "-printf", "%P\\n"], capture_output=True, text=True, check=True
    )
    return [Path(line) for line in found.stdout.splitlines()]


# kubectl runs the others; tests/integration/test_packages.py tries them.
@pytest.mark.parametrize(
    "program", [name for name in PROJECT["scripts"] if name.startswith("gpu-")]
)
def test_every_program_answers_on_a_read_only_root(shipped_image, program):
    output = shipped_image.run(program, "--help")
    assert output.returncode == 0, output.stderr
    assert output.stdout.startswith(f"usage: {program}")


@pytest.mark.parametrize("program", ["gpu-exporter", "gpu-scaler", "gpu-simulator"])
def test_every_program_tells_the_version(shipped_image, program):
    output = shipped_image.run(program, "--version")
    assert output.stdout == f"{program} {PROJECT['version']}\n", output.stderr


def test_the_exporter_reports_that_there_is_no_driver(shipped_image):
    output = shipped_image.run("gpu-exporter", "--once")
    assert output.returncode == 1
    assert "gpu-exporter: NVML did not answer: " in output.stderr


def test_the_scaler_checks_a_manifest(shipped_image):
    output = shipped_image.run("gpu-scaler", "check", "/nowhere.yaml")
    assert output.returncode == 1
    assert output.stdout.startswith("/nowhere.yaml: cannot be read")


def test_the_commands_of_the_shipped_pods_are_in_it(shipped_image):
    programs = {
        container["command"][0]
        for file in (REPOSITORY / "daemonset").glob("*.yaml")
        for document in yaml.safe_load_all(file.read_text())
        if document and document.get("kind") in ("DaemonSet", "Deployment")
        for container in document["spec"]["template"]["spec"]["containers"]
        if "/gpu-scaler:" in container["image"]
    }
    assert {"gpu-exporter", "gpu-scaler", "gpu-simulator"} <= programs
    for program in programs:
        assert (shipped_image.root / "app/bin" / program).is_file()


def test_no_compiler_and_no_installer_is_left(shipped_image):
    found = [path for path in paths(shipped_image.root) if FORBIDDEN.fullmatch(path.name)]
    assert [path for path in found if path.parts[:2] != ("usr", "share")] == []
    for module in ("pip", "ensurepip", "setuptools"):
        output = shipped_image.run("python", "-c", f"import {module}")
        assert f"No module named '{module}'" in output.stderr


def test_the_base_has_what_the_image_must_not_have(shipped_image):
    with shipped_image.engine.mounted(STAND_IN) as root:
        names = {path.name for path in paths(root) if path.parts[:2] == ("usr", "local")}
        raised = [path for path in paths(root) if (root / path).lstat().st_mode & 0o6000]
    assert {"pip", "ensurepip", "include"} <= names
    assert raised


def test_nothing_raises_the_rights_of_its_user(shipped_image):
    found = subprocess.run(
        ["find", shipped_image.root, "-xdev", "-type", "f", "-perm", "/6000"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert found.stdout == ""


def test_its_user_owns_nothing_and_may_write_only_where_everybody_may(shipped_image):
    found = subprocess.run(
        [
            *("find", shipped_image.root, "-xdev", "-not", "-type", "l"),
            *("(", "-uid", "65532", "-o", "-gid", "65532", "-o", "-perm", "-o+w", ")"),
            *("-printf", "%P\\n"),
        ],
        capture_output=True,
        text=True,
        check=True,
    )
    writable = {path for path in found.stdout.splitlines() if not path.startswith("dev/")}
    assert writable <= {"tmp", "var/tmp", "run/lock"}


def test_all_modules_have_bytecode_that_is_never_written_again(shipped_image):
    ours = [
        path
        for package in ("exporter", "scaler", "simulator", "toolkit")
        for path in paths(shipped_image.root)
        if f"/site-packages/{package}/" in f"/{path}" and path.suffix == ".py"
    ]
    assert len(ours) > 100
    for path in ours:
        (compiled,) = (shipped_image.root / path.parent / "__pycache__").glob(f"{path.stem}.*.pyc")
        head = compiled.read_bytes()[:8]
        assert head[2:4] == MAGIC_NUMBER[2:4]
        assert int.from_bytes(head[4:8], "little") == 0b01, "hash-based, unchecked"


def test_the_bill_of_materials_names_what_is_installed(shipped_image):
    document = json.loads((shipped_image.root / "app/sbom.cdx.json").read_text())
    assert document["bomFormat"] == "CycloneDX"
    main = document["metadata"]["component"]
    assert (main["name"], main["version"]) == ("gpu-scaler", PROJECT["version"])
    listed = {(one["name"].lower(), one["version"]) for one in document["components"]}
    program = (
        "from importlib.metadata import distributions\n"
        "for one in distributions(path=[p for p in __import__('sys').path if '/app/' in p]):\n"
        "    print(one.name.lower(), one.version)\n"
    )
    output = shipped_image.run("/app/bin/python", "-c", program)
    installed = {tuple(line.split()) for line in output.stdout.splitlines()}
    assert listed | {("gpu-scaler", PROJECT["version"])} == installed
    lock = (REPOSITORY / "requirements.lock").read_text()
    pins = {*re.findall(r"^([\w.-]+)==(\S+)", lock, re.M)}
    assert {(normal(name), version) for name, version in listed} <= {
        (normal(name), version) for name, version in pins
    } | {("gpu-scaler", PROJECT["version"])}


def normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def test_the_configuration_of_the_image(shipped_image):
    config = shipped_image.config
    assert config["User"] == "65532:65532"
    assert config["Cmd"] == ["gpu-scaler", "run"]
    assert not config.get("Entrypoint")
    environment = dict(one.split("=", 1) for one in config["Env"])
    assert environment["NVIDIA_VISIBLE_DEVICES"] == "all"
    assert environment["NVIDIA_DRIVER_CAPABILITIES"] == "utility"
    assert environment["PYTHONDONTWRITEBYTECODE"] == "1"
    labels = {
        name.removeprefix("org.opencontainers.image."): value
        for name, value in config["Labels"].items()
        if name.startswith("org.opencontainers.image.")
    }
    assert labels == {
        "title": PROJECT["name"],
        "description": PROJECT["description"],
        "licenses": PROJECT["license"],
        **{name.lower(): value for name, value in ARGUMENTS.items()},
    }


def test_the_image_is_one_layer_and_small(shipped_image, record_property):
    layers = shipped_image.engine.inspect("localhost/gpu-scaler:built")["OCIv1"]["rootfs"]
    assert len(layers["diff_ids"]) == 1
    sizes = [
        path.lstat().st_size
        for path in (shipped_image.root / name for name in paths(shipped_image.root))
        if path.is_file() and not path.is_symlink()
    ]
    record_property("bytes", sum(sizes))
    assert sum(sizes) < MAX_BYTES


def test_what_is_installed_is_small(shipped_image, record_property):
    (folder,) = (shipped_image.root / "app/lib").glob("python3.*/site-packages")
    size = sum(path.lstat().st_size for path in folder.rglob("*") if path.is_file())
    record_property("bytes", size)
    assert size <= MAX_SITE_PACKAGES_BYTES


@pytest.mark.parametrize("user", sorted(USERS))
def test_the_credentials_of_every_kind_of_user_are_read_in_it(shipped_image, user):
    file = shipped_image.root / "tmp" / user
    file.write_text(json.dumps(kubeconfig(USERS[user])))
    output = shipped_image.run("python", "-c", LOADS, f"/tmp/{user}")
    file.unlink()
    assert output.stdout == "https://127.0.0.1:9\n", output.stderr


def test_the_context_is_what_the_dockerfile_copies(shipped_image, tmp_path):
    everything = tmp_path / "Dockerfile"
    everything.write_text("FROM scratch\nCOPY . /\n")
    tag = "localhost/context:built"
    shipped_image.engine.build(REPOSITORY, tag=tag, dockerfile=everything)
    with shipped_image.engine.mounted(tag) as root:
        sent = {str(path) for path in paths(root) if (root / path).is_file()}
    copied = re.findall(
        r"^COPY ((?:[\w./-]+ )+)\S+$", (REPOSITORY / "Dockerfile").read_text(), re.M
    )
    named = " ".join(copied).split()
    tracked = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", *named],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        check=True,
    ).stdout.split()
    assert sent == {path for path in tracked if not path.endswith(".pyi")}


@pytest.mark.needs("buildah")
@pytest.mark.parametrize("machine", ["x86_64", "aarch64"])
def test_what_is_locked_is_there_for_both_architectures_without_a_compiler(machine, tmp_path):
    # Debian trixie has glibc 2.41; the tags are those of the wheels that are locked now.
    tags = ("manylinux_2_34", "manylinux_2_28", "manylinux_2_17", "manylinux2014")
    done = subprocess.run(
        [
            *(sys.executable, "-m", "pip", "install", "--quiet", "--dry-run"),
            *("--target", tmp_path, "--only-binary=:all:", "--python-version=3.13"),
            *(f"--platform={tag}_{machine}" for tag in tags),
            *("--require-hashes", "-r", "requirements.lock", "-r", "requirements-build.lock"),
        ],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
