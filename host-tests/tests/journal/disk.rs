//! The embedded journal while its disk is full, or its file is moved away.

use std::error::Error;
use std::fs::{self, Permissions};
use std::io::ErrorKind;
use std::os::unix::fs::{PermissionsExt, chown};
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use clawdb_session_durable::{DurableError, Journal, JournalError};
use clawdb_session_host::Change;
use clawdb_session_journal_redb::RedbJournal;
use clawdb_session_testkit::fixture::chain_texts;
use nix::unistd::{Uid, setfsuid};

use crate::redb::{Folder, open};
use crate::suite::{read, record, take_over, tenant};

/// A mounted file system of 2 MB.
struct SmallDisk(tempfile::TempDir);

impl SmallDisk {
    fn mount() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let mut mount = Command::new("mount");
        mount.args(["-t", "tmpfs", "-o", "size=2m", "tmpfs"]);
        let mounted = mount
            .arg(folder.path())
            .status()
            .expect("the command `mount` runs");
        assert!(
            mounted.success(),
            "this test needs root to mount a small disk"
        );
        Self(folder)
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let unmounted = Command::new("umount").arg("-l").arg(self.0.path()).status();
        assert!(unmounted.is_ok_and(|status| status.success()) || std::thread::panicking());
    }
}

#[cfg_attr(
    not(can_mount),
    ignore = "needs root (CAP_SYS_ADMIN): it mounts a small disk"
)]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_disk_makes_appends_fail_completely_and_loses_no_record() {
    let disk = SmallDisk::mount();
    let file = disk.0.path().join("sessions.journal");
    let ballast = disk.0.path().join("ballast");
    let journal = open(&file).await;
    let mut writer = take_over(&journal, tenant(1)).await;
    let page = |n: u64| -> Vec<Change> {
        let of_page = |at: u64| Change {
            value: "x".repeat(4_000),
            ..record(&format!("session/{n:018}{at:018}"), n * 10 + at)
        };
        (0..10).map(of_page).collect()
    };
    writer.append(&page(0), 0).await.unwrap();
    let mut acknowledged = page(0);
    fs::write(&ballast, vec![0; 3 << 20]).unwrap_err();
    let (mut refused, mut n) = (0, 1);
    while refused < 3 {
        match writer.append(&page(n), 0).await {
            Ok(()) => acknowledged.extend(page(n)),
            Err(error @ JournalError::Unavailable(_)) => {
                assert!(error.to_string().contains("sessions.journal"), "{error}");
                // A durable host passes it on.
                let error = DurableError::from(error);
                let DurableError::Retry(_) = &error else {
                    panic!("{error}");
                };
                let source = error.source().unwrap();
                assert!(source.is::<redb::Error>(), "{source}");
                assert_eq!(chain_texts(&error).len(), 2);
                refused += 1;
            }
            Err(error) => panic!("{error}"),
        }
        n += 1;
        assert!(n < 1_000, "the disk is never full");
    }
    // After space is freed, the same writer can append.
    assert!(
        writer.lease().is_valid(),
        "the journal has kept the file open"
    );
    fs::remove_file(&ballast).unwrap();
    writer.append(&page(n), 0).await.unwrap();
    acknowledged.extend(page(n));
    drop((writer, journal));
    let journal = open(&file).await;
    let mut writer = take_over(&journal, tenant(1)).await;
    acknowledged.sort_by(|one, other| one.key.cmp(&other.key));
    assert!(
        read(&mut *writer).await == acknowledged,
        "the journal has other records than the acknowledged ones"
    );
    drop((writer, journal));
    drop(open(&file).await);
}

#[cfg_attr(
    not(can_mount),
    ignore = "needs root (CAP_SYS_ADMIN): it mounts a small disk"
)]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_journal_that_lost_its_file_has_no_leases_and_is_fenced_by_another_process() {
    let disk = SmallDisk::mount();
    let file = disk.0.path().join("sessions.journal");
    let moved = disk.0.path().join("moved.journal");
    let ballast = disk.0.path().join("ballast");
    let journal = open(&file).await;
    let mut writer = take_over(&journal, tenant(1)).await;
    let mut other = take_over(&journal, tenant(2)).await;
    writer.append(&[record("meta", 1)], 0).await.unwrap();
    other.append(&[record("meta", 1)], 0).await.unwrap();

    // The append fails, and the journal cannot open the file again.
    fs::write(&ballast, vec![0; 3 << 20]).unwrap_err();
    fs::rename(&file, &moved).unwrap();
    let large = Change {
        value: "x".repeat(200_000),
        ..record("session/large", 2)
    };
    for _ in 0..2 {
        let refused = writer.append(std::slice::from_ref(&large), 0).await;
        assert!(
            matches!(refused, Err(JournalError::Unavailable(_))),
            "{refused:?}"
        );
        assert!(!writer.lease().is_valid() && !other.lease().is_valid());
    }

    // Another journal opens the file, and takes one of the tenants over.
    fs::remove_file(&ballast).unwrap();
    let meanwhile = open(&moved).await;
    let mut second = take_over(&meanwhile, tenant(1)).await;
    assert_eq!(read(&mut *second).await, [record("meta", 1)]);
    second.append(&[record("meta", 3)], 0).await.unwrap();
    fs::rename(&moved, &file).unwrap();
    let refused = other.append(&[record("meta", 4)], 0).await;
    assert!(
        matches!(refused, Err(JournalError::Fenced(_))),
        "another journal has the file open: {refused:?}"
    );
    drop((second, meanwhile));

    // The first journal opens the file again once the other one has closed it.
    drop(open(&file).await);
    let begun = Instant::now();
    while let Err(error) = journal.take_over(tenant(2)).await {
        assert!(begun.elapsed() < Duration::from_secs(10), "{error}");
        tokio::task::yield_now().await;
    }
    match writer.append(&[record("meta", 5)], 0).await {
        Err(JournalError::Fenced(reason)) => {
            assert!(reason.as_str().contains("taken it over"), "{reason}");
        }
        other => panic!("expected a fenced writer, not {other:?}"),
    }
    let mut third = take_over(&journal, tenant(1)).await;
    assert_eq!(read(&mut *third).await, [record("meta", 3)]);
}

#[cfg_attr(not(can_mount), ignore = "needs root: it opens files as another user")]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_journal_opens_in_a_folder_that_its_user_must_not_read() {
    const USER: u32 = 65_534;
    // `TMPDIR` can be a folder that other users must not enter.
    let folder = Folder(tempfile::tempdir_in("/tmp").unwrap());
    let file = folder.file();
    let changes = [record("meta", 1)];
    let journal = open(&file).await;
    let mut writer = take_over(&journal, tenant(1)).await;
    writer.append(&changes, 0).await.unwrap();
    drop((journal, writer));
    chown(&file, Some(USER), None).unwrap();
    fs::set_permissions(folder.0.path(), Permissions::from_mode(0o733)).unwrap();
    // The threads that this thread starts have its user.
    let as_user = thread::spawn(move || {
        setfsuid(Uid::from_raw(USER));
        let refused = fs::File::open(folder.0.path()).map_err(|error| error.kind());
        assert_eq!(refused.err(), Some(ErrorKind::PermissionDenied));
        let runtime = tokio::runtime::Builder::new_current_thread().build();
        runtime.unwrap().block_on(async {
            let journal = open(&file).await;
            let mut writer = take_over(&journal, tenant(1)).await;
            assert_eq!(read(&mut *writer).await, changes);
            // A new file is refused there, because its entry could be lost.
            let new = file.with_file_name("new.journal");
            for _ in 0..2 {
                let refused = RedbJournal::open(&new).await.err();
                assert!(matches!(refused, Some(JournalError::Unavailable(_))));
                assert!(!new.exists());
            }
        });
        // Only root may remove the folder.
        folder
    });
    drop(as_user.join().unwrap());
}
