//! Instances of either world behind one type.

use std::fmt;
use std::path::Path;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use crate::answer::{Grant, Revocation, Validated};
use crate::argument::{Argument, Tokens};
use crate::bindings::exports::clawdb::session::events::EventPage;
use crate::bindings::exports::clawdb::session::persistence::{Change, ChangePage};
use crate::bindings::exports::clawdb::session::sessions::{
    CreateRequest, FlushReport, Page, RevokeFilter, Session, SessionPage,
};
use crate::bindings::exports::clawdb::session::settings::{Config, Statistics};
use crate::engine::SessionEngine;
use crate::error::{CallError, HostError, InvalidSetting, StartError};
use crate::guard::Guard;
use crate::handle::SessionHost;
use crate::local::{LocalEngine, LocalGuard, LocalInstance, LocalOptions, LocalSessions};
use crate::options::HostOptions;
use crate::subscription::Subscription;
use crate::{for_each_operation, parameter};

/// A world of the component.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum World {
    /// The world `session`: operations are `async func`, and calls overlap while they wait for the
    /// guard.
    Session,
    /// The world `session-sync`: operations are plain functions, and one call runs at a time. A
    /// call takes less time.
    SessionSync,
}

impl World {
    /// Returns the name of the world in the WIT.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Session => "session",
            Self::SessionSync => "session-sync",
        }
    }
}

/// A name that is not one of a world.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("must be session or session-sync")]
#[non_exhaustive]
pub struct UnknownWorld;

impl FromStr for World {
    type Err = UnknownWorld;

    fn from_str(name: &str) -> Result<Self, UnknownWorld> {
        let worlds = [Self::Session, Self::SessionSync];
        let named = worlds.into_iter().find(|world| world.name() == name);
        named.ok_or(UnknownWorld)
    }
}

impl fmt::Display for World {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// The compiled component of a world.
#[derive(Clone)]
pub enum AnyEngine {
    /// The component of the world `session`.
    Session(SessionEngine),
    /// The component of the world `session-sync`.
    SessionSync(LocalEngine),
}

impl AnyEngine {
    /// Returns the engine of the component that was built with this crate. The first call of a
    /// process for a world compiles the component; later ones share the compiled code.
    ///
    /// # Errors
    /// [`StartError`] if wasmtime does not support this machine.
    pub fn new(world: World) -> Result<Self, StartError> {
        Ok(match world {
            World::Session => Self::Session(SessionEngine::new()?),
            World::SessionSync => Self::SessionSync(LocalEngine::new()?),
        })
    }

    /// Returns the engine of the component that was built with this crate, and keeps its compiled
    /// code in a directory, as [`SessionEngine::with_code_cache`] does.
    ///
    /// # Errors
    /// [`StartError`] if the directory cannot be used, another user can write to it, or wasmtime
    /// does not support this machine.
    pub fn with_code_cache(world: World, directory: &Path) -> Result<Self, StartError> {
        Ok(match world {
            World::Session => Self::Session(SessionEngine::with_code_cache(directory)?),
            World::SessionSync => Self::SessionSync(LocalEngine::with_code_cache(directory)?),
        })
    }

    /// Returns the world.
    #[must_use]
    pub const fn world(&self) -> World {
        match self {
            Self::Session(_) => World::Session,
            Self::SessionSync(_) => World::SessionSync,
        }
    }

    /// Returns the names of the imports of the component, in its order.
    #[must_use]
    pub fn imports(&self) -> Vec<String> {
        match self {
            Self::Session(engine) => engine.imports(),
            Self::SessionSync(engine) => engine.imports(),
        }
    }

    /// Returns the names of the exports of the component, in its order.
    #[must_use]
    pub fn exports(&self) -> Vec<String> {
        match self {
            Self::Session(engine) => engine.exports(),
            Self::SessionSync(engine) => engine.exports(),
        }
    }
}

impl From<SessionEngine> for AnyEngine {
    fn from(engine: SessionEngine) -> Self {
        Self::Session(engine)
    }
}

impl From<LocalEngine> for AnyEngine {
    fn from(engine: LocalEngine) -> Self {
        Self::SessionSync(engine)
    }
}

/// The compiled component of a world, and the settings of its instances.
#[derive(Clone)]
pub enum InstanceOptions {
    /// In the world `session`.
    Session(SessionEngine, HostOptions),
    /// In the world `session-sync`.
    SessionSync(LocalEngine, LocalOptions),
}

/// A build of the component is of another world than the settings.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the component is of the world {component}, and the settings are for the world {settings}")]
#[non_exhaustive]
pub struct OtherWorld {
    /// The world of the component.
    pub component: World,
    /// The world of the settings.
    pub settings: World,
}

impl InstanceOptions {
    /// Returns the default settings in the world of the engine, with this guard.
    pub fn new(engine: impl Into<AnyEngine>, guard: impl LocalGuard) -> Self {
        match engine.into() {
            AnyEngine::Session(engine) => Self::Session(engine, HostOptions::new(guard)),
            AnyEngine::SessionSync(engine) => Self::SessionSync(engine, LocalOptions::new(guard)),
        }
    }

    /// Returns the guard.
    #[must_use]
    pub fn guard(&self) -> Arc<dyn Guard> {
        match self {
            Self::Session(_, options) => Arc::clone(&options.guard),
            Self::SessionSync(_, options) => Arc::new(Arc::clone(&options.guard)),
        }
    }

    /// Returns the world.
    #[must_use]
    pub const fn world(&self) -> World {
        match self {
            Self::Session(..) => World::Session,
            Self::SessionSync(..) => World::SessionSync,
        }
    }

    /// Returns the compiled component.
    #[must_use]
    pub fn engine(&self) -> AnyEngine {
        match self {
            Self::Session(engine, _) => engine.clone().into(),
            Self::SessionSync(engine, _) => engine.clone().into(),
        }
    }

    /// Returns the settings with another build of the component.
    ///
    /// # Errors
    /// [`OtherWorld`] if the build is of the other world.
    pub fn with_engine(&self, engine: AnyEngine) -> Result<Self, OtherWorld> {
        match (self, engine) {
            (Self::Session(_, options), AnyEngine::Session(engine)) => {
                Ok(Self::Session(engine, options.clone()))
            }
            (Self::SessionSync(_, options), AnyEngine::SessionSync(engine)) => {
                Ok(Self::SessionSync(engine, options.clone()))
            }
            (settings, engine) => Err(OtherWorld {
                component: engine.world(),
                settings: settings.world(),
            }),
        }
    }

    /// Checks that each setting is within its bounds. The start of an instance calls this.
    ///
    /// # Errors
    /// [`InvalidSetting`] for the first setting that is outside its bounds.
    pub fn check(&self) -> Result<(), InvalidSetting> {
        match self {
            Self::Session(_, options) => options.check(),
            Self::SessionSync(_, options) => options.check(),
        }
    }

    /// Returns the longest time that a function of the guard may take, if the host bounds it.
    #[must_use]
    pub const fn guard_deadline(&self) -> Option<Duration> {
        match self {
            Self::Session(_, options) => options.guard_deadline,
            Self::SessionSync(..) => None,
        }
    }
}

/// A handle on a running instance of either world. Clones refer to the same instance.
///
/// The methods are `async` in both worlds and need a tokio runtime with timers. In the world
/// `session-sync`, a task waits until the instance is free and makes the call itself, if another
/// worker of the runtime can run the other tasks. Otherwise a thread for blocking work makes it.
#[derive(Clone)]
pub enum AnySessions {
    /// An instance of the world `session`.
    Session(SessionHost),
    /// An instance of the world `session-sync`.
    SessionSync(LocalSessions),
}

impl AnySessions {
    /// Starts an instance without sessions.
    ///
    /// # Errors
    /// [`StartError`] if an option is outside its bounds (the source is an [`InvalidSetting`]), or
    /// if the component cannot be instantiated.
    ///
    /// # Panics
    /// In the world `session`, panics outside a tokio runtime.
    pub async fn start(options: InstanceOptions) -> Result<Self, StartError> {
        Ok(match options {
            InstanceOptions::Session(engine, options) => {
                Self::Session(SessionHost::start(&engine, options).await?)
            }
            InstanceOptions::SessionSync(engine, options) => {
                Self::SessionSync(LocalSessions::start(&engine, options)?)
            }
        })
    }

    /// Returns how much memory the instance has taken, in bytes. The instance reuses its memory but
    /// does not return it to the host, so the number does not fall.
    #[must_use]
    pub fn memory(&self) -> usize {
        match self {
            Self::Session(host) => host.memory(),
            Self::SessionSync(sessions) => sessions.memory(),
        }
    }

    /// Returns a stream of the events after the sequence number `since` (0: from the first), and of
    /// each later event as it happens (R32).
    ///
    /// # Errors
    /// [`CallError::Session`] with `LimitReached` if the instance has 64 readers already.
    /// [`HostError`] if the instance has ended or is busy.
    pub async fn subscribe(&self, since: u64) -> Result<Subscription, CallError> {
        match self {
            Self::Session(host) => host.subscribe(since).await,
            Self::SessionSync(sessions) => {
                let call = sessions.subscription(since);
                sessions.run(call).await?
            }
        }
    }

    /// Waits until the instance has ended and returns the reason.
    pub async fn stopped(&self) -> HostError {
        match self {
            Self::Session(host) => host.stopped().await,
            Self::SessionSync(sessions) => sessions.stopped().await,
        }
    }

    /// Waits until each call that was made before has ended or waits for the guard. In the world
    /// `session-sync`, waits until no other call runs: a call that waits for its turn can run
    /// later.
    ///
    /// # Errors
    /// [`HostError`] if the instance has ended or is busy.
    pub async fn wait_until_idle(&self) -> Result<(), HostError> {
        match self {
            Self::Session(host) => host.wait_until_idle().await,
            Self::SessionSync(sessions) => {
                let ended = |instance: &mut LocalInstance| instance.ended().cloned();
                sessions.run(ended).await?.map_or(Ok(()), Err)
            }
        }
    }
}

impl From<SessionHost> for AnySessions {
    fn from(host: SessionHost) -> Self {
        Self::Session(host)
    }
}

impl From<LocalSessions> for AnySessions {
    fn from(sessions: LocalSessions) -> Self {
        Self::SessionSync(sessions)
    }
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
        pub async fn $name(
            &self,
            $($argument: parameter!($type $(<$item>)?)),*
        ) -> Result<$answer, $error> {
            $(let $argument: <$type $(<$item>)? as Argument>::Value = $argument.into();)*
            match self {
                Self::Session(host) => host.$name($($argument),*).await,
                Self::SessionSync(sessions) => {
                    let call = move |instance: &mut LocalInstance| instance.$name($($argument),*);
                    sessions.run(call).await?
                }
            }
        }
    };
}

impl AnySessions {
    for_each_operation!(method);
}
