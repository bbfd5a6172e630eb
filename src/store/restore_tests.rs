//! A test that restores the records of many random steps in any order.

use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

use crate::domain::config::{Config, Limits};
use crate::domain::error::Error;
use crate::domain::event::EndReason;
use crate::domain::id::{AgentId, SessionId};
use crate::domain::scope::Scopes;
use crate::domain::session::{Attributes, Metadata, RevokeFilter, Role, Session};
use crate::domain::superseded::Renewal;
use crate::domain::timestamp::Timestamp;
use crate::domain::token::{Fingerprint, FingerprintKey, Token};
use crate::persistence::record::Change;
use crate::store::plan::{NewSession, NewToken, SessionVersion};
use crate::store::restore::restored_size;
use crate::store::revocations::Owner;
use crate::store::slots::SessionSlot;
use crate::store::state::Store;

const AGENTS: u64 = 5;
const ROLES: [&str; 3] = ["reader", "worker", "admin"];

/// A store, its time and the records that were read from its feed.
struct Fixture {
    store: Store,
    key: FingerprintKey,
    now: Timestamp,
    random: u64,
    /// The number of tokens that were issued.
    issued: u64,
    live: Vec<SessionId>,
    /// All versions of each record that was read, by key, the newest last.
    records: BTreeMap<String, Vec<Change>>,
    read_to: u64,
}

fn limits() -> Limits {
    let config = Config {
        state_key: Some(vec![7; 32]),
        idle_timeout: Some(600),
        rotation_grace: Some(5),
        max_sessions_per_agent: Some(40),
        ..Config::default()
    };
    Limits::new(&config).unwrap()
}

fn agent(number: u64) -> AgentId {
    AgentId::parse("agent", &format!("0a9e0000-0000-4000-8000-{number:012x}")).unwrap()
}

impl Fixture {
    fn new(seed: u64) -> Self {
        let secret = [9; 32];
        let mut store = Store::new(limits());
        let key = Rc::new(FingerprintKey::from_secret(secret).unwrap());
        store.set_fingerprint_key(key, [1; 16]);
        Self {
            store,
            key: FingerprintKey::from_secret(secret).unwrap(),
            now: Timestamp::from_millis(1_893_456_000_000),
            random: seed,
            issued: 0,
            live: Vec::new(),
            records: BTreeMap::new(),
            read_to: 0,
        }
    }

    fn next(&mut self, bound: u64) -> u64 {
        self.random = self
            .random
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (self.random >> 33) % bound
    }

    fn pick(&mut self) -> Option<SessionId> {
        let count = u64::try_from(self.live.len()).unwrap();
        let index = (count > 0).then(|| self.next(count))?;
        Some(self.live[usize::try_from(index).unwrap()])
    }

    fn token(&mut self) -> NewToken {
        self.issued += 1;
        let token = Token::parse(format!("token-{}", self.issued)).unwrap();
        NewToken {
            fingerprint: self.key.fingerprint(&token),
            handle: format!("handle-{}", self.issued).into(),
            expires_at: self.now.after_seconds(400),
        }
    }

    fn create(&mut self, parent: Option<SessionId>) {
        let now = self.now;
        let role = ROLES[usize::try_from(self.next(3)).unwrap()];
        let attributes = Rc::new(Attributes {
            role: Role::parse(role.into()).unwrap(),
            scopes: Scopes::parse(&["memory:read".into()]).unwrap(),
            task_type: None,
            metadata: Metadata::default(),
        });
        let mut expires_at = now.after_seconds(100 + self.next(200));
        let parent = match parent {
            Some(parent) => match self.store.plan_delegation(parent, &attributes, now) {
                Ok((parent, parent_end)) => {
                    expires_at = expires_at.min(parent_end);
                    Some(parent)
                }
                Err(_) => return,
            },
            None => None,
        };
        let token = self.token();
        let number = self.issued;
        let id = format!("5e550000-0000-4000-8000-{number:012x}");
        let id = SessionId::parse("id", &id).unwrap();
        let agent = agent(self.next(AGENTS));
        let reserved = self.store.reserve(id, agent, &attributes, parent, now);
        let Ok(reservation) = reserved else {
            return;
        };
        let new = NewSession {
            lifetime: 300,
            max_uses: None,
            created_at: now,
            expires_at,
        };
        let handle = token.handle.clone();
        let token_expires_at = token.expires_at;
        // Some creates fail and add a revocation without a session.
        let fails = self.next(6) == 0;
        if !fails
            && self
                .store
                .commit_create(&reservation, new, token, now)
                .is_ok()
        {
            self.live.push(id);
        } else {
            self.store.discard(handle, token_expires_at);
        }
        self.store.release(&reservation);
    }

    fn renew(&mut self, id: SessionId) {
        let now = self.now;
        let Ok(expected) = self.store.find(id, now) else {
            return;
        };
        let plan = if self.next(2) == 0 {
            self.store.plan_refresh(id, now)
        } else {
            self.store.plan_rotation(expected, Renewal::Rotation, now)
        };
        let (Ok(plan), Ok(())) = (plan, self.store.reserve_bytes(now)) else {
            return;
        };
        let token = self.token();
        if self.store.commit_renewal(&plan, token, now, now).is_ok() {
            self.store
                .acknowledge_renewal(expected.renewed(), now, now)
                .unwrap();
            self.store.end_renewal(expected.renewed());
        }
        self.store.release_bytes();
    }

    fn revoke_all(&mut self) {
        let filter = match self.next(8) {
            0 => RevokeFilter::Everything,
            1..4 => RevokeFilter::Role(Role::parse(ROLES[0].into()).unwrap()),
            _ => RevokeFilter::Agent(agent(self.next(AGENTS))),
        };
        self.store.revoke_all(filter, self.now);
        while self.store.clear_revoked(1_000, self.now) > 0 {}
    }

    fn step(&mut self) {
        let (kind, picked) = (self.next(24), self.pick());
        match (kind, picked) {
            (0..=7, _) => self.create(None),
            (8..=12, Some(id)) => self.create(Some(id)),
            (13..=15, Some(id)) => self.renew(id),
            (16, Some(id)) => drop(self.store.revoke(id, EndReason::Revoked, self.now)),
            (17, Some(id)) => {
                if let Ok(expected) = self.store.find(id, self.now) {
                    self.store.touch(expected, self.now);
                }
            }
            (18, _) => {
                for key in self.store.next_revocations(3) {
                    self.store.settle(&key);
                }
            }
            (19, _) => drop(self.store.prune(3, 10, self.now)),
            (20, _) if self.next(8) == 0 => self.revoke_all(),
            (21, _) => self.read(),
            _ => self.now = self.now.after_seconds(self.next(6)),
        }
        let (now, store) = (self.now, &mut self.store);
        self.live.retain(|id| store.find(*id, now).is_ok());
        self.store.check_invariants(false).unwrap();
    }

    /// Reads the feed to its end, and keeps every version of each record.
    fn read(&mut self) {
        loop {
            let page = self.store.changes(self.read_to, 50, self.now, false);
            let page = page.unwrap();
            self.read_to = page.next;
            for change in page.changes {
                let versions = self.records.entry(change.key.clone()).or_default();
                versions.push(change);
            }
            if !page.more {
                return;
            }
        }
    }

    /// Returns the handles of the revocations that the newest records say are pending. A host that
    /// has not read that one was settled, because the record was dropped before, restores it.
    fn recorded_revocations(&self) -> BTreeSet<String> {
        let newest = self.records.values().filter_map(|versions| versions.last());
        let needed = newest.filter(|it| it.forget_at.is_none_or(|at| at > self.now));
        let revocations = needed.filter_map(|it| {
            let (_, revocations) = it.value.split_once("\"owed\":").or_else(|| {
                let revocation = it.value.split_once("\"revocation\":");
                revocation.filter(|_| it.key.starts_with("revocation/"))
            })?;
            Some(revocations.split("\"handle\":\"").skip(1))
        });
        let handles = revocations.flatten().filter_map(|it| it.split_once('"'));
        handles.map(|(handle, _)| handle.to_owned()).collect()
    }

    /// Returns a store into which all versions of all records were restored, in a random order.
    fn restored(&mut self) -> Store {
        let now = self.now;
        let needed = |change: &Change| change.forget_at.is_none_or(|at| at > now);
        let kept = self.records.values().filter(|versions| {
            let newest = versions.last();
            newest.is_some_and(needed)
        });
        let mut changes: Vec<Change> = kept.flatten().cloned().collect();
        for index in (1..changes.len()).rev() {
            let other = self.next(u64::try_from(index).unwrap() + 1);
            changes.swap(index, usize::try_from(other).unwrap());
        }
        let mut store = Store::new(limits());
        for page in changes.chunks(17) {
            store.restore(page).unwrap();
            store.check_invariants(false).unwrap();
        }
        store.end_restoring();
        store.check_restore_ended().unwrap();
        store
    }
}

fn live(store: &Store, now: Timestamp) -> Vec<Session> {
    let pages = (0..AGENTS).map(|number| store.list(agent(number), 0, 1_000, now));
    pages.flat_map(|page| page.sessions).collect()
}

/// Returns the handles of the pending revocations whose tokens have not expired.
fn pending(store: &mut Store, now: Timestamp) -> BTreeSet<String> {
    while store.drop_expired_revocation(now) {}
    let pending = store.pending.iter();
    pending.map(|(.., handle)| handle.to_owned()).collect()
}

fn version(store: &mut Store, session: &Session, now: Timestamp) -> SessionVersion {
    store.find(session.id, now).unwrap()
}

/// Ends all sessions, settles all revocations, and checks that nothing is kept.
fn empty(mut store: Store, now: Timestamp) {
    let later = now.after_seconds(100_000);
    store.clear_revoked(usize::MAX, later);
    while store.prune(1_000, 1_000, later) > 0 {}
    for key in store.next_revocations(usize::MAX) {
        store.settle(&key);
    }
    while store.drop_unneeded_record(later) {}
    assert_eq!((store.counts(10_000, later), store.agents()), ((0, 0), 0));
    assert_eq!(store.pending(), 0);
    assert_eq!(store.tombstones(), 0);
    assert_eq!(store.bytes(), 0);
}

#[test]
fn r23_all_versions_of_all_records_in_any_order_restore_the_newest_state() {
    let mut restored_sessions = 0;
    for seed in 0..6 {
        let mut fixture = Fixture::new(seed);
        for _ in 0..600 {
            fixture.step();
        }
        fixture.read();
        let now = fixture.now;
        let expected = live(&fixture.store, now);
        restored_sessions += expected.len();
        for _ in 0..2 {
            let mut restored = fixture.restored();
            let sessions = live(&restored, now);
            assert_eq!(sessions, expected, "seed {seed}");
            for session in &expected {
                let versions = [&mut fixture.store, &mut restored].map(|store| {
                    let version = version(store, session, now);
                    (version.serial, version.generation)
                });
                assert_eq!(versions[0], versions[1], "seed {seed}");
            }
            let recorded = fixture.recorded_revocations();
            assert_eq!(pending(&mut restored, now), recorded, "seed {seed}");
            let kept = pending(&mut fixture.store, now);
            assert!(kept.is_subset(&recorded), "seed {seed}");
            empty(restored, now);
        }
        empty(fixture.store, now);
    }
    assert!(restored_sessions > 50, "{restored_sessions}");
}

#[test]
fn r03_each_record_counts_the_bytes_that_its_restore_adds() {
    let mut fixture = Fixture::new(3);
    for _ in 0..200 {
        fixture.step();
    }
    fixture.read();
    let mut store = Store::new(limits());
    for versions in fixture.records.values() {
        let newest = std::slice::from_ref(versions.last().unwrap());
        let size = restored_size(&store.read(&newest[0]).unwrap().body);
        let before = store.bytes();
        store.restore(newest).unwrap();
        assert_eq!(store.bytes(), before + size, "{newest:?}");
    }
    assert!(store.bytes() > 100_000);
}

#[test]
fn r12_the_record_of_a_session_is_needed_until_its_token_expires() {
    let mut fixture = Fixture::new(0);
    fixture.create(None);
    fixture.read();
    let record = &fixture.records[&format!("session/{}", fixture.live[0])][0];
    // The guard has granted the token for longer than the session.
    assert_eq!(record.forget_at, Some(fixture.now.after_seconds(400)));
    let now = fixture.now.after_seconds(399);
    let mut restored = fixture.restored();
    assert_eq!(restored.prune(10, 10, now), 1);
    assert_eq!(restored.pending(), 1);
}

#[test]
fn r23_nothing_is_restored_after_restored_records_were_written_again() {
    let mut fixture = Fixture::new(0);
    fixture.create(None);
    fixture.create(None);
    fixture.read();
    let records: Vec<Change> = fixture.records.values().flatten().cloned().collect();
    let config = Config {
        state_key: Some(vec![8; 32]),
        previous_state_keys: vec![vec![7; 32]],
        ..Config::default()
    };
    for is_read in [false, true] {
        let mut store = Store::new(Limits::new(&config).unwrap());
        let (first, second) = records.split_at(1);
        store.restore(first).unwrap();
        if is_read {
            // The record is written under the new key, with a sequence number of the others.
            store.changes(0, 10, fixture.now, false).unwrap();
        }
        let restored = store.restore(second).map(drop);
        let expected = if is_read {
            Err(Error::AlreadyStarted)
        } else {
            Ok(())
        };
        assert_eq!(restored, expected);
    }
}

#[test]
fn r23_sessions_below_an_ended_one_do_not_count_if_only_its_own_end_is_restored() {
    let mut fixture = Fixture::new(0);
    fixture.create(None);
    while fixture.live.len() < 3 {
        fixture.create(fixture.live.last().copied());
    }
    fixture.read();
    let (root, now) = (fixture.live[0], fixture.now);
    fixture.store.revoke(root, EndReason::Revoked, now).unwrap();
    let before: Vec<Change> = fixture.records.values().flatten().cloned().collect();
    fixture.read();
    let mut store = Store::new(limits());
    store.restore(&before).unwrap();
    assert_eq!(store.counts(10, now), (3, 0));
    let end = fixture.records[&format!("session/{root}")].last().unwrap();
    store.restore(std::slice::from_ref(end)).unwrap();
    store.end_restoring();
    assert_eq!(live(&store, now), []);
    assert_eq!(store.counts(10, now), (0, 2));
}

/// Changes one part of the store, whose other parts do not agree with it afterwards.
type Damage = fn(&mut Store, SessionSlot);

/// Each damage, and a part of the violation that it must be reported as.
const DAMAGES: [(&str, Damage); 12] = [
    ("slot of a session by id", |store, slot| {
        let mut other = store.sessions.get(slot).unwrap().session.clone();
        other.id = SessionId::from_random([1; 16]);
        store.sessions.get_mut(slot).unwrap().session = other;
    }),
    ("slot of a session by token", |store, slot| {
        let fingerprint = store.sessions.get(slot).unwrap().fingerprint.clone();
        store.sessions.remove_fingerprint(&fingerprint, slot);
    }),
    ("index by token", |store, slot| {
        let other = Fingerprint::from_bytes([3; 32]);
        store.sessions.add_fingerprint(&other, slot);
    }),
    ("is not taken", |store, slot| {
        let handle = store.sessions.get(slot).unwrap().handle.clone();
        store.sessions.remove_handle(&handle);
    }),
    ("number of handles", |store, _| {
        store.sessions.add_handle("other");
    }),
    ("creates of agents", |store, slot| {
        let session = store.sessions.get(slot).unwrap().session.clone();
        let role = &session.attributes.role;
        store.sessions.reserve_buckets(&session.agent_id, role);
    }),
    ("roots count descendants", |store, slot| {
        store.sessions.get_mut(slot).unwrap().descendants += 1;
    }),
    ("indexed time of a session", |store, slot| {
        store.sessions.get_mut(slot).unwrap().indexed_at = Timestamp::MAX;
    }),
    ("expires before its time in the index", |store, slot| {
        store.sessions.get_mut(slot).unwrap().session.expires_at = Timestamp::default();
    }),
    ("the budget counts 1 bytes", |store, _| store.budget.add(1)),
    ("record of a session", |store, slot| {
        let feed = store.feed.as_mut().unwrap();
        store.sessions.get_mut(slot).unwrap().record = feed.first_after(u64::MAX);
    }),
    ("recorded revocations", |store, _| {
        store.sessions.add_handle("other");
        store.add_pending(Owner::Discarded(None), "other".into(), Timestamp::MAX);
    }),
];

#[test]
fn each_disagreement_between_the_parts_of_the_store_is_reported() {
    for (violation, damage) in DAMAGES {
        let mut fixture = Fixture::new(0);
        fixture.create(None);
        fixture.create(None);
        let id = *fixture.live.last().unwrap();
        let slot = fixture.store.sessions.slot_of(id).unwrap();
        assert_eq!(fixture.store.check_invariants(false), Ok(()));
        damage(&mut fixture.store, slot);
        let reported = fixture.store.check_invariants(false).unwrap_err();
        assert!(reported.contains(violation), "{reported}, not {violation}");
    }
}
