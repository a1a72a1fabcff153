# SPDX-License-Identifier: Apache-2.0
"""`status`, `why-not` and `explain`: ask the acting scaler, and print what it answers."""

from __future__ import annotations

import asyncio
import sys
import time
from typing import TYPE_CHECKING, Any, Final, TypeVar

import orjson
import yaml

from scaler.cli.api_client import ScalerClientError, get_from_server
from scaler.cli.workload import parse_workload
from scaler.kube.client import KubeClient
from scaler.kube.contexts import namespace_of
from scaler.kube.errors import ClusterError
from scaler.kube.leader_proxy import get_from_leader
from scaler.reporting.explanation import explain_text
from scaler.reporting.serialization import (
    DecisionDocument,
    DecisionRunDocument,
    DecisionsDocument,
    decode,
)
from scaler.reporting.tables import history_table, status_table, why_not_table
from toolkit.cli.arguments import UsageError
from toolkit.cli.flags import Values
from toolkit.cli.http_access import parse_access
from toolkit.http_access import HttpAccess

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable, Sequence

    from scaler.cli.workload import WorkloadName
    from scaler.model.workload import ObjectRef

WATCH_SECONDS: Final = 2.0
"""The scaler's own interval between loops."""
_CLEAR: Final = "\x1b[H\x1b[2J"
_T = TypeVar("_T")


class _NoAnswerError(RuntimeError):
    """There is nothing to print; the message says why."""


def print_status(parsed: argparse.Namespace) -> bool:
    """Print the table of `gpu-scaler status`; return whether the scaler answered.

    With `--watch`, print it again whenever it has changed, until interrupted.
    """

    def table(decisions: list[DecisionDocument]) -> str:
        return status_table(decisions, now_unix_seconds=time.time())

    if not parsed.watch:
        return _print_list(parsed, lambda _: True, table, nothing="")
    while True:
        if sys.stdout.isatty():
            sys.stdout.write(_CLEAR)
        _print_list(parsed, lambda _: True, table, nothing="")
        sys.stdout.flush()
        time.sleep(WATCH_SECONDS)


def print_why_not(parsed: argparse.Namespace) -> bool:
    """Print the table of `gpu-scaler why-not`; return whether the scaler answered."""
    return _print_list(
        parsed,
        lambda decision: decision.get("outcome") != "scaled",
        why_not_table,
        nothing="each of them was scaled in the last loop"
        if parsed.names
        else "every Deployment was scaled in the last loop",
    )


def print_explanation(parsed: argparse.Namespace) -> bool:
    """Print a Deployment's last decision, or its history; return whether there is one."""
    named = _parsed_name(parsed, parsed.deployment)
    ref = named.ref(_namespace(parsed, named))
    path = f"/api/v1/decisions/{ref.namespace}/{ref.qualified_name}"
    try:
        document = _get(parsed, f"{path}/history" if parsed.history else path)
        if parsed.output != "text":
            _print_data(document, parsed.output)
        if not document.keys() & {"decision", "history"}:
            problem = str(document.get("error", "the scaler returned no decision"))
            raise _NoAnswerError(problem)
        if parsed.output == "text":
            sys.stdout.write(_explanation(document))
    except _NoAnswerError as error:
        return _failed(error)
    return True


def _explanation(document: dict[str, Any]) -> str:
    now = time.time()
    if "history" in document:
        runs = _decoded(document["history"], list[DecisionRunDocument])
        return history_table(runs, now_unix_seconds=now)
    return explain_text(_decoded(document["decision"], DecisionDocument), now_unix_seconds=now)


def _parsed_name(parsed: argparse.Namespace, text: str) -> WorkloadName:
    try:
        return parse_workload(text, namespace_given=parsed.namespace is not None)
    except ValueError as error:
        raise UsageError([str(error)]) from None


def _namespace(parsed: argparse.Namespace, named: WorkloadName) -> str:
    """Return the namespace for a name without one: `-n`, else the context's, as in kubectl."""
    if parsed.namespace is not None or named.namespace is not None:
        return parsed.namespace or named.namespace or ""
    return "default" if parsed.server else namespace_of(parsed.kubeconfig, parsed.context)


def _print_list(
    parsed: argparse.Namespace,
    is_wanted: Callable[[dict[str, Any]], bool],
    table: Callable[[list[DecisionDocument]], str],
    *,
    nothing: str,
) -> bool:
    """Print the wanted decisions; print the sentence `nothing` if none of the known ones is.

    With names on the command line, these are the known ones; return False if one is missing.
    """
    asked = _Asked(parsed)
    try:
        document = _get(parsed, "/api/v1/decisions")
        answer = _decoded(document, DecisionsDocument)
        known = [decision for decision in answer.decisions if asked.has(decision)]
        decisions = [decision for decision in known if is_wanted(decision)]
        missing = asked.missing(known)
        if parsed.output != "text":
            _print_data(document | {"decisions": decisions}, parsed.output)
        else:
            _print_state(answer)
            if decisions:
                sys.stdout.write(table(_decoded(decisions, list[DecisionDocument])))
            elif known:
                _print_error(nothing)
            elif not parsed.names:
                where = f" in namespace {parsed.namespace}" if parsed.namespace else ""
                _print_error(f"no Deployment{where} has the annotation gpu-scaler/enabled")
        for ref in missing:
            # Without a namespace it is asked for in all of them.
            _print_error(f"no decision for {ref.title.replace(' /', ' ')}")
    except _NoAnswerError as error:
        return _failed(error)
    return not missing


class _Asked:
    """The Deployments that the command line names; all of its namespace without names."""

    def __init__(self, parsed: argparse.Namespace) -> None:
        self._namespace: str | None = parsed.namespace
        named = [_parsed_name(parsed, text) for text in parsed.names]
        self._refs = [
            one.ref("" if parsed.all_namespaces else _namespace(parsed, one)) for one in named
        ]

    def has(self, decision: dict[str, Any]) -> bool:
        if not self._refs:
            return self._namespace in (None, decision.get("namespace"))
        return any(_is_of(ref, decision) for ref in self._refs)

    def missing(self, known: Sequence[dict[str, Any]]) -> Sequence[ObjectRef]:
        return [ref for ref in self._refs if not any(_is_of(ref, one) for one in known)]


def _is_of(ref: ObjectRef, decision: dict[str, Any]) -> bool:
    """Whether a decision is about a workload; an empty namespace stands for all."""
    return (ref.resource, ref.name) == (decision.get("kind"), decision.get("name")) and (
        ref.namespace in ("", decision.get("namespace"))
    )


def _print_state(answer: DecisionsDocument) -> None:
    if answer.holding:
        _print_error(f"holding all decisions: {answer.holding}")
    if answer.stopped:
        _print_error(answer.stopped)
    if not answer.leading:
        leader = answer.leader or "no replica"
        _print_error(f"{answer.identity} is not the leader: {leader} holds the Lease")


def _get(parsed: argparse.Namespace, path: str) -> dict[str, Any]:
    values = Values(parsed)
    access = parse_access(values, "server")
    if parsed.server is None and access != HttpAccess():
        values.problems.append("--server.* flags are set, but apply only with --server")
    values.check()
    try:
        return asyncio.run(_answer(parsed, path, access))
    except (ScalerClientError, ClusterError) as error:
        raise _NoAnswerError(str(error)) from error


async def _answer(parsed: argparse.Namespace, path: str, access: HttpAccess) -> dict[str, Any]:
    """Return what the scaler at `--server` answers, else the Lease's holder."""
    if parsed.server is not None:
        return await get_from_server(parsed.server.rstrip("/") + path, access)
    async with await KubeClient.load(parsed.kubeconfig, parsed.context) as client:
        return await get_from_leader(
            client,
            path,
            lease_namespace=parsed.lease_namespace,
            lease_name=parsed.lease_name,
            port=parsed.port,
        )


def _decoded(data: Any, type_: type[_T]) -> _T:
    try:
        return decode(data, type_)
    except ValueError as error:
        raise _NoAnswerError(
            f"cannot decode the scaler's response, which may be of another version: {error};"
            " use -o json, or the gpu-scaler command of the scaler's version"
        ) from error


def _print_data(document: dict[str, Any], form: str) -> None:
    if form == "yaml":
        sys.stdout.write(yaml.safe_dump(document, sort_keys=False, allow_unicode=True))
        return
    sys.stdout.write(orjson.dumps(document, option=orjson.OPT_INDENT_2).decode() + "\n")


def _failed(error: _NoAnswerError) -> bool:
    _print_error(str(error))
    return False


def _print_error(message: str) -> None:
    sys.stderr.write(f"gpu-scaler: {message}\n")
