//! The host as a small HTTP service: JSON over HTTP/1.1, for platforms that do not embed it.
//!
//! ```text
//! $ export CLAWDB_SESSION_ADMIN_KEY=$(openssl rand -hex 32)
//! $ clawdb-session serve --journal sessions.redb &
//! listening on http://127.0.0.1:8787
//! $ curl -s http://127.0.0.1:8787/v1/sessions -H "X-Admin-Key: $CLAWDB_SESSION_ADMIN_KEY" \
//!     -H 'Content-Type: application/json' \
//!     -d '{"agent_id":"7b8d4f6e-3c1a-4f52-9e0d-5a6b7c8d9e0f","role":"worker","scopes":["tool:*"],"ttl_secs":900}'
//! {"session_id":"…","token":"…","agent_id":"…","role":"worker","scopes":["tool:*"],"expires_at":"…"}
//! $ curl -s http://127.0.0.1:8787/v1/sessions/me -H "Authorization: Bearer $TOKEN"
//! ```
//!
//! # Routes
//!
//! | route | who | body | answer |
//! |---|---|---|---|
//! | `POST /v1/sessions` | admin | `agent_id`, `role`, `scopes`; and, if wanted, `ttl_secs`, `task_type`, `metadata` (a JSON value), `max_uses` | 201, grant |
//! | `GET /v1/sessions/{id}` | admin | | session |
//! | `DELETE /v1/sessions/{id}` | admin | | `{"session_id", "guard_confirmed", "descendants"}` |
//! | `POST /v1/sessions/{id}/refresh` | admin | | grant |
//! | `POST /v1/sessions/{id}/delegate` | admin | as for a create | 201, grant |
//! | `GET /v1/sessions/me` | agent | | session |
//! | `DELETE /v1/sessions/me` | agent | | as for `DELETE /v1/sessions/{id}`: a logout, see below |
//! | `POST /v1/sessions/me/rotate` | agent | | grant |
//! | `POST /v1/sessions/me/authorize` | agent | `scope` | session, or 403 |
//! | `GET /v1/agents/{id}/sessions?cursor=&limit=` | admin | | `{"sessions": [session], "next"}`; `next` is the next cursor or null |
//! | `DELETE /v1/agents/{id}/sessions` | admin | | `{"revoked"}` |
//! | `POST /v1/revoke-all` | admin | `filter`: `"everything"`, `{"role": "…"}` or `{"root": "<session id>"}` | `{"revoked"}` |
//! | `POST /v1/clock/accept` | admin | | `{"revoked"}`: ends all sessions of the workspace and accepts a clock that was set back |
//! | `GET /v1/events?since=` | admin | | server-sent events, see below |
//! | `GET /metrics` | anybody | | figures, in the text format of Prometheus |
//! | `GET /healthz` | anybody | | `{"status": "ok"}`, or 503 while the service is not ready: see below |
//!
//! A grant is `session_id`, `token`, `agent_id`, `role`, `scopes`, `expires_at`. A session is
//! `session_id`, `agent_id`, `workspace_id`, `role`, `scopes`, `task_type`, `created_at`, `expires_at`,
//! `metadata`, `parent`, `root`, `generation`, `uses_left`. Times are RFC 3339.
//!
//! `metadata` is kept and returned byte for byte, as in the WIT: numbers of any size, `null`,
//! nesting of any depth, the order and repetition of names, white space and escapes. White space
//! around the whole value is part of the body, not of the value. A body without `metadata` gives
//! `{}`.
//!
//! `GET /v1/sessions/me` is `validate` of the WIT and counts as a use; so is `authorize`. Clients and
//! proxies may repeat a GET on their own, and each one counts: give a session with `max_uses` to clients
//! that do not. `HEAD` is for `/metrics` and `/healthz`; below `/v1` it is 405 and does nothing.
//!
//! A session is dead when `DELETE` answers, whether or not the guard has confirmed; what it has not
//! confirmed is asked for again in the background.
//!
//! # Logout
//!
//! `DELETE /v1/sessions/me` is `revoke-by-token` of the WIT (R35): it ends the session whose
//! current token is presented, and all below it, and takes no use. The token alone identifies the
//! session in the workspace that `X-Workspace-Id` names. The guard is not asked about the token,
//! only told to revoke it, so a logout works while the guard is down; `guard_confirmed` is false
//! then, and the guard is asked again in the background. The answer comes when the end is durable.
//!
//! Any other token is 401 `invalid_token` and ends nothing. RFC 7009 answers 200 for such a token,
//! because it authenticates the client by other means; here the token is the credential, and RFC
//! 6750 applies. So a second logout is 401, which does not tell whether the token was ever good.
//! After a 401 there is nothing to repeat. If a refresh or a rotation has replaced the token, the
//! session lives on with its new one; the replaced one is not treated as theft here.
//!
//! # Connections that are dropped
//!
//! A request that the service has received whole is carried out, also if the client closes or
//! resets the connection before the answer. There are exceptions: a request that takes longer than
//! 30 s, one that is unfinished 10 s after the service was told to end, and one that was sent
//! before the answer to an earlier request on the same connection was read may or may not be
//! carried out. A client may close its half of the connection after the request and still gets the
//! answer. One that gets no answer does not know whether the request took effect. A change that
//! took effect and was not answered is made durable a moment later; it is lost if the process dies
//! before that.
//!
//! | route | what may have happened | what to do |
//! |---|---|---|
//! | `POST /v1/sessions`, `.../delegate` | there is a session whose token nobody has | ask again; the other one ends with its time, or by a `DELETE` of what the agent's listing shows |
//! | `POST .../refresh` | the old token is dead, and nobody has the new one | refresh again |
//! | `POST /v1/sessions/me/rotate` | the same | rotate again with the old token, which succeeds once within `rotation-grace`; without that, it ends the session as theft |
//! | `GET /v1/sessions/me`, `POST .../authorize` | a use is taken | ask again, which takes another one |
//! | `DELETE /v1/sessions/{id}` | the session has ended | ask again; 404 says that it has ended |
//! | `DELETE /v1/sessions/me` | the same | ask again; 401 says that the token ends nothing now |
//! | `DELETE .../sessions`, `POST /v1/revoke-all` | the sessions have ended | ask again; `revoked` counts only those that were live by then |
//! | `POST /v1/clock/accept` | the clock is accepted, and the sessions have ended | ask again; 409 `clock_not_behind` says that it took effect |
//! | `GET` of sessions, events, `/metrics`, `/healthz` | nothing | ask again; for events, with `Last-Event-ID` |
//!
//! # Who
//!
//! An admin presents the [admin key](AdminKey), as `X-Admin-Key` or as `Authorization: Bearer`. An
//! agent presents its token as `Authorization: Bearer`. `/metrics` and `/healthz` ask for nothing
//! and tell nothing of any session, but they name workspaces: both those whose state key is missing,
//! and `/healthz` also those whose clock is behind. Bind to a loopback address, as the command line
//! does by default, or put a proxy in front. The proxy has to provide TLS: the service has none.
//!
//! # Workspaces
//!
//! `X-Workspace-Id`, a UUID, says in whose sessions; without it that is the nil UUID. Each workspace
//! is a [tenant](clawdb_session_durable::Tenants). The first call of an admin makes it. Naming one loads it, so a token
//! for one that is not loaded is shown to the guard first: whoever has none loads nothing, and whoever
//! has one makes nothing. A logout does not ask the guard. It loads the workspace that it names if
//! there is such a workspace, whatever its token is.
//!
//! # Errors
//!
//! `{"error": "<name>", "message": "<for people>"}`, also for what no route was found for, and
//! `Cache-Control: no-store`. hyper answers some requests before the service sees them, without a
//! body and without that header:
//!
//! | status | request |
//! |---|---|
//! | 400 | a malformed head, a `Content-Length` that is no number, or `Transfer-Encoding` without `chunked` at its end |
//! | 414 | a target above 65,534 bytes, in a head of up to some 400 KiB |
//! | 431 | more than 256 header fields, a head above some 400 KiB (a longer target included), or a `Content-Length` of 2^64 - 2 or above |
//! | none: the connection is closed | the preface of HTTP/2 |
//!
//! If both `Transfer-Encoding` and `Content-Length` are present, the latter is ignored and the
//! connection is closed after the answer. A connection is closed without an answer if no whole head
//! comes within 30 s, or if the client's kernel accepts nothing of an answer for 30 s. While the
//! machine's clock shows a time before 1970 or after 9999, every answer is 503.
//!
//! | status | `error` |
//! |---|---|
//! | 400 | `invalid_argument`: the message begins with the field's path, such as `filter.role`, and has at most 256 bytes; `invalid_json`: the body is not JSON; `bad_request` |
//! | 401 | `unauthorized` (nothing presented), `invalid_token` (not good, no longer good, or of more than 8,192 bytes); with `WWW-Authenticate: Bearer` (RFC 6750) |
//! | 403 | `insufficient_scope`, with `WWW-Authenticate` too for agents; `guard_denied`: the token authority refuses, and says why |
//! | 404 | `session_not_found`, `not_found` (no such route) |
//! | 405 | `method_not_allowed` |
//! | 408 | `request_timeout`: the body took longer than 10 s, or than 1 s when the service ends |
//! | 409 | `conflict` (another refresh or rotation won), `session_revoked` (while it was under way), `limit_reached` for a parent that may not delegate (`max-depth`, `max-uses`), `clock_not_behind` (there is nothing to accept) |
//! | 410 | `session_expired` |
//! | 413 | `body_too_large`: above 64 KiB; answered when 64 KiB have come, without waiting for the rest |
//! | 414 | `uri_too_long`: a path and query above 8 KiB |
//! | 415 | `unsupported_media_type`: a body that is not said to be `application/json`, or is encoded (`Content-Encoding`; then with `Accept-Encoding: identity`) |
//! | 429 | `limit_reached`: the message names the limit; there is room again when sessions have ended |
//! | 431 | `header_fields_too_large`: more than 100 header fields, or above 64 KiB of them |
//! | 500 | `journal` (it is damaged or set up wrongly: somebody has to look), `state_key_missing` (no state key that was given opens the workspace's records; the others are served), `internal` |
//! | 501 | `not_implemented`: a `Transfer-Encoding` other than `chunked` |
//! | 502 | `guard_error`: the token authority failed, or gave an answer that is of no use |
//! | 503 | `unavailable` (the same may succeed soon), `not_owner` (another host has the workspace), `clock_behind` (the host's clock is before the time of the sessions by more than `clock-tolerance`); with `Retry-After` |
//! | 504 | `timeout`: no answer in 30 s. Whether the operation was done is not known |
//!
//! # Readiness
//!
//! `/healthz` answers 503 with the name of the first of these reasons, and a message that has all:
//!
//! | `error` | while |
//! |---|---|
//! | as above | the default workspace does not answer |
//! | `state_key_missing` | no state key that was given opens the records of some workspace: the message names up to 20. Start the service with the key that they are sealed with |
//! | `clock_behind` | the host's clock is behind the time of a loaded workspace by more than `clock-tolerance`: the message names up to 20. Set the clock right, or accept it with `POST /v1/clock/accept` |
//! | `unavailable` | the `meta` record of each workspace was not held against the state keys yet |
//!
//! # Events
//!
//! `GET /v1/events` is a stream of [server-sent events](https://html.spec.whatwg.org/multipage/server-sent-events.html).
//! The `id` of each is `RUN-SEQUENCE`: the run of the events (see `events` in the WIT) as 16 hexadecimal
//! digits, and the sequence number. Its data is a JSON object: `sequence`, `time`, `session_id`,
//! `agent_id`, `parent`, `root`, `generation`, `kind`, `reason` (null where there is none) and
//! `missed`, how many events before this one the reader has lost.
//!
//! `since`, a sequence number of the current run, or `Last-Event-ID` when a reader comes back, says after
//! which event the stream begins; the latter counts where there are both, and an empty one is none.
//!
//! | `Last-Event-ID` | answer |
//! |---|---|
//! | an id of the current run | the events after it; `missed` of the first is exact, 0 where nothing was lost |
//! | an id of another run, one after the newest event, or decimal digits alone (an id of a version before runs) | an event `gap`, then all events that the instance has; `missed` of the first is 0 |
//! | anything else, or two of them | 400 |
//!
//! `event: gap` has no `id`, and as data `last_event_id` (null where the reader has had no event, or
//! presented an id without a run), `run` (the current one, null before the first session) and
//! `message`: events after `last_event_id` may be missing, and how many is not known. A
//! service that ended in order leaves its run to the next one; after a crash there is a gap. The stream
//! goes on when the instance is replaced, with a gap where that was lost, and ends when the service does
//! or the workspace is lost. Where nothing happens, a comment is sent every 15 s; a reader that has left
//! is noticed by then.
//!
//! # Bounds
//!
//! [`ServeOptions`] has them. Tokens and keys are written nowhere.
//!
//! # How it is built
//!
//! | module | what is in it |
//! |---|---|
//! | `router`, `options`, `service` | the routes, their bounds, what they share: [`serve`], [`router`], [`ServeOptions`] |
//! | `sessions`, `agents`, `events`, `health`, `metrics`, `request_metrics` | what is behind the routes |
//! | `access`, `key` | who may do what |
//! | `input`, `body`, `headers`, `form` | what requests say, and what answers say |
//! | `error` | the answers of requests that fail |
//! | `connections`, `socket`, `connection_state`, `clock_range` | the connections, their bounds and their end |
//! | `protocol`, `time_limit` | what HTTP asks of every request |
//! | `housekeeping`, `clock` | what is done from time to time |

mod access;
mod agents;
mod body;
mod clock;
mod clock_range;
mod connection_state;
mod connections;
mod error;
mod events;
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
