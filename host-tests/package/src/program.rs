//! Programs that packaging runs.

use std::process::Command;

use crate::error::{Context, PackageError, Result};

/// The lines of a failed program's output that its error shows.
const SHOWN_LINES: usize = 30;

/// Runs a program to its end, and returns what it printed.
///
/// # Errors
/// [`PackageError::Program`] and [`PackageError::Failed`].
pub fn run(command: &mut Command) -> Result<String> {
    let output = command.output().map_err(|source| PackageError::Program {
        command: text(command),
        source,
    })?;
    if output.status.success() {
        return String::from_utf8(output.stdout).about(text(command));
    }
    let printed = [output.stdout, output.stderr].concat();
    let printed = String::from_utf8_lossy(&printed);
    let lines: Vec<_> = printed.lines().collect();
    let shown = lines.len().saturating_sub(SHOWN_LINES);
    Err(PackageError::Failed {
        command: text(command),
        status: output.status.to_string(),
        output: lines[shown..].join("\n"),
    })
}

/// Returns the program and its arguments as a person would type them.
fn text(command: &Command) -> String {
    let words = std::iter::once(command.get_program()).chain(command.get_args());
    let words: Vec<_> = words.map(|it| it.to_string_lossy()).collect();
    words.join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failed_program_is_reported_with_its_status_and_what_it_printed() {
        let failed = run(Command::new("sh").args(["-c", "echo out; echo err >&2; exit 3"]));
        let error = failed.unwrap_err().to_string();
        assert!(error.contains("exit status: 3"), "{error}");
        assert!(error.ends_with("out\nerr"), "{error}");
    }

    #[test]
    fn a_program_that_does_not_exist_is_named() {
        let error = run(Command::new("no-such-program").arg("x")).unwrap_err();
        assert!(
            error
                .to_string()
                .starts_with("cannot run `no-such-program x`")
        );
    }
}
