# SPDX-License-Identifier: MIT
"""The page at /, in a real Chromium: its own EventSource, its own fetch, the real gateway."""

import http.server
import json
import os
import pathlib
import re
import shutil
import subprocess
import threading
import types

import pytest

webdriver = pytest.importorskip("selenium.webdriver", reason="python3-selenium is not installed")

from selenium.webdriver.chrome.service import Service  # noqa: E402
from selenium.webdriver.common.by import By  # noqa: E402
from selenium.webdriver.common.keys import Keys  # noqa: E402
from selenium.webdriver.support.ui import WebDriverWait  # noqa: E402

import wire  # noqa: E402
from tokens import SETTINGS  # noqa: E402

CHROMIUM = shutil.which(os.environ.get("CHROMIUM", "chromium"))
CHROMEDRIVER = shutil.which(os.environ.get("CHROMEDRIVER", "chromedriver"))
PAGE_FILE = pathlib.Path(__file__).resolve().parent.parent.parent / "www" / "index.html"
WAIT_SECONDS = 15
# An orderly stop asks clients to stay away for up to 30 s.
RECONNECT_SECONDS = 45

pytestmark = pytest.mark.skipif(
    not (CHROMIUM and CHROMEDRIVER), reason="chromium and chromium-driver are not installed"
)

READ_ROWS = """
return [...document.querySelectorAll('[data-testid="event"], [data-testid="note"]')]
    .filter((row) => !row.hidden)
    .map((row) => {
        const text = (name) =>
            row.querySelector(`[data-testid="event-${name}"]`)?.textContent ?? null;
        return {
            kind: row.dataset.kind, name: text('name') ?? row.dataset.name, id: text('id'),
            topic: text('topic'), delay: text('delay'), data: text('data'),
            mine: 'mine' in row.dataset, text: row.textContent,
        };
    });
"""

# Text whose contrast with the ground behind it is under WCAG AA (4.5, 3 when large).
READ_FAINT_TEXT = """
const channels = (colour) => (colour.match(/[\\d.]+/g) ?? []).map(Number);
const luminance = ([r, g, b]) => [r, g, b].reduce((sum, value, i) => {
    const c = value / 255;
    return sum + [0.2126, 0.7152, 0.0722][i] *
        (c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4);
}, 0);
const ground = (node) => {
    for (; node; node = node.parentElement) {
        const colour = channels(getComputedStyle(node).backgroundColor);
        if (colour.length === 3 || colour[3] === 1) return colour;
    }
    return [255, 255, 255];
};
const faint = [];
for (const node of document.body.querySelectorAll('*')) {
    const own = [...node.childNodes].some((child) =>
        child.nodeType === Node.TEXT_NODE && child.data.trim());
    if (!own || !node.getClientRects().length || node.closest('.sr, script, style')) continue;
    const style = getComputedStyle(node);
    const [a, b] = [luminance(channels(style.color)), luminance(ground(node))];
    const ratio = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
    const large = parseFloat(style.fontSize) >= 24;
    if (ratio < (large ? 3 : 4.5)) faint.push(`${ratio.toFixed(2)} ${node.textContent.trim()}`);
}
return faint;
"""


class Page:
    """The page as a person uses it, found by its data-testid attributes."""

    def __init__(self, driver, gateway):
        self.driver = driver
        self.gateway = gateway

    def open(self, fragment="", state="open"):
        self.driver.get("about:blank")
        self.driver.get(f"{self.gateway.url}/{fragment}")
        return self.wait_state(state)

    def wait(self, fact, what, timeout=WAIT_SECONDS):
        """Wait for a fact about the page; its value."""

        def message():
            return f"{what}; state {self.state}, rows {self.rows()[:5]}"

        wait = WebDriverWait(self.driver, wire.seconds(timeout), poll_frequency=0.05)
        try:
            return wait.until(lambda _: fact())
        except Exception as failure:
            raise AssertionError(f"{type(failure).__name__}: {message()}") from failure

    def find(self, name):
        return self.driver.find_element(By.CSS_SELECTOR, f'[data-testid="{name}"]')

    def text(self, name):
        return self.find(name).get_attribute("textContent").strip()

    def wait_text(self, name, pattern, timeout=WAIT_SECONDS):
        return self.wait(lambda: re.search(pattern, self.text(name)), f"{name} reads {pattern}",
                         timeout)

    def click(self, name):
        self.find(name).click()

    def fill(self, name, text):
        field = self.find(name)
        field.clear()
        field.send_keys(text)

    def choose(self, name):
        """A radio button lies under its label."""
        self.find(name).find_element(By.XPATH, "..").click()

    @property
    def state(self):
        return self.find("state").get_attribute("data-state")

    def wait_state(self, state, timeout=WAIT_SECONDS):
        self.wait(lambda: self.state == state, f"the state is {state}", timeout)
        return self

    def rows(self, kind=None):
        """What the list shows, newest first."""
        rows = self.driver.execute_script(READ_ROWS)
        return [row for row in rows if kind in (None, row["kind"])]

    def events(self):
        return self.rows("event")

    def wait_event(self, timeout=WAIT_SECONDS, **wanted):
        """The row with these values."""

        def find():
            for row in self.events():
                if all(row[key] == value for key, value in wanted.items()):
                    return row
            return None

        return self.wait(find, f"an event with {wanted}", timeout)

    def publish(self, data, topic="", event="", mode="text"):
        self.fill("publish-topic", topic)
        self.fill("publish-event", event)
        self.choose(f"mode-{mode}")
        self.fill("publish-data", data)
        self.click("publish-button")

    def set_viewport(self, width, height, mobile=False):
        self.driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", {
            "width": width, "height": height, "deviceScaleFactor": 1, "mobile": mobile})

    def set_media(self, **features):
        self.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [
            {"name": name.replace("_", "-"), "value": value} for name, value in features.items()]})

    def background(self):
        return self.driver.execute_script(
            "return getComputedStyle(document.body).backgroundColor.match(/\\d+/g).map(Number)")

    def console(self):
        """Errors of scripts and of the Content-Security-Policy; failed requests are not."""
        return [entry["message"] for entry in self.driver.get_log("browser")
                if entry["level"] == "SEVERE" and entry["source"] != "network"]


@pytest.fixture(scope="module")
def driver(tmp_path_factory):
    options = webdriver.ChromeOptions()
    options.binary_location = CHROMIUM
    for flag in ("--headless=new", "--no-sandbox", "--disable-gpu", "--no-first-run",
                 "--disable-background-networking", "--disable-component-update",
                 "--disable-sync", f"--user-data-dir={tmp_path_factory.mktemp('chromium')}"):
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    options.ignore_local_proxy_environment_variables()
    browser = webdriver.Chrome(service=Service(CHROMEDRIVER), options=options)
    yield browser
    browser.quit()


def use(driver, gateway):
    """A page on a desk, and after the test what it complained of."""
    page = Page(driver, gateway)
    page.set_viewport(1440, 900)
    page.set_media()
    driver.get_log("browser")
    yield page
    complaints = page.console()
    driver.get("about:blank")
    assert not complaints


@pytest.fixture
def page(driver, gateway):
    yield from use(driver, gateway)


class Proxy(http.server.BaseHTTPRequestHandler):
    """What a proxy makes of a gateway that restarts: 502 until the server's `up` is set."""

    def log_message(self, *_):
        pass

    def do_GET(self):
        stream = self.path.startswith("/events")
        up = self.path == "/" or (stream and self.server.up.is_set())
        kind = "text/event-stream" if stream else "text/html; charset=utf-8"
        self.send_response(200 if up else 502)
        self.send_header("Content-Type", kind if up else "text/plain")
        self.end_headers()
        if self.path == "/":
            self.wfile.write(PAGE_FILE.read_bytes())
        elif up:
            self.wfile.write(b"data: hello\nid: a-1\n\n")
            self.server.over.wait()


@pytest.fixture
def proxy():
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Proxy) as server:
        server.up, server.over = threading.Event(), threading.Event()
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server
        server.over.set()
        server.shutdown()
        thread.join()


@pytest.fixture
def page_behind_proxy(driver, proxy):
    url = f"http://127.0.0.1:{proxy.server_address[1]}"
    yield from use(driver, types.SimpleNamespace(url=url))


def test_page_is_served_under_a_strict_policy(gateway):
    answer = gateway.request("GET", "/")
    assert answer.status == 200
    policy = dict(part.strip().split(" ", 1)
                  for part in answer.head.get("Content-Security-Policy").split(";"))
    assert policy["default-src"] == "'none'"
    assert policy["connect-src"] == "'self'"
    assert b"src=" not in answer.body, "the page loads something"


def test_an_event_from_outside_appears(page, gateway):
    page.open("#event=order.paid")
    page.wait(lambda: gateway.stats()["streams_open"] == 1, "one stream is open")
    answer = gateway.push({"topic": "orders/eu/7", "event": "order.paid", "data": "paid"})
    row = page.wait_event(id=answer["id"])
    assert (row["name"], row["data"], row["mine"]) == ("order.paid", "paid", False)
    assert (row["topic"], row["delay"]) == ("–", "–"), "the wire says neither"
    assert page.text("last-id") == answer["id"]
    page.wait_text("received", "^1$")


def test_what_the_data_says_of_topic_and_time_is_used(page, gateway):
    page.open()
    sent = page.driver.execute_script("return Date.now()")
    answer = gateway.push({"topic": "a", "data": {"topic": "a", "sent": sent}})
    row = page.wait_event(id=answer["id"])
    assert row["topic"] == "a"
    assert re.match(r"\d", row["delay"])
    assert page.text("median") == row["delay"]


def test_a_single_exact_topic_is_the_topic(page, gateway):
    page.open("#topic=a/b")
    answer = gateway.push({"topic": "a/b", "data": "x"})
    assert page.wait_event(id=answer["id"])["topic"] == "a/b"


def test_json_is_laid_out_without_touching_a_token(page, gateway):
    page.open()
    tokens = ['{"price":1.10', '"big":12345678901234567890', '"e":1E2',
              '"list":[1,{"deep":[true,null]}]',
              '"text":"a, {b}: \\"c\\" and enough to need more than a single line of it"}']
    body = b'{"topic":"a","data":' + ",".join(tokens).encode() + b"}"
    answer = gateway.push(body)
    shown = page.wait_event(id=answer["id"])["data"]
    assert "\n" in shown
    for token in ("1.10", "12345678901234567890", "1E2", '"a, {b}: \\"c\\" and enough'):
        assert token in shown
    assert json.loads(shown) == json.loads(",".join(tokens))


def test_text_stays_text(page, gateway):
    page.open()
    markup = "<img src=x onerror=\"document.title='owned'\"><b>bold</b>"
    page.fill("name-input", markup + Keys.ENTER)
    answers = [gateway.push({"topic": markup, "event": markup, "data": markup}),
               gateway.push({"topic": "a", "data": {"topic": markup, markup: markup}})]
    rows = [page.wait_event(id=answer["id"]) for answer in answers]
    assert (rows[0]["name"], rows[0]["data"]) == (markup, markup)
    assert rows[1]["topic"] == markup
    page.publish(markup, topic=markup)
    page.wait_event(topic=markup, mine=True)
    assert not page.driver.find_elements(By.CSS_SELECTOR, "img, main b:not(.id b):not(dd b)")
    assert page.driver.title == "Bugle"


def test_publishing_shows_the_id_and_the_delay(page, gateway):
    page.open()
    page.publish("Good evening", topic="news", event="greeting")
    page.wait_text("answer", "arrived here after [0-9.]+ (ms|s)")
    row = page.wait_event(mine=True)
    assert (row["name"], row["topic"], row["data"]) == ("greeting", "news", "Good evening")
    assert row["id"] in page.text("answer")
    assert re.match(r"\d", row["delay"])
    page.wait_text("median", f"^{row['delay']}$")
    assert page.text("publish-curl") == (
        "curl --data-raw 'Good evening' "
        f"'{gateway.url}/api/push?topic=news&event=greeting'")
    assert "event=greeting" in page.driver.current_url, "the name has joined the listened ones"


def test_json_is_published_as_it_was_typed(page, gateway):
    page.open()
    page.publish('{"price": 1.10,\n"it\'s": 12345678901234567890}', topic="a", mode="json")
    row = page.wait_event(mine=True)
    assert "1.10" in row["data"] and "12345678901234567890" in row["data"]
    assert "'{\"topic\":\"a\",\"data\":{\"price\"" in page.text("publish-curl")
    assert "it'\\''s" in page.text("publish-curl")


def stream_of(gateway):
    (stream,) = gateway.request("GET", "/api/streams").json()["streams"]
    return stream["transport"], stream["topics"]


def test_over_websocket(page, gateway):
    """It is chosen, stays chosen in the link, and goes on where the other one was."""
    page.open("#topic=news&topic=a")
    first = gateway.push({"topic": "news", "data": "first"})
    page.wait_event(id=first["id"])
    page.choose("over-websocket")
    page.wait(lambda: gateway.stats()["websockets_opened"] == 1, "a WebSocket is open")
    page.wait_state("open")
    page.wait(lambda: gateway.stats()["streams_open"] == 1, "the other one is closed")
    assert stream_of(gateway) == ("websocket", ["news", "a"])
    assert "over=websocket" in page.driver.current_url
    answer = gateway.push({"topic": "news", "event": "unheard", "data": {"price": "x"}})
    row = page.wait_event(id=answer["id"])
    assert (row["name"], row["topic"], row["mine"]) == ("unheard", "news", False)
    assert page.text("last-id") == answer["id"]
    page.choose("over-sse")
    page.wait(lambda: stream_of(gateway)[0] == "sse", "an event stream is open")
    last = gateway.push({"topic": "a", "data": "last"})
    page.wait_event(id=last["id"])
    assert [row["id"] for row in page.events()] == [last["id"], answer["id"], first["id"]]


def test_publishing_over_websocket(page, gateway):
    page.open("#over=websocket")
    page.publish('{"price": 1.10, "big": 12345678901234567890}', topic="a", event="paid",
                 mode="json")
    page.wait_text("answer", "arrived here after [0-9.]+ (ms|s)")
    row = page.wait_event(mine=True)
    assert (row["name"], row["topic"]) == ("paid", "a")
    assert "1.10" in row["data"] and "12345678901234567890" in row["data"]
    assert row["id"] in page.text("answer")
    assert gateway.stats()["websocket_messages"] == 1
    assert '"publish"' in page.text("publish-curl")
    page.fill("publish-ttl", "soon")
    page.publish("1", topic="a", mode="json")
    page.wait_text("answer", "^422: ")
    assert page.find("publish-ttl").get_attribute("aria-invalid") == "true"
    page.publish('{"a": ', topic="a", mode="json")
    page.wait_text("answer", r"^400: .+ \(line 1, column \d+\)$")


def test_both_ways_of_talking_are_shown(page, gateway):
    """What stands there works in a page."""
    page.open("#topic=news&over=websocket")
    page.publish("it's\n\\o/", topic="news")
    page.wait_event(mine=True)
    listens, (_, by_v1, how, raw) = page.text("listen-curl"), page.text("publish-curl").split("\n")
    assert how == "// data alone: publish=news"
    url = f"ws://{gateway.url.removeprefix('http://')}/ws?topic=news"
    assert f"new WebSocket('{url}')" in listens
    for protocol, query, code in (("bugle.v1", "", by_v1), ("bugle.raw", "&publish=news", raw)):
        page.driver.execute_script(
            "const ws = new WebSocket(arguments[0], arguments[1]);"
            f"ws.onopen = () => {{ {code} }};", url + query, protocol)
    page.wait(lambda: len(page.events()) == 3, "three events")
    assert {row["data"] for row in page.events()} == {"it's\n\\o/"}


def test_a_refused_pattern_of_a_websocket_says_why(page):
    page.open("#topic=a**&over=websocket", state="closed")
    page.wait_text("trouble", "^400: ")


def test_the_curl_line_of_a_text_says_for_whom_it_is(page, gateway):
    page.open()
    page.publish("hello")
    page.wait_event(mine=True, data="hello")
    command = page.text("publish-curl")
    assert command.endswith("/api/push?broadcast=true'"), command
    subprocess.run(command, shell=True, check=True, capture_output=True, timeout=10)
    page.wait_event(mine=False, data="hello")
    assert len(page.events()) == 2


def test_an_ephemeral_event_has_no_id(page, gateway):
    page.open()
    kept = gateway.push({"topic": "a", "data": "kept"})
    page.wait_event(id=kept["id"])
    page.find("publish-ephemeral").click()
    page.publish("gone with the wind", topic="a")
    page.wait_text("answer", "not stored")
    row = page.wait_event(data="gone with the wind")
    assert (row["id"], row["delay"]) == ("–", "–")
    assert page.text("last-id") == kept["id"]


def test_events_to_a_user_reach_that_user(page, gateway):
    page.open("#user=42")
    gateway.push({"user": 43, "data": "not yours"})
    answer = gateway.push({"user": 42, "data": "yours"})
    page.wait_event(id=answer["id"])
    assert [row["data"] for row in page.events()] == ["yours"]


def test_bad_json_shows_the_problem(page, gateway):
    page.open()
    before = gateway.stats()["events_published"]
    page.publish('{\n"a": 1,\n"b": }', topic="a", mode="json")
    page.wait_text("answer", r"^400: .+ \(line 3, column \d+\)$")
    assert page.find("publish-data").get_attribute("aria-invalid") == "true"
    caret = page.driver.execute_script("return document.activeElement.selectionStart")
    assert caret >= len('{\n"a": 1,\n'), "the caret is on the line at fault"
    assert gateway.stats()["events_published"] == before
    page.publish('{"a": 1}', topic="a", mode="json")
    page.wait_event(mine=True)
    assert page.find("publish-data").get_attribute("aria-invalid") is None


def test_json_cannot_break_out_of_its_envelope(page, gateway):
    page.open()
    before = gateway.stats()["events_published"]
    page.publish('1, "retry": 5000', topic="a", mode="json")
    page.wait_text("answer", "^400: ")
    assert gateway.stats()["events_published"] == before


def test_a_wrong_field_is_marked(page):
    page.open()
    page.fill("publish-ttl", "soon")
    page.publish("x", topic="a", event="unheard")
    page.wait_text("answer", "^422: ")
    assert page.find("publish-ttl").get_attribute("aria-invalid") == "true"
    assert "unheard" not in page.text("names"), "a refused name is not listened for"


@pytest.mark.gateway(settings={"stream.retry": "1s"})
def test_a_cut_stream_goes_on_and_nothing_is_lost(page, gateway):
    page.open("#topic=news&user=7")
    first = gateway.push({"topic": "news", "data": "before"})
    page.wait_event(id=first["id"])
    assert gateway.request("DELETE", "/api/streams?user=7").status == 200
    page.wait_state("reconnecting")
    missed = gateway.push({"topic": "news", "data": "meanwhile"})
    page.wait_state("open")
    later = gateway.push({"topic": "news", "data": "after"})
    page.wait_event(id=later["id"])
    assert [row["id"] for row in page.events()] == [later["id"], missed["id"], first["id"]]
    assert not [row for row in page.rows("gateway") if row["name"] == "reset"]
    assert page.text("reconnects") == "1"


@pytest.mark.gateway(store="memory:", settings={"stream.retry": "1s"})
def test_a_restart_shows_and_the_stream_goes_on(page, gateway):
    page.open("#topic=news")
    first = gateway.push({"topic": "news", "data": "before"})
    page.wait_event(id=first["id"])
    gateway.stop()
    page.wait_state("reconnecting")
    page.wait_text("state-more", r"^attempt \d+, \d+ s$")
    gateway.start()
    page.wait_state("open", RECONNECT_SECONDS)
    assert page.text("reconnects") == "1"
    page.wait(lambda: [row for row in page.rows("gateway") if row["name"] == "reset"],
              "a reset, for the history was in memory")
    later = gateway.push({"topic": "news", "data": "after"})
    page.wait_event(id=later["id"])
    assert [row["data"] for row in page.events()] == ["after", "before"]


@pytest.fixture
def durable_gateway(gateway_factory, tmp_path):
    return gateway_factory(store=f"sqlite:{tmp_path}/history.db", settings={"stream.retry": "1s"})


@pytest.fixture
def durable_page(driver, durable_gateway):
    yield from use(driver, durable_gateway)


def test_a_kill_leaves_no_gap_when_the_history_is_on_disk(durable_page, durable_gateway):
    """Nothing was said in farewell, and the page goes on as after any other cut."""
    page, gateway = durable_page, durable_gateway
    page.open("#topic=news")
    ids = [gateway.push({"topic": "news", "data": "before"})["id"]]
    page.wait_event(id=ids[0])
    gateway.kill()
    page.wait_state("reconnecting")
    gateway.start()
    # published before the page is back, or after: it makes no difference
    ids += [gateway.push({"topic": "news", "data": data})["id"] for data in ("meanwhile", "more")]
    page.wait_state("open", RECONNECT_SECONDS)
    ids.append(gateway.push({"topic": "news", "data": "after"})["id"])
    page.wait_event(id=ids[-1])
    assert [row["id"] for row in reversed(page.events())] == ids
    assert not [row for row in page.rows("gateway") if row["name"] == "reset"]
    assert page.text("reconnects") == "1"


def test_a_websocket_that_is_lost_goes_on(durable_page, durable_gateway):
    page, gateway = durable_page, durable_gateway
    page.open("#topic=news&user=7&over=websocket")
    ids = [gateway.push({"topic": "news", "data": "before"})["id"]]
    page.wait_event(id=ids[0])
    gateway.kill()
    page.wait_state("reconnecting")
    gateway.start()
    ids += [gateway.push({"topic": "news", "data": data})["id"] for data in ("meanwhile", "more")]
    page.wait_state("open", RECONNECT_SECONDS)
    ids.append(gateway.push({"topic": "news", "data": "after"})["id"])
    page.wait_event(id=ids[-1])
    assert [row["id"] for row in reversed(page.events())] == ids
    assert page.text("reconnects") == "1"
    assert gateway.request("DELETE", "/api/streams?user=7").status == 200
    page.wait_state("closed")
    page.wait_text("trouble", "^Ended by the gateway$")


def test_topics_are_chosen_and_shared_in_the_link(page, gateway):
    page.open()
    assert "everything" in page.text("topics")
    page.fill("topic-input", "orders/*" + Keys.ENTER)
    page.wait(lambda: page.driver.current_url.endswith("#topic=orders/*"), "the link says it")
    page.wait_state("open")
    gateway.push({"topic": "news", "data": "unheard"})
    heard = gateway.push({"topic": "orders/7", "data": "heard"})
    page.wait_event(id=heard["id"])
    assert [row["data"] for row in page.events()] == ["heard"]
    link = page.driver.current_url
    page.open(link[link.index("#"):])
    chips = page.find("topics").find_elements(By.CSS_SELECTOR, '[data-testid="chip"]')
    assert [chip.get_attribute("data-value") for chip in chips] == ["orders/*"]
    chips[0].find_element(By.TAG_NAME, "button").click()
    assert "everything" in page.text("topics")
    assert page.driver.switch_to.active_element.get_attribute("id") == "topic-input"


def test_disconnect_and_connect_go_on_where_it_left_off(page, gateway):
    page.open()
    first = gateway.push({"topic": "a", "data": "1"})
    page.wait_event(id=first["id"])
    page.click("connect")
    page.wait_state("closed")
    page.wait(lambda: gateway.stats()["streams_open"] == 0, "the stream is gone")
    missed = gateway.push({"topic": "a", "data": "2"})
    page.click("connect")
    page.wait_state("open")
    page.wait_event(id=missed["id"])
    assert [row["data"] for row in page.events()] == ["2", "1"]


def test_a_refused_pattern_says_why(page):
    page.open("#topic=a/**/b", state="closed")
    page.wait_text("trouble", "^400: ")
    assert page.text("connect") == "Connect"


def test_a_proxys_502_is_not_the_end(page_behind_proxy, proxy):
    page = page_behind_proxy
    page.open(state="connecting")
    page.wait_text("trouble", "^502: ")
    proxy.up.set()
    page.wait_state("open")
    page.wait_event(data="hello")
    assert page.text("trouble") == ""


def test_pause_filter_and_clear(page, gateway):
    page.open()
    page.click("pause")
    answer = gateway.push({"topic": "a", "data": "apple"})
    page.wait_text("pause", r"^Resume \(1\)$")
    assert not page.events()
    page.click("pause")
    page.wait_event(id=answer["id"])
    other = gateway.push({"topic": "a", "data": "pear"})
    page.wait_event(id=other["id"])
    page.fill("filter", "PEA")
    page.wait(lambda: [row["data"] for row in page.events()] == ["pear"], "the filter holds")
    page.click("clear")
    assert not page.rows()
    assert page.find("empty").is_displayed()
    assert page.text("received") == "2", "the figures stay"


def test_the_list_is_bounded(page, gateway):
    page.open()
    for batch in (range(600), range(600, 900)):
        ids = gateway.push([{"topic": "a", "data": str(n)} for n in batch])["ids"]
        page.wait_event(id=ids[-1])
        assert len(page.rows()) == 500
    assert page.events()[0]["data"] == "899"
    page.wait_text("received", "^900$")


def test_long_data_is_cut_until_asked_for(page, gateway):
    page.open()
    answer = gateway.push({"topic": "a", "data": "word " * 2000})
    assert len(page.wait_event(id=answer["id"])["data"]) < 2000
    page.driver.find_element(By.CSS_SELECTOR, '[data-testid="event"] button').click()
    assert page.events()[0]["data"] == "word " * 2000


def test_figures_of_the_gateway(page, gateway):
    page.open()
    page.wait_text("stat-streams", "^1$")
    page.wait_text("stat-published", "^0/s$")
    gateway.push({"topic": "a", "data": "x"})
    page.wait_text("stat-delivered", r"^0\.\d/s$")
    assert page.text("stat-refused") == ""


NOTE_CALLS = """
{
    const real = {setTimeout, fetch};
    window.delays = [];
    window.asked = [];
    window.setTimeout = (call, ms, ...rest) => {
        window.delays.push(ms);
        return real.setTimeout.call(window, call, ms, ...rest);
    };
    window.fetch = (path, ...rest) => {
        window.asked.push(path);
        return real.fetch.call(window, path, ...rest);
    };
}
"""
STATS_EVERY_MS = 2000


@pytest.fixture
def shut_page(driver, gateway_factory):
    """A page that may listen and may not read figures."""
    gateway = gateway_factory(settings={**SETTINGS, "auth.anonymous": "**"})
    script = driver.execute_cdp_cmd("Page.addScriptToEvaluateOnNewDocument",
                                    {"source": NOTE_CALLS})
    yield from use(driver, gateway)
    driver.execute_cdp_cmd("Page.removeScriptToEvaluateOnNewDocument", script)


def test_what_the_page_may_not_read_is_not_asked_again(shut_page):
    """It would be refused every two seconds for as long as the page is open."""
    shut_page.open()
    shut_page.wait_text("stat-refused", "may not read")
    assert STATS_EVERY_MS not in shut_page.driver.execute_script("return window.delays")
    assert shut_page.driver.execute_script("return window.asked") == ["/api/stats"]
    assert shut_page.text("stat-streams") == "–"
    shut_page.click("connect")
    shut_page.wait_state("closed")
    shut_page.click("connect")
    shut_page.wait_state("open")
    shut_page.wait(lambda: shut_page.driver.execute_script("return window.asked.length") == 2,
                   "asked once more")


def test_a_checkpoint_is_no_event(page, gateway):
    """A page that has heard nothing yet says so, whatever the gateway says of places."""
    gateway.push({"topic": "elsewhere", "data": "x"})
    page.open("#topic=here")
    page.wait(lambda: [row["name"] for row in page.rows()] == ["checkpoint"], "a checkpoint")
    assert page.text("count") == "" and page.find("empty").is_displayed()
    gateway.push({"topic": "here", "data": "x"})
    page.wait_event(data="x")
    assert page.text("count") == "1" and not page.find("empty").is_displayed()
    assert page.text("received") == "1"


def test_a_phone_does_not_scroll_sideways(page, gateway):
    page.set_viewport(360, 740, mobile=True)
    topic = "a-topic-of-one-very-long-segment-" * 7
    page.open(f"#topic={topic}&event={'n' * 120}")
    answer = gateway.push({"topic": topic, "event": "n" * 120, "data": "x" * 1000})
    page.wait_event(id=answer["id"])
    for view in ("events", "publish", "listen"):
        page.click(f"tab-{view}")
        width = page.driver.execute_script("return document.documentElement.scrollWidth")
        assert width == 360, view
    page.click("tab-publish")
    page.publish("from a phone", topic=topic)
    page.wait_text("answer", "arrived here")


def test_dark_and_light(page, gateway):
    page.set_media(prefers_color_scheme="dark")
    page.open()
    assert max(page.background()) < 64
    page.click("theme")
    assert min(page.background()) > 192
    page.open()
    assert min(page.background()) > 192, "the choice is kept"
    page.click("theme")
    assert max(page.background()) < 64
    page.set_media(prefers_color_scheme="light")
    page.wait(lambda: min(page.background()) > 192, "back with the system, it is followed")


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_stands_out_from_its_ground(page, gateway, scheme):
    page.set_media(prefers_color_scheme=scheme, prefers_reduced_motion="reduce")
    page.open("#topic=a&topic=b/*&event=c&user=7")
    gateway.push({"topic": "a", "data": {"key": ["text", 12.5, True], "more": "x" * 2000}})
    page.publish("{", topic="a", mode="json")
    page.wait_text("answer", "^400: ")
    page.choose("mode-text")
    page.fill("publish-data", "mine")
    page.click("publish-button")
    page.wait_event(mine=True)
    assert page.driver.execute_script(READ_FAINT_TEXT) == []


def test_nothing_moves_when_less_motion_is_wanted(page, gateway):
    page.set_media(prefers_reduced_motion="reduce")
    page.open()
    gateway.push({"topic": "a", "data": "x"})
    page.wait_event(data="x")
    running = page.driver.execute_script("return document.getAnimations().length")
    assert running == 0


def test_every_control_has_a_name(page):
    page.open("#topic=a&event=b")
    nameless = page.driver.execute_script("""
        return [...document.querySelectorAll('button, input, select, textarea')]
            .filter((node) => !(node.getAttribute('aria-label') || node.labels?.length &&
                [...node.labels].some((label) => label.textContent.trim()) ||
                node.tagName === 'BUTTON' && node.textContent.trim()))
            .map((node) => node.outerHTML);
    """)
    assert nameless == []


def test_the_keyboard_reaches_the_events(page):
    page.open()
    page.driver.find_element(By.TAG_NAME, "body").send_keys(Keys.TAB)
    skip = page.driver.switch_to.active_element
    assert skip.text == "Skip to the events"
    skip.send_keys(Keys.ENTER)
    assert page.driver.switch_to.active_element.get_attribute("id") == "scroll"
