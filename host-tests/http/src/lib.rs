//! Serves the sessions of the component over HTTP/1.1, with JSON bodies.
//!
//! ```text
//! $ export CLAWDB_SESSION_ADMIN_KEY=$(openssl rand -hex 32)
//! $ clawdb-session serve --journal sessions.redb &
//! listening on http://127.0.0.1:8787
//! $ curl -s http://127.0.0.1:8787/v1/sessions -H "X-Admin-Key: $CLAWDB_SESSION_ADMIN_KEY" \
//!     -H 'Content-Type: application/json' \
//!     -d '{"agent_id":"7b8d4f6e-…","role":"worker","scopes":["tool:*"],"ttl_secs":900}'
//! {"session_id":"…","token":"…","agent_id":"7b8d4f6e-…","role":"worker","scopes":["tool:*"],…}
//! $ curl -s http://127.0.0.1:8787/v1/sessions/me -H "Authorization: Bearer $TOKEN"
//! ```
//!
//! # Routes
//!
//! | route | caller | body | answer |
//! |---|---|---|---|
//! | `POST /v1/sessions` | admin | `agent_id`, `role`, `scopes`; optional: `ttl_secs`, `task_type`, `metadata` (a JSON value), `max_uses` | 201, grant |
//! | `GET /v1/sessions/{id}` | admin | | session |
//! | `DELETE /v1/sessions/{id}` | admin | | object with `session_id`, `guard_confirmed` (whether the guard has confirmed the revocation) and `descendants` (how many sessions below it ended) |
//! | `POST /v1/sessions/{id}/refresh` | admin | | grant |
//! | `POST /v1/sessions/{id}/delegate` | admin | as for `POST /v1/sessions` | 201, grant |
//! | `GET /v1/sessions/me` | agent | | session |
//! | `DELETE /v1/sessions/me` | agent | | as for `DELETE /v1/sessions/{id}`; see [Logout](#logout) |
//! | `POST /v1/sessions/me/rotate` | agent | | grant |
//! | `POST /v1/sessions/me/authorize` | agent | `scope` | session, or 403 |
//! | `GET /v1/agents/{id}/sessions?cursor=&limit=` | admin | | object with `sessions` (an array of sessions) and `next` (the next cursor, or null) |
//! | `DELETE /v1/agents/{id}/sessions` | admin | | object with `revoked` (how many live sessions ended) |
//! | `POST /v1/revoke-all` | admin | `filter`: `"everything"`, `{"role": "…"}` or `{"root": "<session id>"}` | object with `revoked` |
//! | `POST /v1/clock/accept` | admin | | object with `revoked`; see [Clock](#clock) |
//! | `GET /v1/events?since=` | admin | | server-sent events; see [Events](#events) |
//! | `GET /metrics` | anyone | | metrics in the `OpenMetrics` text format, which Prometheus reads |
//! | `GET /healthz` | anyone | | `{"status": "ok"}`, or 503; see [Readiness](#readiness) |
//!
//! A grant has `session_id`, `token`, `agent_id`, `role`, `scopes` and `expires_at`. A session has
//! `session_id`, `agent_id`, `workspace_id`, `role`, `scopes`, `task_type`, `created_at`,
//! `expires_at`, `metadata`, `parent`, `root`, `generation` and `uses_left`. Times are RFC 3339.
//!
//! The service answers a request that changes something when the journal has stored the change.
//!
//! # Authentication
//!
//! An admin presents the [admin key](AdminKey), as `X-Admin-Key` or as `Authorization: Bearer`. An
//! agent presents its token as `Authorization: Bearer`.
//!
//! `/metrics` and `/healthz` need no key. They say nothing about single sessions. Both name the
//! workspaces whose state key is missing, and `/healthz` also names those whose clock is behind.
//!
//! # Network
//!
//! The service has no TLS. Unless it listens on a loopback address, put a proxy with TLS in front.
//!
//! # Workspaces
//!
//! `X-Workspace-Id`, a UUID with hyphens, selects the workspace. Without the header it is the nil
//! UUID, the default workspace. Each workspace is a [tenant](clawdb_session_durable::Tenants) with
//! its own sessions.
//!
//! An admin's first request creates a workspace; an agent's request never does. If a workspace is
//! not loaded, the guard validates an agent's token before the service loads it, so a caller
//! without a valid token loads nothing. A logout is the exception: it loads the workspace, if that
//! exists, without asking the guard.
//!
//! # Sessions
//!
//! `metadata` is stored and returned byte for byte, as in the WIT: numbers of any size, `null`,
//! nesting of any depth, the order and repetition of names, white space and escapes. White space
//! around the whole value is part of the body, not of the value. Without `metadata` in the body it
//! is `{}`.
//!
//! `GET /v1/sessions/me` is `validate` of the WIT. It counts as a use, and so does `authorize`.
//! Some clients and proxies repeat a GET, and each repetition counts. Do not give a session with
//! `max_uses` to such a client. `HEAD` is allowed for `/metrics` and `/healthz`. Below `/v1` it is
//! answered with 405 and has no effect.
//!
//! When `DELETE` is answered, the session has ended, even if `guard_confirmed` is false. The
//! service then asks the guard again in the background.
//!
//! # Logout
//!
//! `DELETE /v1/sessions/me` is `revoke-by-token` of the WIT (R35). It ends the session whose
//! current token is presented, and all sessions below it, and takes no use. The token identifies
//! the session within the workspace that `X-Workspace-Id` selects. The guard does not validate the
//! token, so a logout works while the guard is down. The guard is asked to revoke the token. If it
//! does not confirm, `guard_confirmed` is false and the service asks again in the background.
//!
//! Any other token is answered with 401 `invalid_token` and ends nothing. RFC 7009 answers 200 for
//! such a token, because it authenticates the client by other means. Here the token is the
//! credential, so RFC 6750 applies. A second logout is therefore 401, and so is a logout with a
//! token that was never valid. Do not repeat a logout after 401. If a refresh or a rotation has
//! replaced the token, the session continues with its new token, and a logout with the replaced
//! token is not treated as theft.
//!
//! # Errors
//!
//! The body is `{"error": "<name>", "message": "<human-readable text>"}`, even for unknown routes.
//! The answer has `Cache-Control: no-store`.
//!
//! | status | `error` |
//! |---|---|
//! | 400 | `invalid_argument`: the message begins with the path of the field, such as `filter.role`, and has at most 256 bytes; `invalid_json`: the body is not JSON; `bad_request`: any other malformed request, such as one without `Host`, with a header given twice, or with a body that ends early |
//! | 401 | `unauthorized`: no key or token; `invalid_token`: the key or token is not valid (a wrong one, or the token of an ended session), or has more than 8,192 bytes; with `WWW-Authenticate: Bearer` (RFC 6750) |
//! | 403 | `insufficient_scope`: for agents, with `WWW-Authenticate`; `guard_denied`: the message has the guard's reason |
//! | 404 | `session_not_found`; `not_found`: no such route |
//! | 405 | `method_not_allowed` |
//! | 408 | `request_timeout`: the body took longer than 10 s, or than 1 s after the shutdown began |
//! | 409 | `conflict`: another refresh or rotation was faster; `session_revoked`: the session was revoked during the request; `limit_reached`: the parent cannot delegate, because of `max-depth` or because its uses are limited (all other limits: 429); `clock_not_behind`: there is no clock to accept |
//! | 410 | `session_expired` |
//! | 413 | `body_too_large`: more than 64 KiB; answered as soon as 64 KiB have arrived |
//! | 414 | `uri_too_long`: the path and the query have more than 8 KiB |
//! | 415 | `unsupported_media_type`: `Content-Type` is not `application/json`, or the body has a `Content-Encoding` (then with `Accept-Encoding: identity`) |
//! | 429 | `limit_reached`: a limit other than those of 409, which the message names; try again when sessions have ended |
//! | 431 | `header_fields_too_large`: more than 100 header fields, or more than 64 KiB of them |
//! | 500 | `journal`: the journal is damaged or misconfigured, the operation may have taken effect, and an operator must repair the journal; `state_key_missing`: the records of the workspace cannot be verified with any given state key; `internal` |
//! | 501 | `not_implemented`: a `Transfer-Encoding` other than `chunked` |
//! | 502 | `guard_error`: the guard failed, or its answer is unusable |
//! | 503 | `unavailable`: a retry may succeed, and the operation may have taken effect; `not_owner`: another host owns the workspace, and the operation may have taken effect; `clock_behind`: see [Clock](#clock); with `Retry-After` |
//! | 504 | `timeout`: no answer within 30 s; the operation may or may not have taken effect |
//!
//! hyper answers some requests itself, without a body and without `Cache-Control`:
//!
//! | status | request |
//! |---|---|
//! | 400 | a malformed head, a `Content-Length` that is not a number, or a `Transfer-Encoding` that does not end with `chunked` |
//! | 414 | a target of more than 65,534 bytes, in a head of up to about 128 KiB |
//! | 431 | more than 256 header fields, a head of more than about 128 KiB, or a `Content-Length` of 2^64 - 2 or more |
//! | none: the connection is closed | the preface of HTTP/2 |
//!
//! If a request has both `Transfer-Encoding` and `Content-Length`, the latter is ignored and the
//! connection is closed after the answer.
//!
//! # Readiness
//!
//! `/healthz` is for load balancers and supervisors. It answers 503 while one of these conditions
//! holds. `error` is the first condition that holds; the message lists all of them.
//!
//! | `error` | condition and remedy |
//! |---|---|
//! | a name from [Errors](#errors) | the default workspace does not answer |
//! | `state_key_missing` | the records of some workspace cannot be verified with any given state key. The message names up to 20. Start the service with the missing key |
//! | `clock_behind` | the host's clock is behind the time of a loaded workspace; see [Clock](#clock). The message names up to 20 |
//! | `unavailable` | the service has not checked the state keys of all workspaces yet |
//!
//! # Clock
//!
//! The time of a workspace (the *time inside* of the contract) never goes back, unless an operator
//! accepts an earlier one. While the host's clock is behind it by more than `clock-tolerance`,
//! requests that would set or extend an expiry are answered with 503 `clock_behind`. So are
//! requests about sessions whose times the clock contradicts. The log reports this once a minute.
//!
//! If the clock is wrong, correct it; no session is lost. If the clock was ahead earlier and is
//! correct now, accept it with `POST /v1/clock/accept`. That ends all sessions of the workspace and
//! sets its time to the host's. `serve --accept-clock-set-back` does this at the start.
//!
//! While the machine's clock shows a time before 1970 or after 9999, every answer is 503.
//!
//! # Events
//!
//! `GET /v1/events` is a stream of [server-sent events][sse]. The `id` of an event is
//! `RUN-SEQUENCE`: the run of the events (see `events` in the WIT) as 16 hexadecimal digits, and
//! the sequence number. Its data is a JSON object with `sequence`, `time`, `session_id`,
//! `agent_id`, `parent`, `root`, `generation`, `kind`, `reason` (or null) and `missed`. `missed` is
//! the number of events directly before this one that the reader did not receive.
//!
//! The stream begins after `since`, a sequence number of the current run, or after
//! `Last-Event-ID`, which a reader sends when it reconnects. If a request has both,
//! `Last-Event-ID` counts. An empty `Last-Event-ID` is ignored.
//!
//! | `Last-Event-ID` | answer |
//! |---|---|
//! | an id of the current run | the events after it; `missed` of the first one is exact |
//! | an id of another run, an id after the newest event, or decimal digits only (a sequence number without a run) | an event `gap`, then all events in memory; `missed` of the first one is 0 |
//! | anything else, or two headers | 400 |
//!
//! `event: gap` means that an unknown number of events after `last_event_id` may be missing. It has
//! no `id`. Its data has `last_event_id` (null if the reader has received no event, or sent an id
//! without a run), `run` (the current run, or null before the first session) and `message`. A
//! service that shuts down cleanly passes its run on to the next service. After a crash, readers
//! receive a gap.
//!
//! The stream continues when the instance is replaced. It ends when the service ends or loses the
//! workspace. A comment is sent after every 15 s without events; so the service notices within 15 s
//! that a reader has disconnected.
//!
//! # Dropped connections
//!
//! The service carries out a request that it has received completely, even if the client closes or
//! resets the connection before the answer. There are three exceptions, in which a request may or
//! may not take effect: it takes longer than 30 s, it is unfinished 10 s after the shutdown began,
//! or the client sent it before it had read the answer to its last request on the connection.
//!
//! A client may close its half of the connection after the request and still receives the answer. A
//! client without an answer does not know whether its request took effect. If it did, the journal
//! stores the change a moment later; the change is lost only if the process ends before that.
//!
//! The same applies to an answer with 500 `journal`, 503 or 504, with one difference: after 503
//! `unavailable`, a rotation can be repeated. The answer has the token of the rotation that took
//! effect, for 10 minutes, while the same instance serves the workspace; an idle workspace is
//! unloaded earlier. 409 `conflict` means that the earlier request is still in progress, so that it
//! can be repeated after some seconds, or that the session has a newer token.
//!
//! | route | what may have happened | what to do |
//! |---|---|---|
//! | `POST /v1/sessions`, `.../delegate` | a session exists whose token no one has | repeat it; the other session expires, or find it in the agent's listing and `DELETE` it |
//! | `POST .../refresh` | the old token is invalid, and no one has the new one | repeat it |
//! | `POST /v1/sessions/me/rotate` | the old token is replaced, and no one has the new one | repeat it with the old token; after 503 `unavailable` see above; otherwise it succeeds once within `rotation-grace`, and later ends the session as theft |
//! | `GET /v1/sessions/me`, `POST .../authorize` | a use is taken | repeat it, which takes another use |
//! | `DELETE /v1/sessions/{id}` | the session has ended | repeat it; 404 means that it has ended |
//! | `DELETE /v1/sessions/me` | the session has ended | repeat it; 401 means that the token ends nothing now |
//! | `DELETE .../sessions`, `POST /v1/revoke-all` | no request accepts the sessions any longer | repeat it; `revoked` counts only sessions that the request ended, at most 10,000 and those below the last one |
//! | `POST /v1/clock/accept` | the sessions have ended and the clock is accepted | repeat it; 409 `clock_not_behind` means that there is nothing left to accept |
//! | `GET` of sessions, events, `/metrics`, `/healthz` | nothing | repeat it; for events, with `Last-Event-ID` |
//!
//! # Limits
//!
//! [`ServeOptions`] has the time limits and the maximum number of connections. A connection is
//! closed without an answer if no complete head arrives within 30 s, or if the client's kernel
//! accepts no part of an answer for 30 s. The sizes of bodies and headers are bounded; see
//! [Errors](#errors). Tokens and keys are not logged. The exception is an admin key that
//! `clawdb-session serve` generates: it is printed to standard error once, at the start.
//!
//! # Embedding
//!
//! [`serve`] accepts connections from a listener until a future ends. [`router`] returns the axum
//! routes for programs that accept connections themselves. Such a program also calls
//! [`housekeeping`], which ends expired sessions and asks the guard again for revocations that it
//! has not confirmed.
//!
//! # Modules
//!
//! | module | contents |
//! |---|---|
//! | `router`, `options`, `service` | the routes, their settings and their shared state |
//! | `sessions`, `agents`, `events`, `health`, `metrics`, `request_metrics` | the handlers of the routes |
//! | `access`, `key` | authentication |
//! | `input`, `body`, `headers`, `form` | parsing requests and writing answers |
//! | `error` | the answers to requests that fail |
//! | `connections`, `socket`, `connection_state`, `clock_range` | accepting, limiting and closing connections |
//! | `protocol`, `time_limit` | checks that apply to every request |
//! | `figures` | the figures of the loaded workspaces, for `/metrics` and `/healthz` |
//! | `housekeeping`, `clock` | periodic work |
//!
//! [sse]: https://html.spec.whatwg.org/multipage/server-sent-events.html

mod access;
mod agents;
mod body;
mod clock;
mod clock_range;
mod connection_state;
mod connections;
mod error;
mod events;
mod figures;
mod form;
mod headers;
mod health;
mod housekeeping;
mod input;
mod key;
mod metrics;
mod options;
mod protocol;
mod request_metrics;
mod router;
mod service;
mod sessions;
mod socket;
mod time_limit;

pub use housekeeping::housekeeping;
pub use key::{ADMIN_KEY_VARIABLE, AdminKey, BadAdminKey};
pub use options::ServeOptions;
pub use router::{router, serve};
