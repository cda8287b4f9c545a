"""Headless Chromium by its own protocol over a pipe: no driver, no socket, nothing to install but it."""

import base64
import itertools
import json
import os
import shutil
import subprocess
import time

NAMES = ["chromium", "chromium-browser", "google-chrome"]
ANSWER_WITHIN = 20


def chromium():
    """Where it is; `$CHROMIUM` says so first."""
    named = os.environ.get("CHROMIUM")
    return named or next(filter(None, map(shutil.which, NAMES)), None)


class Browser:
    """One browser with one page."""

    def __init__(self, profile):
        to_it, ours_out = os.pipe()
        ours_in, from_it = os.pipe()
        # It reads from descriptor 3 and writes to 4.
        shell = f"exec 3<&{to_it} 4>&{from_it}; exec \"$@\""
        command = ["bash", "-c", shell, "browser", chromium(), "--headless=new", "--no-sandbox"]
        command += ["--disable-gpu", "--remote-debugging-pipe", f"--user-data-dir={profile}"]
        command += ["--disable-dev-shm-usage", "--no-first-run", "--disable-background-networking"]
        self.process = subprocess.Popen(
            command,
            pass_fds=[to_it, from_it],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        os.close(to_it)
        os.close(from_it)
        self.out = os.fdopen(ours_out, "wb", buffering=0)
        self.input = ours_in
        self.rest = b""
        self.numbers = itertools.count(1)
        self.events = []
        self.answered = {}
        self.session = None
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        attached = self.call("Target.attachToTarget", targetId=target, flatten=True)
        self.session = attached["sessionId"]
        for domain in ["Page", "Runtime", "Log", "Network"]:
            self.call(f"{domain}.enable")

    def call(self, method, **parameters):
        """One command; its result."""
        number = self.send(method, **parameters)
        while number not in self.answered:
            self.take_in()
        answer = self.answered.pop(number)
        if "error" in answer:
            raise RuntimeError(f"{method}: {answer['error']}")
        return answer["result"]

    def send(self, method, **parameters):
        number = next(self.numbers)
        message = {"id": number, "method": method, "params": parameters}
        if self.session:
            message["sessionId"] = self.session
        self.out.write(json.dumps(message).encode() + b"\0")
        return number

    def take_in(self):
        """Takes in the next message."""
        while b"\0" not in self.rest:
            more = os.read(self.input, 1 << 20)
            if not more:
                raise RuntimeError("the browser has ended")
            self.rest += more
        text, self.rest = self.rest.split(b"\0", 1)
        message = json.loads(text)
        if "id" in message:
            self.answered[message["id"]] = message
        else:
            self.events.append(message)
            self.heard(message)

    def heard(self, event):
        """For what has to be answered."""

    def open(self, url):
        """Opens a page."""
        self.events.clear()
        self.call("Page.navigate", url=url)

    def look_like(self, width, height, dark=False):
        """A screen of so many pixels."""
        self.call(
            "Emulation.setDeviceMetricsOverride",
            width=width,
            height=height,
            deviceScaleFactor=1,
            mobile=width < 600,
        )
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.call("Emulation.setEmulatedMedia", features=[scheme])

    def evaluate(self, expression):
        """The value of an expression in the page."""
        result = self.call("Runtime.evaluate", expression=expression, returnByValue=True)
        if "exceptionDetails" in result:
            raise RuntimeError(f"{expression}: {result['exceptionDetails']}")
        return result["result"].get("value")

    def wait(self, expression):
        """Waits until an expression is true in the page; its value."""
        deadline = time.monotonic() + ANSWER_WITHIN
        while not (value := self.evaluate(expression)):
            if time.monotonic() > deadline:
                raise AssertionError(f"never came true: {expression}; {self.complaints()}")
            time.sleep(0.05)
        return value

    def complaints(self):
        """What the page's console has been told of errors: exceptions, and breaches of its policy."""
        said = []
        for event in self.events:
            if event["method"] == "Runtime.exceptionThrown":
                said.append(str(event["params"]["exceptionDetails"]))
            if event["method"] == "Log.entryAdded":
                entry = event["params"]["entry"]
                if entry["level"] == "error":
                    said.append(f"{entry['text']} {entry.get('url', '')}")
        return said

    def requested(self):
        """The addresses that the page has asked for."""
        sent = [it for it in self.events if it["method"] == "Network.requestWillBeSent"]
        return [it["params"]["request"]["url"] for it in sent]

    def picture(self, file):
        """Writes the whole page as a PNG."""
        size = self.call("Page.getLayoutMetrics")["cssContentSize"]
        clip = {"x": 0, "y": 0, "width": size["width"], "height": size["height"], "scale": 1}
        shot = self.call("Page.captureScreenshot", clip=clip, captureBeyondViewport=True)
        file.write_bytes(base64.b64decode(shot["data"]))

    def close(self):
        self.out.close()
        os.close(self.input)
        self.process.terminate()
        self.process.wait(10)
