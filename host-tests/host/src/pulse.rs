//! Watches an instance being polled: how long it computes without progress, when its answers are
//! given, and when it has nothing left to do.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Wake, Waker};
use std::time::{Duration, Instant};

use tokio::sync::oneshot;

/// Gives a call's answer to whoever waits for it.
pub(crate) type Answer = Box<dyn FnOnce() + Send>;

/// How many answers wait for each other at most.
const ANSWERS_AT_ONCE: usize = 32;

/// What is seen of the instance while the task that drives it polls it.
pub(crate) struct Pulse {
    /// How often it has made progress; 0 before the first poll.
    progress: AtomicU64,
    /// It was woken since the last poll began, so it is to be polled again.
    woken: AtomicBool,
    inner: Mutex<PulseInner>,
}

struct PulseInner {
    waker: Waker,
    /// Of calls that have ended in this poll.
    answers: Vec<Answer>,
    settling: Vec<oneshot::Sender<()>>,
}

impl Default for Pulse {
    fn default() -> Self {
        Self {
            progress: AtomicU64::new(0),
            woken: AtomicBool::new(false),
            inner: Mutex::new(PulseInner {
                waker: Waker::noop().clone(),
                answers: Vec::new(),
                settling: Vec::new(),
            }),
        }
    }
}

impl Pulse {
    /// The instance is being polled from here on, on behalf of this task.
    pub(crate) fn begin(&self, waker: &Waker) {
        self.lock().waker.clone_from(waker);
        // Read as well as written: the poll sees what was done before each wake-up until here.
        self.woken.swap(false, Ordering::SeqCst);
        self.beat();
    }

    /// Records progress of the instance: a call, or one of its calls of the guard, has begun or
    /// ended.
    pub(crate) fn beat(&self) {
        // Only the task that polls the instance writes it, and reads it.
        let progress = self.progress.load(Ordering::Relaxed);
        self.progress
            .store(progress.wrapping_add(1).max(1), Ordering::Relaxed);
    }

    /// A call has ended. Its answer is given when the poll is over, when enough wait for that, or when the
    /// component computes for long: each that is given by itself wakes another thread, which takes about as
    /// long as a call.
    pub(crate) fn answer(&self, answer: Answer) {
        let mut inner = self.lock();
        inner.answers.push(answer);
        if inner.answers.len() >= ANSWERS_AT_ONCE {
            drop(inner);
            self.give_answers();
        }
    }

    /// Gives the answers that wait for each other.
    pub(crate) fn give_answers(&self) {
        let answers = std::mem::take(&mut self.lock().answers);
        for give in answers {
            give();
        }
    }

    /// The poll is over, and the instance waits.
    pub(crate) fn end(&self) {
        self.give_answers();
        if self.woken.load(Ordering::SeqCst) || self.lock().settling.is_empty() {
            return;
        }
        // Not woken, so all that could be done is done: whatever comes next comes from outside.
        let settled = std::mem::take(&mut self.lock().settling);
        for reply in settled {
            let _ = reply.send(());
        }
    }

    /// Somebody wants to know when the instance has nothing left to do.
    pub(crate) fn tell_when_settled(&self, reply: oneshot::Sender<()>) {
        self.lock().settling.push(reply);
    }

    fn lock(&self) -> MutexGuard<'_, PulseInner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Measures for how long an instance computes without progress. It is asked while the instance
/// computes.
pub(crate) struct Stopwatch {
    /// The progress when it last changed, and when that was seen.
    seen: Option<(u64, Instant)>,
}

impl Stopwatch {
    pub(crate) fn new() -> Self {
        Self { seen: None }
    }

    /// Returns for how long the instance has made no progress, as far as was seen; none before it
    /// is polled.
    pub(crate) fn without_progress(&mut self, pulse: &Pulse) -> Option<Duration> {
        let progress = pulse.progress.load(Ordering::Relaxed);
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

impl Wake for Pulse {
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
