"""Drive a headless Chromium by its debugging pipe: open a page, run JavaScript, take a picture."""

from __future__ import annotations

import base64
import importlib.util
import json
import os
import select
import shutil
import subprocess
import time
from pathlib import Path
from typing import Any

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
PATIENCE = 60.0  # seconds for an answer of the browser


def find_browser() -> str | None:
    """Return the path of a Chromium on this machine, if there is one."""
    return next((path for path in map(shutil.which, NAMES) if path), None)


def find_axe() -> Path | None:
    """Return the file of axe-core, which tests accessibility, if it is installed."""
    spec = importlib.util.find_spec("axe_core_python")
    return (
        None if spec is None or spec.origin is None else Path(spec.origin).with_name("axe.min.js")
    )


class Browser:
    """One tab. Messages of the console and uncaught errors are collected in `errors`."""

    def __init__(self, profile: Path) -> None:
        path = find_browser()
        assert path is not None
        read_here, write_there = os.pipe()
        read_there, self._to = os.pipe()
        self._from = read_here
        flags = f"--headless --no-sandbox --disable-gpu --hide-scrollbars --remote-debugging-pipe --user-data-dir={profile}"
        # the browser reads from descriptor 3 and writes to 4
        script = f'exec "$0" {flags} about:blank 3<&{read_there} 4>&{write_there}'
        self._process = subprocess.Popen(
            ["bash", "-c", script, path],
            pass_fds=(read_there, write_there),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        os.close(read_there)
        os.close(write_there)
        self._buffer = b""
        self._count = 0
        self._session: str | None = None
        self.errors: list[str] = []
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        attached = self.call("Target.attachToTarget", targetId=target, flatten=True)
        self._session = attached["sessionId"]
        for domain in ("Page", "Runtime", "Log"):
            self.call(f"{domain}.enable")

    def call(self, method: str, **params: Any) -> dict[str, Any]:
        """Send one command and return its result."""
        self._count += 1
        message: dict[str, Any] = {"id": self._count, "method": method, "params": params}
        if self._session is not None:
            message["sessionId"] = self._session
        os.write(self._to, json.dumps(message).encode() + b"\0")
        end = time.monotonic() + PATIENCE
        while True:
            answer = self._receive(end)
            if answer.get("id") == self._count:
                if "error" in answer:
                    raise RuntimeError(f"{method}: {answer['error']['message']}")
                result: dict[str, Any] = answer["result"]
                return result

    def _receive(self, end: float) -> dict[str, Any]:
        while b"\0" not in self._buffer:
            ready, _, _ = select.select([self._from], [], [], max(0.0, end - time.monotonic()))
            if not ready:
                raise TimeoutError("the browser gave no answer")
            part = os.read(self._from, 1 << 20)
            if not part:
                raise ConnectionError("the browser ended")
            self._buffer += part
        text, self._buffer = self._buffer.split(b"\0", 1)
        answer: dict[str, Any] = json.loads(text)
        method, params = answer.get("method"), answer.get("params", {})
        if method == "Runtime.exceptionThrown":
            self.errors.append(json.dumps(params["exceptionDetails"])[:500])
        elif method == "Log.entryAdded" and params["entry"]["level"] == "error":
            self.errors.append(params["entry"]["text"])
        elif method == "Runtime.consoleAPICalled" and params["type"] == "error":
            self.errors.append(json.dumps(params["args"])[:500])
        return answer

    def open(
        self, page: Path | str, width: int = 1280, height: int = 900, *, dark: bool = False
    ) -> None:
        """Open a file, or an address, and wait until its script is done."""
        self.resize(width, height, dark=dark)
        address = page if isinstance(page, str) else page.absolute().as_uri()
        self.call("Page.navigate", url=address)
        self.wait(
            "document.readyState === 'complete' && ('ready' in document.documentElement.dataset"
            " || (document.getElementById('problem') || {}).textContent !== '')"
        )

    def resize(self, width: int, height: int, *, dark: bool) -> None:
        """Show the page in another size and colour scheme."""
        self.call(
            "Emulation.setDeviceMetricsOverride",
            width=width,
            height=height,
            deviceScaleFactor=1,
            mobile=width < 600,
        )
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.call("Emulation.setEmulatedMedia", features=[scheme])

    def wait(self, condition: str) -> None:
        """Wait until a JavaScript expression holds.

        Raises:
            TimeoutError: It never does.
        """
        end = time.monotonic() + PATIENCE
        while not self.run(condition):
            if time.monotonic() > end:
                raise TimeoutError(f"it never held: {condition}")
            time.sleep(0.05)

    def run(self, script: str) -> Any:
        """Return the value of a JavaScript expression; a promise is awaited."""
        answer = self.call(
            "Runtime.evaluate", expression=script, returnByValue=True, awaitPromise=True
        )
        if "exceptionDetails" in answer:
            raise RuntimeError(json.dumps(answer["exceptionDetails"])[:500])
        return answer["result"].get("value")

    def choose_file(self, selector: str, path: Path) -> None:
        """Choose a file for an input, as a person does in the dialogue of the browser."""
        root = self.call("DOM.getDocument")["root"]["nodeId"]
        node = self.call("DOM.querySelector", nodeId=root, selector=selector)["nodeId"]
        self.call("DOM.setFileInputFiles", files=[str(path.absolute())], nodeId=node)

    def inaccessible(self) -> list[str]:
        """Return what axe-core finds serious or critical on the page: the rule, and where."""
        axe = find_axe()
        assert axe is not None
        self.run(f"{axe.read_text('utf-8')}; true")
        found: list[str] = self.run(
            "axe.run(document, {iframes: false}).then((r) => [...r.violations"
            ".filter((v) => ['serious', 'critical'].includes(v.impact))"
            ".flatMap((v) => v.nodes.map((n) => `${v.id}: ${n.target} ${n.failureSummary}`)),"
            " ...r.incomplete.filter((v) => !v.nodes.length).map((v) => `${v.id} could not be tested`)])"
        )
        return found

    def press(self, key: str, text: str = "") -> None:
        """Press and release one key."""
        for kind in ("keyDown", "keyUp"):
            own = {"text": text} if text and kind == "keyDown" else {}
            self.call("Input.dispatchKeyEvent", type=kind, key=key, **own)

    def picture(self, path: Path, *, whole: bool = True) -> None:
        """Write a screenshot as PNG."""
        found = self.call("Page.captureScreenshot", format="png", captureBeyondViewport=whole)
        path.write_bytes(base64.b64decode(found["data"]))

    def close(self) -> None:
        """End the browser."""
        self._process.terminate()
        self._process.wait(10)
        os.close(self._to)
        os.close(self._from)
