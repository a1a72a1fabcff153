# SPDX-License-Identifier: Apache-2.0
"""One Deployment's page in a real browser."""

from __future__ import annotations

import time

import pytest

from scaler.model import AnnotationProblem, PodPhase, PodState
from scaler.model import DeploymentState as Deployment
from tests.browser.axe import violations
from tests.browser.scenes import keep, opened, usual
from tests.statuspage import Scene, decision, policy, ref, refused

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
        assert "New size: 4" in await page.text(".events")
        settings = [plain(text) for text in await page.texts(".settings tbody tr")]
        assert "gpu-scaler/target-duty-cycle 40 this Deployment" in settings


def plain(text: str) -> str:
    """Return text with usual spaces only."""
    return " ".join(text.split())


async def test_values_and_replicas_are_read_at_any_time(browser):
    scene = usual()
    at = "#/deployment/default/chat?range=all"
    async with opened(browser, scene, at) as page:
        await page.see("document.querySelectorAll('.drawing .chart').length === 2")
        labels = await page.evaluate(
            "[...document.querySelectorAll('.chart')].map((one) => one.getAttribute('aria-label'))"
        )
        assert [plain(label) for label in labels] == [
            "Duty cycle per pod between 38 % and 41 %, target 40 %",
            "Between 2 and 8 replicas, 8 now",
        ]
        assert plain(await page.text(".readout")).endswith("of 40 %, 8 replicas wanted")
        await page.evaluate("document.querySelector('.moment').focus()")
        await page.press("Home")
        assert plain(await page.text(".readout")).endswith(
            "Duty cycle 38 % of 40 %, 2 replicas wanted"
        )
        spoken = "document.querySelector('.moment').getAttribute('aria-valuetext')"
        assert plain(await page.evaluate(spoken)) == plain(await page.text(".readout"))
        await page.evaluate(
            "const box = document.querySelector('.drawing').getBoundingClientRect();"
            "document.querySelector('.drawing').dispatchEvent("
            "new PointerEvent('pointermove', {clientX: box.right - 14, clientY: box.top + 50}))"
        )
        assert plain(await page.text(".readout")).endswith("of 40 %, 8 replicas wanted")
        await page.evaluate("document.querySelector('.values-table summary').click()")
        await page.see("document.querySelectorAll('.times tbody tr').length > 18")
        rows = [" ".join(text.split()) for text in await page.texts(".times tbody tr")]
        assert rows[-1].endswith("38 % of 40 % 2 unknown")
        await page.evaluate("document.querySelector('[data-range=\"6h\"]').click()")
        await page.see("location.hash.endsWith('range=6h')")
        await keep(page, "load")


async def test_saturation_is_marked_and_what_is_unknown_is_a_gap(browser):
    scene = Scene()
    now = time.time()
    for minute in range(30):
        duty = None if 10 <= minute < 15 else 99.5 if minute > 20 else 50
        scene.decide(decision("web", duty_percent=duty), at=now - 60 * (30 - minute))
    async with opened(browser, scene, "#/deployment/default/web") as page:
        await page.see("document.querySelectorAll('.drawing .chart').length === 2")
        assert await page.evaluate("document.querySelectorAll('.chart .band').length") > 0
        assert "a pod was saturated" in await page.text(".drawing")
        drawn = "document.querySelector('.chart .line:not(.target)').getAttribute('d')"
        assert (await page.evaluate(drawn)).count("M") > 1


def with_annotations(scene: Scene, name: str, **annotations: str) -> None:
    given = {"enabled": "true", "max_replicas": "10", "target_duty_cycle": "40"} | annotations
    scene.deployments = (
        Deployment(
            ref=ref(name),
            uid="u",
            annotations={
                f"gpu-scaler/{key.replace('_', '-')}": text for key, text in given.items()
            },
            spec_replicas=8,
            pods=(),
        ),
    )


async def fill(page, selector: str, text: str) -> None:
    """Replace the text of a field as a person does."""
    await page.evaluate(
        f"{{const field = document.querySelector({selector!r}); field.focus(); field.select()}}"
    )
    await page.type(text)


@pytest.mark.parametrize(
    "looks", [{}, {"dark": True, "width": 360, "phone": True}], ids=["light", "dark phone"]
)
async def test_another_target_is_tried_without_changing_anything(browser, looks):
    scene = usual()
    with_annotations(scene, "chat")
    async with opened(browser, scene, "#/deployment/default/chat?range=all", **looks) as page:
        await page.see("document.querySelector('#what-target')?.value === '40'")
        assert "gpu-scaler/target-duty-cycle" in await page.text(".what-if")
        await fill(page, "#what-target", "20")
        await page.press("Enter")
        await page.see("document.querySelectorAll('.results tbody tr').length === 3")
        rows = [plain(text) for text in await page.texts(".results tbody tr")]
        assert rows[0].startswith("as it was")
        assert "20 %" in rows[2]
        assert "Assumes that a new pod serves after" in await page.text(".assumed")
        await page.see("document.querySelectorAll('.chart .line.other').length === 1")
        assert "what if" in await page.text(".readout")
        await page.see("document.querySelector('#told').innerText.startsWith('What if: ')")
        assert await page.low_contrast() == []
        wide = "document.documentElement.scrollWidth <= document.documentElement.clientWidth"
        assert await page.evaluate(wide)
        assert await violations(page) == []
        await keep(page, f"what-if{'-dark' if looks else ''}")
        await page.evaluate("document.querySelector('.what-if button[type=button]').click()")
        await page.see("document.querySelectorAll('.chart .line.other').length === 0")
        assert scene.status_store.records[ref("chat")].decision.policy == policy()


async def test_a_wrong_target_is_refused_in_the_words_of_check(browser):
    scene = usual()
    with_annotations(scene, "chat", behavior="scaleUp: {tolerance: 0.2}")
    at = "#/deployment/default/chat"
    async with opened(browser, scene, at) as page:
        await page.see("document.querySelector('#what-target')?.value === '40'")
        await fill(page, "#what-target", "-1")
        await fill(page, "#what-behavior", "scaleDown: [1")
        await page.evaluate("document.querySelector('.what-if button[type=submit]').click()")
        await page.see("document.querySelectorAll('.problems li').length === 2")
        texts = " ".join(await page.texts(".problems li"))
        assert "gpu-scaler/behavior: " in texts
        assert "gpu-scaler/target-duty-cycle: " in texts
        assert await page.low_contrast() == []
        assert await violations(page) == []
        page.complaints = [one for one in page.complaints if "status of 400" not in one]


async def test_a_reason_comes_with_the_next_step(browser):
    scene = usual()
    async with opened(browser, scene, "#/deployment/default/speech") as page:
        assert "Add GPU nodes" in await page.text(".next")
        await page.evaluate("location.hash = '#/deployment/default/chat'")
        await page.see("document.querySelector('.next')?.hidden")


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
