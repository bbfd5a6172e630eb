//! What the events and the results of calls promise, and the checks of all later ones.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use clawdb_session::{Event, EventKind, EventPage, Run, Session, SessionId, Statistics};

/// What was promised so far.
#[derive(Default)]
pub struct Model {
    /// Each session that had an event.
    sessions: BTreeMap<SessionId, Known>,
    /// The tokens that callers have got: the session, which of those with its id, and the
    /// generation.
    granted: HashMap<String, (SessionId, u32, u64)>,
    since: u64,
    run: Option<Run>,
    /// Whether a reader has missed events, so that the sessions are not known completely.
    pub missed: bool,
    /// Whether sessions were restored, which the counts of the instance do not have.
    is_restored: bool,
}

/// A session that had an event.
#[derive(Default)]
struct Known {
    parent: Option<SessionId>,
    has_ended: bool,
    generation: u64,
    /// How many sessions with this id have ended. An id can be given again if the random source
    /// repeats itself.
    earlier: u32,
    /// The values of `uses_left` that uses have returned.
    uses: BTreeSet<u32>,
}

impl Model {
    /// Returns the model of an instance into which sessions were restored. Their events are not
    /// known. `since` is the number of the last one.
    pub fn after_restore(since: u64) -> Self {
        Self {
            since,
            missed: true,
            is_restored: true,
            ..Self::default()
        }
    }

    /// Returns the sequence number of the last event that was read.
    pub fn since(&self) -> u64 {
        self.since
    }

    /// Returns the ids of the sessions that had an event.
    pub fn ids(&self) -> Vec<SessionId> {
        self.sessions.keys().copied().collect()
    }

    /// Returns whether the session is known to have ended.
    pub fn has_ended(&self, id: SessionId) -> bool {
        self.sessions.get(&id).is_some_and(|known| known.has_ended)
    }

    /// Adds a page of events after the last one (R17, R32).
    pub fn add_events(&mut self, page: &EventPage) {
        let first = self.since + page.missed + 1;
        self.missed |= page.missed > 0;
        for (event, sequence) in page.events.iter().zip(first..) {
            assert_eq!(event.sequence, sequence, "event numbers have a gap");
            self.add_event(event);
        }
        let last = page
            .events
            .last()
            .map_or(self.since + page.missed, |it| it.sequence);
        assert_eq!(page.next, last, "the next page does not follow");
        self.since = page.next;
    }

    /// Returns the session and the generation of a token that a caller has got.
    pub fn granted(&self, token: &str) -> Option<(SessionId, u64)> {
        let (id, _, generation) = self.granted.get(token)?;
        Some((*id, *generation))
    }

    /// Accepts another run of events, because the run was closed.
    pub fn close_run(&mut self) {
        self.run = None;
    }

    fn add_event(&mut self, event: &Event) {
        let run = *self
            .run
            .get_or_insert(event.run.expect("an event has a run"));
        // A closed run ends with the next event.
        assert!(event.run == Some(run), "the run has changed");
        let is_known = self.sessions.contains_key(&event.session_id);
        let known = self.sessions.entry(event.session_id).or_default();
        if event.kind == EventKind::Created {
            assert!(
                !is_known || known.has_ended || self.missed,
                "a live session was created again"
            );
            *known = Known {
                parent: event.parent,
                earlier: known.earlier + u32::from(is_known),
                ..Known::default()
            };
        } else {
            assert!(is_known || self.missed, "a session was not created");
            assert!(!known.has_ended, "an event after the end: {event:?}");
        }
        let renewed = matches!(event.kind, EventKind::Refreshed | EventKind::Rotated);
        if is_known && !self.missed {
            let expected = known.generation + u64::from(renewed);
            assert_eq!(event.generation, expected, "a token was skipped (R14)");
        }
        known.generation = event.generation;
        known.has_ended = matches!(event.kind, EventKind::Ended(_));
    }

    /// Checks all live sessions against the events, and the counts against the sessions.
    pub fn check_live(&self, live: &[Session], stats: &Statistics) {
        let ids: BTreeSet<SessionId> = live.iter().map(|session| session.id).collect();
        assert_eq!(ids.len(), live.len(), "a session is listed twice");
        for session in live {
            let known = self.sessions.get(&session.id);
            assert!(known.is_some() || self.missed, "a session without an event");
            if let Some(known) = known {
                assert!(!known.has_ended, "a session is live after its end (R12)");
                assert!(session.generation == known.generation || self.missed);
            }
            assert!(
                session.expires_at > stats.now,
                "an expired session is listed (R5)"
            );
            let is_above_live = session.parent.is_none_or(|parent| ids.contains(&parent));
            assert!(is_above_live, "a session is live without its parent (R26)");
            let is_below_live = self.is_restored || ids.contains(&session.root);
            assert!(is_below_live, "a session is live without its root (R26)");
        }
        assert_eq!(
            stats.live_sessions,
            live.len(),
            "the count of live sessions"
        );
        let kept = (stats.live_sessions + stats.prunable_sessions) as u64;
        let totals = stats.totals;
        if !self.is_restored {
            assert_eq!(totals.created - totals.ended, kept, "the count of ends");
        }
        assert_eq!(stats.last_event, self.since, "the number of the last event");
    }

    /// Checks that a session has ended, with all below it (R26).
    pub fn check_ended(&self, id: SessionId) {
        if self.missed {
            return;
        }
        for (other, known) in &self.sessions {
            let mut above = Some(*other);
            let mut steps = 0;
            while let Some(ancestor) = above.filter(|_| steps < 32) {
                assert!(
                    ancestor != id || known.has_ended,
                    "{other} is live after the end of {id} was acknowledged"
                );
                above = self.sessions.get(&ancestor).and_then(|known| known.parent);
                steps += 1;
            }
        }
    }

    /// Checks the session of a grant that a caller gets, and adds its token.
    pub fn add_grant(&mut self, session: &Session, token: &str) {
        let known = self.sessions.entry(session.id).or_default();
        assert!(
            !known.has_ended,
            "a grant of a session that has ended (R12)"
        );
        if !self.missed {
            assert_eq!(
                session.generation, known.generation,
                "a superseded grant (R14)"
            );
        }
        let earlier = known.earlier;
        let granted = (session.id, earlier, session.generation);
        self.granted.insert(token.to_owned(), granted);
    }

    /// Checks the session that a use returns (R12, R14, R29). `has_waited` is whether the call has
    /// waited after the use.
    pub fn check_use(&mut self, session: &Session, has_waited: bool) {
        let known = self.sessions.entry(session.id).or_default();
        if !has_waited {
            assert!(!known.has_ended, "a use of a session that has ended (R12)");
        }
        if !has_waited && !self.missed {
            assert_eq!(
                session.generation, known.generation,
                "a use of another token (R14)"
            );
        }
        if let Some(uses_left) = session.uses_left {
            assert!(known.uses.insert(uses_left), "a use was given twice (R29)");
        }
    }

    /// Checks that a token that a caller has got is that of the session that its use returns.
    pub fn check_token(&self, session: &Session, token: &str) {
        if let Some((id, earlier, generation)) = self.granted.get(token)
            && !self.missed
        {
            let known = self.sessions.get(&session.id);
            let found = (
                session.id,
                known.map_or(0, |known| known.earlier),
                session.generation,
            );
            assert_eq!(
                found,
                (*id, *earlier, *generation),
                "the session of another token"
            );
        }
    }
}
