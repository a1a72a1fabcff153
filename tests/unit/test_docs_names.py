# SPDX-License-Identifier: Apache-2.0
"""Every name that the pages use is one that the code has: flags, variables, metrics, files."""

from __future__ import annotations

import contextlib
import io
import re
import shlex

import pytest

from exporter import __main__ as exporter
from exporter.cli.config import parse, parse_top
from scaler import __main__ as scaler
from scaler.cli.parser import build_parser
from scaler.decision.model import Outcome
from scaler.kube.lease import PAGE_ANNOTATION
from scaler.metricsapi.names import FAMILIES as SERVED
from scaler.policy.annotations import ANNOTATIONS
from simulator import virtual_nodes
from tests.pages import generated
from tests.pages.markdown import COMMAND, PAGES, ROOT, page
from tests.pages.messages import says, templates

by_page = pytest.mark.parametrize("name", PAGES)
PACKAGES = ("exporter", "scaler", "simulator", "toolkit")
FAMILY_TABLES = tuple(make for part, make in generated.PARTS.items() if "families" in part)
SUFFIXES = ("_bucket", "_count", "_sum")
OF_OTHERS = {
    *("--gpu-reset", "--gpu-memory-utilization", "--max-num-seqs", "--max-num-queued-reqs"),
    *("--metrics", "--threads-http", "--enable-metrics"),
    *("--horizontal-pod-autoscaler-tolerance", "--kube-api-qps", "--requestheader-"),
    *("--for", "--previous", "--reset-then-reuse-values", "--reuse-values", "--set", "--values"),
}
"""Flags of other programs that the pages name."""


def helped(main, *arguments):
    """What a program says of its flags."""
    output = io.StringIO()
    with contextlib.redirect_stdout(output), contextlib.suppress(SystemExit):
        main([*arguments, "--help"])
    return output.getvalue()


@pytest.fixture(scope="module")
def help_texts():
    commands = ("run", "status", "why-not", "explain", "simulate", "idle", "check")
    others = [helped(exporter.main), helped(exporter.main, "top"), helped(virtual_nodes.main)]
    return [*others, *(helped(scaler.main, one) for one in commands)]


def flags(help_texts):
    return {flag for text in help_texts for flag in re.findall(r"(?<![\w-])--[a-z][\w.-]*", text)}


def texts(name):
    """The page's code: within sentences and in blocks."""
    found = page(name)
    yield from found.code
    yield from ((block.line, block.text) for block in found.blocks if not block.inline)


@by_page
def test_flags(name, help_texts):
    ours = flags(help_texts)
    for line, code in page(name).code:
        for flag in re.findall(r"^--[a-z][\w.-]*", code):
            is_start = code.endswith("*") and any(one.startswith(flag) for one in ours)
            assert flag in ours | OF_OTHERS or is_start, f"{name}:{line}: {code}: whose is it?"


@by_page
def test_environment_variables(name, help_texts):
    flags = {
        flag for text in help_texts for flag in re.findall(r"(?<![\w-])--([a-z][\w.-]*)", text)
    }
    ours = {
        f"{prefix}{re.sub(r'[.-]', '_', flag).upper()}"
        for flag in flags
        for prefix in ("GPU_EXPORTER_", "GPU_SCALER_")
    }
    for line, code in texts(name):
        for variable in re.findall(r"\bGPU_(?:EXPORTER|SCALER)_[A-Z_]+\b(?!\*)", code):
            assert variable in ours, f"{name}:{line}: {variable}"


@by_page
def test_annotations(name):
    known = {annotation.name for annotation in ANNOTATIONS} | {PAGE_ANNOTATION}
    for line, code in texts(name):
        # With a hyphen behind it kubectl takes an annotation away.
        for found in re.findall(r"(?<![\w/.-])gpu-scaler/[a-z][a-z-]*[a-z](?![\w./])", code):
            # The scaler's own objects are called so: NAMESPACE/NAME.
            assert found in known or found == "gpu-scaler/gpu-metrics-api", (
                f"{name}:{line}: {found}"
            )


@by_page
def test_metrics(name):
    shown = "".join(make() for make in FAMILY_TABLES)
    known = set(re.findall(r"`((?:nvidia_gpu|gpu_scaler)_\w+)`", shown))
    known |= {f"{family}_{kind}" for family in SERVED for kind in ("current", "over_time")}
    known |= {"nvidia_gpu_pod_labels", "nvidia_gpu_hpc_job", "nvidia_gpu_exporter"}
    rules = (ROOT / "daemonset" / "prometheus-rules.yaml").read_text(encoding="utf-8")
    recorded = set(re.findall(r"record: (\S+)", rules))
    for line, code in texts(name):
        for found in re.findall(r"(?:\w+:)?\b(?:nvidia_gpu|gpu_scaler)_[\w:]+", code):
            if ":" in found:
                assert found in recorded, f"{name}:{line}: {found}"
                continue
            plain = found
            for suffix in SUFFIXES:
                plain = plain.removesuffix(suffix)
            is_start = plain.endswith("_") and any(one.startswith(plain) for one in known)
            # A file, such as the exporter of another project, is no metric.
            assert {found, plain} & known or is_start, f"{name}:{line}: {found}"


@by_page
def test_outcomes_of_decisions(name):
    known = {outcome.value for outcome in Outcome}
    for line, code in texts(name):
        for found in re.findall(r'outcome="(\w+)"', code):
            assert found in known, f"{name}:{line}: {found}"


@by_page
def test_files_and_folders(name):
    for line, code in page(name).code:
        found = re.fullmatch(
            r"(?:exporter|scaler|simulator|benchmarks|tests|daemonset|docs|\.ci)/[\w./-]*", code
        )
        if found and (code.endswith("/") or "." in code.rpartition("/")[2]):
            assert (ROOT / code).exists(), f"{name}:{line}: {code}"


@by_page
def test_commands_of_ours_that_are_not_run_are_understood(name):
    for block in page(name).commands():
        if not block.is_parsed:
            continue
        alone = re.split(r" [|>] ", block.text.replace("...", ""))[0]
        program, *arguments = shlex.split(alone)
        if program == "gpu-scaler" and len(arguments) == 1:
            assert "show this help" in helped(scaler.main, *arguments), block.where
        elif program == "gpu-scaler":
            build_parser({}, "0").parse_args(arguments)
        elif arguments[:1] == ["top"]:
            parse_top(arguments[1:], {}, host_name="node", version="0")
        elif arguments[:1] != ["doctor"]:
            parse(arguments, {}, host_name="node", version="0")


@pytest.mark.parametrize(
    ("line", "code"),
    [
        pytest.param(line, code, id=f"{line}")
        for line, code in page("docs/troubleshooting.md").code
        if code.count(" ") >= 3 and not COMMAND.fullmatch(code)
    ],
)
def test_texts_are_those_of_the_programs(line, code):
    assert says(code), f"docs/troubleshooting.md:{line}: no program says {code!r}"


@pytest.mark.parametrize(
    "word",
    sorted(
        {
            code
            for _, code in page("docs/troubleshooting.md").code
            if re.fullmatch(r"(?:[A-Z][a-z]+){2,}(?:GPU)?", code)
        }
    ),
)
def test_reasons_are_those_of_the_programs(word):
    assert word in templates()


def test_the_map_of_the_code_names_every_package():
    text = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    for package in PACKAGES:
        for folder in sorted((ROOT / package).rglob("__init__.py")):
            path = folder.parent.relative_to(ROOT)
            assert f"`{path}/" in text or f"`{path}`" in text, path
