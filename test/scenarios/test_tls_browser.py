# SPDX-License-Identifier: MIT
"""A real Chromium at the page, inside TLS: EventSource, fetch, and a certificate that changes."""

import shutil

import pytest

webdriver = pytest.importorskip("selenium.webdriver", reason="python3-selenium is not installed")

from selenium.webdriver.chrome.service import Service  # noqa: E402

import test_tls  # noqa: E402
import wire  # noqa: E402
from test_page import CHROMEDRIVER, CHROMIUM, pytestmark  # noqa: E402, F401
from test_tls import pairs, secure  # noqa: E402, F401

LISTEN = """
window.got = [];
window.source = new EventSource('/events?topic=a');
window.source.onmessage = (event) => { window.got.push(event.data); };
"""
PUBLISH = """
const done = arguments[arguments.length - 1];
fetch('/api/push?topic=a', {method: 'POST', body: arguments[0]})
    .then((answer) => done(answer.status), (error) => done(String(error)));
"""


@pytest.fixture
def browser(tmp_path):
    """It trusts any certificate, since these are nobody's."""
    options = webdriver.ChromeOptions()
    options.binary_location = CHROMIUM
    for flag in ("--headless=new", "--no-sandbox", "--disable-gpu", "--no-first-run",
                 "--ignore-certificate-errors", "--disable-background-networking",
                 f"--user-data-dir={tmp_path / 'chromium'}"):
        options.add_argument(flag)
    options.ignore_local_proxy_environment_variables()
    made = webdriver.Chrome(service=Service(CHROMEDRIVER), options=options)
    yield made
    made.quit()
    shutil.rmtree(tmp_path / "chromium", ignore_errors=True)


@pytest.mark.gateway(settings={"stream.retry": "1s"})
def test_page_inside_tls(secure, browser):  # noqa: F811
    """What it publishes is what it hears; cut, it comes back with its last id, and misses nothing."""
    def heard():
        return browser.execute_script("return window.got")

    browser.get(secure.url + "/")
    browser.execute_script(LISTEN)
    wire.wait_until(lambda: secure.plain.stat("streams_open") >= 1, 20, "it listens")
    assert browser.execute_async_script(PUBLISH, "one") == 201
    wire.wait_until(lambda: heard() == ["one"], 20, "it hears itself")
    before = secure.plain.stat("streams_opened")
    secure.plain.request("DELETE", "/api/streams?user=")
    for stream in secure.plain.request("GET", "/api/streams").json()["streams"]:
        secure.plain.request("DELETE", f"/api/streams/{stream['id']}")
    secure.plain.push({"topic": "a", "data": "two"})
    wire.wait_until(lambda: heard() == ["one", "two"], 20, "it has come back")
    assert secure.plain.stat("streams_opened") > before
    assert secure.stats("handshakes_failed") == (0,)
