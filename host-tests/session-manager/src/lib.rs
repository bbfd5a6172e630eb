//! The calls of `ClawDB`'s `SessionManager`, with their names and signatures, made by the
//! `clawdb:session` component.
//!
//! Code that calls the old manager compiles after two changes: its `use`, and the constructor.
//!
//! ```
//! use clawdb_session_guard_jwt::JwtGuard;
//! use clawdb_session_host::{HostOptions, SessionEngine, SessionHost};
//! use clawdb_session_manager::{ClawDBError, SessionManager};
//! use uuid::Uuid;
//!
//! # #[tokio::main]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let options = HostOptions::new(JwtGuard::from_environment()?);
//! let host = SessionHost::start_on_own_thread(&SessionEngine::new()?, options)?;
//! let manager = SessionManager::new(host)?;
//!
//! let scopes = vec!["memory:read".into()];
//! let session = manager.create(Uuid::new_v4(), "researcher", scopes, None).await?;
//! let context = manager.validate(&session.guard_token).await?;
//! assert_eq!(context.session_id, session.id);
//!
//! manager.revoke(session.id).await?;
//! let error = manager.get_session(session.id).unwrap_err();
//! assert!(matches!(error, ClawDBError::SessionNotFound(id) if id == session.id));
//! # Ok(())
//! # }
//! ```
//!
//! `host-tests/guides/from-clawdb.md` lists what differs from the old manager, and how to replace
//! each call by those of the host. Each method of [`SessionManager`] says how it differs.
//!
//! | module | contents |
//! |---|---|
//! | `manager` | the calls: [`SessionManager`] |
//! | `session` | a session with its token: [`ClawDBSession`] |
//! | `context` | a session as requests carry it: [`SessionContext`] |
//! | `convert` | the component's ids and times as `Uuid` and `DateTime` |
//! | `error` | the errors of the calls: [`ClawDBError`] |

mod context;
mod convert;
mod error;
mod manager;
mod session;

pub use context::SessionContext;
pub use error::{ClawDBError, ClawDBResult};
pub use manager::{NoOwnThread, SessionManager};
pub use session::ClawDBSession;

#[cfg(doctest)]
#[doc = include_str!("../../guides/from-clawdb.md")]
struct Guide;
