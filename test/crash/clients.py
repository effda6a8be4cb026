# SPDX-License-Identifier: MIT
"""Subscribers that are not ours to the byte: `bugle subscribe`, and EventSource in Chromium.  They
reconnect by themselves, in their own time."""

import json
import os
import queue
import selectors
import shutil
import subprocess
import threading

import wire
from ledger import Receiver

POLL_SECONDS = 1.0
BROWSER_STREAMS = 5  # a browser has six connections to a host

TOOL_QUERIES = [(("t/1",), None), (("t/2",), "u2"), (("nothing",), "u3"), (("t/*/deep",), None),
                (("all/*", "t/3/*"), "u1"), (("t/**",), None)]
BROWSER_QUERIES = [(("t/4",), None), (("t/5",), "u1"), (("nothing",), "u0"), (("all/**",), "u2"),
                   (("t/*/deep",), None)][:BROWSER_STREAMS]

FOLLOW = """
window.taken = [];
window.sources = arguments[0].map((url, index) => {
    const source = new EventSource(url);
    const take = (event) => window.taken.push([index, event.lastEventId, event.type, event.data]);
    for (const name of ['message', 'tick', 'reset']) source.addEventListener(name, take);
    return source;
});
"""
FETCH = """
return [window.taken.splice(0, 20000), window.sources.map((source) => source.readyState)];
"""


def take(receiver, name, data, event_id):
    """What a client calls an event, as bytes of a stream again."""
    if name == "reset":
        receiver.ledger.violation("reset", f"{receiver.name}: {data}")
        return
    lines = [] if name == "message" else [f"event: {name}"]
    lines += [f"data: {line}" for line in data.split("\n")]
    receiver.take("\n".join(lines).encode(), event_id)


class Tool:
    """A `bugle subscribe`."""

    def __init__(self, loop, program, url, receiver, log):
        self.loop = loop
        self.receiver = receiver
        self.rest = b""
        audience = receiver.audience
        command = [program, "subscribe", "--url", url, "--json", "--since", "earliest"]
        command += ["--user", audience.user] if audience.user else []
        env = {name: value for name, value in os.environ.items() if not name.startswith("BUGLE")}
        self.process = subprocess.Popen(
            command + list(audience.patterns), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
            stderr=log, env=env)
        os.set_blocking(self.process.stdout.fileno(), False)
        loop.watch(self.process.stdout, selectors.EVENT_READ, self._ready)

    def _ready(self, _):
        data = os.read(self.process.stdout.fileno(), 1 << 18)
        if not data:
            self.loop.forget(self.process.stdout)
            self.receiver.ledger.violation("refused", f"{self.receiver.name}: it left with"
                                           f" {self.process.wait()}")
            return
        *lines, self.rest = (self.rest + data).split(b"\n")
        for line in lines:
            event = json.loads(line)
            take(self.receiver, event["event"], event["data"], event["id"])

    def close(self):
        self.process.kill()
        self.process.wait()
        self.process.stdout.close()


def why_no_browser():
    """The reason why Chromium cannot be had here, or None."""
    try:
        import selenium  # noqa: F401
    except ImportError:
        return "python3-selenium is not installed"
    if not shutil.which("chromium") or not shutil.which("chromedriver"):
        return "chromium and chromium-driver are not installed"
    return None


class Browser:
    """One page in Chromium with some streams; a thread asks it what came."""

    def __init__(self, gateway, receivers):
        self.receivers = receivers
        self.came = queue.SimpleQueue()
        self.closing = threading.Event()
        self.driver = self._start()
        # a page of the gateway's own origin; which one does not matter
        self.driver.get(f"{gateway.url}/healthz")
        urls = [wire.target_of("/events", [*receiver.audience.query(), ("since", "earliest")])
                for receiver in receivers]
        self.driver.execute_script(FOLLOW, urls)
        self.thread = threading.Thread(target=self._poll, daemon=True)
        self.thread.start()

    @staticmethod
    def _start():
        from selenium import webdriver
        from selenium.webdriver.chrome.service import Service

        options = webdriver.ChromeOptions()
        options.binary_location = shutil.which("chromium")
        for flag in ["--headless=new", "--no-sandbox", "--disable-dev-shm-usage",
                     "--no-proxy-server", "--disable-gpu"]:
            options.add_argument(flag)
        return webdriver.Chrome(service=Service(shutil.which("chromedriver")), options=options)

    def _poll(self):
        while not self.closing.wait(POLL_SECONDS):
            try:
                self.came.put(self.driver.execute_script(FETCH))
            except Exception as failure:  # of any kind: the page is gone
                if not self.closing.is_set():
                    self.came.put(failure)
                return

    def settle(self):
        """Hand over what came; the loop's thread."""
        while not self.came.empty():
            batch = self.came.get()
            ledger = self.receivers[0].ledger
            if isinstance(batch, Exception):
                ledger.violation("refused", f"the page is gone: {batch}")
                return
            events, states = batch
            for index, event_id, name, data in events:
                take(self.receivers[index], name, data, event_id)
            if 2 in states:
                ledger.violation("refused", f"an EventSource has given up: {states}")

    def close(self):
        self.closing.set()
        self.thread.join()
        self.driver.quit()


def start_tools(loop, gateway, ledger, program, log):
    receivers = [Receiver(ledger, ledger.audience(*patterns, user=user), "bugle subscribe")
                 for patterns, user in TOOL_QUERIES]
    return [Tool(loop, program, gateway.url, receiver, log) for receiver in receivers]


def start_browser(gateway, ledger):
    receivers = [Receiver(ledger, ledger.audience(*patterns, user=user), "chromium")
                 for patterns, user in BROWSER_QUERIES]
    return Browser(gateway, receivers)
