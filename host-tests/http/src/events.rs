//! The events, as server-sent events.

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
/// The name of the event that says that others may be missing.
const GAP: &str = "gap";
/// How often, and after which pause, a reader whose instance has ended asks for the next one's events.
const RESUBSCRIBE_ATTEMPTS: usize = 50;
const RESUBSCRIBE_PAUSE: Duration = Duration::from_millis(100);

pub async fn stream(
    State(service): State<Arc<Service>>,
    Admin(host): Admin,
    QueryFields(query): QueryFields<EventsQuery>,
    headers: HeaderMap,
) -> Result<impl IntoResponse, ApiError> {
    // The first one here, so that a refusal has a status.
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

/// Stands for an id without a run: of a version before runs, or of another service. No run has it.
const WITHOUT_RUN: EventId = EventId {
    run: 0,
    sequence: u64::MAX,
};

/// The id of an event: its run, and its sequence number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct EventId {
    /// 0: of no event yet.
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

/// Where a reader is.
struct EventReader {
    host: DurableHost,
    subscription: Subscription,
    /// Its last event.
    last: EventId,
    /// That events may be missing is still to be told.
    gap_pending: bool,
    /// What it is given is from an instance that may have had other events, and begins with the oldest.
    after_gap: Option<EventId>,
}

impl EventReader {
    /// One that begins after this sequence number of the current run.
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

    /// One that goes on after this event.
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

    /// What comes next, of whichever instance. None when there is nothing to be had.
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

    /// Whether the reader had this event before the gap: an instance that has closed a run and gone on
    /// has events of both.
    fn was_delivered(&self, event: &Event) -> bool {
        self.after_gap.is_some_and(|last| {
            self.subscription.run() != last.run
                && event.run == last.run
                && event.sequence <= last.sequence
        })
    }

    fn sse_event(&mut self, mut event: Event) -> SseEvent {
        // The gap stands for all that is missing before the first event after it.
        if self.after_gap.take().is_some() {
            event.missed = 0;
        }
        self.last = EventId {
            run: event.run,
            sequence: event.sequence,
        };
        // A form of texts and numbers always has a JSON.
        let data = serde_json::to_string(&EventForm::from(event)).unwrap_or_default();
        SseEvent::default().id(self.last.to_string()).data(data)
    }

    /// It has no id, so that a reader that reconnects before the next event receives it again.
    fn gap_event(&self) -> SseEvent {
        let last = (self.last.run != 0).then(|| self.last.to_string());
        let current = self.subscription.run();
        let data = json!({
            "last_event_id": last,
            "run": (current != 0).then(|| event_run(current)),
            "message": "events after last_event_id may be missing, and how many is not known",
        });
        SseEvent::default().event(GAP).data(data.to_string())
    }

    /// The instance has ended, which the host may not know yet: then it answers `Retry`.
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

/// The events after `last`; where that is of another run, or was never there, all that there are, and
/// that others may be missing.
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

/// An empty one is none: browsers send it when they have had no event with an id.
fn last_event_id(headers: &HeaderMap) -> Result<Option<EventId>, ApiError> {
    let Some(id) = single_value(headers, LAST_EVENT_ID)?.filter(|id| !id.is_empty()) else {
        return Ok(None);
    };
    EventId::parse(id).map(Some).ok_or_else(|| {
        ApiError::invalid_argument("last-event-id: must be the id of an event: RUN-SEQUENCE")
    })
}
