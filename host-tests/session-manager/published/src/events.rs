//! The bus to which the manager sends events.

pub mod bus {
    use std::sync::Mutex;

    use super::types::ClawEvent;

    #[derive(Default)]
    pub struct EventBus(pub Mutex<Vec<ClawEvent>>);

    impl EventBus {
        pub(crate) fn emit(&self, event: ClawEvent) {
            self.0.lock().unwrap().push(event);
        }
    }
}

pub mod types {
    use uuid::Uuid;

    pub enum ClawEvent {
        SessionCreated { agent_id: Uuid, session_id: Uuid },
        SessionExpired { agent_id: Uuid, session_id: Uuid },
    }
}
