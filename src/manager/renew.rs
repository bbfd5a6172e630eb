//! Giving sessions new tokens: `refresh` by the host, `rotate` by the bearer (R14, R27).

use std::rc::Rc;

use super::SessionManager;
use super::in_flight::{ByteReservation, InFlight, UnacknowledgedRenewal};
use super::issued::check_issued;
use crate::domain::error::Error;
use crate::domain::id::SessionId;
use crate::domain::session::Grant;
use crate::domain::superseded::{Renewal, ReplayVerdict};
use crate::domain::timestamp::Timestamp;
use crate::domain::token::Token;
use crate::ports::clock::Clock;
use crate::ports::entropy::Entropy;
use crate::ports::guard::{Guard, IssueRequest};
use crate::store::plan::{RenewalPlan, SessionVersion, TokenMatch};

impl<G: Guard, C: Clock, E: Entropy> SessionManager<G, C, E> {
    /// Gives a session a new token and grants its lifetime again (R5).
    ///
    /// # Errors
    /// Those of `sessions.refresh` in the WIT.
    pub async fn refresh(&self, id: SessionId) -> Result<Grant, Error> {
        let now = self.begin_operation();
        self.check_lag()?;
        let plan = self.store.borrow_mut().plan_refresh(id, now)?;
        self.renew(plan, now).await
    }

    /// Replaces the token of a bearer. A token that a rotation has superseded ends the session,
    /// unless it is within its grace or that rotation is still in flight (R27). A token that a
    /// refresh has superseded is only refused.
    ///
    /// # Errors
    /// Those of `sessions.rotate` in the WIT.
    pub async fn rotate(&self, token: Token) -> Result<Grant, Error> {
        let now = self.begin_operation();
        let TokenMatch {
            expected,
            superseded,
        } = self.find_token(&token, now)?;
        let (renewal, now) = match superseded {
            None => {
                self.check_end(expected)?;
                let _in_flight = InFlight::new(&self.store, expected);
                let verdict = self.validate_with_guard(token, now).await;
                let now = self.clock.now();
                self.check_validated(expected, Some(verdict), now)?;
                (Renewal::Rotation, now)
            }
            Some(ReplayVerdict::WithinGrace) => {
                self.check_end(expected)?;
                self.check_grace(expected)?;
                (Renewal::Retry, now)
            }
            Some(ReplayVerdict::ReplyLost) => {
                self.check_end(expected)?;
                (Renewal::Retry, now)
            }
            Some(ReplayVerdict::RotationInFlight) => return Err(Error::Conflict),
            Some(ReplayVerdict::Refused) => {
                return Err(self.store.borrow_mut().refuse_superseded(expected, now));
            }
            Some(ReplayVerdict::ReuseDetected) => {
                let pending = self.store.borrow_mut().end_stolen(expected, now);
                self.revoke_with_guard(pending).await;
                return Err(Error::InvalidToken);
            }
        };
        let plan = self
            .store
            .borrow_mut()
            .plan_rotation(expected, renewal, now)?;
        self.renew(plan, now).await
    }

    /// Gives a session a new token that the guard issues. It supersedes the current one. `now` is
    /// the time of the plan, and the operation has not waited since.
    async fn renew(&self, plan: RenewalPlan, now: Timestamp) -> Result<Grant, Error> {
        let key = self.fingerprint_key()?;
        let _in_flight = InFlight::new(&self.store, plan.expected);
        let _bytes = ByteReservation::reserve_bytes(&self.store, now)?;
        let issue = IssueRequest {
            session_id: plan.session.id,
            agent_id: plan.session.agent_id,
            workspace_id: plan.session.workspace_id,
            attributes: &plan.session.attributes,
            expires_at: plan.expires_at,
        };
        let answer = self.guard.issue_session_token(issue).await;

        let issued = match answer {
            Ok(issued) => issued,
            Err(error) => {
                // If the session ended in the meantime, report that rather than the guard's error.
                self.check_current(plan.expected)?;
                return Err(error.into());
            }
        };
        let handle = Rc::from(issued.handle);
        let token_expires_at = issued.expires_at;
        let issued = check_issued(key, issued.token, &handle, token_expires_at);
        let committed = issued.and_then(|(token, kept)| {
            let now = self.clock.now();
            match plan.renewal {
                Renewal::Refresh => self.check_lag()?,
                Renewal::Rotation | Renewal::Retry => self.check_end(plan.expected)?,
            }
            let mut store = self.store.borrow_mut();
            let (session, superseded) =
                store.commit_renewal(&plan, kept, self.clock.reading(), now)?;
            Ok((Grant { session, token }, superseded))
        });
        match committed {
            Ok((grant, superseded)) => {
                let renewed = plan.expected.renewed();
                let _unacknowledged = UnacknowledgedRenewal::new(&self.store, renewed);
                // The component refuses the old token already. If the guard does not confirm its
                // revocation, that stays pending.
                self.revoke_with_guard(vec![superseded]).await;
                // During the wait, the new token may have been superseded or revoked as well.
                let now = self.clock.now();
                let acknowledged = {
                    let mut store = self.store.borrow_mut();
                    store.acknowledge_renewal(renewed, self.clock.reading(), now)
                };
                acknowledged.map_err(|stale| stale.into_error(Error::Conflict))?;
                Ok(grant)
            }
            Err(error) => {
                self.discard(&error, handle, token_expires_at).await;
                Err(error)
            }
        }
    }

    /// Checks after a wait that the session is live and still has the same token.
    ///
    /// # Errors
    /// [`Error::Conflict`] if it has a newer token; otherwise the error for how it ended.
    pub(super) fn check_current(&self, expected: SessionVersion) -> Result<(), Error> {
        let now = self.clock.now();
        let mut store = self.store.borrow_mut();
        match store.check(expected, now) {
            Ok(_) => Ok(()),
            Err(stale) => Err(stale.into_error(Error::Conflict)),
        }
    }
}
