//! The keys of a host with a journal: from the environment, or generated once and stored in files
//! beside the journal.

use std::error::Error;
use std::fs::{self, OpenOptions};
use std::io::{ErrorKind, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use clawdb_session_guard_jwt::{
    JwtGuard, MIN_SECRET, PREVIOUS_SECRETS_VARIABLE, SECRET_VARIABLE, SecretError,
    previous_secrets_from_environment,
};
use clawdb_session_host::InvalidSetting;

use super::log::log;

/// The variable with the state key, which seals the records: 32 to 64 bytes in hexadecimal.
pub const STATE_KEY_VARIABLE: &str = "CLAWDB_SESSION_STATE_KEY";
/// The variable with the previous state keys, separated by commas.
pub const PREVIOUS_STATE_KEYS_VARIABLE: &str = "CLAWDB_SESSION_PREVIOUS_STATE_KEYS";

/// The suffix of the file with the guard's previous keys.
const PREVIOUS_GUARD_KEYS: &str = "previous-guard-keys";

/// The keys that seal the records.
pub struct StateKeys {
    pub current: Vec<u8>,
    pub previous: Vec<Vec<u8>>,
    /// The variable or the file of the current key.
    pub name: String,
    /// The file in which the current key must still be stored.
    pub unwritten: Option<PathBuf>,
}

/// A key and its source.
struct Key {
    bytes: Vec<u8>,
    /// Its variable or file.
    name: String,
    /// The file in which it must still be stored.
    unwritten: Option<PathBuf>,
}

impl StateKeys {
    /// Reads the keys from the environment. If the current key is not there, reads it from
    /// `<journal>.state-key`. If that file and the journal do not exist, generates it;
    /// [`write_file`](Self::write_file) then creates the file. The component checks the lengths.
    pub fn find(journal: Option<&Path>) -> Result<Self, Box<dyn Error>> {
        let previous = variable(PREVIOUS_STATE_KEYS_VARIABLE)?.unwrap_or_default();
        let previous = previous
            .split(',')
            .filter(|digits| !digits.trim().is_empty());
        let parse = |digits: &str| Ok(Key::parse(PREVIOUS_STATE_KEYS_VARIABLE, digits)?.bytes);
        let previous = previous.map(parse).collect::<Result<_, InvalidSetting>>()?;
        let current = match variable(STATE_KEY_VARIABLE)? {
            Some(digits) => {
                let key = Key::parse(STATE_KEY_VARIABLE, &digits)?;
                warn_of_other_key(journal, &key.bytes);
                key
            }
            None => find_or_generate(journal, "state-key", STATE_KEY_VARIABLE)?,
        };
        Ok(Self {
            current: current.bytes,
            previous,
            name: current.name,
            unwritten: current.unwritten,
        })
    }

    /// Creates the file of a new key. If another process creates it at the same time, uses that
    /// key.
    pub fn write_file(&mut self) -> Result<(), Box<dyn Error>> {
        if let Some(file) = self.unwritten.take() {
            self.current = write_key_file(&file, &self.current)?.bytes;
        }
        Ok(())
    }
}

/// The keys of the embedded guard of a host with a journal.
pub struct GuardKeys {
    current: Key,
    /// The keys that were used before it.
    previous: Vec<Vec<u8>>,
    /// The number of previous keys from the environment. The others are from the file.
    in_environment: usize,
    file: Option<PathBuf>,
}

impl GuardKeys {
    /// Reads the current key from the environment, or else from `<journal>.guard-key`. If that file
    /// and the journal do not exist, generates it; [`write_file`](Self::write_file) then creates
    /// the file. Reads the previous keys from the environment and from
    /// `<journal>.previous-guard-keys`, one on each line.
    pub fn find(journal: Option<&Path>) -> Result<Self, Box<dyn Error>> {
        let current = match std::env::var_os(SECRET_VARIABLE) {
            Some(secret) => Key {
                bytes: secret.as_encoded_bytes().to_vec(),
                name: SECRET_VARIABLE.into(),
                unwritten: None,
            },
            None => find_or_generate(journal, "guard-key", SECRET_VARIABLE)?,
        };
        let mut previous = previous_secrets_from_environment();
        let in_environment = previous.len();
        let file = journal.map(|journal| file_beside(journal, PREVIOUS_GUARD_KEYS));
        if let Some(file) = &file {
            previous.extend(previous_keys(file)?);
        }
        Ok(Self {
            current,
            previous,
            in_environment,
            file,
        })
    }

    /// Creates the file of a new key. If another process creates it at the same time, uses that
    /// key.
    pub fn write_file(&mut self) -> Result<(), Box<dyn Error>> {
        if let Some(file) = self.current.unwritten.take() {
            self.current = write_key_file(&file, &self.current.bytes)?;
        }
        Ok(())
    }

    /// Returns a guard with these keys. A guard of a later process accepts its tokens.
    pub fn guard(&self) -> Result<JwtGuard, Box<dyn Error>> {
        let guard = JwtGuard::new(&self.current.bytes)
            .map_err(|short| short_secret(&self.current.name, short.bytes))?;
        guard
            .with_previous_secrets(&self.previous)
            .map_err(|error| match (&self.file, error) {
                (Some(file), SecretError::TooManyPrevious { .. }) => {
                    let in_file = self.previous.len() - self.in_environment;
                    format!(
                        "{error}; {} are from {PREVIOUS_SECRETS_VARIABLE} and {in_file} from {}",
                        self.in_environment,
                        file.display()
                    )
                    .into()
                }
                // The keys of the file were checked already and come last. So a short key is from
                // the variable, and its number in the error is its line there.
                (_, error) => error.into(),
            })
    }
}

/// Returns the keys in a file, one from each line that is not empty. A missing file has no keys.
fn previous_keys(file: &Path) -> Result<Vec<Vec<u8>>, Box<dyn Error>> {
    let name = file.display();
    let text = match fs::read_to_string(file) {
        Ok(text) => text,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(format!("{name}: {error}").into()),
    };
    let lines = text.lines().enumerate();
    let keys = lines
        .filter(|(_, line)| !line.trim().is_empty())
        .map(|(at, line)| {
            let key = Key::parse(&format!("{name}, line {}", at + 1), line)?;
            if key.bytes.len() < MIN_SECRET {
                return Err(short_secret(&key.name, key.bytes.len()).into());
            }
            Ok(key.bytes)
        });
    keys.collect()
}

/// Warns if the file beside the journal has another state key than the environment. Without the
/// variable, the next start would use the key of the file.
fn warn_of_other_key(journal: Option<&Path>, key: &[u8]) {
    let Some(journal) = journal else {
        return;
    };
    let file = file_beside(journal, "state-key");
    let in_file = fs::read_to_string(&file).ok();
    let in_file = in_file.and_then(|digits| hex::decode(digits.trim()).ok());
    if in_file.is_some_and(|in_file| in_file != key) {
        log(format_args!(
            "{} holds another key than {STATE_KEY_VARIABLE}, which is used: write the new key into \
             the file, or keep the variable set",
            file.display()
        ));
    }
}

fn file_beside(journal: &Path, what: &str) -> PathBuf {
    let mut file = journal.as_os_str().to_owned();
    file.push(format!(".{what}"));
    PathBuf::from(file)
}

/// Returns a guard with the keys from the environment, or with a random key if they are not set.
pub fn guard() -> Result<JwtGuard, Box<dyn Error>> {
    JwtGuard::from_environment().map_err(|error| match error {
        SecretError::Short(short) => short_secret(SECRET_VARIABLE, short.bytes).into(),
        error => error.into(),
    })
}

fn short_secret(name: &str, bytes: usize) -> InvalidSetting {
    let reason = format!("must have at least {MIN_SECRET} bytes");
    InvalidSetting::new(name, format!("{bytes} bytes"), reason)
}

/// Returns the value of an environment variable. A value that is not Unicode is an error; it does
/// not count as absent.
fn variable(name: &str) -> Result<Option<String>, InvalidSetting> {
    let value = std::env::var_os(name);
    let text = value.map(|value| {
        let length = value.len();
        value
            .into_string()
            .map_err(|_| not_hexadecimal(name, length))
    });
    text.transpose()
}

fn not_hexadecimal(name: &str, bytes: usize) -> InvalidSetting {
    let reason = "must be an even number of hexadecimal digits";
    InvalidSetting::new(name, format!("{bytes} bytes"), reason)
}

/// Returns the key in the file beside the journal, or a random one if neither the file nor the
/// journal exists.
fn find_or_generate(
    journal: Option<&Path>,
    what: &str,
    variable: &str,
) -> Result<Key, Box<dyn Error>> {
    let Some(journal) = journal else {
        return Err(format!(
            "{variable} must be set to the same key on all hosts of the journal: 64 hexadecimal \
             digits, such as the output of `openssl rand -hex 32`"
        )
        .into());
    };
    let file = file_beside(journal, what);
    let name = file.display().to_string();
    match fs::read_to_string(&file) {
        Ok(digits) => Ok(Key::parse(&name, &digits)?),
        Err(error) if error.kind() == ErrorKind::NotFound => {
            if journal.exists() {
                return Err(format!(
                    "{name} is missing, and the sessions in {} need its key: restore the file, or \
                     set {variable}",
                    journal.display()
                )
                .into());
            }
            let mut bytes = vec![0; 32];
            getrandom::fill(&mut bytes)?;
            let unwritten = Some(file);
            Ok(Key {
                bytes,
                name,
                unwritten,
            })
        }
        Err(error) => Err(format!("{name}: {error}").into()),
    }
}

/// Creates the file with this key and returns the key in the file, which another process may have
/// created at the same time.
fn write_key_file(file: &Path, key: &[u8]) -> Result<Key, Box<dyn Error>> {
    let name = file.display().to_string();
    if create_file(file, &hex::encode(key)).map_err(|error| format!("{name}: {error}"))? {
        log(format_args!(
            "created {name}: back it up as well as the journal"
        ));
    }
    let digits = fs::read_to_string(file).map_err(|error| format!("{name}: {error}"))?;
    Ok(Key::parse(&name, &digits)?)
}

/// Creates the file and returns whether it did not exist. Only the owner may read it. It is synced
/// to the disk, so that it is there before any record that needs it.
fn create_file(file: &Path, digits: &str) -> std::io::Result<bool> {
    let mut unfinished = file.as_os_str().to_owned();
    unfinished.push(format!(".{:016x}.new", getrandom::u64()?));
    let unfinished = PathBuf::from(unfinished);
    let mut open = OpenOptions::new();
    open.write(true).create_new(true).mode(0o600);
    let mut opened = open.open(&unfinished)?;
    let written = writeln!(opened, "{digits}").and_then(|()| opened.sync_all());
    if written.is_err() {
        let _ = fs::remove_file(&unfinished);
    }
    written?;
    // Unlike a rename, this fails if the file exists.
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

impl Key {
    fn parse(name: &str, digits: &str) -> Result<Self, InvalidSetting> {
        let digits = digits.trim();
        let bytes = hex::decode(digits).map_err(|_| not_hexadecimal(name, digits.len()))?;
        Ok(Self {
            bytes,
            name: name.into(),
            unwritten: None,
        })
    }
}
