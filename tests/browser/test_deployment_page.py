"""One Deployment's page in a real browser."""

from __future__ import annotations

import pytest

from scaler.model import AnnotationProblem, PodPhase, PodState
from scaler.model import DeploymentState as Deployment
from tests.browser.scenes import opened, usual
from tests.statuspage import Scene, decision, ref, refused

pytestmark = [pytest.mark.needs("chromium"), pytest.mark.asyncio(loop_scope="module")]


async def test_one_deployment_is_explained(browser):
    scene = usual()
    pods = tuple(
        PodState(
            ref=ref(f"images-5d8f6c7b9d-{n:05d}"),
            uid=f"{n}",
            phase=PodPhase.RUNNING,
            deleting=False,
            ready_since_seconds=0.0,
            node_name=f"gpu-node-{n}",
        )
        for n in range(3)
    )
    scene.deployments = (
        Deployment(
            ref=ref("images"),
            uid="u",
            annotations={},
            spec_replicas=3,
            pods=pods,
        ),
    )
    async with opened(browser, scene, "#/deployment/default/images", shot="detail") as page:
        assert await page.evaluate("document.title") == "default/images · gpu-scaler"
        assert "Scaling up" in await page.text(".standing")
        assert await page.text(".lead") == (
            "SuccessfulRescale: New size: 4; reason: duty_cycle above target"
        )
        facts = await page.text(".facts")
        assert "3 now, 4 desired, 4 proposed by the metrics" in " ".join(facts.split())
        rows = [" ".join(text.split()) for text in await page.texts(".pods tbody tr")]
        assert rows[0].startswith("images-5d8f6c7b9d-zzzzz none")
        assert rows[0].endswith("no: is not Ready")
        assert "images-5d8f6c7b9d-00001 gpu-node-1 63 % (158 %) 1" in rows[2]
        link = "document.querySelector('.pods tbody a').getAttribute('href')"
        assert await page.evaluate(link) == "#/gpus?search=gpu-node-0"
        steps = await page.texts(".steps li")
        assert steps[-1] == "Scaling up: 3 → 4"
        last = [" ".join(text.split()) for text in await page.texts(".past tbody tr")]
        assert "Scaling up 63 % of 40 % 3 → 4 SuccessfulRescale" in last[0]
        assert "Waiting for pods" in last[1]
        figures = [" ".join(text.split()) for text in await page.texts(".figures > div")]
        assert figures == ["Replicas 3 → 4 range 1 to 10", "Duty cycle 63 % of 40 %"]
        label = "document.querySelector('.chart').getAttribute('aria-label')"
        assert await page.evaluate(label) == "Between 3 and 4 replicas over the last 10 min, 4 now"
        assert "New size: 4" in await page.text(".events")


async def test_wrong_annotations_stand_by_themselves(browser):
    scene = Scene()
    problem = AnnotationProblem(
        annotation="gpu-scaler/max-replicas", value="x", message='"x" is not a whole number'
    )
    wrong = refused("web")
    scene.decide(
        decision(
            "web",
            outcome=wrong.outcome,
            reason=wrong.reason,
            problems=(problem,),
            policy=None,
            proposals=(),
        )
    )
    async with opened(browser, scene, "#/deployment/default/web", shot="wrong") as page:
        assert 'gpu-scaler/max-replicas: "x" is not a whole number' in await page.text(".facts")
        assert "This decision used no values" in await page.text("main")
