"""The status page in a real browser: what people see, hear and reach by keyboard."""

from __future__ import annotations

import os
import time
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import pytest_asyncio

from scaler.model import AnnotationProblem, AppliedLimit, Outcome, PodPhase, PodState
from scaler.model import DeploymentState as Deployment
from tests.browser.chromium import running_browser
from tests.statuspage import Scene, decision, gpu, policy, ref, refused, status_page, told
from tests.waiting import until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from tests.browser.chromium import Browser, Page

pytestmark = [pytest.mark.needs("chromium"), pytest.mark.asyncio(loop_scope="module")]

SCREENSHOTS = os.environ.get("SCREENSHOTS")
"""A folder for what the tests see, for people to look at."""
PHONE_WIDTH = 360
HOSTILE = "<img src=x onerror=\"document.title='owned'\"></script><b>\"'&amp;\u202e"


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def browser():
    async with running_browser() as running:
        yield running


@asynccontextmanager
async def opened(
    browser: Browser, scene: Scene, address: str = "#/", shot: str = "", **looks: object
) -> AsyncIterator[Page]:
    """Show the scene; when all is seen, the page must have been quiet and kept to its host."""
    async with status_page(scene) as url, browser.page(**looks) as page:  # type: ignore[arg-type]
        await page.open(f"{url}/{address}")
        yield page
        await keep(page, shot)
        assert page.complaints == []
        assert {request for request in page.requests if not request.startswith(f"{url}/")} == set()


async def keep(page: Page, shot: str) -> None:
    if SCREENSHOTS and shot:
        await page.screenshot(Path(SCREENSHOTS, f"{shot}.png"))


def usual(now: float | None = None) -> Scene:
    """Ten minutes of seven Deployments, one in each state that there is."""
    scene = Scene()
    now = time.time() if now is None else now
    capped = AppliedLimit(
        reason="TooManyReplicas",
        message="the desired replica count is more than the maximum replica count",
        replicas_before=14,
        replicas_after=10,
    )
    for step in range(31):
        at = now - 600 + step * 20
        growing = 2 + step // 5
        scene.decide(
            decision("chat", replicas=growing, duty_percent=38 + step % 4),
            decision(
                "embeddings",
                replicas=10,
                duty_percent=97.5,
                reason="TooManyReplicas",
                message=capped.message,
                limits=(capped,),
            ),
            decision(
                "images",
                replicas=3,
                desired=4 if step == 30 else None,
                outcome=Outcome.SCALED if step == 30 else Outcome.UNCHANGED,
                reason="SuccessfulRescale" if step == 30 else "DesiredWithinRange",
                message="New size: 4; reason: duty_cycle above target",
                duty_percent=63,
                left_out={"images-5d8f6c7b9d-zzzzz": "is not Ready"},
            ),
            decision(
                "reranker",
                replicas=4,
                outcome=Outcome.HELD,
                reason="FailedGetPodsMetric",
                message="held at 4 replicas: duty_cycle: no exporter answered",
                duty_percent=None,
            ),
            decision(
                "speech",
                replicas=5,
                reason="InsufficientGPU",
                message="2 pods wait for a GPU since 40s",
                duty_percent=55,
            ),
            decision(
                "translate",
                replicas=1,
                outcome=Outcome.DRY_RUN,
                reason="DryRun",
                message="dry run, nothing is changed; New size: 2; reason: duty_cycle above target",
                duty_percent=70,
                scaling=policy(dry_run="true", target_memory_used_bytes="20Gi"),
            ),
            refused("vision", 'gpu-scaler/target-duty-cycle: "95" is not below 90.91'),
            at=at,
        )
        if step % 5 == 0 and step:
            scene.board.tell(
                told("chat", f"New size: {growing}; reason: duty_cycle above target", at)
            )
    scene.board.tell(told("vision", "gpu-scaler/target-duty-cycle", now - 300, warning=True))
    scene.board.tell(told("images", "New size: 4; reason: duty_cycle above target", now))
    return scene


async def cells(page: Page, name: str) -> dict[str, str]:
    """Return the cells of a Deployment's row by their columns."""
    found = await page.evaluate(
        "Object.fromEntries([...[...document.querySelectorAll('.deployments tbody tr')]"
        f".find((row) => row.querySelector('a').innerText === {name!r}).children]"
        ".map((cell) => [cell.dataset.label, cell.innerText]))"
    )
    return {label: " ".join(text.split()) for label, text in found.items()}


async def test_each_deployment_is_told_in_words_and_numbers(browser):
    async with opened(browser, usual(), shot="normal") as page:
        assert await page.texts(".deployments tbody a") == [
            *("chat", "embeddings", "images", "reranker", "speech", "translate", "vision")
        ]
        images = await cells(page, "images")
        assert images["State"].endswith("Scaling up")
        assert images["Against target"] == "63 % of 40 %"
        assert images["Replicas"] == "3 → 4 1 to 10"
        assert "New size: 4; reason: duty_cycle above target" in images["Why"]
        assert "Event SuccessfulRescale" in images["Why"]
        states = {name: (await cells(page, name))["State"] for name in ("chat", "vision", "speech")}
        assert [state[2:] for state in states.values()] == [
            *("On target", "Wrong annotation", "Waits for GPUs")
        ]
        assert (await cells(page, "reranker"))["Against target"] == "unknown of 40 %"
        translate = await cells(page, "translate")
        assert translate["Against target"] == (
            "Duty cycle 70 % of 40 % Memory used unknown of 20 GiB"
        )
        label = "document.querySelector('.spark').getAttribute('aria-label')"
        assert await page.evaluate(label) == "Between 2 and 8 replicas over the last 10 min, 8 now"
        assert (await page.texts(".groups button"))[:3] == [
            *("All 7", "Needs attention 2", "At a limit 2")
        ]
        assert "New size: 8" in (await page.text(".events"))
        assert await page.texts(".notice") == []


async def test_a_screen_reader_is_told_the_same(browser):
    async with opened(browser, usual()) as page:
        told = await page.accessible()
        for landmark in ("banner", "navigation", "main", "contentinfo", "search"):
            assert landmark in {role for role, _ in told}, landmark
        headings = [name for role, name in told if role == "heading"]
        assert headings == ["Deployments", "Latest events"]
        columns = [name for role, name in told if role == "columnheader"]
        assert columns[:6] == [
            *("Deployment", "State", "Against target", "Replicas", "Last hour", "Why")
        ]
        assert ("table", "Deployments") in told
        assert ("rowheader", "default/ chat") in told or ("rowheader", "default/chat") in told
        assert ("img", "Between 2 and 8 replicas over the last 10 min, 8 now") in told
        fields = [pair for pair in told if pair[0] in ("searchbox", "combobox")]
        assert fields == [("searchbox", "Find"), ("combobox", "Sort by")]
        assert all(name for role, name in told if role in ("link", "button", "heading"))
        assert await page.evaluate("document.documentElement.lang") == "en"


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
@pytest.mark.parametrize("address", ["#/", "#/deployment/default/images", "#/gpus"])
async def test_text_has_enough_contrast(browser, address, dark):
    scene = usual()
    scene.samples = some_nodes(3)
    scene.failed_nodes = {"gpu-node-9": "the exporter of node gpu-node-9 gave no answer"}
    shot = f"{'dark' if dark else 'light'}-{address.split('/')[1] or 'overview'}"
    async with opened(browser, scene, address, shot=shot, dark=dark) as page:
        if "gpus" in address:
            await page.see("document.querySelectorAll('.gpus li').length === 24")
        assert await page.low_contrast() == []
        back = await page.evaluate("getComputedStyle(document.body).backgroundColor")
        assert (back == "rgb(18, 21, 26)") == dark


@pytest.mark.parametrize("address", ["#/", "#/deployment/default/images", "#/gpus"])
async def test_nothing_is_cut_off_on_a_phone(browser, address):
    scene = usual()
    scene.samples = some_nodes(3)
    shot = f"phone-{address.split('/')[1] or 'overview'}"
    async with opened(
        browser, scene, address, shot=shot, width=PHONE_WIDTH, height=740, phone=True
    ) as page:
        if "gpus" in address:
            await page.see("document.querySelectorAll('.gpus li').length === 24")
        assert await page.evaluate("document.documentElement.scrollWidth") == PHONE_WIDTH
        # What is laid out as cards is still a table to those who hear it.
        roles = {role for role, _ in await page.accessible()}
        assert {"table", "row", "rowheader", "cell"} <= roles


async def test_what_others_wrote_is_text_and_nothing_else(browser):
    scene = Scene()
    scaling = policy(query=f'sum(up{{a="{HOSTILE}"}})', target_query="5")
    scene.decide(
        decision("web", message=HOSTILE, left_out={"web-1": HOSTILE}),
        decision("other", scaling=scaling),
        refused("vision", HOSTILE),
    )
    scene.board.tell(told("web", HOSTILE, time.time(), warning=True))
    async with opened(browser, scene, "#/", shot="hostile") as page:
        assert HOSTILE in await page.texts(".message")
        assert HOSTILE in await page.text(".events")
        await page.evaluate("location.hash = '#/deployment/default/web'")
        await page.see("document.querySelector('.counted') !== null")
        assert f"no: {HOSTILE}" in await page.texts(".counted")
        await page.evaluate(
            f"location.hash = '#/deployment/' + encodeURIComponent({HOSTILE!r}) + '/x'"
        )
        await page.see("document.querySelector('.nothing:not([hidden])') !== null")
        assert HOSTILE.split("\u202e", maxsplit=1)[0] in await page.text("h1")
        assert await page.evaluate("document.querySelectorAll('main img').length") == 0
        assert "owned" not in (await page.evaluate("document.title")).split("·")[1]
        page.complaints = [one for one in page.complaints if "status of 404" not in one]


async def test_the_policy_of_the_page_stops_what_is_foreign(browser):
    async with status_page(usual()) as url, browser.page() as page:
        await page.open(f"{url}/")
        refused_by = await page.evaluate(
            "new Promise((seen) => {"
            " document.addEventListener("
            "'securitypolicyviolation', (event) => seen(event.violatedDirective));"
            " const image = new Image(); image.src = 'https://example.com/x.png'; })"
        )
        assert refused_by == "img-src"
        with pytest.raises(AssertionError, match="TrustedHTML"):
            await page.evaluate("document.body.innerHTML = '<b>x</b>'")


async def test_it_follows_without_reload_and_disturbs_nobody(browser):
    scene = Scene()
    scene.decide(decision("web", duty_percent=20), decision("zoo"))
    async with opened(browser, scene) as page:
        await page.evaluate("window.mark = 1; document.querySelector('.deployments a').focus()")
        await page.evaluate("window.row = document.querySelector('.deployments tbody tr')")
        scene.decide(decision("web", duty_percent=77), refused("vision"), decision("zoo"))
        await page.see("document.querySelector('.numbers b').innerText.startsWith('77')")
        assert await page.evaluate("window.mark") == 1
        assert await page.evaluate("document.activeElement.innerText") == "web"
        assert await page.texts(".deployments tbody a") == ["vision", "web", "zoo"]
        assert await page.evaluate("window.row.isConnected")
        assert await page.text("#told") == "1 Deployment needs attention"
        asked = sum("overview" in request for request in page.requests)
        await until(lambda: sum("overview" in r for r in page.requests) > asked + 1)
        assert await page.text("#told") == "1 Deployment needs attention"


async def test_hundreds_are_shown_by_pages_found_by_name_and_chosen_by_state(browser):
    scene = Scene()
    scene.decide(
        *(
            decision(f"serving-{n:03d}", namespace=f"team-{n % 10}", replicas=n % 9 + 1)
            for n in range(480)
        ),
        *(refused(f"wrong-{n:02d}") for n in range(20)),
    )
    async with opened(browser, scene, shot="500") as page:
        rows = ".deployments tbody tr"
        assert len(await page.texts(rows)) == 50
        assert await page.text(".pager span") == "1 to 50 of 500 Deployments"
        assert await page.texts(".pager button") == ["Previous", "Next"]
        await page.evaluate("document.querySelectorAll('.pager button')[1].focus()")
        await page.press("Enter")
        await page.see("document.querySelector('.pager span').innerText.startsWith('51 to')")
        assert await page.evaluate("document.activeElement.innerText") == "Next"
        await page.evaluate("document.querySelector('#search').focus()")
        await page.type("team-3 serving-40")
        await page.see(f"document.querySelectorAll('{rows}').length === 1")
        assert await page.texts(f"{rows} a") == ["serving-403"]
        assert await page.evaluate("location.hash") == "#/?search=team-3+serving-40"
        assert (await page.texts(".groups button"))[0] == "All 1"
        await page.evaluate("location.hash = '#/?group=attention'")
        await page.see(f"document.querySelectorAll('{rows}').length === 20")
        pressed = "document.querySelector('.groups [aria-pressed=true]').innerText"
        assert await page.evaluate(pressed) == "Needs attention 20"
        await page.evaluate("location.hash = '#/?sort=replicas'")
        await page.see(f"document.querySelectorAll('{rows}').length === 50")
        await page.see("document.querySelector('.deployments .count').innerText === '9'")
        await page.evaluate("location.hash = '#/?search=nobody'")
        await page.see("document.querySelector('.nothing').innerText.includes('No Deployment is')")


async def test_two_thousand_cost_no_more_than_their_page(browser):
    scene = Scene()
    now = time.time()
    for at in range(5):
        scene.decide(*(decision(f"s-{n:04d}", replicas=at + 1) for n in range(2000)), at=now + at)
    async with opened(browser, scene) as page:
        assert await page.text(".pager span") == "1 to 50 of 2,000 Deployments"
        assert await page.evaluate("document.querySelectorAll('*').length") < 3000
        # Nothing was decided since: what is polled now is that nothing changed.
        asked, before = len(page.requests), page.received_bytes
        await until(lambda: len(page.requests) >= asked + 2)
        assert page.received_bytes - before < 3000
        decided = page.received_bytes
        scene.decide(*(decision(f"s-{n:04d}", replicas=7) for n in range(2000)))
        await page.see("document.querySelector('.deployments .count').innerText === '7'")
        assert page.received_bytes - decided < 30_000


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
            resource_version="1",
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
        assert "On target" in last[1]
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
        assert "No values were used" in await page.text("main")


def some_nodes(count: int):
    """Return nodes whose GPUs are busy by their numbers; the last two of each are free."""
    return {
        f"gpu-node-{node:04d}": [
            gpu(
                f"gpu-node-{node:04d}",
                n,
                (node * 8 + n * 13) % 101 if n < 6 else 0,
                ref(f"web-5d8f6c7b9d-{node % 7}x{n}zz") if n < 6 else None,
            )
            for n in range(8)
        ]
        for node in range(count)
    }


async def test_the_map_shows_each_gpu_with_its_pod(browser):
    scene = usual()
    scene.samples = some_nodes(2)
    scene.failed_nodes = {"gpu-node-9": "the exporter of node gpu-node-9 gave no answer"}
    async with opened(browser, scene, "#/gpus", shot="map") as page:
        await page.see("document.querySelectorAll('.gpus li').length === 16")
        cells = [" ".join(text.split()) for text in await page.texts(".gpus li")]
        assert cells[1].startswith("13 %")
        assert cells[7] == "0 % free"
        assert await page.text(".map tbody tr:nth-child(3) .trouble") == (
            "the exporter of node gpu-node-9 gave no answer"
        )
        counts = {
            t.rsplit(" ", 1)[0]: int(t.rsplit(" ", 1)[1]) for t in await page.texts(".shades li")
        }
        assert sum(counts.values()) == 16
        assert counts["Free"] == 4
        assert "1 of them could not be read" in await page.text("main .quiet")
        listed = [name for role, name in await page.accessible() if role == "StaticText"]
        assert "web-5d8f6c7b" not in "".join(listed) or "default/" in listed
        await page.evaluate("document.querySelector('.bar > button').click()")
        assert "GPU-gpu-node-0000-0" in (await page.texts(".gpus li"))[0]


async def test_five_thousand_nodes_are_read_bit_by_bit_and_shown_by_pages(browser):
    scene = Scene()
    scene.decide()
    scene.samples = some_nodes(5000)
    async with opened(browser, scene, "#/gpus", shot="5000-nodes") as page:
        await page.see("document.querySelectorAll('.map tbody tr').length === 50")
        assert await page.text(".pager span") == "1 to 50 of 5,000 nodes"
        assert "of 5,000 read so far" in await page.text("main .quiet")
        assert max(len(wanted) for wanted in scene.asked) == 100
        assert await page.evaluate("document.querySelectorAll('*').length") < 5000
        before = page.received_bytes
        asked = sum("/gpus" in request for request in page.requests)
        await until(lambda: sum("/gpus" in r for r in page.requests) >= asked + 2)
        assert page.received_bytes - before < 60_000
        await page.evaluate("location.hash = '#/gpus?search=gpu-node-0042'")
        await page.see("document.querySelectorAll('.map tbody tr').length === 1")


async def test_the_map_from_prometheus_says_what_is_missing(browser):
    scene = Scene(source="prometheus")
    scene.samples = some_nodes(2)
    async with opened(browser, scene, "#/gpus") as page:
        await page.see("document.querySelectorAll('.gpus li').length === 16")
        scene.failed_families = {"nvidia_gpu_duty_cycle": "Prometheus gave no answer within 5 s"}
        await page.see("document.querySelector('.trouble').innerText.includes('within 5 s')")
        # What was read last stays, with its age.
        assert len(await page.texts(".gpus li")) == 16


async def test_with_nothing_to_show_it_says_what_to_do(browser):
    scene = Scene()
    scene.decide()
    async with opened(browser, scene, shot="empty") as page:
        assert "No Deployment has opted in" in await page.text(".nothing")
        assert 'gpu-scaler/enabled: "true"' in await page.text(".nothing pre")
        await page.evaluate("location.hash = '#/gpus'")
        await page.see("document.querySelector('main').innerText.includes('No exporter runs')")


async def test_a_replica_that_does_not_lead_says_who_does_and_links_nothing(browser):
    scene = Scene(leader="gpu-scaler-7d9c-b")
    scene.samples = some_nodes(1)
    async with opened(browser, scene, shot="follower") as page:
        (notice,) = await page.texts(".notice")
        assert "gpu-scaler-7d9c-a, does not lead" in notice
        assert "gpu-scaler-7d9c-b leads" in notice
        assert "No Deployment has opted in" not in await page.text("main")
        links = "[...document.querySelectorAll('main a')].map((one) => one.href)"
        assert await page.evaluate(links) == []
        await page.evaluate("location.hash = '#/gpus'")
        await page.see("document.querySelectorAll('.gpus li').length === 8")
        assert await page.evaluate(links) == []
        scene.leader = None
        await page.see("document.querySelector('.notice').innerText.includes('knows of no leader')")
        scene.leader = "gpu-scaler-7d9c-a"
        scene.decide(decision("web"))
        await page.evaluate("location.hash = '#/'")
        await page.see("document.querySelectorAll('.deployments tbody tr').length === 1")
        await page.see("document.querySelector('.notice') === null")


@pytest.mark.parametrize(
    ("change", "said", "stale"),
    [
        pytest.param(
            {"holding": "the watches are out of contact with the Kubernetes API"},
            "Nothing is scaled: the watches are out of contact with the Kubernetes API.",
            True,
            id="API down",
        ),
        pytest.param(
            {"stopped": "Lease gpu-scaler carries gpu-scaler/paused='true'"},
            "All scaling is stopped: Lease gpu-scaler carries gpu-scaler/paused='true'.",
            False,
            id="stopped by a person",
        ),
        pytest.param(
            {"unready": "the metrics API has no certificate"},
            "The scaler is not ready: the metrics API has no certificate.",
            False,
            id="not ready",
        ),
    ],
)
async def test_what_is_in_the_way_is_said_first(browser, change, said, stale):
    scene = usual()
    async with opened(browser, scene) as page:
        for name, value in change.items():
            setattr(scene, name, value)
        await page.see("document.querySelector('.notice') !== null")
        (notice,) = await page.texts(".notice")
        assert notice.startswith(said)
        assert await page.evaluate("document.body.classList.contains('stale')") == stale
        assert await page.low_contrast() == []
        # It is in a live region that was there before.
        assert (
            await page.evaluate("document.querySelector('.notice').parentElement.role") == "status"
        )
        await keep(page, f"notice-{next(iter(change))}")


@pytest.mark.parametrize(
    ("failed", "said"),
    [
        pytest.param(5, "No exporter gave usable values", id="all"),
        pytest.param(2, "2 of 5 exporters gave no usable values", id="some"),
    ],
)
async def test_a_source_that_fails_is_said(browser, failed, said):
    scene = Scene()
    held = decision(
        outcome=Outcome.HELD,
        reason="FailedGetPodsMetric",
        message="held at 2 replicas: duty_cycle: no exporter answered",
        duty_percent=None,
    )
    scene.decide(held, failed=failed)
    async with opened(browser, scene, shot=f"source-{failed}") as page:
        (notice,) = await page.texts(".notice")
        assert notice.startswith(said)
        assert (await cells(page, "web"))["State"].endswith("Held")


async def test_decisions_that_are_old_are_not_shown_as_new(browser):
    scene = Scene()
    scene.decide(decision(), at=time.time() - 300)
    async with opened(browser, scene, shot="stale") as page:
        (notice,) = await page.texts(".notice")
        assert notice.startswith("Nothing was decided for 5m")
        assert await page.text("#pulse") == "Decided 5m ago"


async def test_a_scaler_that_went_away_is_noticed_and_so_is_its_return(browser):
    scene = usual()
    async with browser.page() as page:
        async with status_page(scene) as url:
            await page.open(f"{url}/")
        await page.see("document.querySelector('.notice') !== null")
        assert "No contact with the scaler since" in await page.text(".notice")
        assert await page.evaluate("document.body.classList.contains('stale')")
        assert len(await page.texts(".deployments tbody tr")) == 7
        assert await page.low_contrast() == []
        await keep(page, "away")
        async with status_page(scene, port=int(url.rpartition(":")[2])):
            scene.decide(decision("back"))
            await page.see("document.querySelector('.notice') === null", deadline_seconds=30)
            await page.see("document.querySelector('.deployments a').innerText === 'back'")


async def test_all_is_reached_by_keyboard(browser):
    scene = usual()
    async with opened(browser, scene, shot="keyboard") as page:
        focused = "document.activeElement.innerText || document.activeElement.id"
        reached = []
        for _ in range(13):
            await page.press("Tab")
            reached.append(await page.evaluate(focused))
        assert reached[:3] == ["Skip to content", "Deployments", "GPU map"]
        assert [text.split("\n")[0] for text in reached[3:9]] == [
            *(
                "All 7",
                "Needs attention 2",
                "At a limit 2",
                "Changing 1",
                "Steady 1",
                "Not acting 1",
            )
        ]
        assert reached[9:] == ["search", "sort", "chat", "embeddings"] or reached[9] == "search"
        outline = "getComputedStyle(document.activeElement).outlineStyle"
        assert await page.evaluate(outline) == "solid"
        await page.evaluate("document.querySelector('.deployments a').focus()")
        await page.press("Enter")
        await page.see("document.querySelector('.standing') !== null")
        # Who follows a link begins at the heading of what it leads to.
        assert await page.evaluate("document.activeElement.tagName") == "H1"
        await page.evaluate("document.querySelector('#skip').focus()")
        await page.press("Enter")
        assert await page.evaluate("document.activeElement.id") == "main"
        assert "deployment/default/chat" in await page.evaluate("location.hash")


async def test_a_wrong_address_is_said(browser):
    async with opened(browser, usual(), "#/") as page:
        await page.evaluate("location.hash = '#/?group=nonsense'")
        await page.see("document.querySelector('.notice') !== null")
        assert "group: 'nonsense' is not one of attention" in await page.text(".notice")
        await page.evaluate("location.hash = '#/deployment/default/nobody'")
        await page.see("document.querySelector('.nothing:not([hidden])') !== null")
        assert "Deployment default/nobody is not known here" in await page.text(".nothing")
        await page.evaluate("location.hash = '#/'")
        await page.see("document.querySelector('.notice') === null")
        page.complaints = [one for one in page.complaints if "status of 40" not in one]
