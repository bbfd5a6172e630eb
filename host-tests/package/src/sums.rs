//! Checksums, and the file that lists them.

use sha2::{Digest, Sha256};

/// The name of the file with the checksums of all others.
pub const FILE: &str = "SHA256SUMS";

/// Returns the SHA-256 of bytes in hexadecimal.
pub fn sha256(bytes: &[u8]) -> String {
    hex::encode(Sha256::digest(bytes))
}

/// Returns the text that `sha256sum -c` reads, in the order of the names.
pub fn text<'a>(files: impl IntoIterator<Item = (&'a str, &'a [u8])>) -> String {
    let mut lines: Vec<_> = files.into_iter().collect();
    lines.sort_unstable();
    let lines = lines
        .iter()
        .map(|(name, bytes)| format!("{}  {name}\n", sha256(bytes)));
    lines.collect()
}

/// Returns the names in such a text.
pub fn names(text: &str) -> Vec<&str> {
    text.lines()
        .filter_map(|line| line.split_once("  ").map(|it| it.1))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_text_is_sorted_by_name_and_names_returns_them() {
        let text = text([("b", &b"abc"[..]), ("a", &b""[..])]);
        let expected = "\
            e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855  a\n\
            ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad  b\n";
        assert_eq!(text, expected);
        assert_eq!(names(&text), ["a", "b"]);
    }
}
