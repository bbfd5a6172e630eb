//! Writes the component that needs no guard to a file, and prints the sizes of its parts.

use std::path::Path;
use std::process::ExitCode;
use std::{env, fs};

use clawdb_session_component::{COMPOSED, JWT_GUARD, SYNC_COMPONENT};

fn main() -> ExitCode {
    let mut arguments = env::args_os().skip(1);
    let (Some(file), None) = (arguments.next(), arguments.next()) else {
        eprintln!("error: the only argument is the file to write");
        return ExitCode::FAILURE;
    };
    let file = Path::new(&file);
    if let Err(error) = fs::write(file, COMPOSED) {
        eprintln!("error: {}: {error}", file.display());
        return ExitCode::FAILURE;
    }
    println!("session-sync: {} bytes", SYNC_COMPONENT.len());
    println!("jwt-guard: {} bytes", JWT_GUARD.len());
    println!("composed: {} bytes", COMPOSED.len());
    ExitCode::SUCCESS
}
