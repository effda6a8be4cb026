// SPDX-License-Identifier: MIT
/*
 * Bugle in a page: one connection for all tabs of a site, every event once and in order.
 *
 *     import { connect } from 'https://push.example.org/bugle.js';
 *     const bugle = connect('https://push.example.org/events',
 *         { topics: ['orders/*'], user: 'anna' });
 *     bugle.on('paid', (event) => show(event.topics, event.data));
 *     bugle.on('reset', () => loadAgain());
 *     bugle.on('error', (event) => logInAgain(event.status, event.message));
 *
 * bugle.d.ts says what each option, event and state is.  This is how it works.
 *
 * Three parts, from below.  A transport (fetch, EventSource, WebSocket) is one connection and
 * turns what it reads into items: an event, a place (the id of a checkpoint), a reset, the end
 * of a login.  A feed is a connection that is made again: after a loss, before its ticket or
 * token ends, or when nothing was heard for three spans of the heartbeat.  It remembers the last
 * id.  A Bugle is what connect() gives: it has a feed of its own, or takes part in a share.
 *
 * The share.  All tabs that ask the same URL for the same user wait for one lock of the origin
 * (Web Locks).  Who holds it leads: it has the feed, for the topics of all, and posts each item
 * on a BroadcastChannel.  The lock falls to the next tab when its holder closes or crashes;
 * before it is frozen, or goes into the back/forward cache, it lets go of it.  A leader that
 * hangs, and so answers no ping for three spans, is robbed of it.
 *
 * Why nothing is lost and nothing comes twice.  Each tab keeps the id of the last item that it
 * was given, its place.  Every leader has a term, higher than all that were heard of.  A tab
 * that hears of a new one answers with its topics and its place, and from then on hears nothing
 * from earlier leaders.  So its place stands still until it is served, and the new leader begins
 * at the smallest place.  A tab drops an event that is not behind its place: ids of one epoch
 * grow, and compare as text.  Items are numbered within a term: a tab that sees a gap joins anew
 * with its place, and so does one that was frozen.  The leader keeps the latest items, and gives
 * them to who joins within them; for one that stands further back, or has other topics, it
 * connects again, from there.
 *
 * What cannot be compared is kept apart: a tab whose place is of another epoch, or that begins
 * in the past (`since`) beside others, first has a connection of its own, until it has an id of
 * this epoch.  A tab whose topics are too many for the common connection (64) stays alone.  If
 * the gateway refuses the common topics each tab asks for its own, and who is refused gives up.
 *
 * Clocks: whatever is measured is measured with performance.now(), which nobody sets.
 * Date.now() only tells, by a jump, that the machine may have been asleep; then the connection
 * has one span to show that it lives.  Timers of hidden tabs come late, up to a minute.  So a
 * tab that waits for its leader pings it once a second, and the leader looks at its clock then;
 * messages are not late.
 *
 * What the storage keeps: with the option `storage` the place, under a name of URL and user, so
 * that the next page goes on where this one ended.  It is written once a second at most, and
 * when the page goes; it only moves forward, but after a reset.
 *
 * Without Web Locks (old browsers, pages of http: but localhost) each tab has a connection of
 * its own, of which a browser allows six a host over HTTP/1.1.
 */

const OPTIONS = ['topics', 'user', 'since', 'credentials', 'ticket', 'token', 'transport', 'shared',
    'storage'];
const TRANSPORTS = ['auto', 'fetch', 'sse', 'websocket'];
const CREDENTIALS = ['omit', 'same-origin', 'include'];
/* Types that are not those of events, even if a publisher names one so: those come as `event`. */
const OWN_TYPES = ['event', 'state', 'offline', 'stalled', 'open', 'error', 'reset', 'expired'];
const FIRST_BYTES_MS = 3000;
const RETRY_MAX_MS = 60000;
const GATHER_MS = 500;
const QUIET_MS = 300;
const APART_MS = 5000;
const TOPICS_MAX = 64;
const KEPT_MAX = 200;

const now = () => performance.now();
const isId = (value) => /^[0-9a-z]{12}-\d{16}$/.test(value);
const isSameEpoch = (a, b) => a.slice(0, 12) === b.slice(0, 12);
const isBehind = (a, b) => isSameEpoch(a, b) && a < b;

const isOnline = () => globalThis.navigator?.onLine !== false;
const spanOf = (url) => url.searchParams.get('heartbeat') ?? 15;

/* Asked again, the answer would be the same; a time-out or too many requests may pass. */
const isFinal = (status) => status >= 400 && status < 500 && status !== 408 && status !== 429;

const list = (words) => words.map((word) => `'${word}'`).join(', ');

function check(url, options) {
    const { topics, transport = 'auto', credentials = 'same-origin', token, ticket } = options;
    const names = topics && [topics].flat();
    const needs = (isGood, what) => { if (!isGood) throw new TypeError(`connect(): ${what}`); };
    for (const name of Object.keys(options)) {
        needs(OPTIONS.includes(name), `there is no option '${name}'; there are ${list(OPTIONS)}`);
    }
    needs(TRANSPORTS.includes(transport), `transport is one of ${list(TRANSPORTS)}`);
    needs(CREDENTIALS.includes(credentials), `credentials is one of ${list(CREDENTIALS)}`);
    needs(!names || (names.length && names.length <= TOPICS_MAX
        && names.every((name) => name && typeof name === 'string')),
    'topics is a name, or an array of 1 to 64; without it all comes that may be read');
    needs(!ticket || typeof ticket === 'function', 'ticket is a function that asks for one');
    needs(!token || transport !== 'sse',
        "EventSource cannot send a token: use transport 'fetch' or 'websocket', or a ticket");
    const events = new URL(url, globalThis.location?.href);
    events.protocol = events.protocol.replace(/^ws/, 'http');
    if (!events.pathname.endsWith('/events')) {
        events.pathname = events.pathname.replace(/\/?(ws)?$/, '/events');
    }
    return {
        ...options, url: events, topics: names && [...new Set(names)], transport, credentials };
}

/* ---- Transports ------------------------------------------------------------------------------ *
 *
 * Each takes a URL and { credentials, token }, and what it tells:
 *     heard()          bytes have come
 *     up(retry, span)  events come from now on; milliseconds and seconds, if known
 *     item(item)       { kind: 'event' | 'place' | 'reset' | 'expired', id?, ... }
 *     end(refusal)     it is over; with { status, code, message } if the gateway said why
 * It gives a function that closes it; what it tells after that the feed does not hear.
 */

const headersOf = (token) => ({
    Accept: 'text/event-stream', ...(token && { Authorization: `Bearer ${token}` }),
});

async function readRefusal(answer) {
    const { status } = answer;
    const { code, detail } = await answer.json().catch(() => ({}));
    return { status, code, message: detail ?? `The gateway answered ${status}.` };
}

/* Why a connection failed of which the browser does not tell: the same question once more. */
async function probe(url, { credentials, token }) {
    const stop = new AbortController();
    try {
        const answer = await fetch(url, {
            credentials, cache: 'no-store', headers: headersOf(token), signal: stop.signal });
        return answer.ok ? {} : await readRefusal(answer);
    } catch {
        return {};
    } finally {
        stop.abort();
    }
}

function sseItem(name, data, id) {
    if (name === 'checkpoint') return { kind: 'place', id };
    if (name === 'reset') return { ...JSON.parse(data), kind: name, id };
    if (name === 'expired') return { ...JSON.parse(data), kind: name };
    return name === 'message' && { ...JSON.parse(data), kind: 'event' };
}

function openFetch(url, { credentials, token }, tell) {
    const stop = new AbortController();
    let name = '', data = [], id;
    const takeLine = (line) => {
        const [, field, text] = /^([^:]*):? ?(.*)$/.exec(line);
        if (field === 'event') name = text;
        else if (field === 'data') data.push(text);
        else if (field === 'id') id = text;
        else if (field === 'retry') tell.up(Number(text));
        else if (line === '') {
            const item = (name || data.length) && sseItem(name || 'message', data.join('\n'), id);
            name = '';
            data = [];
            if (item) tell.item(item);
        }
    };
    const read = async () => {
        const answer = await fetch(url, {
            credentials, cache: 'no-store', headers: headersOf(token), signal: stop.signal });
        if (!answer.ok) return readRefusal(answer);
        if (!/^text\/event-stream/.test(answer.headers.get('Content-Type'))) return {};
        const reader = answer.body.getReader();
        const decoder = new TextDecoder();
        for (let rest = ''; ;) {
            const { done, value } = await reader.read();
            if (done) return {};
            tell.heard();
            const lines = (rest + decoder.decode(value, { stream: true })).split('\n');
            rest = lines.pop();
            lines.forEach(takeLine);
        }
    };
    read().catch(() => ({})).then(tell.end);
    return () => stop.abort();
}

function openSse(url, ask, tell) {
    url.searchParams.set('ping', 'event');
    const source = new EventSource(url, { withCredentials: ask.credentials === 'include' });
    const take = ({ type, data, lastEventId }) => {
        tell.heard();
        const item = sseItem(type, data, lastEventId);
        if (item) tell.item(item);
    };
    for (const type of ['message', 'checkpoint', 'reset', 'expired', 'ping']) {
        source.addEventListener(type, take);
    }
    source.onopen = () => tell.up();
    source.onerror = async () => {
        const isRefused = source.readyState === 2;
        source.close();
        tell.end(isRefused ? await probe(url, ask) : {});
    };
    return () => source.close();
}

function openWebSocket(url, ask, tell) {
    const address = new URL(url);
    address.protocol = address.protocol.replace('http', 'ws');
    address.pathname = address.pathname.replace(/events$/, 'ws');
    const isNew = !address.searchParams.has('last_event_id');
    address.searchParams.delete('envelope');
    address.searchParams.set('ping', 'event');
    const socket = new WebSocket(address,
        ['bugle.v1', ...ask.token ? [`bearer.${ask.token}`] : []]);
    let isUp = false;
    socket.onmessage = (message) => {
        const { type, ...rest } = JSON.parse(message.data);
        tell.heard();
        if (type === 'hello') {
            isUp = true;
            tell.up(rest.retry_ms, rest.heartbeat);
        } else if (type === 'bye') tell.up(rest.retry_ms);
        /* That of `hello` would hide the reset behind it; who has a place keeps that one. */
        if (rest.id && (type === 'checkpoint' || (type === 'hello' && isNew))) {
            tell.item({ kind: 'place', id: rest.id });
        }
        if (type === 'event' || type === 'reset') tell.item({ ...rest, kind: type });
    };
    socket.onclose = async ({ code, reason }) => {
        const [word, more] = reason.split(' ');
        if (more) tell.up(Number(more.slice(9)));
        const isEnd = word === 'token' || word === 'key' || word === 'deleted';
        if (isEnd) tell.item({ kind: 'expired', reason: word });
        if (!isEnd && code > 4400) {
            tell.end({ status: code - 4000, code: word, message: `The gateway answered ${word}.` });
        } else tell.end(isUp || isEnd ? {} : { ...await probe(url, ask), isUnopened: true });
    };
    return () => socket.close();
}

const OPEN = { fetch: openFetch, sse: openSse, websocket: openWebSocket };

/* The question to the gateway, with what proves who asks. */
async function askOf(options, { topics, at, since }, hadLogin) {
    const { url: base, user, credentials, ticket, token } = options;
    const url = new URL(base);
    const query = url.searchParams;
    const set = (name, value) => value && query.set(name, value);
    topics?.forEach((topic) => query.append('topic', topic));
    set('user', user);
    set('envelope', 'json');
    set('heartbeat', spanOf(base));
    set('anonymous', (user || ticket || token || hadLogin) && 'no');
    set('last_event_id', at);
    set('since', !at && since);
    const made = await ticket?.();
    set('ticket', made?.ticket ?? made);
    const isAsked = typeof token === 'function';
    const bearer = isAsked ? await token() : token;
    const { exp } = claimsOf(bearer);
    const life = made?.life ?? (isAsked && exp && exp - Date.now() / 1000);
    return { url, credentials, token: bearer, life };
}

/* What a signed token says; nothing, if it is none. */
function claimsOf(token) {
    try {
        return JSON.parse(atob(token.split('.')[1].replace(/-/g, '+').replace(/_/g, '/')));
    } catch {
        return {};
    }
}

/* ---- A feed: a connection that is made again -------------------------------------------------- *
 *
 * It tells item(item), with { kind: 'stalled' } besides; state(word); and fail(refusal), once.
 */
class Feed {
    #attempts = 0;
    #close;
    #firstBytes;
    #heard;
    #isAuto;
    #isExpired;
    #isRenewal;
    #isSpared;
    #isUp;
    #kind;
    #openAt;
    #options;
    #renewAt;
    #retry = 3000;
    #seen = [now(), Date.now(), true];
    #span;
    #tell;
    #ticker;
    #timer;
    #turn = 0;      // of the connection: what comes of an earlier one is not heard

    constructor(options, tell) {
        this.#options = options;
        this.#tell = tell;
        this.#isAuto = options.transport === 'auto';
        this.#kind = this.#isAuto ? 'fetch' : options.transport;
        this.#ticker = setInterval(() => this.tick(), 1000);
    }

    start(topics, at, since) {
        Object.assign(this, { topics, at, since });
        return this.#open();
    }

    stop() {
        this.#drop();
        clearInterval(this.#ticker);
    }

    #drop() {
        this.#turn++;
        clearTimeout(this.#timer);
        clearTimeout(this.#firstBytes);
        this.#close?.();
        this.#close = null;
        this.#isUp = false;
        this.#openAt = 0;
    }

    async #open() {
        this.#drop();
        const turn = this.#turn;
        const fail = (refusal) => {
            this.stop();
            this.#tell.fail(refusal);
        };
        const mine = (act) => (...values) => turn === this.#turn ? act(...values) : undefined;
        if (!this.#isRenewal) this.#tell.state('connecting');
        this.#heard = now();
        let ask;
        try {
            ask = await askOf(this.#options, this, this.#isExpired);
        } catch (error) {
            mine(() => isFinal(error?.status) ? fail(error) : this.#again())();
            return;
        }
        if (turn !== this.#turn) return;
        this.#span = 1000 * spanOf(ask.url);
        this.#renewAt = ask.life && now() + 1000 * Math.max(ask.life * 0.8, ask.life - 60);
        const up = mine((retry, span) => {
            if (retry) this.#retry = retry;
            if (span) this.#span = span * 1000;
            clearTimeout(this.#firstBytes);
            if (this.#isUp) return;
            this.#isUp = true;
            this.#attempts = 0;
            this.#isRenewal = false;
            this.#tell.state('open');
        });
        this.#close = OPEN[this.#kind](ask.url, ask, {
            up,
            heard: mine(() => {
                this.#heard = now();
                this.#isSpared = false;
            }),
            item: mine((item) => {
                up();
                if (item.kind === 'expired') this.#isExpired = true;
                if (item.id) this.at = item.id;
                this.#tell.item(item);
            }),
            end: mine((refusal) => {
                if (isFinal(refusal.status)) fail(refusal);
                else this.#again(refusal.isUnopened);
            }),
        });
        /* A proxy that holds back the first bytes holds back all; few of them touch a WebSocket. */
        if (this.#isAuto && this.#kind === 'fetch') {
            this.#firstBytes = setTimeout(mine(() => {
                this.#kind = 'websocket';
                this.#open();
            }), FIRST_BYTES_MS);
        }
    }

    /* After a loss; not all at once, and less often the longer it lasts. */
    #again(isUnopened = false) {
        if (isUnopened && this.#isAuto) this.#kind = 'fetch';
        const wait = Math.min(Math.max(RETRY_MAX_MS, this.#retry),
            this.#retry * 2 ** this.#attempts++);
        this.#drop();
        this.#isRenewal = false;
        this.#tell.state(isOnline() ? 'waiting' : 'offline');
        this.#openIn(wait * (0.5 + Math.random()));
    }

    /* The network is there again, or the machine may have slept. */
    #wake() {
        if (this.#isUp) this.#heard = Math.min(this.#heard, now() - 2 * this.#span);
        else if (!this.#close) this.#openIn(1000 * Math.random());
    }

    #openIn(wait) {
        clearTimeout(this.#timer);
        this.#timer = setTimeout(() => this.#open(), wait);
        this.#openAt = now() + wait;
    }

    /* Once a second, or when another tab says that a second is over. */
    tick() {
        const [monotonic, wall, wasOnline] = this.#seen;
        this.#seen = [now(), Date.now(), isOnline()];
        const passed = now() - monotonic;
        if (Math.abs(Date.now() - wall - passed) > 5000 || (!wasOnline && isOnline())) this.#wake();
        /* Bytes that waited as long as this tab did are read before they are missed. */
        if (passed > 5000 && !this.#isSpared) {
            this.#heard = Math.max(this.#heard, now() - 2 * this.#span);
            this.#isSpared = true;
        }
        if (this.#close && now() - this.#heard > 3 * this.#span) {
            this.#tell.item({ kind: 'stalled' });
            this.#open();
        } else if (this.#isUp && this.#renewAt && now() > this.#renewAt) {
            this.#isRenewal = true;
            this.#open();
        } else if (this.#openAt && now() > this.#openAt) this.#open();
    }
}

/* ---- What connect() gives -------------------------------------------------------------------- */

function matches(pattern, topic) {
    const parts = pattern.split('/');
    const segments = topic.split('/');
    const isDeep = parts.at(-1) === '**' && parts.pop();
    return (isDeep ? segments.length > parts.length : segments.length === parts.length)
        && parts.every((part, i) => part === '*' || part === segments[i]);
}

class Bugle extends EventTarget {
    #options;
    #state = 'new';
    #place = null;
    #isReset = false;
    #name;          // of lock, channel and stored place
    #part = null;   // in the share, or alone
    #watch;

    constructor(url, options) {
        super();
        const { storage, since, ...rest } = check(url, options);
        const isPlace = isId(since);
        this.#options = { ...rest, since: isPlace || since === 'latest' ? '' : since };
        this.#name = ['bugle', rest.url, rest.user ?? claimsOf(rest.token).sub ?? '',
            rest.credentials].join(' ');
        try {
            const stored = storage?.getItem(this.#name);
            if (isId(stored)) this.#place = stored;
        } catch { /* a storage that is forbidden keeps nothing */ }
        this.#place ??= isPlace ? since : null;
        this.#watch = this.#watchPage(storage);
        this.#begin();
    }

    get state() { return this.#state; }

    get lastId() { return this.#place; }

    on(type, listener, options) {
        this.addEventListener(type, listener, options);
        return () => this.removeEventListener(type, listener, options);
    }

    close() {
        this.#watch?.();
        this.#watch = null;
        this.#part?.leave();
        this.#part = null;
        this.#setState('closed');
    }

    #emit(type, fields) {
        this.dispatchEvent(Object.assign(new Event(type), fields));
    }

    #setState(state) {
        if (state === this.#state) return;
        this.#state = state;
        this.#emit('state', { state });
        if (state === 'open') this.#emit('open');
    }

    #begin() {
        const { shared = true } = this.#options;
        this.#join(shared && globalThis.navigator?.locks ? Share : Alone);
    }

    #join(Part) {
        this.#part = new Part(this.#options, this.#name, {
            place: () => this.#place,
            setPlace: (id) => { this.#place = id; },
            deliver: (item) => this.#deliver(item),
            isOpen: () => this.#state === 'open',
            state: (state) => { if (this.#watch) this.#setState(state); },
            fail: (refusal) => this.#fail(refusal),
            stayAlone: () => { if (this.#watch) this.#join(Alone); },
        });
    }

    #fail(refusal) {
        if (!this.#watch) return;
        this.close();
        this.#emit('error', {
            status: refusal.status, code: refusal.code, message: refusal.message });
    }

    /* The heart: what is new to this tab, and meant for it. */
    #deliver({ kind, ...item }) {
        const { id, reason } = item;
        const place = this.#place;
        if (!this.#watch) return;
        if (kind === 'stalled' || kind === 'expired') {
            this.#emit(kind, { reason });
        } else if (kind === 'reset') {
            if (place && isSameEpoch(place, id) && (place === id
                || (place > id && reason !== 'unknown'))) return;
            this.#place = id;
            this.#isReset = true;
            const { oldest, newest } = item;
            this.#emit(kind, { id, reason, oldest, newest, message: `Events are lost, or may be `
                + `(${reason}). Load again what this page shows; events go on from here.` });
        } else {
            if (id) {
                if (place && isSameEpoch(place, id) && place >= id) return;
                this.#place = id;
            }
            if (kind === 'event') this.#show(item);
        }
    }

    #show({ id = null, event: name = 'message', topics, users = [], data, published = null }) {
        const wanted = this.#options.topics;
        if (wanted && topics.length
            && !topics.some((topic) => wanted.some((one) => matches(one, topic)))) return;
        const fields = { id, name, topics, users, data, published };
        this.#emit('event', fields);
        if (!OWN_TYPES.includes(name)) this.#emit(name, fields);
    }

    /* The page's own life; gives a function that ends the watch. */
    #watchPage(storage) {
        let saved = this.#place;
        const save = () => {
            const place = this.#place;
            if (!storage || place === saved) return;
            saved = place;
            try {
                const other = storage.getItem(this.#name);
                if (this.#isReset || !isId(other) || !isBehind(place, other)) {
                    storage.setItem(this.#name, place);
                }
            } catch { /* full, or forbidden */ }
            this.#isReset = false;
        };
        const sleep = () => {
            save();
            this.#part?.leave();
            this.#part = null;
        };
        const wake = () => { if (!this.#part) this.#begin(); };
        const heard = [
            [globalThis, 'pagehide', sleep],
            [globalThis, 'pageshow', wake],
            [globalThis.document, 'freeze', sleep],
            [globalThis.document, 'resume', wake],
            [globalThis, 'offline', () => this.#emit('offline')],
        ];
        const over = new AbortController();
        for (const [target, type, act] of heard) target?.addEventListener?.(type, act, over);
        const timer = setInterval(save, 1000);
        return () => {
            save();
            clearInterval(timer);
            over.abort();
        };
    }
}

/* A tab with a connection of its own. */
class Alone {
    constructor(options, name, tab) {
        this.feed = new Feed(options, { item: tab.deliver, state: tab.state, fail: tab.fail });
        this.feed.start(options.topics, tab.place(), options.since);
    }

    leave() { this.feed.stop(); }
}

/*
 * A tab among others.  Messages, each with `from` and `term`:
 *     ask                     is there a leader?                          by a tab that has come
 *     lead                    I am it                                     by a leader
 *     no                      my term is higher                           to a leader
 *     join    topics, at      serve me from there                         to a leader
 *     leave
 *     welcome to, n, at, items, state    you are served from item n + 1 on
 *     item    n, item
 *     state   state
 *     apart   to, how         'first': have an id of this epoch first; 'always': stay alone
 *     verify                  the gateway refused: ask for your own topics
 *     ping, pong
 */
class Share {
    #apart;
    #channel;
    #expected;
    #feed;
    #gather;
    #heard = now();
    #id = Math.random().toString(36).slice(2);
    #isDirty;
    #isGone;
    #isLeading;
    #isServed;
    #joined;
    #kept;
    #keptFrom;
    #leader;
    #members;
    #n = 0;         // of the last item
    #name;
    #options;
    #own;
    #refusals = 0;
    #release;
    #state;
    #tab;
    #term = 0;
    #ticker;
    #unanswered = 0;
    #wait;

    constructor(options, name, tab) {
        this.#options = options;
        this.#name = name;
        this.#tab = tab;
        this.#channel = new BroadcastChannel(name);
        this.#channel.onmessage = ({ data }) => this.#hear(data);
        this.#ticker = setInterval(() => this.#tick(), 1000);
        tab.state('connecting');
        this.#post('ask');
        this.#queue();
    }

    #post(type, more) {
        if (this.#isGone) return;
        this.#channel.postMessage({ type, from: this.#id, term: this.#term, ...more });
    }

    leave() {
        this.#post('leave');
        this.#isGone = true;
        clearInterval(this.#ticker);
        this.#own?.stop();
        this.#stopLeading();
        this.#wait.abort();
        this.#channel.close();
    }

    #stayAlone() {
        this.leave();
        this.#tab.stayAlone();
    }

    /* Wait for the lock, or take it by force; hold it for as long as this tab leads. */
    #queue(steal) {
        this.#wait?.abort();
        const wait = this.#wait = new AbortController();
        const how = steal ? { steal } : { signal: wait.signal };
        navigator.locks.request(this.#name, how, () => {
            if (this.#isGone || wait !== this.#wait) return undefined;
            return new Promise((release) => {
                this.#release = release;
                this.#lead();
            });
        }).catch(({ name: why }) => {
            if (this.#isGone || wait !== this.#wait || wait.signal.aborted) return;
            if (why === 'AbortError') {         // somebody took it
                this.#stopLeading();
                this.#queue();
                this.#post('ask');
            } else this.#stayAlone();           // a frame without an origin has no locks
        });
    }

    #stopLeading() {
        this.#isLeading = this.#isDirty = false;
        this.#stopFeed();
        this.#release?.();
        this.#release = null;
    }

    // --- following

    async #join() {
        this.#isServed = false;
        this.#joined = now();
        if (this.#apart) return;
        if (!this.#tab.place() && this.#options.since) await this.#goApart();
        if (!this.#isGone && !this.#isLeading) {
            this.#post('join', { topics: this.#options.topics, at: this.#tab.place() });
        }
    }

    /* A connection of its own until it has an id, and the past that it asked for is told. */
    #goApart() {
        this.#apart ??= new Promise((done) => {
            let quiet;
            const began = now();
            const { deliver, state } = this.#tab;
            const finish = () => {
                this.#own.stop();
                this.#own = this.#apart = null;
                done();
            };
            this.#own = new Feed(this.#options, {
                state,
                fail: this.#tab.fail,
                item: (item) => {
                    deliver(item);
                    if (!item.id) return;
                    clearTimeout(quiet);
                    quiet = setTimeout(finish, now() - began > APART_MS ? 0 : QUIET_MS);
                },
            });
            this.#own.start(this.#options.topics, this.#tab.place(), this.#options.since);
        });
        return this.#apart;
    }

    #hear(message) {
        const { type, from, term } = message;
        if (type === 'ask') {
            if (this.#isLeading) this.#post('lead');
        } else if (type === 'no') {
            if (this.#isLeading && term >= this.#term) {
                this.#term = term;
                this.#lead();
            }
        } else if (type === 'lead') {
            this.#hearLeader(from, term);
        } else if (type === 'join' || type === 'leave') {
            if (this.#isLeading && term === this.#term) this.#hearMember(type, from, message);
        } else if (type === 'ping') {
            this.#feed?.tick();
            if (this.#isLeading) this.#post('pong');
        } else if (from === this.#leader && term === this.#term) {
            this.#heard = now();
            if (!message.to || message.to === this.#id) this.#follow(message);
        }
    }

    #hearLeader(from, term) {
        if (from === this.#leader && term === this.#term) {
            this.#heard = now();
        } else if (term <= this.#term) {
            this.#post('no');
        } else {
            if (this.#isLeading) {
                this.#stopLeading();
                this.#queue();
            }
            this.#term = term;
            this.#leader = from;
            this.#heard = now();
            this.#join();
        }
    }

    async #follow(message) {
        const { type, n } = message;
        if (type === 'welcome') {
            this.#isServed = true;
            this.#n = n;
            if (!this.#tab.place()) this.#tab.setPlace(message.at);
            message.items.forEach(this.#tab.deliver);
            this.#tab.state(message.state);
        } else if (type === 'apart') {
            if (message.how === 'always') this.#stayAlone();
            else {
                await this.#goApart();
                this.#join();
            }
        } else if (type === 'verify') {
            this.#isServed = false;
            if (!await this.#isRefused()) this.#join();
        } else if (this.#isServed && type === 'state') {
            this.#tab.state(message.state);
        } else if (this.#isServed && type === 'item') {
            if (n > this.#n + 1) this.#join();
            else if (n === this.#n + 1) {
                this.#n = n;
                this.#tab.deliver(message.item);
            }
        }
    }

    async #isRefused() {
        try {
            const ask = await askOf(this.#options, this.#options);
            const refusal = await probe(ask.url, ask);
            const isRefused = isFinal(refusal.status);
            if (isRefused && !this.#isGone) this.#tab.fail(refusal);
            return isRefused;
        } catch {
            return false;
        }
    }

    /*
     * Ticks are counted, since after a sleep, or hidden, what was answered is seen late.  While not
     * all is well the leader, whose own timers may be slow, gets a ping a second.
     */
    #tick() {
        const silence = now() - this.#heard;
        const span = 1000 * spanOf(this.#options.url);
        if (this.#isLeading || this.#apart) return;
        if (silence < span && this.#tab.isOpen()) this.#unanswered = 0;
        else if (this.#unanswered++ > 2 && silence > 3 * span) {
            this.#heard = now();
            this.#queue(true);
        } else this.#post('ping');
        if (this.#leader && !this.#isServed && now() - this.#joined > 5000) this.#join();
    }

    // --- leading

    #leads(term) { return this.#isLeading && term === this.#term; }

    async #lead() {
        this.#stopFeed();
        this.#isLeading = true;
        this.#members = new Map();
        this.#leader = this.#id;
        this.#term++;
        this.#n = 0;
        const term = this.#term;
        /* Who is not ready lets another lead. */
        const isLate = this.#apart && await Promise.race([
            this.#apart, new Promise((done) => { setTimeout(done, APART_MS, true); })]);
        if (!this.#leads(term)) return;
        if (isLate) {
            this.#stopLeading();
            this.#queue();
            return;
        }
        this.#post('lead');
        /* The others wait for the lock, so it is known how many will answer. */
        const { pending } = await navigator.locks.query();
        if (!this.#leads(term)) return;
        this.#expected = pending.filter(({ name }) => name === this.#name).length;
        this.#gather = setTimeout(() => this.#begin(), GATHER_MS);
        if (this.#members.size >= this.#expected) this.#begin();
    }

    #stopFeed() {
        clearTimeout(this.#gather);
        this.#gather = null;
        this.#feed?.stop();
        this.#feed = null;
    }

    #hearMember(type, from, { topics, at }) {
        if (type === 'leave') {
            this.#members.delete(from);
            return;
        }
        this.#members.set(from, { topics, at, isServed: false });
        if (this.#gather) {
            if (this.#members.size >= this.#expected) this.#begin();
        } else if (this.#feed) this.#plan();
    }

    async #begin() {
        clearTimeout(this.#gather);
        this.#gather = null;
        const options = this.#options;
        const tab = this.#tab;
        const term = this.#term;
        const others = [...this.#members.values()].map(({ at }) => at).filter((at) => at);
        if (!tab.place() && options.since && others.length) {
            await this.#goApart();
            if (!this.#leads(term)) return;
        }
        this.#kept = [];
        this.#keptFrom = null;
        this.#state = 'connecting';
        this.#feed = new Feed(options, {
            item: (item) => this.#take(item),
            state: (state) => {
                this.#state = state;
                if (state === 'open') this.#refusals = 0;
                this.#post('state', { state });
                tab.state(state);
            },
            fail: (refusal) => this.#failed(refusal),
        });
        this.#feed.at = tab.place() ?? others.sort().at(-1) ?? null;
        this.#feed.since = options.since;
        if (!tab.place()) tab.setPlace(this.#feed.at);
        this.#plan();
    }

    #take(item) {
        const { kind, id } = item;
        if (kind === 'reset') {
            this.#kept = [];
            this.#keptFrom = id;
        } else if (id) {
            this.#kept.push(item);
            this.#keptFrom ??= id;
            if (this.#kept.length > KEPT_MAX) this.#keptFrom = this.#kept.shift().id;
        }
        this.#post('item', { n: ++this.#n, item });
        this.#tab.deliver(item);
        if (this.#isDirty && this.#feed?.at) this.#plan();
    }

    /* The topics of all; null is everything.  Who does not fit in stays alone. */
    #merge() {
        const all = new Set(this.#options.topics ?? []);
        let isAll = !this.#options.topics;
        for (const [to, { topics }] of this.#members) {
            const both = new Set([...all, ...topics ?? []]);
            if (!topics) isAll = true;
            else if (both.size <= TOPICS_MAX || isAll) both.forEach((topic) => all.add(topic));
            else {
                this.#members.delete(to);
                this.#post('apart', { to, how: 'always' });
            }
        }
        return isAll ? null : [...all];
    }

    /* Serve those who have joined, if need be by another connection. */
    #plan() {
        const feed = this.#feed;
        const isBegun = feed.topics !== undefined;
        const place = this.#tab.place();
        for (const [to, { at, isServed }] of this.#members) {
            if (!isServed && at && feed.at && !isSameEpoch(at, feed.at)) {
                this.#members.delete(to);
                this.#post('apart', { to, how: 'first' });
            }
        }
        const topics = this.#merge();
        const fresh = [...this.#members].filter(([, member]) => !member.isServed);
        const least = fresh.reduce((low, [, { at }]) => {
            return at && low && isBehind(at, low) ? at : low;
        }, feed.at);
        const isCovered = isBegun && (!feed.topics
            || topics?.every((topic) => feed.topics.includes(topic)));
        const isKept = least === feed.at || !isBehind(least, this.#keptFrom ?? feed.at);
        /* Until the first id is there, another connection could leave something out. */
        this.#isDirty = isBegun && !feed.at && !(isCovered && fresh.every(([, { at }]) => !at));
        if (this.#isDirty) return;
        const isAgain = !(isCovered && isKept);
        if (isAgain) {
            this.#kept = [];
            this.#keptFrom = least;
        }
        const newest = place && feed.at && isBehind(feed.at, place) ? place : feed.at;
        for (const [to, member] of fresh) {
            member.isServed = true;
            const at = member.at ?? newest;
            const items = this.#kept.filter(({ id }) => at && isBehind(at, id));
            this.#post('welcome', { to, n: this.#n, at, items, state: this.#state });
        }
        if (isAgain) feed.start(topics, least, feed.since);
    }

    /* What is refused may be what another tab asks for. */
    async #failed(refusal) {
        const isAlone = !this.#members.size;
        this.#stopFeed();
        if (refusal.status === 401 || isAlone) {
            this.#tab.fail(refusal);
            return;
        }
        this.#refusals++;
        this.#members.clear();
        this.#post(...this.#refusals > 1 ? ['apart', { how: 'always' }] : ['verify']);
        const term = this.#term;
        if (!await this.#isRefused() && this.#leads(term)) this.#begin();
    }
}

/*
 * A connection to the gateway at url, '/events' or 'https://push.example.org/events'.
 * Throws a TypeError for an option that does not exist.
 */
export function connect(url, options = {}) {
    return new Bugle(url, options);
}
