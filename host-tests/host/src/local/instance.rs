//! A running instance of the world `session-sync` that has one owner.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use wasmtime::component::{ComponentNamedList, Lift, Lower, TypedFunc};
use wasmtime::{Store, UpdateDeadline};

use crate::answer::{FromComponent, Grant, Revocation, Validated};
use crate::argument::{Argument, Tokens};
use crate::bindings::exports::clawdb::session::events::EventPage;
use crate::bindings::exports::clawdb::session::persistence::{Change, ChangePage};
use crate::bindings::exports::clawdb::session::sessions::{
    CreateRequest, FlushReport, Page, RevokeFilter, Session, SessionPage,
};
use crate::bindings::exports::clawdb::session::settings::{Config, Statistics};
use crate::compiled::failed;
use crate::error::{CallError, HostError, StartError};
use crate::imports::MemoryLimiter;
use crate::instance::trapped;
use crate::local::engine::LocalEngine;
use crate::local::exports::Exports;
use crate::local::imports::LocalState;
use crate::local::options::LocalOptions;
use crate::local::readers::Readers;
use crate::stall_timer::StallTimer;
use crate::subscription::Subscription;
use crate::{for_each_operation, name, parameter};

/// A running instance of the world `session-sync` that has one owner.
///
/// ```
/// use clawdb_session_guard_jwt::JwtGuard;
/// use clawdb_session_host::{LocalEngine, LocalInstance, LocalOptions};
///
/// let guard = JwtGuard::from_environment()?;
/// let mut instance = LocalInstance::start(&LocalEngine::new()?, LocalOptions::new(guard))?;
/// assert_eq!(instance.active_count()?, 0);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// [`LocalSessions`](crate::LocalSessions) is a handle that any number of threads can use.
pub struct LocalInstance {
    store: Store<LocalState>,
    exports: Exports,
    memory: Arc<AtomicUsize>,
    readers: Readers,
    ended: Option<HostError>,
}

impl LocalInstance {
    /// Starts an instance without sessions. `busy_after` of the options has no effect here.
    ///
    /// # Errors
    /// [`StartError`] if an option is outside its bounds (the source is an
    /// [`InvalidSetting`](crate::InvalidSetting)), or if the component cannot be instantiated.
    pub fn start(engine: &LocalEngine, options: LocalOptions) -> Result<Self, StartError> {
        options.check().map_err(failed("started"))?;
        let memory = Arc::new(AtomicUsize::new(0));
        let state = LocalState {
            guard: options.guard,
            clock: options.clock,
            entropy: options.entropy,
            memory: MemoryLimiter {
                max: options.max_memory,
                taken: Arc::clone(&memory),
                exhausted: false,
            },
            progress: 0,
        };
        let mut store = Store::new(engine.engine(), state);
        store.limiter(|state| &mut state.memory);
        let mut stall_timer = StallTimer::default();
        let interrupt_after = options.interrupt_after;
        store.epoch_deadline_callback(move |store| {
            let progress = store.data().progress;
            Ok(if stall_timer.is_stalled(progress, interrupt_after) {
                UpdateDeadline::Interrupt
            } else {
                UpdateDeadline::Continue(1)
            })
        });
        store.set_epoch_deadline(1);
        let instance = engine.linked().instantiate(&mut store);
        let instance = instance.map_err(failed("instantiated"))?;
        let exports = Exports::new(&instance, &mut store).map_err(failed("instantiated"))?;
        Ok(Self {
            store,
            exports,
            memory,
            readers: Readers::default(),
            ended: None,
        })
    }

    /// Returns how much memory the instance has taken, in bytes. The instance reuses its memory but
    /// does not return it to the host, so the number does not fall.
    #[must_use]
    pub fn memory(&self) -> usize {
        self.memory.load(Ordering::Relaxed)
    }

    /// Returns the error that ended the instance, if it has ended.
    #[must_use]
    pub fn ended(&self) -> Option<&HostError> {
        self.ended.as_ref()
    }

    /// Returns the counter of [`memory`](Self::memory), for handles.
    pub(super) fn shared_memory(&self) -> Arc<AtomicUsize> {
        Arc::clone(&self.memory)
    }

    /// Returns a stream of the events after the sequence number `since`. `refill` feeds the streams
    /// of this instance, with [`feed`](Self::feed).
    pub(super) fn subscribe(
        &mut self,
        since: u64,
        refill: impl Fn() + Send + Sync + 'static,
    ) -> Result<Subscription, CallError> {
        // A page without events, for the current run and the newest sequence number.
        let page = self.events_after(u64::MAX, 1)?;
        let subscription = self.readers.subscribe(since, &page, refill)?;
        self.feed();
        Ok(subscription)
    }

    /// Passes new events to the subscriptions.
    pub(super) fn feed(&mut self) {
        if !self.readers.is_empty() {
            let mut readers = std::mem::take(&mut self.readers);
            readers.feed(&mut |since, limit| self.events_after(since, limit));
            self.readers = readers;
        }
    }

    /// Returns a page of events, without feeding the subscriptions.
    fn events_after(&mut self, since: u64, limit: u32) -> Result<EventPage, CallError> {
        let page = self.run(|exports| &exports.poll_events, (since, limit))?;
        FromComponent::from_component(page)
    }

    /// Calls a function of the component, and passes the events of the call to the subscriptions.
    fn call<P, R>(
        &mut self,
        function: impl FnOnce(&Exports) -> &TypedFunc<P, (R,)>,
        arguments: P,
    ) -> Result<R, HostError>
    where
        P: ComponentNamedList + Lower,
        R: Lift + 'static,
    {
        let answer = self.run(function, arguments);
        self.feed();
        answer
    }

    /// Calls a function of the component.
    fn run<P, R>(
        &mut self,
        function: impl FnOnce(&Exports) -> &TypedFunc<P, (R,)>,
        arguments: P,
    ) -> Result<R, HostError>
    where
        P: ComponentNamedList + Lower,
        R: Lift + 'static,
    {
        if let Some(error) = &self.ended {
            return Err(error.clone());
        }
        let function = function(&self.exports);
        let state = self.store.data_mut();
        state.progress = state.progress.wrapping_add(1);
        self.store.set_epoch_deadline(1);
        // The clock and the source of random bytes can panic. The instance is unusable then.
        let called = catch_unwind(AssertUnwindSafe(|| {
            function.call(&mut self.store, arguments)
        }));
        let error = match called {
            Ok(Ok((answer,))) => return Ok(answer),
            Ok(Err(error)) => trapped(&error, self.store.data().memory.exhausted),
            Err(_) => HostError::Stopped,
        };
        self.ended = Some(error.clone());
        Err(error)
    }
}

/// Defines the method of a row. The component of this world counts no subscribers, because the host
/// has the subscriptions.
macro_rules! method {
    (
        $(#[doc = $doc:literal])*
        #[permits(none)]
        #[durable(read)]
        fn stats() -> $result:ty = settings.call_stats
    ) => {
        $(#[doc = $doc])*
        #[doc = ""]
        #[doc = " # Errors"]
        #[doc = " [`HostError`] if the instance has ended."]
        pub fn stats(&mut self) -> $result {
            let subscribers = u32::try_from(self.readers.len()).unwrap_or(u32::MAX);
            let stats = self.call(|exports| &exports.stats, ())?;
            Ok(Statistics { subscribers, ..stats })
        }
    };
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
        #[doc = " [`HostError`] if the instance has ended."]
        pub fn $name(
            &mut self,
            $($argument: parameter!($type $(<$item>)?)),*
        ) -> Result<$answer, $error> {
            $(
                let $argument: <$type $(<$item>)? as Argument>::Value = $argument.into();
                <$type $(<$item>)? as Argument>::check(&$argument, name!($argument).kebab)?;
            )*
            let answer = self.call(|exports| &exports.$name, ($($argument,)*))?;
            FromComponent::from_component(answer)
        }
    };
}

impl LocalInstance {
    for_each_operation!(method);
}
