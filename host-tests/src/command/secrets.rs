//! The secrets of a host that keeps its sessions: from the environment, or made once and kept in
//! files beside the journal.

use std::error::Error;
use std::fs::{self, OpenOptions};
use std::io::{ErrorKind, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use clawdb_session_host::jwt::{JwtGuard, SECRET_VARIABLE};

/// What the records of the sessions are sealed with: 32 to 64 bytes, as hexadecimal digits.
pub const STATE_KEY_VARIABLE: &str = "CLAWDB_SESSION_STATE_KEY";
/// What they may have been sealed with before, with commas between.
pub const PREVIOUS_STATE_KEYS_VARIABLE: &str = "CLAWDB_SESSION_PREVIOUS_STATE_KEYS";

/// The keys of the records.
pub struct StateKeys {
    pub current: Vec<u8>,
    pub previous: Vec<Vec<u8>>,
}

impl StateKeys {
    /// From the environment, or else from `<journal>.state-key`, which is made where it is not there.
    pub fn find(journal: Option<&Path>) -> Result<Self, Box<dyn Error>> {
        let current = match std::env::var(STATE_KEY_VARIABLE) {
            Ok(digits) => {
                let key = parse(STATE_KEY_VARIABLE, &digits)?;
                warn_of_another(journal, &key);
                key
            }
            Err(_) => kept_beside(journal, "state-key", STATE_KEY_VARIABLE)?,
        };
        let previous = std::env::var(PREVIOUS_STATE_KEYS_VARIABLE).unwrap_or_default();
        let previous = previous
            .split(',')
            .filter(|digits| !digits.trim().is_empty());
        let parse = |digits: &str| parse(PREVIOUS_STATE_KEYS_VARIABLE, digits);
        Ok(Self {
            current,
            previous: previous.map(parse).collect::<Result<_, _>>()?,
        })
    }
}

/// A guard whose tokens outlive the process: its key is from the environment, or else from
/// `<journal>.guard-key`, which is made where it is not there.
pub fn lasting_guard(journal: Option<&Path>) -> Result<JwtGuard, Box<dyn Error>> {
    if std::env::var_os(SECRET_VARIABLE).is_some() {
        return Ok(JwtGuard::from_environment()?);
    }
    Ok(JwtGuard::new(&kept_beside(
        journal,
        "guard-key",
        SECRET_VARIABLE,
    )?)?)
}

/// Says that the file beside the journal has another state key than the environment: without the
/// variable, the next start would take that.
fn warn_of_another(journal: Option<&Path>, key: &[u8]) {
    let Some(journal) = journal else {
        return;
    };
    let file = beside(journal, "state-key");
    let kept = fs::read_to_string(&file).ok();
    let kept = kept.and_then(|digits| hex::decode(digits.trim()).ok());
    if kept.is_some_and(|kept| kept != key) {
        eprintln!(
            "{} holds another key than {STATE_KEY_VARIABLE}, which is used: write the new key into it, \
             or keep the variable set",
            file.display()
        );
    }
}

fn beside(journal: &Path, what: &str) -> PathBuf {
    let mut file = journal.as_os_str().to_owned();
    file.push(format!(".{what}"));
    PathBuf::from(file)
}

fn kept_beside(
    journal: Option<&Path>,
    what: &str,
    variable: &str,
) -> Result<Vec<u8>, Box<dyn Error>> {
    let Some(journal) = journal else {
        return Err(format!(
            "{variable} must be set: the machines that share sessions share it (32 random bytes as \
             64 hexadecimal digits, such as `openssl rand -hex 32` gives)"
        )
        .into());
    };
    let file = beside(journal, what);
    let name = file.display();
    match fs::read_to_string(&file) {
        Ok(digits) => parse(&name.to_string(), digits.trim()),
        Err(error) if error.kind() == ErrorKind::NotFound => {
            if journal.exists() {
                return Err(format!(
                    "{name} is missing, and without it the sessions in {} cannot be read; set {variable}",
                    journal.display()
                )
                .into());
            }
            let mut key = vec![0; 32];
            getrandom::fill(&mut key)?;
            if make(&file, &hex::encode(&key)).map_err(|error| format!("{name}: {error}"))? {
                eprintln!("{name} was made; keep it as well as the journal");
            }
            // Another process may have made it at the same time.
            parse(&name.to_string(), fs::read_to_string(&file)?.trim())
        }
        Err(error) => Err(format!("{name}: {error}").into()),
    }
}

/// Makes the file, if nobody else does; tells whether it did. Only the owner may read it, and it is on
/// the disk before anything is that needs it.
fn make(file: &Path, digits: &str) -> std::io::Result<bool> {
    let mut unfinished = file.as_os_str().to_owned();
    unfinished.push(format!(".{}.new", std::process::id()));
    let unfinished = PathBuf::from(unfinished);
    let mut open = OpenOptions::new();
    open.write(true).create(true).truncate(true).mode(0o600);
    let mut written = open.open(&unfinished)?;
    writeln!(written, "{digits}")?;
    written.sync_all()?;
    // Unlike a rename, it fails where there is one.
    let made = fs::hard_link(&unfinished, file);
    fs::remove_file(&unfinished)?;
    if let Some(folder) = file.parent() {
        let here = Path::new(".");
        let folder = if folder.as_os_str().is_empty() {
            here
        } else {
            folder
        };
        fs::File::open(folder)?.sync_all()?;
    }
    match made {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == ErrorKind::AlreadyExists => Ok(false),
        Err(error) => Err(error),
    }
}

fn parse(name: &str, digits: &str) -> Result<Vec<u8>, Box<dyn Error>> {
    let key = hex::decode(digits.trim());
    let key = key.map_err(|_| format!("{name} must be hexadecimal digits"))?;
    if !(32..=64).contains(&key.len()) {
        return Err(format!("{name} must have 32 to 64 bytes as hexadecimal digits").into());
    }
    Ok(key)
}
