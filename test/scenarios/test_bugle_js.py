# SPDX-License-Identifier: MIT
"""www/bugle.js in a real Chromium, at the real gateway: one connection for all tabs, every event
once and in order, and a word for whatever goes wrong."""

import contextlib
import gzip
import json
import os
import pathlib
import re
import shutil
import signal
import socket
import subprocess
import threading
import time

import pytest

pytest.importorskip("selenium.webdriver", reason="python3-selenium is not installed")

from selenium.common import exceptions  # noqa: E402

import wire  # noqa: E402
from conftest import SOURCE  # noqa: E402
from tabs import Ledger, Site, Tabs, random_run  # noqa: E402
from test_page import driver, pytestmark  # noqa: E402, F401
from tokens import ADMIN, SETTINGS, bearer, token  # noqa: E402

WWW = SOURCE / "www"
TRANSPORTS = ["websocket", "fetch", "sse"]
SECONDS = float(os.environ.get("BUGLE_TAB_SECONDS", "8"))
TEST_SECONDS = 120 + 1.5 * SECONDS


@pytest.fixture
def site(gateway):
    made = Site(gateway.url)
    yield made
    made.close()


def stream_url(gateway):
    return f"{gateway.url}/events?heartbeat=3"


@pytest.fixture
def tabs(driver, gateway, site):  # noqa: F811
    made = Tabs(driver, site, stream_url(gateway))
    driver.get_log("browser")
    yield made
    made.close_all()
    complaints = [entry["message"] for entry in driver.get_log("browser")
                  if entry["level"] == "SEVERE" and entry["source"] != "network"]
    assert not complaints


def push_many(gateway, numbers, topic="a"):
    for number in numbers:
        gateway.push({"topic": topic, "data": number})


@pytest.mark.parametrize("transport", TRANSPORTS)
def test_a_tab_hears_everything_exactly(tabs, gateway, transport):
    tab = tabs.open(topics=["orders/*"], transport=transport).wait_state("open")
    for number in (1, 2):
        gateway.push({"topic": f"orders/{number}", "event": "paid", "data": {"total": number}})
    gateway.push({"topic": "other", "data": "not asked for"})
    gateway.push({"topic": "orders/3", "data": "a\nb \U0001F4EF"})
    tab.wait_data([{"total": 1}, {"total": 2}, "a\nb \U0001F4EF"])
    events = tab.events()
    assert [event[1] for event in events] == ["paid", "paid", "message"]
    assert events[1][2] == ["orders/2"]
    assert tab.run("return bugle.lastId") >= events[2][0]


@pytest.mark.parametrize("transport", TRANSPORTS)
def test_tabs_share_one_connection(tabs, gateway, transport):
    """Each with the topics that it asked for; the next one goes on when the first closes."""
    one = tabs.open(topics=["a"], transport=transport).wait_state("open")
    two = tabs.open(topics=["b/*"], transport=transport).wait_state("open")
    three = tabs.open(topics=["a", "c"], transport=transport).wait_state("open")
    for topic in ("a", "b/1", "c"):
        gateway.push({"topic": topic, "data": topic})
    one.wait_data(["a"])
    two.wait_data(["b/1"])
    three.wait_data(["a", "c"])
    gateway.wait_stat("streams_open", 1, 20)
    tabs.close(one)
    for topic in ("a", "b/2", "c"):
        gateway.push({"topic": topic, "data": topic})
    two.wait_data(["b/1", "b/2"])
    three.wait_data(["a", "c", "a", "c"])
    gateway.wait_stat("streams_open", 1, 20)


@pytest.mark.parametrize("transport", TRANSPORTS)
def test_tabs_at_random(tabs, gateway, transport):
    """20 of them opened and closed; `make tabtest` does it for five minutes."""
    ledger = Ledger(gateway.push, ["a", "b/1", "b/2", "c/d"])
    seed = int(os.environ.get("BUGLE_TAB_SEED", time.time()))
    opened, published, told = random_run(tabs, ledger, wire.seconds(SECONDS), seed,
                                         options={"transport": transport})
    print(f"seed {seed}: {opened} tabs, {published} events published, {told} told")
    gateway.wait_stat("streams_open", 1, 20)


# --- the lock goes from tab to tab


def freeze(tab, state):
    tab.cdp("Page.setWebLifecycleState", state=state)


@pytest.mark.parametrize("which", [0, 1])
def test_a_frozen_tab_lets_another_lead_and_catches_up(tabs, gateway, which):
    """Be it the one that leads or one that follows."""
    both = [tabs.open(topics=["a"]).wait_state("open") for _ in range(2)]
    frozen, other = both[which], both[1 - which]
    push_many(gateway, range(3))
    frozen.wait_data([0, 1, 2])
    freeze(frozen, "frozen")
    push_many(gateway, range(3, 300))
    other.wait_data(list(range(300)))
    freeze(frozen, "active")
    frozen.wait_data(list(range(300)))
    push_many(gateway, range(300, 303))
    for tab in both:
        tab.wait_data(list(range(303)))
        assert not tab.notices("reset")
    gateway.wait_stat("streams_open", 1, 20)


@pytest.mark.parametrize("which", [0, 1])
def test_the_back_forward_cache(tabs, gateway, site, which):
    """A page that comes back from there has everything, as if it had never been away."""
    both = [tabs.open(topics=["a"]).wait_state("open") for _ in range(2)]
    gone, other = both[which], both[1 - which]
    gone.run("window.marker = 1;"
             "addEventListener('pageshow', (event) => { window.shown = event.persisted; })")
    push_many(gateway, range(3))
    gone.wait_data([0, 1, 2])
    gone.go(site.url)
    push_many(gateway, range(3, 50))
    other.wait_data(list(range(50)))
    gone.focus().browser.back()
    wire.wait_until(lambda: gone.run("return window.ready"), 20, "the page is there again")
    if not gone.run("return window.marker"):
        pytest.skip("this Chromium did not keep the page")
    assert gone.run("return window.shown")
    gone.wait_data(list(range(50)))
    push_many(gateway, range(50, 53))
    for tab in both:
        tab.wait_data(list(range(53)))


def test_a_leader_that_hangs_is_robbed(tabs, gateway):
    """It answers no ping for three spans.  When it runs again it is one of the others, and has
    everything once."""
    leader = tabs.open(topics=["a"]).wait_state("open")
    others = [tabs.open(topics=["a"]).wait_state("open") for _ in range(2)]
    leader.run("setTimeout(() => { const end = performance.now() + arguments[0] * 1000;"
               " while (performance.now() < end); }, 0)", wire.seconds(18))
    push_many(gateway, range(100))
    for tab in others:
        tab.wait_data(list(range(100)), 30)
    leader.wait_data(list(range(100)), 40)
    push_many(gateway, range(100, 103))
    for tab in [leader, *others]:
        tab.wait_data(list(range(103)))
    gateway.wait_stat("streams_open", 1, 20)


def test_a_tab_that_crashes(tabs, gateway):
    crashes = tabs.open(topics=["a"]).wait_state("open")
    stays = tabs.open(topics=["a"]).wait_state("open")
    with contextlib.suppress(exceptions.WebDriverException):
        crashes.focus().browser.get("chrome://crash")
    push_many(gateway, range(3))
    stays.wait_data([0, 1, 2])
    tabs.open_tabs.remove(crashes)
    crashes.focus()
    with contextlib.suppress(exceptions.WebDriverException):
        crashes.browser.close()
    tabs.browser.switch_to.window(tabs.first)


def test_without_web_locks_each_tab_has_a_connection(tabs, gateway):
    both = [tabs.open(topics=["a"], bare=True).wait_state("open")
            for _ in range(2)]
    push_many(gateway, range(3))
    for tab in both:
        tab.wait_data([0, 1, 2])
    assert gateway.stat("streams_open") == 2


def test_more_topics_than_a_stream_may_have(tabs, gateway):
    """Whose topics do not fit in has a connection of its own; who comes later shares again."""
    one = tabs.open(topics=[f"a/{i}" for i in range(40)]).wait_state("open")
    two = tabs.open(topics=[f"b/{i}" for i in range(40)]).wait_state("open")
    three = tabs.open(topics=["c"]).wait_state("open")
    for topic in ("a/39", "b/39", "c"):
        gateway.push({"topic": topic, "data": topic})
    one.wait_data(["a/39"])
    two.wait_data(["b/39"])
    three.wait_data(["c"])
    gateway.wait_stat("streams_open", 2, 20)


def test_closed_and_opened_at_once(tabs, gateway):
    """As React's StrictMode does; and what is closed tells nothing more."""
    tab = tabs.open(topics=["a"])
    tab.run("window.old = window.bugle; window.oldLog = window.log; old.close();"
            "window.listen(arguments[0], {topics: ['a']})", tabs.stream_url)
    tab.wait_state("open")
    push_many(gateway, range(3))
    tab.wait_data([0, 1, 2])
    assert tab.run("return [old.state, oldLog.events.length]") == ["closed", 0]
    gateway.wait_stat("streams_open", 1, 20)


# --- where to begin


def test_one_begins_in_the_past(tabs, gateway):
    """Beside others, to whom nothing comes twice."""
    one = tabs.open(topics=["a"]).wait_state("open")
    push_many(gateway, range(20))
    one.wait_data(list(range(20)))
    past = tabs.open(topics=["a", "b"], since="earliest")
    past.wait_data(list(range(20)))
    middle = tabs.open(topics=["a"], since=one.events()[9][0])
    middle.wait_data(list(range(10, 20)))
    push_many(gateway, range(20, 23))
    one.wait_data(list(range(23)))
    past.wait_data(list(range(23)))
    middle.wait_data(list(range(10, 23)))
    gateway.wait_stat("streams_open", 1, 20)


def test_the_storage_keeps_the_place(tabs, gateway):
    tab = tabs.open(storage="localStorage", topics=["a"]).wait_state("open")
    push_many(gateway, range(3))
    tab.wait_data([0, 1, 2])
    tabs.close(tab)
    push_many(gateway, range(3, 6))
    tab = tabs.open(storage="localStorage", topics=["a"])
    tab.wait_data([3, 4, 5])
    push_many(gateway, [6])
    tab.wait_data([3, 4, 5, 6])


# --- what can happen to a connection


@pytest.mark.parametrize("transport", TRANSPORTS)
@pytest.mark.gateway(settings={"stream.retry": "1s"}, store="sqlite:history.db")
def test_kill_in_the_midst(tabs, gateway, transport):
    both = [tabs.open(topics=["a"], transport=transport).wait_state("open") for _ in range(2)]
    push_many(gateway, range(50))
    gateway.kill()
    gateway.start()
    push_many(gateway, range(50, 100))
    for tab in both:
        tab.wait_data(list(range(100)), 60)
        assert not tab.notices("reset") and not tab.notices("error")


@pytest.mark.parametrize("transport", TRANSPORTS)
@pytest.mark.gateway(settings={"stream.retry": "1s"}, store="memory:")
def test_a_reset_is_told_to_every_tab_once(tabs, gateway, transport):
    both = [tabs.open(topics=["a"], transport=transport).wait_state("open") for _ in range(2)]
    push_many(gateway, [1])
    for tab in both:
        tab.wait_data([1])
    gateway.kill()
    gateway.start()
    for tab in both:
        told = tab.wait_notice("reset", 40)
        assert told["reason"] == "epoch" and "Load again" in told["message"]
    push_many(gateway, [2])
    for tab in both:
        tab.wait_data([1, 2])
        assert len(tab.notices("reset")) == 1


@pytest.mark.parametrize("transport", TRANSPORTS)
@pytest.mark.gateway(settings={"stream.retry": "1s"})
def test_a_connection_that_is_silent(tabs, gateway, transport):
    """No byte for three spans is told, and another connection goes on."""
    both = [tabs.open(topics=["a"], transport=transport).wait_state("open") for _ in range(2)]
    push_many(gateway, [1])
    gateway.signal(signal.SIGSTOP)
    try:
        for tab in both:
            tab.wait_notice("stalled", 30)
    finally:
        gateway.signal(signal.SIGCONT)
    push_many(gateway, [2])
    for tab in both:
        tab.wait_data([1, 2], 40)


@pytest.mark.gateway(settings={"stream.retry": "1s"})
def test_offline(tabs, gateway):
    tab = tabs.open(topics=["a"]).wait_state("open")
    push_many(gateway, [1])
    tab.wait_data([1])
    tab.cdp("Network.enable")
    conditions = {"latency": 0, "downloadThroughput": -1, "uploadThroughput": -1}
    tab.cdp("Network.emulateNetworkConditions", offline=True, **conditions)
    tab.wait_notice("offline")
    for stream in gateway.request("GET", "/api/streams").json()["streams"]:
        gateway.request("DELETE", f"/api/streams/{stream['id']}")
    push_many(gateway, [2])
    tab.cdp("Network.emulateNetworkConditions", offline=False, **conditions)
    tab.wait_data([1, 2], 30)
    tab.wait_state("open")


@pytest.mark.parametrize("shift", [3600, -3600])
def test_a_clock_that_is_set(tabs, gateway, shift):
    both = [tabs.open(topics=["a"]).wait_state("open") for _ in range(2)]
    opened = gateway.stat("streams_opened")
    push_many(gateway, [1])
    for tab in both:
        tab.run("const real = Date.now; Date.now = () => real() + 1000 * arguments[0]", shift)
    time.sleep(wire.seconds(5))
    push_many(gateway, [2])
    for tab in both:
        tab.wait_data([1, 2])
        assert not tab.notices("stalled")
    assert gateway.stat("streams_opened") == opened


def family(pid):
    """Its children, theirs and so on."""
    found = []
    with contextlib.suppress(FileNotFoundError):
        for task in pathlib.Path(f"/proc/{pid}/task").iterdir():
            for child in (task / "children").read_text().split():
                found += [int(child), *family(child)]
    return found


@pytest.mark.gateway(settings={"stream.retry": "1s"})
def test_a_machine_that_slept(tabs, gateway):
    """All of the browser stands still while its streams end and the world goes on."""
    both = [tabs.open(topics=["a"]).wait_state("open") for _ in range(2)]
    push_many(gateway, [1])
    both[0].wait_data([1])
    asleep = family(tabs.browser.service.process.pid)
    assert len(asleep) > 2
    for pid in asleep:
        os.kill(pid, signal.SIGSTOP)
    try:
        for stream in gateway.request("GET", "/api/streams").json()["streams"]:
            gateway.request("DELETE", f"/api/streams/{stream['id']}")
        push_many(gateway, range(2, 100))
        time.sleep(wire.seconds(12))
    finally:
        for pid in asleep:
            os.kill(pid, signal.SIGCONT)
    for tab in both:
        tab.wait_data(list(range(1, 100)), 40)
    gateway.wait_stat("streams_open", 1, 20)


class Holds:
    """A proxy that passes everything but the answers of streams, of which it keeps every byte."""

    def __init__(self, port):
        self.port_behind = port
        self.held = 0
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self.listener.getsockname()[1]}"
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self):
        with contextlib.suppress(OSError):
            while True:
                near, _ = self.listener.accept()
                threading.Thread(target=self._serve, args=(near,), daemon=True).start()

    def _serve(self, near):
        with contextlib.suppress(OSError), near:
            head = near.recv(65536)
            far = socket.create_connection(("127.0.0.1", self.port_behind))
            with far:
                far.sendall(head)
                threading.Thread(target=self._pass, args=(near, far), daemon=True).start()
                self._pass(far, None if head.startswith(b"GET /events") else near)

    def _pass(self, source, target):
        with contextlib.suppress(OSError):
            while part := source.recv(65536):
                if target is None:
                    self.held += len(part)
                else:
                    target.sendall(part)
            if target is not None:
                target.shutdown(socket.SHUT_WR)

    def close(self):
        self.listener.close()


def test_a_proxy_that_holds_back_the_first_bytes(tabs, gateway):
    """After three seconds a WebSocket takes the place of the stream."""
    proxy = Holds(gateway.port)
    tab = tabs.open(topics=["a"], url=f"{proxy.url}/events")
    tab.wait_state("open")
    push_many(gateway, [1])
    tab.wait_data([1])
    assert proxy.held > 0 and gateway.stat("websockets_open") == 1
    proxy.close()


# --- logins


@pytest.fixture
def guarded(gateway_factory, driver):  # noqa: F811
    """A gateway with logins, and tabs of a site whose user is anna."""
    made = gateway_factory(settings={**SETTINGS, "stream.retry": "1s", "auth.cookie": "bugle"})
    site = Site(made.url)
    made.tabs = Tabs(driver, site, stream_url(made))
    made.site = site
    made.tickets = []

    def ticket(ttl=600):
        hers = token("anna", subscribe=["a", "b"], ttl=ttl)
        wish = json.dumps({"user": "anna", "topics": ["a", "b"], "ttl": 60}).encode()
        answer = made.request_once("POST", "/api/tickets", bearer(hers), wish)
        made.tickets.append(answer.json()["ticket"])
        return made.tickets[-1]

    made.ticket = ticket
    yield made
    made.tabs.close_all()
    driver.execute_cdp_cmd("Network.clearBrowserCookies", {})
    site.close()


def push_as_admin(gateway, *numbers):
    for number in numbers:
        answer = gateway.post({"topic": "a", "data": number}, headers=bearer(ADMIN))
        assert answer.status == 201, answer


@pytest.mark.parametrize("transport", TRANSPORTS)
def test_without_a_login_it_gives_up(guarded, transport):
    tab = guarded.tabs.open(topics=["a"], transport=transport)
    told = tab.wait_notice("error")
    assert (told["status"], told["code"]) == (401, "no_credentials") and told["message"]
    assert tab.state == "closed"


@pytest.mark.parametrize("transport", ["websocket", "fetch"])
def test_who_may_not_read_does_not_disturb_who_may(guarded, transport):
    hers = token("anna", subscribe=["a"])
    may = guarded.tabs.open(topics=["a"], transport=transport, token=hers).wait_state("open")
    may_not = guarded.tabs.open(topics=["secret"], transport=transport, token=hers)
    assert may_not.wait_notice("error")["status"] == 403
    assert may_not.state == "closed"
    push_as_admin(guarded, 1)
    may.wait_data([1])
    guarded.tabs.close(may_not)
    again = guarded.tabs.open(topics=["a"], transport=transport, token=hers).wait_state("open")
    push_as_admin(guarded, 2)
    may.wait_data([1, 2])
    again.wait_data([2])


@pytest.mark.parametrize("transport", TRANSPORTS)
def test_the_end_of_a_login_and_a_new_ticket(guarded, transport):
    """`expired` is told, another ticket is asked for, and nothing is lost; when the site gives
    none, that is the end."""
    life = [int(wire.seconds(6))]
    guarded.site.extra["/ticket"] = lambda: (
        (200, json.dumps(guarded.ticket(life[0]))) if life else (401, "log in"))
    both = [guarded.tabs.open(topics=["a"], transport=transport, user="anna", ticket="/ticket")
            .wait_state("open") for _ in range(2)]
    push_as_admin(guarded, 1)
    both[1].wait_data([1])
    life[0] = 600
    for tab in both:
        assert tab.wait_notice("expired", 30)["reason"] == "token"
    push_as_admin(guarded, 2)
    for tab in both:
        tab.wait_data([1, 2], 40)
        assert not tab.notices("reset") and not tab.notices("error")
    life.clear()
    for stream in guarded.request("GET", "/api/streams", bearer(ADMIN)).json()["streams"]:
        guarded.request("DELETE", f"/api/streams/{stream['id']}", bearer(ADMIN))
    for tab in both:
        assert tab.wait_notice("error", 60)["status"] == 401


@pytest.mark.parametrize("transport", TRANSPORTS)
def test_a_ticket_is_renewed_before_it_ends(guarded, transport):
    """If the site says for how long it is good."""
    life = int(wire.seconds(6))
    guarded.site.extra["/ticket"] = lambda: (
        200, json.dumps({"ticket": guarded.ticket(life), "life": life}))
    tab = guarded.tabs.open(topics=["a"], transport=transport, user="anna", ticket="/ticket")
    tab.wait_state("open")
    push_as_admin(guarded, 1)
    wire.wait_until(lambda: len(guarded.tickets) >= 3, 40, "it asks for a third ticket")
    push_as_admin(guarded, 2)
    tab.wait_data([1, 2])
    assert not tab.notices("expired")
    assert set(tab.run("return log.states")) <= {"connecting", "open"}


@pytest.mark.parametrize("transport", TRANSPORTS)
def test_a_cookie(guarded, transport):
    """From another origin too; and when the login ends the page is not served as nobody."""
    guarded.site.cookie = f"bugle={token('anna', subscribe=['a'], ttl=int(wire.seconds(6)))}"
    tab = guarded.tabs.open(topics=["a"], transport=transport, credentials="include")
    tab.wait_state("open")
    push_as_admin(guarded, 1)
    tab.wait_data([1])
    assert tab.wait_notice("expired", 30)["reason"] == "token"
    assert tab.wait_notice("error", 30)["status"] == 401
    assert tab.state == "closed"


@pytest.mark.parametrize("transport", ["websocket", "fetch"])
def test_a_token_is_renewed_before_it_ends(guarded, transport):
    given = []
    guarded.site.extra["/token"] = lambda: (
        given.append(1) or 200, token("anna", subscribe=["a"], ttl=int(wire.seconds(6))))
    tab = guarded.tabs.open(topics=["a"], transport=transport, user="anna", tokenFrom="/token")
    tab.wait_state("open")
    wire.wait_until(lambda: len(given) >= 3, 40, "it asks for a third token")
    push_as_admin(guarded, 1)
    tab.wait_data([1])
    assert not tab.notices("expired") and not tab.notices("error")


# --- without a gateway


def test_what_connect_refuses_names_what_it_takes(tabs):
    tab = tabs.open(topics=["a"])
    for options, words in [
            ({"topic": "a"}, ["'topic'", "'topics'", "'user'", "'storage'"]),
            ({"transport": "carrier pigeon"}, ["transport", "'auto'", "'websocket'"]),
            ({"credentials": True}, ["credentials", "'include'"]),
            ({"topics": []}, ["topics", "1 to 64"]),
            ({"topics": [""]}, ["topics"]),
            ({"topics": ["t"] * 65}, ["1 to 64"]),
            ({"ticket": "abc"}, ["ticket", "function"]),
            ({"token": "abc", "transport": "sse"}, ["'fetch'", "'websocket'", "ticket"])]:
        said = tab.run("try { connect('/events', arguments[0]); } "
                       "catch (error) { return String(error); }", options)
        assert said and said.startswith("TypeError: connect()"), (options, said)
        assert all(word in said for word in words), (said, words)


def smallest():
    """The client minified, by Debian's terser; without one it has no comments and indentation."""
    terser = shutil.which("terser")
    if terser:
        env = {**os.environ, "NODE_PATH": "/usr/share/nodejs"}
        made = subprocess.run([terser, "--module", "-c", "-m", "--", str(WWW / "bugle.js")],
                              env=env, capture_output=True, check=False)
        if made.returncode == 0:
            return "terser", made.stdout
    text = re.sub(r"/\*.*?\*/", "", (WWW / "bugle.js").read_text(), flags=re.S)
    text = "\n".join(line.strip() for line in text.splitlines()
                     if line.strip() and not line.strip().startswith("//"))
    return None, text.encode()


def test_it_is_small():
    how, text = smallest()
    size = len(gzip.compress(text, 9))
    print(f"bugle.js: {len(text)} bytes, {size} with gzip, by {how or 'taking comments away'}")
    assert size <= (6 if how else 9) * 1024


def test_the_gateway_serves_it(gateway):
    for name, kind in (("bugle.js", "text/javascript"), ("bugle.d.ts", "text/plain")):
        answer = gateway.request("GET", f"/{name}")
        assert answer.status == 200 and answer.head.get("Content-Type").startswith(kind)
        assert answer.body == (WWW / name).read_bytes()


def test_its_types_name_every_option():
    source, types = (WWW / "bugle.js").read_text(), (WWW / "bugle.d.ts").read_text()
    options = re.search(r"const OPTIONS = \[(.*?)\]", source, re.S)[1]
    for word in re.findall(r"'(\w+)'", options):
        assert re.search(rf"^    {word}\?:", types, re.M), word


@pytest.mark.skipif(not shutil.which("npm"), reason="npm is not installed")
def test_the_package_has_what_it_needs(tmp_path):
    env = {**os.environ, "HOME": str(tmp_path)}
    made = subprocess.run(["npm", "pack", "--dry-run", "--json", "--offline"], cwd=WWW, env=env,
                          capture_output=True, check=True, timeout=wire.seconds(60))
    package, = json.loads(made.stdout)
    assert {each["path"] for each in package["files"]} == {
        "package.json", "bugle.js", "bugle.d.ts"}
