# SPDX-License-Identifier: Apache-2.0
"""What there is to see on the status page, and how a test looks at it."""

from __future__ import annotations

import os
import time
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from scaler.decision.model import AppliedLimit, Outcome, Reason
from tests.statuspage import Scene, decision, gpu, policy, recorded_event, ref, refused, status_page

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from tests.browser.chromium import Browser, Page

SCREENSHOTS = os.environ.get("SCREENSHOTS")
"""A folder for what the tests see, for people to look at."""


@asynccontextmanager
async def opened(
    browser: Browser, scene: Scene, address: str = "#/", shot: str = "", **looks: object
) -> AsyncIterator[Page]:
    """Show the scene; when all is seen, the page must have been quiet and kept to its host."""
    async with status_page(scene) as url, browser.page(**looks) as page:  # type: ignore[arg-type]
        await page.open(f"{url}/{address}")
        await keep(page, shot)
        yield page
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
        reason=Reason.TOO_MANY_REPLICAS,
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
                message=(
                    "dry run, nothing was changed; New size: 2; reason: duty_cycle above target"
                ),
                duty_percent=70,
                scaling=policy(dry_run="true", target_memory_used_bytes="20Gi"),
            ),
            refused("vision", 'gpu-scaler/target-duty-cycle: "95" is not below 90.91'),
            at=at,
        )
        if step % 5 == 0 and step:
            scene.status_store.add_event(
                recorded_event("chat", f"New size: {growing}; reason: duty_cycle above target", at)
            )
    scene.status_store.add_event(
        recorded_event("vision", "gpu-scaler/target-duty-cycle", now - 300, warning=True)
    )
    scene.status_store.add_event(
        recorded_event("images", "New size: 4; reason: duty_cycle above target", now)
    )
    return scene


async def cells(page: Page, name: str) -> dict[str, str]:
    """Return the cells of a Deployment's row by their columns."""
    found = await page.evaluate(
        "Object.fromEntries([...[...document.querySelectorAll('.deployments tbody tr')]"
        f".find((row) => row.querySelector('a').innerText === {name!r}).children]"
        ".map((cell) => [cell.dataset.label, cell.innerText]))"
    )
    return {label: " ".join(text.split()) for label, text in found.items()}


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
