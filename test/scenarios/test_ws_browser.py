# SPDX-License-Identifier: MIT
"""WebSockets of a page in a real Chromium: what it is told of every way in which they end."""

import http.server
import json
import threading

import pytest

pytest.importorskip("selenium.webdriver", reason="python3-selenium is not installed")

import fronts  # noqa: E402
import wire  # noqa: E402
import ws  # noqa: E402
from test_page import driver, pytestmark  # noqa: E402, F401
from test_tls import pairs, secure  # noqa: E402, F401
from test_tls_browser import browser  # noqa: E402, F401
from test_tickets import ticket_of  # noqa: E402
from tokens import ADMIN, SETTINGS, bearer, token  # noqa: E402

PAGE = """<!doctype html><title>ws</title><script>
let sockets = [];
function open_(url, protocols) {
  const log = {open: null, texts: [], close: null};
  const ws = protocols ? new WebSocket(url, protocols) : new WebSocket(url);
  ws.onopen = () => { log.open = [ws.protocol, ws.extensions]; };
  ws.onmessage = (e) => { log.texts.push(e.data); };
  ws.onclose = (e) => { log.close = [e.code, e.reason, e.wasClean]; };
  log.ws = ws;
  sockets.push(log);
  return sockets.length - 1;
}
</script>"""


class Site:
    """A web site of its own, from which the page comes."""

    def __init__(self):
        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self):
                self.send_response(200 if self.path == "/" else 404)
                self.send_header("Content-Type", "text/html")
                self.end_headers()
                self.wfile.write(PAGE.encode())

            def log_message(self, *_):
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.port = self.server.server_port
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def close(self):
        self.server.shutdown()
        self.server.server_close()


@pytest.fixture(scope="module")
def site():
    made = Site()
    yield made
    made.close()


class PageSocket:
    """One WebSocket of the page."""

    def __init__(self, browser, url, protocols):
        self.browser = browser
        self.index = browser.execute_script("return open_(arguments[0], arguments[1])", url,
                                            protocols)

    def get(self, name):
        return self.browser.execute_script(f"return sockets[arguments[0]].{name}", self.index)

    def wait(self, name, wanted=None):
        def look():
            value = self.get(name)
            return value == wanted if wanted is not None else value

        return wire.wait_until(look, 20, f"{name} is {wanted}: {self.get(name)}")

    def call(self, method, *values):
        self.browser.execute_script(
            f"sockets[arguments[0]].ws.{method}(...arguments[1])", self.index, values)

    def closed(self, code, word=None):
        """What its page is told of the end."""
        found = self.wait("close")
        assert (found[0], found[2]) == (code, True), found
        assert word is None or ws.word_of(found[1])[0] == word, found
        return ws.word_of(found[1])[1] if word else found[1]


@pytest.fixture
def page(driver, site):  # noqa: F811
    driver.get(f"http://127.0.0.1:{site.port}/")
    yield lambda gateway, query, protocols=None: PageSocket(
        driver, f"ws://127.0.0.1:{gateway.port}/ws?{query}", protocols)
    driver.get("about:blank")
    driver.get_log("browser")


def test_page_talks(page, gateway):
    """The first sentence of the contract, as a page has it; and bugle.v1."""
    raw = page(gateway, "topic=news")
    raw.wait("open", ["", ""])
    raw.call("send", "hello")
    raw.wait("texts", ["hello"])
    talks = page(gateway, "topic=news", ["bugle.v1"])
    talks.wait("open", ["bugle.v1", ""])
    talks.call("send", json.dumps({"type": "publish", "ref": 1, "events": {
        "topic": "news", "data": {"n": 19.9}}}))
    raw.wait("texts", ["hello", '{"n":19.9}'])
    wire.wait_until(lambda: len(talks.get("texts")) >= 3, 20)
    kinds = {json.loads(text)["type"] for text in talks.get("texts")}
    assert kinds >= {"hello", "ack", "event"}
    raw.call("close", 3999, "enough")
    assert raw.closed(3999) in ("enough", "")
    gateway.wait_stat("websockets_open", 1)


@pytest.mark.gateway(settings={"websocket.deflate": "on"})
def test_page_compresses(page, gateway):
    raw = page(gateway, "topic=a&publish=a")
    assert "permessage-deflate" in raw.wait("open")[1]
    raw.call("send", "x" * 5000)
    raw.wait("texts", ["x" * 5000])


def test_page_sees_each_code(page, gateway):
    """Those of mistakes, of DELETE and of a stop; never 1006, and always in order."""
    wrong = page(gateway, "topic=a&publish=a")
    binary = page(gateway, "topic=a")
    deleted = page(gateway, "topic=a&user=anna")
    stopped = page(gateway, "topic=a", ["bugle.v1"])
    for each in (wrong, binary, deleted, stopped):
        each.wait("open")
    wrong.call("send", "x" * 140000)
    wrong.closed(1009)
    binary.browser.execute_script(
        "sockets[arguments[0]].ws.send(new Uint8Array(3))", binary.index)
    binary.closed(1003)
    gateway.request("DELETE", "/api/streams?user=anna")
    assert deleted.closed(1000, "deleted") is None
    hasty = page(gateway, "topic=a")
    hasty.wait("open")
    hasty.browser.execute_script(
        "for (let i = 0; i < 500; i++) sockets[arguments[0]].ws.send('x')", hasty.index)
    hasty.closed(1008)
    gateway.signal()
    assert stopped.closed(1001, "stopping") > 0
    assert json.loads(stopped.get("texts")[-1])["type"] == "bye"
    assert gateway.wait() == 0


@pytest.mark.gateway(settings={"limits.streams": "1"}, workers=1)
def test_page_sees_a_limit(page, gateway):
    first = page(gateway, "topic=a")
    first.wait("open")
    second = page(gateway, "topic=a", ["bugle.v1"])
    assert second.closed(1013, "too_many_streams") >= 30000


def test_page_with_a_login(page, gateway_factory, site):
    """A subprotocol or a ticket brings the token; each refusal has a code and a word."""
    gateway = gateway_factory(settings={
        **SETTINGS, "auth.origins": f"http://127.0.0.1:{site.port}"})
    anna = token("anna", subscribe=["a"])
    page(gateway, "topic=a").closed(4401, "no_credentials")
    page(gateway, "topic=a", ["bugle.v1", "bearer.x.y.z"]).closed(4401, "invalid_token")
    page(gateway, "topic=b", ["bugle.raw", f"bearer.{anna}"]).closed(4403, "missing_right")
    short = page(gateway, "topic=a", [
        "bugle.raw", "bearer." + token("anna", subscribe=["a"], ttl=int(wire.seconds(4)))])
    short.wait("open", ["bugle.raw", ""])
    good = page(gateway, "topic=a", ["bugle.v1", f"bearer.{anna}"])
    good.wait("open", ["bugle.v1", ""])
    gateway.post({"topic": "a", "user": "anna", "data": "hers"}, headers=bearer(ADMIN))
    short.wait("texts", ["hers"])
    ticket = ticket_of(gateway, {"user": "anna", "topics": ["a"]})
    first = page(gateway, f"ticket={ticket}", ["bugle.v1"])
    place = json.loads(first.wait("texts")[0])["id"]
    second = page(gateway, f"ticket={ticket}&last_event_id={place}", ["bugle.v1"])
    second.wait("open")
    first.closed(4409, "replaced")
    page(gateway, f"ticket={ticket}").closed(4401, "invalid_token")
    short.closed(4401, "token")


def test_page_of_a_foreign_site(driver, gateway_factory, site):  # noqa: F811
    """It gets nothing, not even a reason; what it sent at once reaches nobody."""
    gateway = gateway_factory(settings={"auth.origins": "https://app.example"})
    driver.get(f"http://127.0.0.1:{site.port}/")
    each = PageSocket(driver, f"ws://127.0.0.1:{gateway.port}/ws", None)
    assert each.wait("close")[0] == 1006 and each.get("open") is None
    assert gateway.stat("websockets_opened") == 0
    driver.get("about:blank")


@pytest.mark.parametrize("name", sorted(fronts.FRONTS))
def test_page_through_a_proxy(driver, site, gateway, tmp_path, name):  # noqa: F811
    """The code of the end comes through too."""
    with fronts.front(name, gateway.port, tmp_path) as port:
        driver.get(f"http://127.0.0.1:{site.port}/")
        each = PageSocket(driver, f"ws://127.0.0.1:{port}/ws?topic=a&publish=a&user=anna", None)
        each.wait("open", ["", ""])
        each.call("send", "hello")
        each.wait("texts", ["hello"])
        gateway.request("DELETE", "/api/streams?user=anna")
        each.closed(1000, "deleted")
        driver.get("about:blank")


def test_page_inside_tls(secure, browser):  # noqa: F811
    """wss: from the gateway's own origin; the codes of both sides arrive in order."""
    gateway = secure.plain
    browser.get(secure.url + "/healthz")
    browser.execute_script(PAGE[PAGE.index("<script>") + 8:PAGE.index("</script>")]
                           .replace("let sockets", "window.sockets")
                           .replace("function open_", "window.open_ = function "))
    url = f"wss://localhost:{secure.port}/ws?topic=a&publish=a&user=anna"
    deleted, wrong, closes = (PageSocket(browser, url, None) for _ in range(3))
    for each in (deleted, wrong, closes):
        each.wait("open", ["", ""])
    deleted.call("send", "hello")
    for each in (deleted, wrong, closes):
        each.wait("texts", ["hello"])
    wrong.call("send", "x" * 140000)
    wrong.closed(1009)
    closes.call("close", 3999, "enough")
    closes.closed(3999)
    gateway.request("DELETE", "/api/streams?user=anna")
    deleted.closed(1000, "deleted")
    stopped = PageSocket(browser, url.replace("publish=a&", ""), ["bugle.v1"])
    stopped.wait("open", ["bugle.v1", ""])
    gateway.signal()
    assert stopped.closed(1001, "stopping") > 0
    assert gateway.wait() == 0
