//! The kept inputs of the targets.

use std::fs;
use std::path::{Path, PathBuf};

/// Returns the folder of this kind for a target: `corpus` or `artifacts`.
pub fn folder(kind: &str, target: &str) -> PathBuf {
    let fuzz = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    fuzz.join(kind).join(target)
}

/// Returns the kept inputs of a target, with their paths.
pub fn corpus(target: &str) -> Vec<(PathBuf, Vec<u8>)> {
    let files = fs::read_dir(folder("corpus", target)).unwrap();
    let paths = files.map(|file| file.unwrap().path());
    let mut inputs: Vec<_> = paths
        .map(|path| (path.clone(), fs::read(path).unwrap()))
        .collect();
    inputs.sort_unstable();
    assert!(inputs.len() > 10, "{target} has {} inputs", inputs.len());
    inputs
}
