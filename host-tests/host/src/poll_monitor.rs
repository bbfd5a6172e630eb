//! Monitors the polls of an instance: its progress, when the replies of its calls are sent, and
//! when it is idle.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Wake, Waker};

use tokio::sync::oneshot;

/// A function that sends the answer of a call to its caller.
pub(crate) type Reply = Box<dyn FnOnce() + Send>;

/// The maximum number of replies that are queued before they are sent together.
const MAX_QUEUED_REPLIES: usize = 32;

/// The state of the polls of an instance. The task that drives the instance updates it.
pub(crate) struct PollMonitor {
    /// How often the instance has made progress.
    progress: AtomicU64,
    /// Whether the instance was woken since the last poll began, so that it is polled again.
    woken: AtomicBool,
    inner: Mutex<PollMonitorState>,
}

struct PollMonitorState {
    waker: Waker,
    /// The replies of calls that have ended in this poll.
    replies: Vec<Reply>,
    idle_waiters: Vec<oneshot::Sender<()>>,
}

impl Default for PollMonitor {
    fn default() -> Self {
        Self {
            progress: AtomicU64::new(0),
            woken: AtomicBool::new(false),
            inner: Mutex::new(PollMonitorState {
                waker: Waker::noop().clone(),
                replies: Vec::new(),
                idle_waiters: Vec::new(),
            }),
        }
    }
}

impl PollMonitor {
    /// Records that a poll begins. Later wake-ups wake the task of `waker`.
    pub(crate) fn begin_poll(&self, waker: &Waker) {
        self.lock().waker.clone_from(waker);
        // A swap, because its read makes changes before earlier wake-ups visible to this poll.
        self.woken.swap(false, Ordering::SeqCst);
        self.record_progress();
    }

    /// Records progress of the instance: an operation, or a call of the guard, began or ended.
    pub(crate) fn record_progress(&self) {
        // Only the task that polls the instance reads and writes the number.
        let progress = self.progress.load(Ordering::Relaxed);
        self.progress
            .store(progress.wrapping_add(1), Ordering::Relaxed);
    }

    /// Returns how often the instance has made progress.
    pub(crate) fn progress(&self) -> u64 {
        self.progress.load(Ordering::Relaxed)
    }

    /// Queues the reply of a call that has ended. It is sent when the poll ends, when 32 replies
    /// are queued, or when the component computes for long. Sending each reply at once would wake
    /// another thread for each, which takes about as long as a call.
    pub(crate) fn queue_reply(&self, reply: Reply) {
        let mut inner = self.lock();
        inner.replies.push(reply);
        if inner.replies.len() >= MAX_QUEUED_REPLIES {
            drop(inner);
            self.send_replies();
        }
    }

    /// Sends the queued replies.
    pub(crate) fn send_replies(&self) {
        let replies = std::mem::take(&mut self.lock().replies);
        for send in replies {
            send();
        }
    }

    /// Records that a poll has ended. Sends the queued replies, and notifies the waiters if the
    /// instance is idle.
    pub(crate) fn end_poll(&self) {
        self.send_replies();
        if self.woken.load(Ordering::SeqCst) || self.lock().idle_waiters.is_empty() {
            return;
        }
        // The instance was not woken, so it can do no more without an event from outside.
        let waiters = std::mem::take(&mut self.lock().idle_waiters);
        for reply in waiters {
            let _ = reply.send(());
        }
    }

    /// Registers a waiter, which is notified when the instance is idle.
    pub(crate) fn notify_when_idle(&self, reply: oneshot::Sender<()>) {
        self.lock().idle_waiters.push(reply);
    }

    fn lock(&self) -> MutexGuard<'_, PollMonitorState> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Wake for PollMonitor {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        // One wake-up is enough: the next poll sees all changes that were made before it begins.
        if self.woken.swap(true, Ordering::SeqCst) {
            return;
        }
        let waker = self.lock().waker.clone();
        waker.wake();
    }
}
