//! [`LocalSessions`]: the handle on a running instance of the world `session-sync`.
//!
//! The instance is behind a mutex. A call runs on the thread of its caller, and the guard's
//! functions run in it.

use std::ptr;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering, fence};
use std::sync::{Arc, Weak};
use std::time::Duration;

use parking_lot::{Mutex, MutexGuard};
use tokio::sync::futures::Notified;
use tokio::sync::{Notify, Semaphore, watch};

use crate::answer::{Grant, Revocation, Validated};
use crate::bindings::exports::clawdb::session::events::EventPage;
use crate::bindings::exports::clawdb::session::persistence::{Change, ChangePage};
use crate::bindings::exports::clawdb::session::sessions::{
    CreateRequest, FlushReport, Page, RevokeFilter, Session, SessionPage,
};
use crate::bindings::exports::clawdb::session::settings::{Config, Statistics};
use crate::error::{CallError, HostError, StartError};
use crate::local::engine::LocalEngine;
use crate::local::instance::LocalInstance;
use crate::local::options::LocalOptions;
use crate::subscription::Subscription;
use crate::{for_each_operation, parameter};

/// The maximum number of tasks of an instance that wait for it on a thread of their own. The
/// others wait without a thread.
const WAITING_THREADS: usize = 1;

/// A handle on a running instance of the world `session-sync`. Clones refer to the same instance.
///
/// ```
/// use clawdb_session_guard_jwt::JwtGuard;
/// use clawdb_session_host::{CreateRequest, LocalEngine, LocalOptions, LocalSessions};
///
/// let guard = JwtGuard::from_environment()?;
/// let sessions = LocalSessions::start(&LocalEngine::new()?, LocalOptions::new(guard))?;
///
/// let agent = "7b8d4f6e-3c1a-4f52-9e0d-5a6b7c8d9e0f";
/// let grant = sessions.create(CreateRequest::new(agent, "researcher"))?;
/// let session = sessions.validate(&*grant.token)?;
/// assert_eq!(session.agent_id, agent);
///
/// assert_eq!(sessions.revoke_all_for_agent(agent)?, 1);
/// assert!(sessions.validate(grant.token).is_err());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # Operations
///
/// A `LocalSessions` has one method for each operation of the component. `wit/` describes each in
/// full. Ids are UUIDs in the hyphenated form (R1), and times are milliseconds since 1970. A method
/// returns when the operation has ended, and needs no runtime.
///
/// # Threads
///
/// Any number of threads can call. One call runs at a time, and the others wait for it. If a
/// function of the guard takes long, all calls wait, revocations among them. A call that has waited
/// for [`LocalOptions::busy_after`] returns [`HostError::Busy`].
///
/// # End of the instance
///
/// The instance ends when the last clone is dropped, or when it traps. Its sessions are lost then.
/// After a trap, calls return [`HostError`] with the reason.
#[derive(Clone)]
pub struct LocalSessions(Arc<Shared>);

/// The state that the handles of an instance share.
struct Shared {
    instance: Mutex<LocalInstance>,
    /// The thread that holds the instance, or 0.
    holder: AtomicUsize,
    /// Whether a subscription that was full has space again.
    refill_requested: AtomicBool,
    busy_after: Duration,
    memory: Arc<AtomicUsize>,
    ended: watch::Sender<Option<HostError>>,
    /// Wakes a task that waits for the instance without a thread.
    released: Notify,
    /// The number of these tasks.
    tasks_waiting: AtomicUsize,
    /// The permits for [`WAITING_THREADS`].
    waiting: Arc<Semaphore>,
}

/// A call that was not made.
pub(crate) enum NotCalled<F> {
    /// Another call holds the instance.
    Held(F),
    /// There was no permit.
    NoPermit(F),
}

/// The instance, while a thread holds it. The fields are dropped in this order: a task that is
/// woken may need the permit.
struct Held<'a, P> {
    shared: &'a Shared,
    instance: MutexGuard<'a, LocalInstance>,
    _permit: P,
    _wake: Wake<'a>,
}

/// A task waits for the instance while this exists.
pub(crate) struct WaitingTask<'a>(&'a AtomicUsize);

impl Drop for WaitingTask<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Wakes a task that waits for the instance when this is dropped.
struct Wake<'a>(&'a Notify);

impl Drop for Wake<'_> {
    fn drop(&mut self) {
        self.0.notify_one();
    }
}

impl LocalSessions {
    /// Starts an instance without sessions.
    ///
    /// # Errors
    /// [`StartError`] if an option is outside its bounds (the source is an
    /// [`InvalidSetting`](crate::InvalidSetting)), or if the component cannot be instantiated.
    pub fn start(engine: &LocalEngine, options: LocalOptions) -> Result<Self, StartError> {
        let busy_after = options.busy_after;
        let instance = LocalInstance::start(engine, options)?;
        Ok(Self(Arc::new(Shared {
            memory: instance.shared_memory(),
            instance: Mutex::new(instance),
            holder: AtomicUsize::new(0),
            refill_requested: AtomicBool::new(false),
            busy_after,
            ended: watch::Sender::new(None),
            released: Notify::new(),
            tasks_waiting: AtomicUsize::new(0),
            waiting: Arc::new(Semaphore::new(WAITING_THREADS)),
        })))
    }

    /// Returns how much memory the instance has taken, in bytes. The instance reuses its memory but
    /// does not return it to the host, so the number does not fall.
    #[must_use]
    pub fn memory(&self) -> usize {
        self.0.memory.load(Ordering::Relaxed)
    }

    /// Returns a stream of the events after the sequence number `since` (0: from the first), and of
    /// each later event as soon as its call has ended (R32).
    ///
    /// `since` is a number of the current run, which [`Subscription::run`] returns.
    ///
    /// # Errors
    /// [`CallError::Session`] with `LimitReached` if the instance has 64 readers already.
    /// [`HostError`] if the instance has ended or is busy.
    pub fn subscribe(&self, since: u64) -> Result<Subscription, CallError> {
        self.with(self.subscription(since))?
    }

    /// Returns the reason of the end of the instance, if it has ended.
    #[must_use]
    pub fn ended(&self) -> Option<HostError> {
        self.0.ended.borrow().clone()
    }

    /// Waits until the instance has ended and returns the reason.
    pub(crate) async fn stopped(&self) -> HostError {
        let mut ended = self.0.ended.subscribe();
        let reason = ended.wait_for(Option::is_some).await;
        let reason = reason.ok().and_then(|reason| reason.clone());
        reason.unwrap_or(HostError::Stopped)
    }

    /// Returns the call that subscribes to events.
    pub(crate) fn subscription(
        &self,
        since: u64,
    ) -> impl FnOnce(&mut LocalInstance) -> Result<Subscription, CallError> + use<> {
        // A subscription does not keep the instance.
        let shared = Arc::downgrade(&self.0);
        let refill = move || {
            if let Some(shared) = Weak::upgrade(&shared) {
                shared.refill_requested.store(true, Ordering::SeqCst);
                // Either this thread gets the instance, or the thread that releases it later sees
                // the request.
                fence(Ordering::SeqCst);
                shared.refill();
            }
        };
        move |instance| instance.subscribe(since, refill)
    }

    /// Waits for the instance and runs a call on it.
    pub(crate) fn with<R>(
        &self,
        call: impl FnOnce(&mut LocalInstance) -> R,
    ) -> Result<R, HostError> {
        self.with_within(self.0.busy_after, call)
    }

    /// Waits for the instance, for at most this time, and runs a call on it.
    pub(crate) fn with_within<R>(
        &self,
        time: Duration,
        call: impl FnOnce(&mut LocalInstance) -> R,
    ) -> Result<R, HostError> {
        let instance = self.0.check_reentrance()?.try_lock_for(time);
        let busy = || HostError::Busy {
            waited: self.0.busy_after,
        };
        Ok(self.0.hold(instance.ok_or_else(busy)?, (), call))
    }

    /// Runs a call on the instance if no other call holds it and `permit` returns a permit, which
    /// is kept during the call. Otherwise returns the call, and why it was not made.
    ///
    /// # Errors
    /// [`HostError::Reentrant`].
    pub(crate) fn try_with<P, R, F: FnOnce(&mut LocalInstance) -> R>(
        &self,
        permit: impl FnOnce() -> Option<P>,
        call: F,
    ) -> Result<Result<R, NotCalled<F>>, HostError> {
        let Some(instance) = self.0.check_reentrance()?.try_lock() else {
            return Ok(Err(NotCalled::Held(call)));
        };
        let Some(permit) = permit() else {
            drop(instance);
            drop(Wake(&self.0.released));
            self.0.after_release();
            return Ok(Err(NotCalled::NoPermit(call)));
        };
        Ok(Ok(self.0.hold(instance, permit, call)))
    }

    /// Returns how many tasks wait for the instance without a thread.
    pub(crate) fn tasks_waiting(&self) -> usize {
        self.0.tasks_waiting.load(Ordering::Relaxed)
    }

    /// Counts a task that waits without a thread, until the result is dropped.
    pub(crate) fn count_waiting(&self) -> WaitingTask<'_> {
        self.0.tasks_waiting.fetch_add(1, Ordering::Relaxed);
        WaitingTask(&self.0.tasks_waiting)
    }

    /// Waits until a thread has released the instance. Each release wakes one of the tasks that
    /// wait.
    pub(crate) fn released(&self) -> Notified<'_> {
        self.0.released.notified()
    }

    /// Returns an error if the thread holds the instance.
    pub(crate) fn check_not_held(&self) -> Result<(), HostError> {
        self.0.check_reentrance().map(drop)
    }

    /// Returns how long a call waits for the instance.
    pub(crate) fn busy_after(&self) -> Duration {
        self.0.busy_after
    }

    /// Returns the permits of tasks that wait for the instance on a thread.
    pub(crate) fn waiting_threads(&self) -> Arc<Semaphore> {
        Arc::clone(&self.0.waiting)
    }
}

impl Shared {
    /// Returns the mutex of the instance, unless the thread holds it: it would wait for itself.
    fn check_reentrance(&self) -> Result<&Mutex<LocalInstance>, HostError> {
        // Another thread cannot store the id of this one.
        if self.holder.load(Ordering::Relaxed) == thread_id() {
            return Err(HostError::Reentrant);
        }
        Ok(&self.instance)
    }

    /// Runs a call on the instance that the thread has locked, and then drops the permit.
    fn hold<R>(
        &self,
        instance: MutexGuard<'_, LocalInstance>,
        permit: impl Sized,
        call: impl FnOnce(&mut LocalInstance) -> R,
    ) -> R {
        let mut held = Held::new(self, instance, permit);
        let answer = call(&mut held.instance);
        drop(held);
        self.after_release();
        answer
    }

    /// Looks for a subscription that requested events while this thread held the instance.
    fn after_release(&self) {
        fence(Ordering::SeqCst);
        self.refill();
    }

    /// Passes events to the subscriptions that have space again, unless a thread holds the
    /// instance: that thread does it when it has released the instance.
    fn refill(&self) {
        while self.refill_requested.load(Ordering::SeqCst)
            && let Some(instance) = self.instance.try_lock()
        {
            self.refill_requested.store(false, Ordering::SeqCst);
            Held::new(self, instance, ()).instance.feed();
        }
    }
}

impl<'a, P> Held<'a, P> {
    fn new(shared: &'a Shared, instance: MutexGuard<'a, LocalInstance>, permit: P) -> Self {
        shared.holder.store(thread_id(), Ordering::Relaxed);
        Self {
            shared,
            instance,
            _permit: permit,
            _wake: Wake(&shared.released),
        }
    }
}

impl<P> Drop for Held<'_, P> {
    fn drop(&mut self) {
        self.shared.holder.store(0, Ordering::Relaxed);
        if let Some(error) = self.instance.ended()
            && self.shared.ended.borrow().is_none()
        {
            self.shared.ended.send_replace(Some(error.clone()));
        }
    }
}

/// Returns a number that no other thread has now. It is not 0.
fn thread_id() -> usize {
    thread_local! {
        static MARKER: u8 = const { 0 };
    }
    MARKER.with(|marker| ptr::from_ref(marker).addr())
}

/// Defines the method of a row.
macro_rules! method {
    (
        $(#[doc = $doc:literal])*
        $(#[errors($($errors:literal),+)])?
        #[permits($($permits:tt)+)]
        #[durable($durable:ident)]
        fn $name:ident($($argument:ident: $type:ident $(<$item:ident>)?),*)
            -> Result<$answer:ty, $error:ident> = $interface:ident.$function:ident
    ) => {
        $(#[doc = $doc])*
        #[doc = ""]
        #[doc = " # Errors"]
        $(#[doc = concat!(" [`CallError::Session`] with ", $($errors,)+ ".")])?
        #[doc = " [`HostError`] if the instance has ended or is busy."]
        pub fn $name(
            &self,
            $($argument: parameter!($type $(<$item>)?)),*
        ) -> Result<$answer, $error> {
            self.with(|instance| instance.$name($($argument),*))?
        }
    };
}

impl LocalSessions {
    for_each_operation!(method);
}
