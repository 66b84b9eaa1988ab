"""Headless Chromium, driven over its debugging pipe: no driver and no package."""

import contextlib
import json
import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

PROGRAM = shutil.which("chromium") or shutil.which("chromium-browser")


class Browser:
    """One page of a browser."""

    def __init__(self, write: int, read: int) -> None:
        self.write, self.read, self.number, self.rest = write, read, 0, b""
        self.session: str | None = None
        target = self("Target.createTarget", url="about:blank")["targetId"]
        self.session = self("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        self("Page.enable")

    def __call__(self, method: str, **params: Any) -> Any:
        """A command of the DevTools protocol and its answer."""
        self.number += 1
        message = {"id": self.number, "method": method, "params": params}
        if self.session is not None:
            message["sessionId"] = self.session
        os.write(self.write, json.dumps(message).encode() + b"\0")
        while True:
            while b"\0" not in self.rest:
                part = os.read(self.read, 1 << 20)
                if not part:
                    raise RuntimeError("the browser has ended")
                self.rest += part
            line, _, self.rest = self.rest.partition(b"\0")
            answer = json.loads(line)
            if answer.get("id") == self.number:
                if "error" in answer:
                    raise RuntimeError(f"{method}: {answer['error']}")
                return answer["result"]

    def open(self, url: str) -> None:
        """Loads a page and waits for it; what stands behind ``#`` is the page's own, which may rewrite it."""
        self("Page.navigate", url=url)
        page = url.partition("#")[0]
        while self.evaluate("document.readyState") != "complete" or not self.evaluate("location.href").startswith(page):
            time.sleep(0.05)

    def evaluate(self, code: str) -> Any:
        """What an expression of the page gives, once it is there."""
        answer = self("Runtime.evaluate", expression=code, awaitPromise=True, returnByValue=True)
        if "exceptionDetails" in answer:
            raise RuntimeError(json.dumps(answer["exceptionDetails"])[:2000])
        return answer["result"].get("value")


@contextlib.contextmanager
def browser(profile: Path) -> Iterator[Browser]:
    """A browser of its own profile, ended at the end."""
    assert PROGRAM is not None
    ours, theirs = os.pipe(), os.pipe()  # it reads from 3 and writes to 4

    def connect() -> None:
        one, other = os.dup(ours[0]), os.dup(theirs[1])
        os.dup2(one, 3)
        os.dup2(other, 4)

    arguments = [
        "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--remote-debugging-pipe",
        "--no-first-run", "--hide-scrollbars", "--window-size=1100,1000", f"--user-data-dir={profile}",
    ]  # fmt: skip
    process = subprocess.Popen([PROGRAM, *arguments], preexec_fn=connect, close_fds=False, stderr=subprocess.DEVNULL)
    os.close(ours[0])
    os.close(theirs[1])
    try:
        yield Browser(ours[1], theirs[0])
    finally:
        process.terminate()
        process.wait(20)
        os.close(ours[1])
        os.close(theirs[0])
