//! Watches an instance being polled: how long it computes without progress, when its answers are
//! given, and when it has nothing left to do.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Wake, Waker};
use std::time::{Duration, Instant};

use tokio::sync::oneshot;

/// Sends a call's answer to its caller.
pub(crate) type Reply = Box<dyn FnOnce() + Send>;

/// How many answers wait for each other at most.
const MAX_QUEUED_REPLIES: usize = 32;

/// What is seen of the instance while the task that drives it polls it.
pub(crate) struct PollMonitor {
    /// How often it has made progress; 0 before the first poll.
    progress: AtomicU64,
    /// It was woken since the last poll began, so it is to be polled again.
    woken: AtomicBool,
    inner: Mutex<PollMonitorState>,
}

struct PollMonitorState {
    waker: Waker,
    /// Of calls that have ended in this poll.
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
    /// The instance is being polled from here on, on behalf of this task.
    pub(crate) fn begin_poll(&self, waker: &Waker) {
        self.lock().waker.clone_from(waker);
        // Read as well as written: the poll sees what was done before each wake-up until here.
        self.woken.swap(false, Ordering::SeqCst);
        self.record_progress();
    }

    /// Records progress of the instance: a call, or one of its calls of the guard, has begun or
    /// ended.
    pub(crate) fn record_progress(&self) {
        // Only the task that polls the instance writes it, and reads it.
        let progress = self.progress.load(Ordering::Relaxed);
        self.progress
            .store(progress.wrapping_add(1).max(1), Ordering::Relaxed);
    }

    /// Records that a call has ended. Its answer is sent when the poll ends, when enough answers
    /// wait, or when the component computes for long. An answer that is sent by itself wakes another
    /// thread, which takes about as long as a call.
    pub(crate) fn queue_reply(&self, reply: Reply) {
        let mut inner = self.lock();
        inner.replies.push(reply);
        if inner.replies.len() >= MAX_QUEUED_REPLIES {
            drop(inner);
            self.send_replies();
        }
    }

    /// Gives the answers that wait for each other.
    pub(crate) fn send_replies(&self) {
        let replies = std::mem::take(&mut self.lock().replies);
        for send in replies {
            send();
        }
    }

    /// Records that the poll has ended and the instance waits.
    pub(crate) fn end_poll(&self) {
        self.send_replies();
        if self.woken.load(Ordering::SeqCst) || self.lock().idle_waiters.is_empty() {
            return;
        }
        // Not woken, so all that could be done is done: whatever comes next comes from outside.
        let waiters = std::mem::take(&mut self.lock().idle_waiters);
        for reply in waiters {
            let _ = reply.send(());
        }
    }

    /// Somebody wants to know when the instance has nothing left to do.
    pub(crate) fn notify_when_idle(&self, reply: oneshot::Sender<()>) {
        self.lock().idle_waiters.push(reply);
    }

    fn lock(&self) -> MutexGuard<'_, PollMonitorState> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Measures for how long an instance computes without progress. It is asked while the instance
/// computes.
pub(crate) struct StallTimer {
    /// The progress when it last changed, and when that was seen.
    seen: Option<(u64, Instant)>,
}

impl StallTimer {
    pub(crate) fn new() -> Self {
        Self { seen: None }
    }

    /// Returns for how long the instance has made no progress, as far as was seen; none before it
    /// is polled.
    pub(crate) fn stalled_for(&mut self, monitor: &PollMonitor) -> Option<Duration> {
        let progress = monitor.progress.load(Ordering::Relaxed);
        if progress == 0 {
            return None;
        }
        match self.seen {
            Some((seen, since)) if seen == progress => Some(since.elapsed()),
            _ => {
                self.seen = Some((progress, Instant::now()));
                Some(Duration::ZERO)
            }
        }
    }
}

impl Wake for PollMonitor {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        // Once is enough: the poll that follows sees what was done before it began.
        if self.woken.swap(true, Ordering::SeqCst) {
            return;
        }
        let waker = self.lock().waker.clone();
        waker.wake();
    }
}
