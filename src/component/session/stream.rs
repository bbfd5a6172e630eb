//! Pushing events to a reader.

use std::future::{Future, poll_fn};
use std::pin::pin;
use std::task::Poll;

use wit_bindgen::{StreamResult, StreamWriter};

use super::super::bindings::events;
use super::super::imports::{HostClock, HostGuard};
use crate::{Notice, Subscription, SystemEntropy};

/// Pushes events into a stream until its reader has closed it.
pub(super) async fn push(
    mut subscription: Subscription<'static, HostGuard, HostClock, SystemEntropy>,
    mut writer: StreamWriter<events::Event>,
) {
    loop {
        match subscription.next().await {
            Notice::Events(page) => {
                let mut missed = page.missed;
                let events = page.events.into_iter().map(|event| events::Event {
                    missed: std::mem::take(&mut missed),
                    ..event.into()
                });
                if !writer.write_all(events.collect()).await.is_empty() {
                    return;
                }
            }
            Notice::Probe => {
                // A write of no events is answered with `Dropped` if the reader has closed the
                // stream. If it stays pending, the reader still exists.
                let mut write = pin!(writer.write(Vec::new()));
                let answer = poll_fn(|context| Poll::Ready(write.as_mut().poll(context))).await;
                let (answer, _) = match answer {
                    Poll::Ready(answer) => answer,
                    Poll::Pending => write.as_mut().cancel(),
                };
                if answer == StreamResult::Dropped {
                    return;
                }
            }
        }
    }
}
