//! Writes the component that needs no guard to a file, and prints the sizes of its parts.

use std::env;
use std::error::Error;
use std::fs;
use std::path::Path;

use clawdb_session_component::{COMPOSED, JWT_GUARD, SYNC_COMPONENT};

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = env::args_os().skip(1);
    let (Some(file), None) = (arguments.next(), arguments.next()) else {
        return Err("the only argument is the file to write".into());
    };
    let file = Path::new(&file);
    fs::write(file, COMPOSED).map_err(|error| format!("{}: {error}", file.display()))?;
    println!("session-sync: {} bytes", SYNC_COMPONENT.len());
    println!("jwt-guard: {} bytes", JWT_GUARD.len());
    println!("composed: {} bytes", COMPOSED.len());
    Ok(())
}
