//! Compiled code in a directory.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use clawdb_session_host::{
    AnswersAtOnce, AnyEngine, AnySessions, InstanceOptions, World, full_text,
};
use clawdb_session_testkit::fixture::{AGENT, PlainGuard, request};

fn files(directory: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(directory).unwrap();
    entries.map(|entry| entry.unwrap().path()).collect()
}

/// Checks that an instance of the engine creates a session.
async fn assert_works(engine: AnyEngine) {
    let guard = AnswersAtOnce::new(std::sync::Arc::new(PlainGuard::default()));
    let instances = InstanceOptions::new(engine, guard);
    let sessions = AnySessions::start(instances).await.unwrap();
    sessions.create(request(AGENT)).await.unwrap();
}

#[tokio::test]
async fn the_code_of_each_world_is_written_once_and_loaded_by_later_engines() {
    let folder = tempfile::tempdir().unwrap();
    let directory = folder.path().join("code");
    for (world, count) in [(World::Session, 1), (World::SessionSync, 2)] {
        let engine = AnyEngine::with_code_cache(world, &directory).unwrap();
        assert_eq!(engine.world(), world);
        assert_works(engine).await;
        let written = files(&directory);
        assert_eq!(written.len(), count, "{written:?}");
        let inode = |path: &PathBuf| std::os::unix::fs::MetadataExt::ino(&path.metadata().unwrap());
        let before: Vec<_> = written.iter().map(inode).collect();
        assert_works(AnyEngine::with_code_cache(world, &directory).unwrap()).await;
        assert_eq!(files(&directory), written);
        let after: Vec<_> = written.iter().map(inode).collect();
        assert_eq!(before, after, "the file was not written again");
    }
    let mode = directory.metadata().unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o700);
}

#[tokio::test]
async fn a_file_that_is_no_code_of_this_engine_is_replaced() {
    let folder = tempfile::tempdir().unwrap();
    let world = World::SessionSync;
    AnyEngine::with_code_cache(world, folder.path()).unwrap();
    let [file] = &files(folder.path())[..] else {
        panic!("one file is written");
    };
    let code = fs::read(file).unwrap();
    for damaged in [&b""[..], b"no code", &code[..100]] {
        fs::write(file, damaged).unwrap();
        assert_works(AnyEngine::with_code_cache(world, folder.path()).unwrap()).await;
        assert_eq!(fs::read(file).unwrap().len(), code.len());
    }
}

#[tokio::test]
async fn a_file_to_which_another_user_can_write_is_not_used() {
    let folder = tempfile::tempdir().unwrap();
    let world = World::SessionSync;
    AnyEngine::with_code_cache(world, folder.path()).unwrap();
    let [file] = &files(folder.path())[..] else {
        panic!("one file is written");
    };
    let mode = |file: &Path| file.metadata().unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(file), 0o600);
    fs::set_permissions(file, fs::Permissions::from_mode(0o666)).unwrap();
    assert_works(AnyEngine::with_code_cache(world, folder.path()).unwrap()).await;
    assert_eq!(mode(file), 0o600, "the file was replaced");
}

#[test]
fn a_symbolic_link_is_no_directory_for_code() {
    let folder = tempfile::tempdir().unwrap();
    let (directory, link) = (folder.path().join("code"), folder.path().join("link"));
    fs::create_dir(&directory).unwrap();
    std::os::unix::fs::symlink(&directory, &link).unwrap();
    let error = AnyEngine::with_code_cache(World::SessionSync, &link).err();
    assert!(full_text(&error.unwrap()).ends_with("is a symbolic link"));
    assert_eq!(files(&directory).len(), 0);
}

#[test]
fn a_directory_to_which_another_user_can_write_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o777)).unwrap();
    let error = AnyEngine::with_code_cache(World::SessionSync, folder.path()).err();
    assert_eq!(
        full_text(&error.unwrap()),
        "the component could not be cached: another user can write to the directory of the code \
         cache"
    );
    assert_eq!(files(folder.path()).len(), 0);
}

#[cfg_attr(
    not(can_mount),
    ignore = "needs root, to give a directory to another user"
)]
#[test]
fn a_directory_that_another_user_owns_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o700)).unwrap();
    std::os::unix::fs::chown(folder.path(), Some(65_534), None).unwrap();
    let error = AnyEngine::with_code_cache(World::SessionSync, folder.path()).err();
    let said = full_text(&error.unwrap());
    assert!(said.contains("another user can write"), "{said}");
    assert_eq!(files(folder.path()).len(), 0);
}
