//! The guard that the manager asks, and the type that returns it.

pub mod manager {
    use std::pin::Pin;
    use std::sync::Arc;

    use uuid::Uuid;

    use crate::error::ClawDBResult;

    #[derive(Debug, thiserror::Error)]
    #[error("invalid token")]
    pub struct GuardError;

    /// An answer of the guard.
    pub type Answer<T> = Pin<Box<dyn Future<Output = Result<T, GuardError>> + Send>>;

    /// The guard of a test.
    pub trait Guard: Send + Sync {
        fn issue_session_token(&self, principal: &str, task: &str) -> Answer<String>;
        fn validate_token(&self, token: &str) -> Answer<Claims>;
        fn revoke_session(&self, session_id: Uuid) -> Answer<()>;
    }

    pub struct Claims(pub Uuid);

    impl Claims {
        pub(crate) fn session_id(&self) -> Uuid {
            self.0
        }
    }

    pub struct ComponentLifecycleManager(pub Arc<dyn Guard>);

    impl ComponentLifecycleManager {
        #[expect(clippy::unnecessary_wraps, reason = "the manager expects a result")]
        pub(crate) fn guard(&self) -> ClawDBResult<Arc<dyn Guard>> {
            Ok(Arc::clone(&self.0))
        }
    }
}
