// SPDX-License-Identifier: MIT
/* Types of bugle.js, whose first comment says how it works. */

/** 'waiting': between two attempts.  'closed': by close(), or after an `error`. */
export type State = 'new' | 'connecting' | 'open' | 'waiting' | 'offline' | 'closed';

/** `life`: seconds for which a stream that begins with it may last; it is renewed before. */
export type Ticket = string | { ticket: string; life?: number };

export interface Options {
    /** Topics and patterns, 1 to 64.  Without it everything comes that may be read. */
    topics?: string | string[];
    /**
     * Act as this user.  Tabs share a connection if they name the same one, so name it wherever
     * logins change in one browser.  A visitor without a login is refused, not served as nobody.
     */
    user?: string;
    /**
     * Where to begin if nothing is stored: an id, 'latest' (the default), 'earliest', a duration
     * such as '10m', seconds since 1970, 'last:10' for the latest ten.
     */
    since?: string | number;
    /** Whether cookies are sent, as for fetch: 'same-origin' is the default. */
    credentials?: 'omit' | 'same-origin' | 'include';
    /**
     * Asks your backend for a ticket (POST /api/tickets), for each connection anew.  If it throws
     * an error whose `status` is 401 or 403, the client gives up; after another it tries again.
     */
    ticket?: () => Ticket | Promise<Ticket>;
    /** A signed token; a function is asked for another before the last one ends. */
    token?: string | (() => string | Promise<string>);
    /**
     * 'auto' is 'fetch', and a WebSocket if the first bytes do not come within 3 s.  'sse' is
     * EventSource, which cannot send a token, nor know how long the gateway asks it to wait.
     */
    transport?: 'auto' | 'fetch' | 'sse' | 'websocket';
    /** false: a connection for this tab alone. */
    shared?: boolean;
    /** Where the last id is kept from page to page: localStorage, sessionStorage. */
    storage?: Pick<Storage, 'getItem' | 'setItem'>;
}

/** An event: told as 'event', and as its name ('message' without one). */
export interface BugleEvent<T = unknown> extends Event {
    /** null for an ephemeral event. */
    readonly id: string | null;
    readonly name: string;
    readonly topics: string[];
    /** Of those whom the event is for, the user of this stream. */
    readonly users: string[];
    /** The JSON value if one was published, else a text. */
    readonly data: T;
    readonly published: string | null;
}

/** Events are lost, or may be: load again what the page shows. */
export interface ResetEvent extends Event {
    readonly reason: 'expired' | 'epoch' | 'unknown' | 'damaged';
    /** Events go on after it. */
    readonly id: string;
    readonly oldest: string | null;
    readonly newest: string | null;
    /** What happened and what to do, for the console. */
    readonly message: string;
}

/** The login has ended, or an administrator ended the stream; the client asks for another. */
export interface ExpiredEvent extends Event {
    readonly reason: 'token' | 'key' | 'deleted';
}

/** It gave up, and is closed: the gateway refused. */
export interface RefusedEvent extends Event {
    readonly status: number;
    readonly code?: string;
    readonly message: string;
}

export interface StateEvent extends Event {
    readonly state: State;
}

interface OwnEvents {
    event: BugleEvent;
    state: StateEvent;
    open: Event;
    reset: ResetEvent;
    expired: ExpiredEvent;
    error: RefusedEvent;
    /** The browser has no network. */
    offline: Event;
    /** Nothing came for three spans of the heartbeat; the client connects again. */
    stalled: Event;
}

export interface Bugle extends EventTarget {
    readonly state: State;
    /** The id of the last event or checkpoint. */
    readonly lastId: string | null;
    /**
     * Listens to what the client tells, or to events of a name.  Events with a name of the client's
     * own (`offline`, `stalled`, `state`, `event`) come as 'event' only.  Gives what ends it.
     */
    on<K extends keyof OwnEvents>(type: K, listener: (event: OwnEvents[K]) => void,
        options?: AddEventListenerOptions): () => void;
    on<T = unknown>(name: string, listener: (event: BugleEvent<T>) => void,
        options?: AddEventListenerOptions): () => void;
    close(): void;
}

/**
 * A connection to the gateway at url: '/events', 'https://push.example.org/events'.  A heartbeat in
 * its query counts.  Throws a TypeError for an option that does not exist, or makes no sense.
 */
export function connect(url: string | URL, options?: Options): Bugle;
