"""A headless Chromium, spoken to over a pipe with its DevTools protocol: no driver, no network."""

import base64
import itertools
import json
import os
import select
import shutil
import subprocess
import time
from pathlib import Path

QUIET = (
    "--headless --no-sandbox --disable-gpu --disable-quic --no-first-run "
    "--disable-background-networking --disable-component-update --disable-sync "
    "--disable-extensions --hide-scrollbars --mute-audio --remote-debugging-pipe"
).split()
PATIENCE = 150.0


def executable():
    """Find Chromium or Chrome; None where there is none."""
    names = ("chromium", "chromium-browser", "google-chrome", "chrome")
    return next((found for found in map(shutil.which, names) if found), None)


class Browser:
    """One page of a browser that was started for it; leaves with its `with` block."""

    def __init__(self, folder):
        self.numbers = itertools.count(1)
        self.events, self.rest = [], b""
        to_read, self.write_to = os.pipe()
        self.read_from, to_write = os.pipe()
        # Chromium reads descriptor 3 and writes to 4; bash alone can move them there.
        words = [executable(), *QUIET, f"--user-data-dir={folder}", "about:blank"]
        script = f'exec "$@" 3<&{to_read} 4>&{to_write}'
        self.process = subprocess.Popen(
            ["bash", "-c", script, "bash", *words],
            pass_fds=(to_read, to_write),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        os.close(to_read)
        os.close(to_write)
        targets = self.ask("Target.getTargets")["targetInfos"]
        target = next(each["targetId"] for each in targets if each["type"] == "page")
        attached = self.ask("Target.attachToTarget", targetId=target, flatten=True)
        self.session = attached["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.tell(f"{domain}.enable")

    def __enter__(self):
        return self

    def __exit__(self, *_):
        os.close(self.write_to)
        try:
            self.process.wait(timeout=20)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        os.close(self.read_from)

    # --- the protocol -------------------------------------------------------------------------

    def ask(self, method, session=None, **params):
        """Call a method and wait for its answer; events that come meanwhile are kept."""
        number = next(self.numbers)
        message = {"id": number, "method": method, "params": params}
        if session:
            message["sessionId"] = session
        os.write(self.write_to, json.dumps(message).encode() + b"\0")
        while True:
            found = self.receive()
            if found.get("id") == number:
                assert "error" not in found, (method, found["error"])
                return found["result"]
            self.events.append(found)

    def tell(self, method, **params):
        """Call a method of the page."""
        return self.ask(method, self.session, **params)

    def receive(self):
        """Wait for the next message."""
        until = time.monotonic() + PATIENCE
        while b"\0" not in self.rest:
            ready, _, _ = select.select([self.read_from], [], [], until - time.monotonic())
            assert ready, "the browser said nothing for minutes"
            more = os.read(self.read_from, 1 << 20)
            assert more, "the browser went away"
            self.rest += more
        message, _, self.rest = self.rest.partition(b"\0")
        return json.loads(message)

    # --- a page -------------------------------------------------------------------------------

    def open(self, page: Path):
        """Open a page from disk and wait until it is there."""
        self.events.clear()
        self.tell("Page.navigate", url=page.resolve().as_uri())
        while not any(each.get("method") == "Page.loadEventFired" for each in self.events):
            self.events.append(self.receive())

    def run(self, expression):
        """Evaluate JavaScript; a promise is waited for."""
        answer = self.tell(
            "Runtime.evaluate", expression=expression, awaitPromise=True, returnByValue=True
        )
        assert "exceptionDetails" not in answer, answer["exceptionDetails"]
        return answer["result"].get("value")

    def size(self, width, height=900):
        """Set the width of the window, as a phone or a screen would have it."""
        self.tell(
            "Emulation.setDeviceMetricsOverride",
            width=width,
            height=height,
            deviceScaleFactor=1,
            mobile=width < 600,
        )

    def scheme(self, name):
        """Prefer light or dark."""
        features = [{"name": "prefers-color-scheme", "value": name}]
        self.tell("Emulation.setEmulatedMedia", features=features)

    def complaints(self):
        """List what the console and the log of the page hold: errors, warnings, refusals."""
        said = []
        for event in self.events:
            params = event.get("params", {})
            if event.get("method") == "Runtime.exceptionThrown":
                said.append(params["exceptionDetails"]["text"])
            if event.get("method") == "Log.entryAdded":
                said.append(params["entry"]["text"])
            if event.get("method") == "Runtime.consoleAPICalled" and params["type"] == "error":
                said.append(str(params["args"]))
        return said

    def requests(self):
        """List what the page asked for, other than itself."""
        asked = [e for e in self.events if e.get("method") == "Network.requestWillBeSent"]
        return [e["params"]["request"]["url"] for e in asked][1:]

    def picture(self, path, *, whole=True):
        """Save the page as it looks."""
        clip = {}
        if whole:
            size = self.tell("Page.getLayoutMetrics")["cssContentSize"]
            height = min(size["height"], 16000)
            clip = {"clip": {"x": 0, "y": 0, "width": size["width"], "height": height, "scale": 1}}
        found = self.tell("Page.captureScreenshot", captureBeyondViewport=whole, **clip)
        path.write_bytes(base64.b64decode(found["data"]))

    def pdf(self, path):
        """Save the page as it prints."""
        found = self.tell("Page.printToPDF", printBackground=True, preferCSSPageSize=True)
        path.write_bytes(base64.b64decode(found["data"]))
