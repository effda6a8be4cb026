# SPDX-License-Identifier: MIT
"""Tabs of a real browser that use www/bugle.js, and what each of them was told."""

import collections
import http.server
import json
import random
import threading
import time
import urllib.parse

import wire

PAGE = """<!doctype html><title>tab</title><script type="module">
import { connect } from '%(gateway)s/bugle.js';
window.connect = connect;
window.listen = (url, options, storage) => {
    const log = { events: [], notices: [], states: [] };
    if (options.ticket) {
        const where = options.ticket;
        options.ticket = async () => {
            const answer = await fetch(where);
            if (!answer.ok) {
                throw Object.assign(new Error(await answer.text()), { status: answer.status });
            }
            return answer.json();
        };
    }
    if (options.tokenFrom) {
        const where = options.tokenFrom;
        delete options.tokenFrom;
        options.token = async () => (await fetch(where)).text();
    }
    if (options.bare) {
        delete options.bare;
        Object.defineProperty(navigator, 'locks', { value: undefined });
    }
    if (storage) options.storage = window[storage];
    const bugle = connect(url, options);
    bugle.on('event', ({ id, name, topics, data }) => log.events.push([id, name, topics, data]));
    bugle.on('state', ({ state }) => log.states.push(state));
    for (const type of ['open', 'error', 'reset', 'expired', 'stalled', 'offline']) {
        bugle.on(type, ({ status, code, message, reason, id }) => {
            log.notices.push({ type, status, code, message, reason, id });
        });
    }
    window.log = log;
    window.bugle = bugle;
};
const query = new URLSearchParams(location.search);
if (query.has('options')) {
    window.listen(query.get('url'), JSON.parse(query.get('options')), query.get('storage'));
}
window.ready = true;
</script>"""


class Site:
    """A web site of its own, from which the tabs come.  `extra` answers other paths: a path to a
    function that gives status and text."""

    def __init__(self, gateway_url):
        outer = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self):
                path = self.path.split("?")[0]
                if path == "/":
                    status, text = 200, PAGE % {"gateway": outer.gateway_url}
                elif path in outer.extra:
                    status, text = outer.extra[path]()
                else:
                    status, text = 404, ""
                self.send_response(status)
                self.send_header("Content-Type", "text/html")
                self.send_header("Cache-Control", "no-cache")
                if outer.cookie:
                    self.send_header("Set-Cookie", outer.cookie)
                self.end_headers()
                self.wfile.write(text.encode())

            def log_message(self, *_):
                pass

        self.gateway_url = gateway_url
        self.extra = {}
        self.cookie = None
        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self.server.server_port}/"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def page(self, stream_url, options, storage=""):
        query = urllib.parse.urlencode(
            {"url": stream_url, "options": json.dumps(options), "storage": storage})
        return f"{self.url}?{query}"

    def close(self):
        self.server.shutdown()
        self.server.server_close()


class Tab:
    """A tab, found by its handle; and what its client has told it."""

    def __init__(self, browser, handle):
        self.browser = browser
        self.handle = handle

    def focus(self):
        self.browser.switch_to.window(self.handle)
        return self

    def run(self, script, *values):
        self.focus()
        return self.browser.execute_script(script, *values)

    def cdp(self, command, **values):
        self.focus()
        return self.browser.execute_cdp_cmd(command, values)

    def go(self, url):
        self.focus()
        self.browser.get(url)
        return self

    def events(self):
        """Each as [id, name, topics, data]."""
        return self.run("return log.events")

    def data(self):
        return [each[3] for each in self.events()]

    def notices(self, kind=None):
        told = self.run("return log.notices")
        return [each for each in told if kind in (None, each["type"])]

    @property
    def state(self):
        return self.run("return window.bugle && bugle.state")

    def wait_state(self, state, timeout=20):
        wire.wait_until(lambda: self.state == state, timeout,
                        f"the state is {state}: {self.about()}")
        return self

    def wait_data(self, wanted, timeout=20):
        wire.wait_until(lambda: self.data() == wanted, timeout,
                        f"the data is {wanted}: {self.about()}")

    def wait_notice(self, kind, timeout=20):
        return wire.wait_until(lambda: self.notices(kind), timeout,
                               f"it is told {kind}: {self.about()}")[-1]

    def about(self):
        return self.run("return window.log && JSON.stringify([bugle.state, bugle.lastId, log])")

    def close(self):
        self.focus()
        self.browser.close()


class Tabs:
    """The tabs of one browser; one that is empty stays, so that the browser does."""

    def __init__(self, browser, site, stream_url):
        self.browser = browser
        self.site = site
        self.stream_url = stream_url
        self.first = browser.current_window_handle
        self.open_tabs = []

    def open(self, storage="", url=None, **options):
        """A new tab that has called connect() with these options."""
        self.browser.switch_to.window(self.first)
        self.browser.switch_to.new_window("tab")
        tab = Tab(self.browser, self.browser.current_window_handle)
        self.open_tabs.append(tab)
        tab.go(self.site.page(url or self.stream_url, options, storage))
        wire.wait_until(lambda: tab.run("return window.ready"), 20, "the tab is there")
        return tab

    def close(self, tab):
        tab.close()
        self.open_tabs.remove(tab)
        self.browser.switch_to.window(self.first)

    def close_all(self):
        for tab in list(self.open_tabs):
            self.close(tab)


class Ledger:
    """What was published, a number for each event and each topic, and whether a tab was told all of
    it from some place on, once and in order."""

    def __init__(self, publish, topics):
        self.publish = publish
        self.topics = topics
        self.counts = collections.Counter()
        self.total = 0

    def say(self, number=1):
        for _ in range(number):
            topic = self.topics[self.total % len(self.topics)]
            self.counts[topic] += 1
            self.total += 1
            self.publish({"topic": topic, "data": [topic, self.counts[topic]]})

    def check(self, data, topics, begins=None, ends=None):
        """`begins`: counts of a time when the tab was open; `ends`: what it must have come to."""
        by_topic = {topic: [] for topic in topics}
        for topic, number in data:
            assert topic in by_topic, f"it was told of {topic}, not of {topics} alone"
            by_topic[topic].append(number)
        for topic, numbers in by_topic.items():
            first = numbers[0] if numbers else 0
            assert numbers == list(range(first, first + len(numbers))), (topic, numbers)
            if begins is not None and numbers:
                assert first <= begins[topic] + 1, (topic, first, begins[topic])
            if ends is not None:
                assert numbers and numbers[-1] == ends[topic], (topic, numbers[-3:], ends[topic])


def random_run(tabs, ledger, seconds, seed, most=20, options=None):
    """Open and close tabs at random while events are published, for so long; then those that are
    left must have all.  Gives how many tabs there were and how many events they were told."""
    choose = random.Random(seed)
    over = threading.Event()
    problems = []

    def publish():
        while not over.wait(0.005):
            try:
                ledger.say()
            except Exception as problem:  # pylint: disable=broad-except
                problems.append(problem)
                return

    thread = threading.Thread(target=publish)
    thread.start()
    alive, opened, told = [], 0, 0
    end = time.monotonic() + seconds
    try:
        while time.monotonic() < end and not problems:
            if len(alive) < 2 or (len(alive) < most and choose.random() < 0.6):
                wanted = choose.sample(ledger.topics, choose.randint(1, 2))
                tab = tabs.open(topics=wanted, **(options or {}))
                tab.wanted, tab.begins = wanted, None
                alive.append(tab)
                opened += 1
            else:
                tab = choose.choice(alive)
                alive.remove(tab)
                data = tab.data()
                told += len(data)
                ledger.check(data, tab.wanted, tab.begins)
                tabs.close(tab)
            for tab in choose.sample(alive, min(2, len(alive))):
                if tab.begins is None and tab.state == "open":
                    tab.begins = collections.Counter(ledger.counts)
    finally:
        over.set()
        thread.join()
    assert not problems, problems
    for tab in alive:
        tab.wait_state("open", 60)
    open_since = collections.Counter(ledger.counts)
    ledger.say(2 * len(ledger.topics))
    for tab in alive:
        last = [[topic, ledger.counts[topic]] for topic in tab.wanted]
        wire.wait_until(lambda: all(each in tab.data()[-50:] for each in last), 60,
                        f"it has {last}: {tab.about()[-1500:]}")
        data = tab.data()
        told += len(data)
        ledger.check(data, tab.wanted, tab.begins or open_since, ledger.counts)
    return opened, ledger.total, told
