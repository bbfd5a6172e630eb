//! The events, as server-sent events.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::IntoResponse;
use axum::response::sse::{Event as Sent, KeepAlive, Sse};
use futures::{Stream, StreamExt, stream};

use super::Service;
use super::access::Admin;
use super::error::ApiError;
use super::form::EventForm;
use super::input::{Asked, EventsQuery};
use crate::bindings::exports::clawdb::session::events::Event;
use crate::durable::{DurableError, DurableHost};
use crate::subscription::Subscription;

const LAST_EVENT_ID: &str = "last-event-id";
/// How often, and after which pause, a reader whose instance has ended asks for the next one's events.
const ATTEMPTS: usize = 50;
const PAUSE: Duration = Duration::from_millis(100);
/// How often something is sent where nothing happens, so that nobody on the way takes the connection
/// for dead.
const KEEP_ALIVE: Duration = Duration::from_secs(15);

pub async fn stream(
    State(service): State<Arc<Service>>,
    Admin(host): Admin,
    Asked(query): Asked<EventsQuery>,
    headers: HeaderMap,
) -> Result<impl IntoResponse, ApiError> {
    let since = last_event_id(&headers)?.or(query.since).unwrap_or(0);
    // The first one here, so that a refusal has a status.
    let subscription = host.subscribe(since).await?;
    let reader = Reader {
        host,
        subscription,
        last: since,
    };
    let events = reader
        .events()
        .map(|event| Ok::<_, Infallible>(sent(event)))
        .take_until(service.closing.clone().begun());
    let keep_alive = KeepAlive::new().interval(KEEP_ALIVE);
    Ok(Sse::new(events).keep_alive(keep_alive))
}

/// Where a reader is.
struct Reader {
    host: DurableHost,
    subscription: Subscription,
    /// The sequence number of its last event.
    last: u64,
}

impl Reader {
    fn events(self) -> impl Stream<Item = Event> + Send {
        stream::unfold(self, async |mut reader| {
            let event = reader.next().await?;
            Some((event, reader))
        })
    }

    /// The next event, of whichever instance. None when there is none to be had.
    async fn next(&mut self) -> Option<Event> {
        loop {
            if let Some(event) = self.subscription.next().await {
                self.last = event.sequence;
                return Some(event);
            }
            self.subscription = self.subscribe_again().await?;
        }
    }

    /// The instance has ended, which the host may not know yet: then it answers `Retry`.
    async fn subscribe_again(&self) -> Option<Subscription> {
        for _ in 0..ATTEMPTS {
            match self.host.subscribe(self.last).await {
                Err(DurableError::Retry(_)) => tokio::time::sleep(PAUSE).await,
                subscription => return subscription.ok(),
            }
        }
        None
    }
}

fn sent(event: Event) -> Sent {
    let sequence = event.sequence.to_string();
    // A form of texts and numbers always has a JSON.
    let data = serde_json::to_string(&EventForm::from(event)).unwrap_or_default();
    Sent::default().id(sequence).data(data)
}

fn last_event_id(headers: &HeaderMap) -> Result<Option<u64>, ApiError> {
    let Some(value) = headers.get(LAST_EVENT_ID) else {
        return Ok(None);
    };
    let id = value.to_str().ok().and_then(|text| text.parse().ok());
    id.map(Some).ok_or_else(|| {
        ApiError::invalid_argument("last-event-id: must be the id of an event: a number")
    })
}
