//! Creating sessions, with or without a parent (R25).

use std::rc::Rc;

use super::SessionManager;
use super::in_flight::{InFlight, ReservationGuard};
use super::issued::check_issued;
use crate::domain::error::Error;
use crate::domain::id::SessionId;
use crate::domain::session::{CreateRequest, Grant};
use crate::ports::clock::Clock;
use crate::ports::entropy::{Entropy, random};
use crate::ports::guard::{Guard, IssueRequest};
use crate::store::plan::NewSession;

impl<G: Guard, C: Clock, E: Entropy> SessionManager<G, C, E> {
    /// Creates a session and has the guard issue a token for it.
    ///
    /// # Errors
    /// Those of `sessions.create` in the WIT.
    pub async fn create(&self, request: CreateRequest) -> Result<Grant, Error> {
        self.create_session(None, request).await
    }

    /// Creates a child of a session, which has at most the scopes and the time of its parent (R25).
    ///
    /// # Errors
    /// Those of `sessions.delegate` in the WIT.
    pub async fn delegate(
        &self,
        parent: SessionId,
        request: CreateRequest,
    ) -> Result<Grant, Error> {
        self.create_session(Some(parent), request).await
    }

    async fn create_session(
        &self,
        parent: Option<SessionId>,
        request: CreateRequest,
    ) -> Result<Grant, Error> {
        let created_at = self.begin_operation();
        let (lifetime, workspace_id) = {
            let store = self.store.borrow();
            (
                store.limits().lifetime(request.expires_in)?,
                store.limits().workspace_id,
            )
        };
        self.check_lag()?;
        let attributes = Rc::new(request.attributes);
        let mut expires_at = created_at.after_seconds(lifetime);
        let parent = match parent {
            Some(id) => {
                let mut store = self.store.borrow_mut();
                let (parent, parent_end) = store.plan_delegation(id, &attributes, created_at)?;
                expires_at = expires_at.min(parent_end);
                Some(parent)
            }
            None => None,
        };
        if expires_at <= created_at {
            // The time inside is `Timestamp::MAX`, so no session can live.
            return Err(Error::SessionExpired);
        }
        let key = self.fingerprint_key()?;
        let id = SessionId::from_random(random(&self.entropy)?);
        let agent_id = request.agent_id;
        let reservation =
            ReservationGuard::reserve(&self.store, id, agent_id, &attributes, parent, created_at)?;
        let _in_flight = parent.map(|parent| InFlight::new(&self.store, parent));
        let issue = IssueRequest {
            session_id: id,
            agent_id,
            workspace_id,
            attributes: &attributes,
            expires_at,
        };
        let issued = self.guard.issue_session_token(issue).await?;

        let handle = Rc::from(issued.handle);
        let token_expires_at = issued.expires_at;
        let new_session = NewSession {
            lifetime,
            max_uses: request.max_uses,
            created_at,
            expires_at,
        };
        let issued = check_issued(key, issued.token, &handle, token_expires_at);
        let created = issued.and_then(|(token, kept)| {
            let now = self.clock.now();
            self.check_lag()?;
            let mut store = self.store.borrow_mut();
            let reservation = &reservation.reservation;
            let created = store.commit_create(reservation, new_session, kept, now)?;
            Ok((created, token))
        });
        drop(reservation);
        let (created, token) = match created {
            Ok(created) => created,
            Err(error) => {
                self.discard(&error, handle, token_expires_at).await;
                return Err(error);
            }
        };
        if !created.evicted.is_empty() {
            let _in_flight = InFlight::new(&self.store, created.expected);
            self.revoke_with_guard(created.evicted).await;
            self.check_current(created.expected)?;
        }
        Ok(Grant {
            session: created.session,
            token,
        })
    }
}
