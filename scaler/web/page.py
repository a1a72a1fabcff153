# SPDX-License-Identifier: Apache-2.0
"""The status page over HTTP: its files and the data that it polls.

The page polls once per loop with the ETag of its data. The server keeps no state per viewer, and a
response is one page of rows, whatever the size of the cluster.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, TypedDict

from aiohttp import web

from scaler.model import ObjectRef, workload_ref
from scaler.web.answers import file_answer, json_answer, load_files
from scaler.web.detail import detail
from scaler.web.gpu_details import parse_detail_nodes
from scaler.web.gpu_map import MAP_SORTS, MAX_NODES, gpu_map
from scaler.web.idle_gpus import IDLE_SORTS, GpuKnowledge, IdleSurvey, PodWorkload
from scaler.web.idle_surveys import IdleSurveys
from scaler.web.load_view import load_document, parse_seconds
from scaler.web.queries import QueryError, parse_page, whole_number
from scaler.web.replay_runner import BUDGET_SECONDS, ReplayBusyError, ReplayRunner
from scaler.web.views import MAX_PODS_OFFSET, MAX_ROWS, all_states, overview, parse_overview_query
from scaler.web.what_if import Trial, parse_what_if, trial, what_if

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable, Mapping

    from scaler.controller.loop import Controller
    from scaler.model import DeploymentState
    from scaler.reporting.status_store import DecisionRecord, StatusStore
    from scaler.web.gpu_detail_reader import MapReaders
    from scaler.web.wording import State

POD_INDEX_SECONDS = 5.0


@dataclass(frozen=True, slots=True, kw_only=True)
class About:
    """What the page shows about the scaler itself."""

    version: str
    source: str
    interval_seconds: float
    grafana_url: str = ""


class ReplicaDict(TypedDict):
    """The replica that responds, the leader, and why it does not scale."""

    identity: str
    leader: str | None
    leading: bool
    holding: str | None
    stopped: str | None


class ScalerDict(ReplicaDict):
    """The state of the scaler, on which all other data depends."""

    unready: str | None
    version: str
    source: str
    interval_seconds: float
    grafana_url: str
    decided: float | None
    reads_succeeded: int
    reads_failed: int
    max_age_seconds: float | None


class _NoDecisionError(LookupError):
    """This replica has no decision for a Deployment."""

    def __init__(self, ref: ObjectRef) -> None:
        super().__init__(
            f"no decision for {ref.title}: it does not exist, or does not have the annotation"
            " gpu-scaler/enabled"
        )


@dataclass(slots=True)
class _PodIndex:
    """The opted-in Deployment of each pod; rebuilt when it is needed and old."""

    made_seconds: float = float("-inf")
    deployments: dict[ObjectRef, ObjectRef] = field(default_factory=dict)


class StatusPage:
    """The handlers of the page; all are read-only."""

    def __init__(
        self,
        *,
        controller: Controller,
        about: About,
        identity: str,
        leader: Callable[[], str | None],
        not_ready_because: Callable[[], str | None],
        deployments: Callable[[], Iterable[DeploymentState]],
        readers: MapReaders,
        seen: GpuKnowledge,
    ) -> None:
        self._controller = controller
        self._about = about
        self._identity = identity
        self._leader = leader
        self._not_ready_because = not_ready_because
        self._deployments = deployments
        self._gpus = readers.gpus
        self._gpu_details = readers.details
        self._files = load_files()
        self._states: tuple[Mapping[ObjectRef, DecisionRecord], Mapping[ObjectRef, State]] | None
        self._states = None
        self._pods = _PodIndex()
        self._seen = seen
        # Fixed, so that the same moment always has the same Unix time.
        self._begun_unix_seconds = time.time() - time.monotonic()
        self._replays = ReplayRunner()
        self._idle = IdleSurveys(
            lambda: self._gpus.nodes,
            partial(IdleSurvey, since_of=self._idle_since, workload_of=self._idle_workload),
        )

    def add_routes(self, app: web.Application) -> None:
        """Add the page and its data to `app`."""
        app.router.add_get("/", self._index)
        app.router.add_get("/static/{name}", self._static)
        deployment = "/deployments/{namespace}/{name}"
        for path, handler in (
            ("/overview", self._overview),
            (deployment, self._detail),
            (f"{deployment}/load", self._load),
            (f"{deployment}/what-if", self._what_if),
            ("/gpus", self._gpu_map),
            ("/idle-gpus", self._idle_gpus),
        ):
            app.router.add_get(f"/api/v1{path}", partial(self._data, handler))

    async def _data(
        self, handler: Callable[[web.Request], Awaitable[web.Response]], request: web.Request
    ) -> web.Response:
        """Answer a request for data; what it asks for may be invalid or not there."""
        try:
            return await handler(request)
        except QueryError as error:
            return self._shown(request, {"error": str(error)}, status=400)
        except _NoDecisionError as error:
            return self._shown(request, {"error": str(error)}, status=404)

    async def _index(self, request: web.Request) -> web.Response:
        return file_answer(request, self._files["index.html"])

    async def _static(self, request: web.Request) -> web.Response:
        file = self._files.get(request.match_info["name"])
        if file is None:
            return web.Response(status=404, text="no such file\n")
        return file_answer(request, file)

    async def _overview(self, request: web.Request) -> web.Response:
        query = parse_overview_query(request.query)
        store = self._status_store
        return self._shown(request, overview(store, self._all_states(store), query))

    async def _detail(self, request: web.Request) -> web.Response:
        ref = self._record(request).decision.ref
        offset = whole_number(request.query, "pods", 0, most=MAX_PODS_OFFSET)
        nodes = self._nodes_of(ref)
        return self._shown(request, detail(self._status_store, ref, nodes=nodes, pod_offset=offset))

    async def _load(self, request: web.Request) -> web.Response:
        record = self._record(request)
        loads = self._status_store.loads[record.decision.ref]
        return json_answer(request, load_document(record, loads, parse_seconds(request.query)))

    async def _what_if(self, request: web.Request) -> web.Response:
        if request.headers.get("Sec-Fetch-Site", "same-origin") not in ("same-origin", "none"):
            # Another site could have its visitors keep the scaler busy.
            return json_answer(request, {"problems": ["asked by another site"]}, status=403)
        record = self._record(request)
        ref = record.decision.ref
        deployment = self._deployment(ref)
        if deployment is None:
            raise _NoDecisionError(ref)
        loads = self._status_store.loads[ref]
        try:
            query = parse_what_if(request.query)
            given = trial(query, deployment, record, loads.load(query.seconds))
        except QueryError as error:
            return json_answer(request, {"problems": [str(error)]}, status=400)
        if not isinstance(given, Trial):
            return json_answer(request, {"problems": given}, status=400)
        try:
            found = await self._replays.run(partial(what_if, given, self._about.interval_seconds))
        except ReplayBusyError:
            problem = "the scaler computes for another viewer; try again"
        except TimeoutError:
            problem = f"the replay takes more than {BUDGET_SECONDS:g} s; try a shorter range"
        else:
            return json_answer(request, found)
        return json_answer(request, {"problems": [problem]}, status=503)

    async def _gpu_map(self, request: web.Request) -> web.Response:
        query = parse_page(request.query, MAP_SORTS, most_rows=MAX_NODES)
        named = parse_detail_nodes(request.query.getall("detail", []))
        self._gpus.ask()
        nodes = self._gpus.nodes
        detailed = [name for name in named if name in nodes]
        self._gpu_details.ask(detailed)
        document = gpu_map(
            nodes,
            query,
            deployment_of=self._deployment_of,
            problem=self._gpus.problem,
            details=self._gpu_details.details,
            detailed=detailed,
        )
        return self._shown(request, document)

    async def _idle_gpus(self, request: web.Request) -> web.Response:
        query = parse_page(request.query, IDLE_SORTS, most_rows=MAX_ROWS)
        self._gpus.ask()
        survey = await self._idle.newest()
        return self._shown(request, survey.page(query, problem=self._gpus.problem))

    def _idle_since(self, node: str, uuid: str) -> float | None:
        since = self._seen.since_seconds(node, uuid)
        return None if since is None else round(self._begun_unix_seconds + since)

    def _idle_workload(self, pod: ObjectRef) -> PodWorkload | None:
        deployment = self._deployment_of(pod)
        if deployment is not None:
            return PodWorkload(deployment, is_opted_in=True)
        other = self._seen.workload_of(pod)
        return None if other is None else PodWorkload(other, is_opted_in=False)

    @property
    def _status_store(self) -> StatusStore:
        return self._controller.status_store

    def _record(self, request: web.Request) -> DecisionRecord:
        """Return the decision for the Deployment in a path, or raise _NoDecisionError."""
        ref = workload_of(request)
        record = self._status_store.records.get(ref)
        if record is None:
            raise _NoDecisionError(ref)
        return record

    def _shown(
        self, request: web.Request, document: Mapping[str, object], *, status: int = 200
    ) -> web.Response:
        return json_answer(request, {"scaler": self._scaler(), **document}, status=status)

    def replica(self) -> ReplicaDict:
        """Return the state of this replica."""
        leader = self._leader()
        return {
            "identity": self._identity,
            "leader": leader,
            "leading": leader == self._identity,
            "holding": self._controller.holding,
            "stopped": self._controller.stopped,
        }

    def _scaler(self) -> ScalerDict:
        report = self._status_store.report
        return {
            **self.replica(),
            "unready": self._not_ready_because(),
            "version": self._about.version,
            "source": self._about.source,
            "interval_seconds": self._about.interval_seconds,
            "grafana_url": self._about.grafana_url,
            "decided": None if report is None else report.ended_unix_seconds,
            "reads_succeeded": 0 if report is None else report.succeeded,
            "reads_failed": 0 if report is None else report.failed,
            "max_age_seconds": None if report is None else report.max_age_seconds,
        }

    def _all_states(self, store: StatusStore) -> Mapping[ObjectRef, State]:
        """Return the states, computed once per loop."""
        if self._states is None or self._states[0] is not store.records:
            self._states = (store.records, all_states(store.records))
        return self._states[1]

    def _nodes_of(self, ref: ObjectRef) -> Mapping[ObjectRef, str]:
        deployment = self._deployment(ref)
        pods = () if deployment is None else deployment.pods
        return {pod.ref: pod.node_name for pod in pods if pod.node_name}

    def _deployment(self, ref: ObjectRef) -> DeploymentState | None:
        return next((one for one in self._deployments() if one.ref == ref), None)

    def _deployment_of(self, pod: ObjectRef) -> ObjectRef | None:
        """Return the pod's Deployment if this replica has a decision for it."""
        now = time.monotonic()
        if now - self._pods.made_seconds > POD_INDEX_SECONDS:
            self._pods = _PodIndex(
                now, {pod.ref: one.ref for one in self._deployments() for pod in one.pods}
            )
        ref = self._pods.deployments.get(pod)
        return ref if ref in self._status_store.records else None


def workload_of(request: web.Request) -> ObjectRef:
    """Return the workload that a path names."""
    return workload_ref(request.match_info["namespace"], request.match_info["name"])
