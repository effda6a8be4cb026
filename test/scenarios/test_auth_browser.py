# SPDX-License-Identifier: MIT
"""A private chat in a real Chromium, on a page of another origin: with a cookie, and with a ticket."""

import http.server
import json
import threading

import pytest

webdriver = pytest.importorskip("selenium.webdriver", reason="python3-selenium is not installed")

import wire  # noqa: E402
from test_page import driver, pytestmark  # noqa: E402, F401
from tokens import ADMIN, SETTINGS, bearer, stats, token  # noqa: E402

CHAT = """<!doctype html><title>chat</title><script>
const lines = [];
let state = 'new';
function listen(url, options) {
    const events = new EventSource(url, options);
    events.onopen = () => { state = 'open'; };
    events.onerror = () => { state = events.readyState === 2 ? 'closed' : 'waiting'; };
    events.onmessage = (event) => { lines.push(event.data); };
    events.addEventListener('expired', (event) => { lines.push(event.data); });
}
</script>"""


class Site:
    """A web site of its own: the page, and a cookie for whoever opens it."""

    def __init__(self, cookie=None):
        outer = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self):
                self.send_response(200 if self.path == "/" else 404)
                self.send_header("Content-Type", "text/html")
                if outer.cookie:
                    self.send_header("Set-Cookie", f"bugle={outer.cookie}; HttpOnly; SameSite=Lax")
                self.end_headers()
                if self.path == "/":
                    self.wfile.write(CHAT.encode())

            def log_message(self, *_):
                pass

        self.cookie = cookie
        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.port = self.server.server_port
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def close(self):
        self.server.shutdown()
        self.server.server_close()


@pytest.fixture
def site():
    made = Site()
    yield made
    made.close()


@pytest.fixture
def chat(gateway_factory, site):
    """A gateway that lists the site under both of its names."""
    return gateway_factory(settings={
        **SETTINGS, "auth.cookie": "bugle", "stream.retry": "1s",
        "auth.origins": f"http://localhost:{site.port},http://127.0.0.1:{site.port}"})


def listen(browser, page, url, credentials):
    browser.get(page)
    browser.execute_script("listen(arguments[0], {withCredentials: arguments[1]})", url, credentials)


def wait_for(browser, name, value):
    wire.wait_until(lambda: browser.execute_script(f"return {name}") == value, 20,
                    f"{name} is {value}")


def say(gateway, data, user):
    response = gateway.post({"data": data, "user": user, "topic": "chat/1"}, headers=bearer(ADMIN))
    assert response.status == 201, response


def test_a_cookie_brings_a_private_chat(driver, chat, site):  # noqa: F811
    """Anna's page gets what is for Anna, and nothing that is for Berta."""
    site.cookie = token("anna", subscribe=["chat/*"])
    listen(driver, f"http://localhost:{site.port}/", f"http://localhost:{chat.port}/events", True)
    wait_for(driver, "state", "open")
    say(chat, "for berta", "berta")
    say(chat, "for anna", "anna")
    wait_for(driver, "lines", ["for anna"])
    # without leave to send its cookie the same page is nobody
    listen(driver, f"http://localhost:{site.port}/", f"http://localhost:{chat.port}/events", False)
    wait_for(driver, "state", "closed")


def test_a_cookie_is_no_good_for_another_site(driver, chat, site):  # noqa: F811
    """It has the cookie's host, as any port of a machine has, but it is not listed."""
    other = Site(token("anna", subscribe=["chat/*"]))
    try:
        listen(driver, f"http://localhost:{other.port}/", f"http://localhost:{chat.port}/events",
               True)
        wait_for(driver, "state", "closed")
        say(chat, "secret", "anna")
        assert driver.execute_script("return lines") == []
        assert stats(chat)["streams_opened"] == 0
    finally:
        other.close()


def test_a_ticket_brings_a_private_chat_from_another_site(driver, chat, site):  # noqa: F811
    """Where no cookie goes, and over the browser's own reconnection."""
    wish = json.dumps({"user": "anna", "topics": ["chat/*"]}).encode()
    answer = chat.request_once("POST", "/api/tickets", bearer(ADMIN), wish)
    url = f"http://localhost:{chat.port}/events?ticket={answer.json()['ticket']}"
    listen(driver, f"http://127.0.0.1:{site.port}/", url, False)
    wait_for(driver, "state", "open")
    say(chat, "for berta", "berta")
    say(chat, "for anna", "anna")
    wait_for(driver, "lines", ["for anna"])
    assert chat.request("DELETE", "/api/streams?user=anna", bearer(ADMIN)).json() == {"ended": 1}
    say(chat, "while away", "anna")
    wait_for(driver, "lines", ["for anna", '{"reason":"deleted"}', "while away"])
    # the same URL in another page begins nothing while this one has its stream
    driver.switch_to.new_window("tab")
    listen(driver, f"http://127.0.0.1:{site.port}/", url, False)
    wait_for(driver, "state", "closed")
    driver.close()
    driver.switch_to.window(driver.window_handles[0])
    assert driver.execute_script("return state") == "open"


def test_the_end_of_a_login_ends_the_stream(driver, gateway_factory, site):  # noqa: F811
    """The page is told, and is not silently served as nobody when it comes again; nor does the
    gateway's own page try for ever."""
    gateway = gateway_factory(settings={
        **SETTINGS, "auth.cookie": "bugle", "stream.retry": "1s", "auth.anonymous": "public/**",
        "auth.origins": f"http://localhost:{site.port}"})
    site.cookie = token("anna", subscribe=["chat/*"], ttl=8)
    listen(driver, f"http://localhost:{site.port}/",
           f"http://localhost:{gateway.port}/events?anonymous=no", True)
    wait_for(driver, "state", "open")
    driver.switch_to.new_window("tab")
    driver.get(f"http://localhost:{gateway.port}/#topic=chat/1")
    word = "document.querySelector('[data-testid=%s]').textContent"
    wire.wait_until(lambda: "login has ended" in driver.execute_script(
        "return " + word % "trouble"), 20)
    wait_for(driver, word % "state-word", "Closed")
    driver.close()
    driver.switch_to.window(driver.window_handles[0])
    wait_for(driver, "state", "closed")
    assert driver.execute_script("return lines") == ['{"reason":"token"}']
