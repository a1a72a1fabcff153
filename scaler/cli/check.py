# SPDX-License-Identifier: Apache-2.0
"""`gpu-scaler check`: reads manifests from files, folders and standard input."""

from __future__ import annotations

import glob
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import orjson

from scaler.cli.parser import CHECK_SOURCES
from scaler.policy.annotations import PREFIX
from scaler.policy.manifest_objects import ManifestFinding
from scaler.policy.manifests import CheckOptions, CheckReport, check_manifests
from toolkit.cli.flags import Values

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterator, Sequence

SUFFIXES: Final = (".json", ".yaml", ".yml")
STDIN: Final = "<stdin>"


def check(parsed: argparse.Namespace) -> bool:
    """Print the findings; return whether there is no error among them.

    Raises:
        UsageError: a flag has a wrong value.
    """
    values = Values(parsed)
    options = CheckOptions(
        kinds=tuple(name.strip() for name in values.text("kinds").split(",")),
        query_supported=values.choice("source", CHECK_SOURCES) == "prometheus",
    )
    values.check()
    texts: list[tuple[str, str]] = []
    unreadable: list[ManifestFinding] = []
    for name in _file_names(parsed.files):
        try:
            text = sys.stdin.read() if name == STDIN else Path(name).read_text(encoding="utf-8")
        except OSError as error:
            unreadable.append(_unreadable(name, error.strerror))
        except UnicodeDecodeError as error:
            unreadable.append(_unreadable(name, f"not UTF-8 text ({error.reason})"))
        else:
            texts.append((name, text))
    report = check_manifests(texts, options)
    findings = (*unreadable, *report.findings)
    sys.stdout.write(_FORMATS[parsed.output](findings))
    if parsed.output == "text":
        sys.stderr.write(f"gpu-scaler: {_summary(texts, unreadable, report)}\n")
    return not (unreadable or report.errors)


def _file_names(arguments: Sequence[str]) -> Iterator[str]:
    """Yield each file once, those of a folder or a pattern in the order of their names."""
    seen: set[str] = set()
    for argument in arguments:
        for name in _expanded(argument):
            if name not in seen:
                seen.add(name)
                yield name


def _expanded(argument: str) -> Sequence[str]:
    if argument == "-":
        return [STDIN]
    path = Path(argument)
    try:
        if path.is_dir():
            found = (one for one in path.rglob("*") if one.suffix in SUFFIXES and one.is_file())
            return sorted(str(one) for one in found) or [argument]
        if not path.exists() and glob.has_magic(argument):
            return sorted(glob.glob(argument, recursive=True)) or [argument]
    except OSError:
        # Whoever reads it gets the same error, and says which.
        return [argument]
    return [argument]


def _unreadable(name: str, why: str | None) -> ManifestFinding:
    return ManifestFinding(file_name=name, line=0, message=f"cannot be read: {why}")


def _summary(
    texts: Sequence[tuple[str, str]], unreadable: Sequence[ManifestFinding], report: CheckReport
) -> str:
    if texts and not unreadable and not report.findings and not report.annotated_objects:
        names = ", ".join(name for name, _ in texts[:3]) + (", ..." if len(texts) > 3 else "")
        return f"nothing to check: no {PREFIX}* annotations in {names}"
    errors = report.errors + len(unreadable)
    warnings = len(report.findings) - report.errors
    return (
        f"{_count(len(texts), 'file')}, {_count(report.annotated_objects, 'annotated object')}:"
        f" {_count(errors, 'error')}, {_count(warnings, 'warning')}"
    )


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def _text(findings: Sequence[ManifestFinding]) -> str:
    return "".join(f"{_line(one)}\n" for one in findings)


def _line(finding: ManifestFinding) -> str:
    return str(finding) if finding.line else f"{finding.file_name}: {finding.message}"


def _json(findings: Sequence[ManifestFinding]) -> str:
    document: list[dict[str, Any]] = [
        {
            "file": one.file_name,
            "line": one.line or None,
            "severity": one.severity,
            "message": one.message,
        }
        for one in findings
    ]
    return orjson.dumps({"findings": document}, option=orjson.OPT_INDENT_2).decode() + "\n"


def _github(findings: Sequence[ManifestFinding]) -> str:
    """Return workflow commands, which show at the lines of a pull request.

    Source: GitHub's "Workflow commands for GitHub Actions", setting an error message.
    """
    return "".join(
        f"::{one.severity} file={_property(one.file_name)},line={max(1, one.line)},"
        f"title=gpu-scaler check::{_data(one.message)}\n"
        for one in findings
    )


def _data(text: str) -> str:
    return text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def _property(text: str) -> str:
    return _data(text).replace(":", "%3A").replace(",", "%2C")


_FORMATS: Final = {"text": _text, "json": _json, "github": _github}
