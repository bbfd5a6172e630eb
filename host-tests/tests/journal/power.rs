//! The embedded journal when the power fails: at any write, the disk has what was synced, and any
//! part of what was written since.
//!
//! A long run is recorded: each write, each sync, and each acknowledgement of an append. Then the
//! disk is computed as it can be at each of these steps, and the journal is opened on it. Each
//! tenant must have what was acknowledged to it at that step.
//!
//! A new file is renamed when it is complete. Until its folder is synced, the disk can have the
//! file under either of its names, or not at all. The sync of the folder is not recorded: the test
//! adds it when the journal has opened.
//!
//! `SESSION_POWER_ROUNDS` sets the number of appends of each tenant. Each test prints its seed, and
//! `SESSION_POWER_SEED` repeats the random choices of a run, but not which appends share a commit.
//! The disk of a failure is kept.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::{fmt, fs, io};

use clawdb_session_durable::{Journal, JournalError, Scan, TenantId};
use clawdb_session_host::Change;
use clawdb_session_journal_redb::RedbJournal;
use clawdb_session_testkit::number_in_environment;
use futures::future::join_all;
use proptest::prelude::RngExt;
use proptest::test_runner::{RngAlgorithm, TestRng};
use redb::backends::FileBackend;
use redb::{BackendError, StorageBackend};

use crate::redb::{Folder, once_closed, open};
use crate::suite::{expiring, record, take_over, tenant};

/// The number of tenants, which append at the same time.
const TENANTS: usize = 3;
/// The number of appends of a writer. After them, the file is closed and opened again.
const APPENDS_OF_A_WRITER: usize = 4;
/// The size of the parts of a write that a disk stores as a whole or not at all.
const SECTOR: usize = 512;

/// Returns the number of appends of each tenant.
fn rounds() -> u64 {
    number_in_environment("SESSION_POWER_ROUNDS").unwrap_or(7)
}

/// Returns the random choices of a test, and prints their seed.
fn random() -> TestRng {
    let seed = number_in_environment("SESSION_POWER_SEED");
    let seed: u64 = seed.unwrap_or_else(|| getrandom::u64().expect("the system has random bytes"));
    println!("SESSION_POWER_SEED={seed}");
    let mut bytes = [0; 32];
    bytes[..8].copy_from_slice(&seed.to_le_bytes());
    TestRng::from_seed(RngAlgorithm::ChaCha, &bytes)
}

/// A step of the recorded run.
#[derive(Clone)]
enum Step {
    Write {
        offset: usize,
        data: Vec<u8>,
    },
    SetLen(usize),
    Sync,
    /// The new file gets its final name.
    Rename,
    /// The folder of the new file is synced.
    FolderSync,
    /// The next append of the tenant with this number is acknowledged.
    Acknowledged(usize),
}

impl fmt::Debug for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Write { offset, data } => write!(f, "write {} bytes at {offset}", data.len()),
            Self::SetLen(len) => write!(f, "set the length to {len}"),
            Self::Sync => write!(f, "sync"),
            Self::Rename => write!(f, "rename the file"),
            Self::FolderSync => write!(f, "sync the folder"),
            Self::Acknowledged(number) => write!(f, "tenant {number} is acknowledged"),
        }
    }
}

/// The steps of a run, which the backend and the test add.
#[derive(Clone, Debug, Default)]
struct Recording(Arc<Mutex<Vec<Step>>>);

impl Recording {
    fn add(&self, step: Step) {
        self.0.lock().unwrap().push(step);
    }

    /// Adds the rename of a new file, if it has its final name by now and this was not added yet.
    fn add_rename(&self, file: &Path) {
        let mut steps = self.0.lock().unwrap();
        let is_added = steps.iter().any(|step| matches!(step, Step::Rename));
        if !is_added && file.exists() {
            steps.push(Step::Rename);
        }
    }

    fn len(&self) -> usize {
        self.0.lock().unwrap().len()
    }

    fn take(&self) -> Vec<Step> {
        std::mem::take(&mut *self.0.lock().unwrap())
    }

    /// Opens a journal whose writes are recorded, or creates it.
    async fn open(&self, file: &Path) -> Result<RedbJournal, JournalError> {
        let new_file = (!file.exists()).then(|| file.to_owned());
        let recorded = {
            let (recording, new_file) = (self.clone(), new_file.clone());
            move |file| Recorded {
                file,
                recording: recording.clone(),
                new_file: new_file.clone(),
            }
        };
        let open = || RedbJournal::open_through(file, recorded.clone());
        let journal = once_closed(open).await?;
        if let Some(new_file) = new_file {
            self.add_rename(&new_file);
            self.add(Step::FolderSync);
        }
        Ok(journal)
    }
}

/// A file whose writes are recorded.
#[derive(Debug)]
struct Recorded {
    file: FileBackend,
    recording: Recording,
    /// The final name of the file, if it is new.
    new_file: Option<PathBuf>,
}

impl Recorded {
    /// Records a step of the file, and its rename if that was before the step.
    fn record(&self, step: Step) {
        if let Some(new_file) = &self.new_file {
            self.recording.add_rename(new_file);
        }
        self.recording.add(step);
    }
}

fn index(number: u64) -> usize {
    usize::try_from(number).expect("the file is small")
}

impl StorageBackend for Recorded {
    fn len(&self) -> Result<u64, io::Error> {
        self.file.len()
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> Result<(), io::Error> {
        self.file.read(offset, out)
    }

    fn set_len(&self, len: u64) -> Result<(), io::Error> {
        self.record(Step::SetLen(index(len)));
        self.file.set_len(len)
    }

    fn sync_data(&self) -> Result<(), io::Error> {
        // Each write is recorded, so the file itself need not be synced.
        self.record(Step::Sync);
        Ok(())
    }

    fn write(&self, offset: u64, data: &[u8]) -> Result<(), io::Error> {
        self.record(Step::Write {
            offset: index(offset),
            data: data.to_vec(),
        });
        self.file.write(offset, data)
    }

    fn close(&self) -> Result<(), io::Error> {
        self.file.close()
    }

    fn try_lock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<bool, BackendError> {
        self.file.try_lock_range(start, end)
    }

    fn unlock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<(), BackendError> {
        self.file.unlock_range(start, end)
    }

    fn query_lock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<bool, BackendError> {
        self.file.query_lock_range(start, end)
    }
}

/// The file in its folder after a failure of the power.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Entry {
    /// The folder does not have it.
    Missing,
    /// It has the name of a file that is not complete.
    Unfinished,
    /// It has its final name.
    Final,
}

/// What a disk has, and what was written to it since the last sync.
#[derive(Clone)]
struct Disk {
    synced: Vec<u8>,
    pending: Vec<Step>,
    /// What the folder can have of the file.
    entries: Vec<Entry>,
    /// Whether the disk confirms syncs of the file, but does not make them.
    ignores_syncs: bool,
    /// Whether the disk confirms syncs of the folder, but does not make them.
    ignores_folder_syncs: bool,
}

impl Disk {
    /// Returns a disk on which the file is being created.
    fn new() -> Self {
        Self {
            synced: Vec::new(),
            pending: Vec::new(),
            entries: vec![Entry::Missing, Entry::Unfinished],
            ignores_syncs: false,
            ignores_folder_syncs: false,
        }
    }

    /// Returns a disk that has the file with these contents.
    fn with_file(contents: Vec<u8>) -> Self {
        Self {
            synced: contents,
            entries: vec![Entry::Final],
            ..Self::new()
        }
    }

    fn take(&mut self, step: &Step) {
        match step {
            Step::Write { .. } | Step::SetLen(_) => self.pending.push(step.clone()),
            Step::Sync if !self.ignores_syncs => {
                for step in self.pending.drain(..) {
                    apply(&mut self.synced, &step);
                }
            }
            Step::Rename => self.entries.push(Entry::Final),
            Step::FolderSync if !self.ignores_folder_syncs => self.entries = vec![Entry::Final],
            Step::Sync | Step::FolderSync | Step::Acknowledged(_) => {}
        }
    }

    /// Returns what the disk can have if the power fails now: each entry, with each contents.
    fn files(&self, rng: &mut TestRng) -> Vec<(Entry, Vec<u8>)> {
        let contents = self.contents(rng);
        let with_contents = |&entry: &Entry| match entry {
            Entry::Missing => vec![(entry, Vec::new())],
            _ => contents.iter().map(|it| (entry, it.clone())).collect(),
        };
        self.entries.iter().flat_map(with_contents).collect()
    }

    /// Returns contents that the file can have if the power fails now: without what was not synced,
    /// with all of it, with the last write torn, and with some of the writes.
    fn contents(&self, rng: &mut TestRng) -> Vec<Vec<u8>> {
        let with = |steps: &mut dyn Iterator<Item = Step>| {
            let mut contents = self.synced.clone();
            steps.for_each(|step| apply(&mut contents, &step));
            contents
        };
        let mut all = vec![with(&mut std::iter::empty())];
        if let Some((last, before)) = self.pending.split_last() {
            all.push(with(&mut self.pending.iter().cloned()));
            all.push(with(&mut before.iter().cloned().chain([torn(last, rng)])));
            let some = self.pending.iter().filter(|_| rng.random_bool(0.5));
            let some: Vec<Step> = some.cloned().collect();
            all.push(with(&mut some.into_iter()));
        }
        all
    }
}

fn apply(contents: &mut Vec<u8>, step: &Step) {
    match step {
        Step::Write { offset, data } => {
            let end = offset + data.len();
            // The write can reach the disk before the new length of the file.
            if contents.len() < end {
                contents.resize(end, 0);
            }
            contents[*offset..end].copy_from_slice(data);
        }
        Step::SetLen(len) => contents.resize(*len, 0),
        Step::Sync | Step::Rename | Step::FolderSync | Step::Acknowledged(_) => {}
    }
}

/// Returns the beginning of a write, in whole sectors.
fn torn(step: &Step, rng: &mut TestRng) -> Step {
    match step {
        Step::Write { offset, data } => {
            let sectors = rng.random_range(0..=data.len() / SECTOR);
            let data = data[..sectors * SECTOR].to_vec();
            Step::Write {
                offset: *offset,
                data,
            }
        }
        other => other.clone(),
    }
}

/// The records of a tenant.
type Records = BTreeMap<String, Change>;

/// The records of each tenant: before its first append, and after each of them.
type States = [Vec<Records>; TENANTS];

/// How many appends of each tenant are acknowledged.
type Acknowledged = [usize; TENANTS];

/// Returns the id of the tenant with this number.
fn id(number: usize) -> TenantId {
    tenant(number as u128)
}

/// Does what an append does: stores the changes, and drops the records that have expired.
fn append(records: &mut Records, changes: &[Change], now: u64) {
    for change in changes {
        records.insert(change.key.clone(), change.clone());
    }
    records.retain(|_, change| change.forget_at.is_none_or(|at| at > now));
}

/// Returns the changes of one append: new records, changed ones, and some that expire.
fn changes(round: u64, rng: &mut TestRng) -> Vec<Change> {
    let count = rng.random_range(1..8);
    let change = |at: u64| {
        let key = format!("session/{:02}", rng.random_range(0..40));
        let mut change = record(&key, round * 10 + at);
        let bytes = match rng.random_range(0..20) {
            0 => 20_000,
            1..5 => 2_000,
            _ => 100,
        };
        change.value = "x".repeat(rng.random_range(0..bytes)) + &change.value;
        match rng.random_range(0..3) {
            0 => expiring(change, round + rng.random_range(1..10)),
            _ => change,
        }
    };
    let mut changes: Vec<Change> = (0..count).map(change).collect();
    changes.dedup_by(|one, other| one.key == other.key);
    changes
}

/// Makes a recorded run. Returns its steps, and the records after each append.
///
/// The tenants do not wait for each other. The first one begins alone, and the others while its
/// append is committed. So a commit can acknowledge the appends of some tenants while those of
/// others wait for the next commit.
async fn run(rng: &mut TestRng) -> (Vec<Step>, States) {
    let folder = Folder::new().await;
    let (file, recording) = (&folder.file(), &Recording::default());
    let mut states: States = std::array::from_fn(|_| vec![Records::new()]);
    let mut journal = recording.open(file).await.expect("the journal opens");
    let rounds: Vec<u64> = (1..=rounds()).collect();
    for rounds in rounds.chunks(APPENDS_OF_A_WRITER) {
        // The file is closed and opened again.
        drop(journal);
        journal = recording.open(file).await.expect("the journal opens");
        let mut writers = Vec::new();
        for number in 0..TENANTS {
            writers.push(take_over(&journal, id(number)).await);
        }
        let begin = recording.len();
        let tenants = writers.into_iter().zip(&mut states).enumerate();
        let running = tenants.map(|(number, (mut writer, states))| {
            let mut appends = Vec::new();
            for &round in rounds {
                let changes = changes(round, rng);
                let mut records = states.last().cloned().unwrap_or_default();
                append(&mut records, &changes, round);
                states.push(records);
                appends.push((round, changes));
            }
            async move {
                while number > 0 && recording.len() == begin {
                    tokio::task::yield_now().await;
                }
                for (round, changes) in appends {
                    let appended = writer.append(&changes, round).await;
                    appended.expect("the append is acknowledged");
                    recording.add(Step::Acknowledged(number));
                }
                writer
            }
        });
        drop(join_all(running.collect::<Vec<_>>()).await);
    }
    drop(journal);
    // It is closed when another one can open the file.
    drop(open(file).await);
    (recording.take(), states)
}

/// Returns the records of a journal, after it was opened.
async fn stored(journal: &RedbJournal) -> BTreeMap<TenantId, Records> {
    let mut records: BTreeMap<_, Records> = BTreeMap::new();
    for tenant in journal.tenants().await.expect("the tenants are read") {
        let mut scan: Box<dyn Scan> = journal.scan(tenant).await.expect("a scan begins");
        let of_tenant = records.entry(tenant).or_default();
        loop {
            let page = scan.next().await.expect("the records are read");
            if page.is_empty() {
                break;
            }
            of_tenant.extend(page.into_iter().map(|change| (change.key.clone(), change)));
        }
    }
    records
}

/// A disk after a failure of the power, and the records that its journal may have.
struct Cut<'a> {
    entry: Entry,
    contents: Vec<u8>,
    acknowledged: Acknowledged,
    states: &'a States,
    at: String,
}

impl Cut<'_> {
    /// Writes the file into a new folder, if the disk has it.
    async fn write(&self) -> Folder {
        let folder = Folder::new().await;
        let mut file = folder.file().into_os_string();
        if self.entry == Entry::Unfinished {
            file.push(".new");
        }
        if self.entry != Entry::Missing {
            fs::write(&file, &self.contents).unwrap();
        }
        folder
    }

    /// Returns whether each tenant has its acknowledged records, or those that it has after the
    /// append that was under way.
    fn fits(&self, stored: &BTreeMap<TenantId, Records>) -> bool {
        let none = Records::new();
        let mut tenants = self.states.iter().zip(self.acknowledged).enumerate();
        tenants.all(|(number, (states, acknowledged))| {
            let has = stored.get(&id(number)).unwrap_or(&none);
            states[acknowledged..].iter().take(2).any(|it| it == has)
        })
    }

    /// Opens the journal on the disk, compares its records, and appends one. Returns what is wrong.
    async fn open(&self) -> Result<(), String> {
        let folder = self.write().await;
        // It is not synced, which takes longer than all else.
        let journal = Recording::default().open(&folder.file()).await;
        let journal = journal.map_err(|error| format!("{}: {error}", self.at))?;
        if !self.fits(&stored(&journal).await) {
            return Err(format!("{}: the journal has other records", self.at));
        }
        let mut writer = take_over(&journal, id(0)).await;
        let appended = writer.append(&[record("meta", 1)], 0).await;
        appended.map_err(|error| format!("{}: {error}", self.at))
    }

    /// Opens the journal as `open` does. If something is wrong, keeps the disk and panics.
    async fn check(&self) {
        if let Err(wrong) = self.open().await {
            let disk = self.write().await.0.keep();
            panic!("{wrong}; the disk is kept in {}", disk.display());
        }
    }

    /// Opens the journal on the disk, and returns what is written to the disk meanwhile.
    async fn recovery(&self) -> Vec<Step> {
        let folder = self.write().await;
        let recording = Recording::default();
        drop(
            recording
                .open(&folder.file())
                .await
                .expect("the journal opens"),
        );
        // It is closed when another one can open the file.
        drop(open(&folder.file()).await);
        recording.take()
    }
}

/// Returns the cuts of a run: one for each step, and each way in which the disk can be then. Before
/// the run, the disk had `disk`, and `acknowledged` was acknowledged.
fn cuts<'a>(
    steps: &'a [Step],
    mut disk: Disk,
    mut acknowledged: Acknowledged,
    states: &'a States,
    mut rng: TestRng,
) -> impl Iterator<Item = Cut<'a>> {
    steps.iter().enumerate().flat_map(move |(at, step)| {
        disk.take(step);
        if let Step::Acknowledged(number) = step {
            acknowledged[*number] += 1;
        }
        let files = disk.files(&mut rng).into_iter().enumerate();
        files.map(move |(case, (entry, contents))| Cut {
            entry,
            contents,
            acknowledged,
            states,
            at: format!("the power failed after step {at} ({step:?}), case {case} ({entry:?})"),
        })
    })
}

/// Makes a run on a disk, and opens the journal after the last cut with this entry. Returns what is
/// wrong.
async fn open_after_last_cut(disk: Disk, entry: Entry) -> Result<(), String> {
    let mut rng = random();
    let (steps, states) = run(&mut rng).await;
    let cuts = cuts(&steps, disk, Acknowledged::default(), &states, rng);
    let last = cuts.filter(|cut| cut.entry == entry).last();
    last.expect("there is such a cut").open().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_power_failure_at_any_write_loses_no_acknowledged_record() {
    let mut rng = random();
    let (steps, states) = run(&mut rng).await;
    let (mut first, mut missing, mut second) = (0, 0, 0);
    let none = Acknowledged::default();
    for cut in cuts(&steps, Disk::new(), none, &states, rng.clone()) {
        cut.check().await;
        first += 1;
        missing += u32::from(cut.entry == Entry::Missing);
        // The power fails again while the journal recovers.
        if first % 50 == 0 && cut.entry == Entry::Final {
            let recovery = cut.recovery().await;
            let disk = Disk::with_file(cut.contents.clone());
            for again in cuts(&recovery, disk, cut.acknowledged, &states, rng.clone()) {
                again.check().await;
                second += 1;
            }
        }
    }
    let steps = steps.len();
    println!(
        "{steps} steps, {first} power failures, {missing} of them without the file, \
         and {second} during a recovery"
    );
    assert!(first > 500 && missing > 5 && second > 50);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_disk_that_does_not_keep_what_it_confirms_is_noticed() {
    let disk = Disk {
        ignores_syncs: true,
        ..Disk::new()
    };
    let wrong = open_after_last_cut(disk, Entry::Final).await;
    assert!(wrong.is_err(), "the journal has records that the disk lost");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_disk_that_does_not_keep_the_entry_of_a_new_file_is_noticed() {
    for entry in [Entry::Missing, Entry::Unfinished] {
        let disk = Disk {
            ignores_folder_syncs: true,
            ..Disk::new()
        };
        let wrong = open_after_last_cut(disk, entry).await;
        assert!(wrong.is_err(), "the journal has records that the disk lost");
    }
}
