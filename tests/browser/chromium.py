# SPDX-License-Identifier: Apache-2.0
"""A headless Chromium driven over its DevTools protocol, and what it saw of a page.

https://chromedevtools.github.io/devtools-protocol/ names the methods and events.
"""

from __future__ import annotations

import asyncio
import base64
import itertools
import tempfile
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import aiohttp

from tests.waiting import until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    JsonObject = dict[str, Any]

START_SECONDS = 60.0
CALL_SECONDS = 60.0
CONTRAST = Path(__file__).with_name("contrast.js").read_text(encoding="utf-8")
FLAGS = (
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-default-apps",
    "--disable-extensions",
    "--disable-sync",
    "--no-first-run",
    "--no-default-browser-check",
    "--hide-scrollbars",
    "--remote-debugging-port=0",
    # Whatever the page asks of another host must fail, and is seen as a request.
    "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",
)


class Connection:
    """Commands to the browser, and its events by session."""

    def __init__(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        self._socket = socket
        self._numbers = itertools.count(1)
        self._answers: dict[int, asyncio.Future[JsonObject]] = {}
        self.pages: dict[str, Page] = {}

    async def call(self, method: str, session: str | None = None, **params: object) -> JsonObject:
        """Return the result of a command."""
        number = next(self._numbers)
        answer = self._answers[number] = asyncio.get_running_loop().create_future()
        message: JsonObject = {"id": number, "method": method, "params": params}
        if session is not None:
            message["sessionId"] = session
        await self._socket.send_json(message)
        async with asyncio.timeout(CALL_SECONDS):
            document = await answer
        assert "error" not in document, f"{method}: {document}"
        result: JsonObject = document["result"]
        return result

    async def listen(self) -> None:
        """Hand out answers and events until the browser ends."""
        async for message in self._socket:
            document = message.json()
            if "id" in document:
                self._answers.pop(document["id"]).set_result(document)
            elif (page := self.pages.get(document.get("sessionId", ""))) is not None:
                page.on_event(document["method"], document["params"])


@dataclass(slots=True)
class Page:
    """One tab; `complaints` are console errors, exceptions and violations of the policy."""

    connection: Connection
    session: str
    complaints: list[str] = field(default_factory=list)
    requests: list[str] = field(default_factory=list)
    received_bytes: int = 0

    def on_event(self, method: str, params: JsonObject) -> None:
        """Take note of what the page did."""
        if method == "Network.requestWillBeSent":
            self.requests.append(params["request"]["url"])
        elif method == "Network.loadingFinished":
            self.received_bytes += int(params["encodedDataLength"])
        elif method == "Runtime.exceptionThrown":
            details = params["exceptionDetails"]
            self.complaints.append(details.get("exception", {}).get("description", str(details)))
        elif method == "Runtime.consoleAPICalled" and params["type"] in ("error", "warning"):
            self.complaints.append(str([one.get("value") for one in params["args"]]))
        elif method == "Log.entryAdded" and params["entry"]["level"] in ("error", "warning"):
            self.complaints.append(f"{params['entry']['text']} {params['entry'].get('url', '')}")
        elif method == "Audits.issueAdded":
            text = f"{params['issue']['code']}: {params['issue']['details']}"
            # A test that changes the address is no user who clicked.
            if "NavigationEntryMarkedSkippable" not in text:
                self.complaints.append(text)

    async def call(self, method: str, **params: object) -> JsonObject:
        """Return the result of a command to this tab."""
        return await self.connection.call(method, self.session, **params)

    async def open(self, url: str) -> None:
        """Go to `url` and wait until the page shows what it asked for."""
        result = await self.call("Page.navigate", url=url)
        assert "errorText" not in result, result
        await self.settled()

    async def reload(self) -> None:
        """Load the page again and wait until it shows what it asked for."""
        url = await self.evaluate("location.href")
        # From elsewhere, or the old document could answer that it is settled.
        await self.call("Page.navigate", url="about:blank")
        await self.open(url)

    async def settled(self) -> None:
        """Wait until the page has what it asked for."""
        await self.see("document.querySelector('main')?.getAttribute('aria-busy') === 'false'")

    async def evaluate(self, expression: str) -> Any:
        """Return the value of a JavaScript expression, awaited."""
        result = await self.call(
            "Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True
        )
        assert "exceptionDetails" not in result, result["exceptionDetails"]
        return result["result"].get("value")

    async def see(self, expression: str) -> Any:
        """Return the first truthy value of `expression`."""
        return await until(lambda: self.evaluate(expression), what=expression)

    async def text(self, selector: str) -> str:
        """Return the visible text of the first element that matches."""
        found = await self.evaluate(f"document.querySelector({selector!r})?.innerText ?? ''")
        return str(found)

    async def texts(self, selector: str) -> list[str]:
        """Return the visible text of each element that matches."""
        found: list[str] = await self.evaluate(
            f"[...document.querySelectorAll({selector!r})].map((one) => one.innerText)"
        )
        return found

    async def press(self, key: str, *, shift: bool = False) -> None:
        """Press and let go of a key, such as `Tab` or `Enter`."""
        codes = {"Tab": 9, "Enter": 13, " ": 32, "Home": 36}
        text = {"Enter": "\r", " ": " "}.get(key, "")
        common = {
            "key": key,
            "code": "Space" if key == " " else key,
            "windowsVirtualKeyCode": codes[key],
            "modifiers": 8 if shift else 0,
        }
        down = "keyDown" if text else "rawKeyDown"
        await self.call("Input.dispatchKeyEvent", type=down, text=text, **common)
        await self.call("Input.dispatchKeyEvent", type="keyUp", **common)

    async def type(self, text: str) -> None:
        """Type into what has the focus."""
        await self.call("Input.insertText", text=text)

    async def accessible(self) -> list[tuple[str, str]]:
        """Return role and name of everything that a screen reader is told of."""
        tree = await self.call("Accessibility.getFullAXTree")
        return [
            (node["role"]["value"], node.get("name", {}).get("value", ""))
            for node in tree["nodes"]
            if not node["ignored"]
        ]

    async def low_contrast(self) -> list[str]:
        """Return texts whose contrast is below AA, with the ratio."""
        found: list[str] = await self.evaluate(CONTRAST)
        return found

    async def screenshot(self, path: Path, *, whole: bool = False) -> None:
        """Write what the tab shows as PNG; `whole` is beyond its lower edge as well."""
        params: JsonObject = {}
        if whole:
            size = (await self.call("Page.getLayoutMetrics"))["cssContentSize"]
            params = {"captureBeyondViewport": True, "clip": {**size, "scale": 1}}
        shot = await self.call("Page.captureScreenshot", **params)
        await asyncio.to_thread(path.write_bytes, base64.b64decode(shot["data"]))


class Browser:
    """A running browser."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    @asynccontextmanager
    async def page(
        self, *, width: int = 1280, height: int = 800, dark: bool = False, phone: bool = False
    ) -> AsyncIterator[Page]:
        """Open a tab with storage and cache of its own while the context lasts."""
        context = await self._connection.call("Target.createBrowserContext")
        place = {"browserContextId": context["browserContextId"]}
        target = await self._connection.call("Target.createTarget", url="about:blank", **place)
        attached = await self._connection.call(
            "Target.attachToTarget", targetId=target["targetId"], flatten=True
        )
        page = Page(self._connection, attached["sessionId"])
        self._connection.pages[page.session] = page
        for domain in ("Page", "Runtime", "Log", "Network", "Audits", "Accessibility"):
            await page.call(f"{domain}.enable")
        await page.call(
            "Emulation.setDeviceMetricsOverride",
            width=width,
            height=height,
            deviceScaleFactor=2 if phone else 1,
            mobile=phone,
        )
        theme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        await page.call("Emulation.setEmulatedMedia", features=[theme])
        try:
            yield page
        finally:
            await self._connection.call("Target.disposeBrowserContext", **place)


@asynccontextmanager
async def running_browser() -> AsyncIterator[Browser]:
    """Run Chromium while the context lasts."""
    with tempfile.TemporaryDirectory(prefix="gpu-browser-", ignore_cleanup_errors=True) as folder:
        process = await asyncio.create_subprocess_exec(
            *("chromium", *FLAGS, f"--user-data-dir={folder}", "about:blank"),
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.DEVNULL,
        )
        try:
            await until(
                lambda: _address(Path(folder)), deadline_seconds=START_SECONDS, what="Chromium"
            )
            address = _address(Path(folder))
            async with (
                aiohttp.ClientSession() as session,
                session.ws_connect(address, max_msg_size=0) as socket,
                asyncio.TaskGroup() as group,
            ):
                connection = Connection(socket)
                listening = group.create_task(connection.listen())
                yield Browser(connection)
                await connection.call("Browser.close")
                listening.cancel()
        finally:
            if process.returncode is None:
                process.kill()
            await process.wait()


def _address(folder: Path) -> str:
    port = folder / "DevToolsActivePort"
    lines = port.read_text().split("\n") if port.is_file() else []
    return f"ws://127.0.0.1:{lines[0]}{lines[1]}" if len(lines) == 2 else ""
