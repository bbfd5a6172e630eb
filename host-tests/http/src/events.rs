//! The route of events: server-sent events.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::IntoResponse;
use axum::response::sse::{Event as SseEvent, KeepAlive, Sse};
use clawdb_session_durable::{DurableError, DurableHost};
use clawdb_session_host::{Event, Subscription, event_run};
use futures::{Stream, StreamExt, stream};
use serde_json::json;

use crate::access::Admin;
use crate::error::ApiError;
use crate::form::EventForm;
use crate::headers::single_value;
use crate::input::{EventsQuery, QueryFields};
use crate::service::Service;

const LAST_EVENT_ID: &str = "last-event-id";
/// The name of the event that reports that other events may be missing.
const GAP: &str = "gap";
/// The attempts to subscribe to the next instance, and the pause between them.
const RESUBSCRIBE_ATTEMPTS: usize = 50;
const RESUBSCRIBE_PAUSE: Duration = Duration::from_millis(100);

pub async fn stream(
    State(service): State<Arc<Service>>,
    Admin(host): Admin,
    QueryFields(query): QueryFields<EventsQuery>,
    headers: HeaderMap,
) -> Result<impl IntoResponse, ApiError> {
    // The first subscription is made here, so that an error has a status.
    let reader = match last_event_id(&headers)? {
        Some(last) => EventReader::after(host, last).await?,
        None => EventReader::since(host, query.since.unwrap_or(0)).await?,
    };
    let events = reader
        .events()
        .map(Ok::<_, Infallible>)
        .take_until(service.closing.clone().started());
    let keep_alive = KeepAlive::new().interval(service.keep_alive);
    Ok(Sse::new(events).keep_alive(keep_alive))
}

/// The id of an event of a version without runs. No event of a run has it.
const WITHOUT_RUN: EventId = EventId {
    run: 0,
    sequence: u64::MAX,
};

/// The id of an event: its run and its sequence number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct EventId {
    /// 0 before the first session.
    run: u64,
    sequence: u64,
}

impl EventId {
    fn parse(id: &[u8]) -> Option<Self> {
        if id.iter().all(u8::is_ascii_digit) {
            return Some(WITHOUT_RUN);
        }
        let (run, sequence) = std::str::from_utf8(id).ok()?.split_once('-')?;
        let is_hex = |digit: u8| matches!(digit, b'0'..=b'9' | b'a'..=b'f');
        if run.len() != 16 || !run.bytes().all(is_hex) {
            return None;
        }
        if !sequence.bytes().all(|digit| digit.is_ascii_digit()) {
            return None;
        }
        let run = u64::from_str_radix(run, 16).ok().filter(|run| *run != 0)?;
        let sequence = sequence.parse().ok()?;
        Some(Self { run, sequence })
    }
}

impl std::fmt::Display for EventId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}-{}", event_run(self.run), self.sequence)
    }
}

/// The position of a reader in the events.
struct EventReader {
    host: DurableHost,
    subscription: Subscription,
    /// The last event that it received.
    last: EventId,
    /// Whether a gap has to be reported before the next event.
    gap_pending: bool,
    /// The last event before a gap, until the first event after it. The subscription then begins
    /// with the oldest event in memory.
    after_gap: Option<EventId>,
}

impl EventReader {
    /// Returns a reader that begins after this sequence number of the current run.
    async fn since(host: DurableHost, since: u64) -> Result<Self, DurableError> {
        let subscription = host.subscribe(since).await?;
        Ok(Self {
            last: EventId {
                run: subscription.run(),
                sequence: since.min(subscription.newest()),
            },
            host,
            subscription,
            gap_pending: false,
            after_gap: None,
        })
    }

    /// Returns a reader that continues after this event.
    async fn after(host: DurableHost, last: EventId) -> Result<Self, DurableError> {
        let (subscription, is_gap) = subscribe(&host, last).await?;
        Ok(Self {
            host,
            subscription,
            last,
            gap_pending: is_gap,
            after_gap: is_gap.then_some(last),
        })
    }

    fn events(self) -> impl Stream<Item = SseEvent> + Send {
        stream::unfold(self, async |mut reader| {
            let sent = reader.next().await?;
            Some((sent, reader))
        })
    }

    /// Returns the next event, or the report of a gap. Subscribes to the next instance when one has
    /// ended. Returns `None` when there is no instance to subscribe to.
    async fn next(&mut self) -> Option<SseEvent> {
        loop {
            if std::mem::take(&mut self.gap_pending) {
                return Some(self.gap_event());
            }
            match self.subscription.next().await {
                Some(event) if self.was_delivered(&event) => {}
                Some(event) => return Some(self.sse_event(event)),
                None => self.subscribe_again().await?,
            }
        }
    }

    /// Returns whether the reader received this event before the gap. An instance that continues a
    /// closed run has events of both runs.
    fn was_delivered(&self, event: &Event) -> bool {
        self.after_gap.is_some_and(|last| {
            self.subscription.run() != last.run
                && event.run == last.run
                && event.sequence <= last.sequence
        })
    }

    fn sse_event(&mut self, mut event: Event) -> SseEvent {
        // The gap already reports the events that are missing before this one.
        if self.after_gap.take().is_some() {
            event.missed = 0;
        }
        self.last = EventId {
            run: event.run,
            sequence: event.sequence,
        };
        // Strings and numbers always have a JSON form.
        let data = serde_json::to_string(&EventForm::from(event)).unwrap_or_default();
        SseEvent::default().id(self.last.to_string()).data(data)
    }

    /// Returns the report of a gap. It has no id, so that a reader that reconnects before the next
    /// event receives it again.
    fn gap_event(&self) -> SseEvent {
        let last = (self.last.run != 0).then(|| self.last.to_string());
        let current = self.subscription.run();
        let data = json!({
            "last_event_id": last,
            "run": (current != 0).then(|| event_run(current)),
            "message": "an unknown number of events after last_event_id may be missing",
        });
        SseEvent::default().event(GAP).data(data.to_string())
    }

    /// Subscribes again after the instance has ended. While the host replaces it, the host answers
    /// `Retry`. Returns `None` if no instance can be subscribed to.
    async fn subscribe_again(&mut self) -> Option<()> {
        for _ in 0..RESUBSCRIBE_ATTEMPTS {
            match subscribe(&self.host, self.last).await {
                Err(DurableError::Retry(_)) => tokio::time::sleep(RESUBSCRIBE_PAUSE).await,
                Err(_) => return None,
                Ok((subscription, is_gap)) => {
                    self.subscription = subscription;
                    self.gap_pending = is_gap;
                    self.after_gap = is_gap.then_some(self.last);
                    return Some(());
                }
            }
        }
        None
    }
}

/// Subscribes to the events after `last`. If `last` is from another run or later than the newest
/// event, subscribes to all events in memory. Returns whether events may be missing.
async fn subscribe(
    host: &DurableHost,
    last: EventId,
) -> Result<(Subscription, bool), DurableError> {
    let subscription = host.subscribe(last.sequence).await?;
    if subscription.run() == last.run && last.sequence <= subscription.newest() {
        return Ok((subscription, false));
    }
    drop(subscription);
    Ok((host.subscribe(0).await?, true))
}

/// Returns `Last-Event-ID`. An empty one counts as absent: browsers send it when they have received
/// no event with an id.
fn last_event_id(headers: &HeaderMap) -> Result<Option<EventId>, ApiError> {
    let Some(id) = single_value(headers, LAST_EVENT_ID)?.filter(|id| !id.is_empty()) else {
        return Ok(None);
    };
    EventId::parse(id).map(Some).ok_or_else(|| {
        ApiError::invalid_argument("last-event-id: must be the id of an event, RUN-SEQUENCE")
    })
}
