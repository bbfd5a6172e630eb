//! Long texts of the state, in pieces.

/// The most bytes of a piece. A block of the allocator has 4 bytes more.
const PIECE: usize = 508;
/// The longest word, in bytes, that is always in one piece.
const WORD: usize = 256;

/// A text that is stored in pieces of at most 508 bytes.
///
/// A short piece fits between the blocks of memory that are in use. So the memory that ended
/// sessions have freed is used again, however long the next texts are (R3).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Text {
    piece: Box<str>,
    /// What follows the piece. A short text has nothing more.
    rest: Option<Box<Self>>,
}

impl Text {
    /// Splits a text into pieces. A word of at most 256 bytes is in one piece, with the space that
    /// follows it.
    #[must_use]
    pub fn new(text: String) -> Self {
        if text.len() > PIECE {
            return Self::split(&text);
        }
        Self {
            piece: text.into(),
            rest: None,
        }
    }

    fn split(text: &str) -> Self {
        let (piece, rest) = end_of_piece(text)
            .and_then(|end| text.split_at_checked(end))
            .map_or((text, None), |(piece, rest)| (piece, Some(rest)));
        Self {
            piece: piece.into(),
            // The longest text has 33 kB, and each piece at least 252 bytes, so the recursion ends.
            rest: rest.map(|rest| Box::new(Self::split(rest))),
        }
    }

    /// Returns the first piece.
    #[must_use]
    pub fn piece(&self) -> &str {
        &self.piece
    }

    /// Returns what follows the first piece.
    #[must_use]
    pub fn rest(&self) -> Option<&Self> {
        self.rest.as_deref()
    }

    /// Returns the pieces in their order.
    pub fn pieces(&self) -> impl Iterator<Item = &str> {
        std::iter::successors(Some(self), |text| text.rest()).map(Self::piece)
    }

    /// Returns how many bytes the text has.
    #[must_use]
    pub fn size(&self) -> usize {
        let sizes = self.pieces().map(str::len);
        sizes.fold(0, usize::saturating_add)
    }
}

impl From<&Text> for String {
    fn from(text: &Text) -> Self {
        let mut whole = Self::with_capacity(text.size());
        whole.extend(text.pieces());
        whole
    }
}

/// Returns how many bytes the first piece has, or `None` if the text is not longer than a piece.
fn end_of_piece(text: &str) -> Option<usize> {
    let bytes = text.as_bytes().get(..PIECE)?;
    if bytes.len() == text.len() {
        return None;
    }
    let words = bytes.get(PIECE - WORD - 1..)?;
    let after = words.iter().rev().position(|byte| *byte == b' ');
    Some(match after {
        Some(after) => PIECE.saturating_sub(after),
        None => text.floor_char_boundary(PIECE),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sizes(text: &Text) -> Vec<usize> {
        text.pieces().map(str::len).collect()
    }

    /// Checks that the text is whole, and returns it.
    fn whole(text: Text, expected: &str) -> Text {
        assert_eq!(String::from(&text), expected);
        assert_eq!(text.size(), expected.len());
        text
    }

    #[test]
    fn r3_a_text_is_stored_in_pieces_of_at_most_508_bytes() {
        for (size, expected) in [
            (0, vec![0]),
            (1, vec![1]),
            (508, vec![508]),
            (509, vec![508, 1]),
            (1_016, vec![508, 508]),
            (1_017, vec![508, 508, 1]),
        ] {
            let letters: String = ('a'..='z').cycle().take(size).collect();
            let text = whole(Text::new(letters.clone()), &letters);
            assert_eq!(sizes(&text), expected, "{size} bytes");
        }
    }

    #[test]
    fn a_piece_ends_between_two_characters() {
        for (char, piece) in [('é', 508), ('€', 507), ('😀', 508)] {
            let chars = char.to_string().repeat(1_000);
            let text = whole(Text::new(chars.clone()), &chars);
            let whole_pieces = chars.len() / piece;
            assert!(text.pieces().take(whole_pieces).all(|it| it.len() == piece));
        }
        let shifted = format!("x{}", "😀".repeat(1_000));
        let text = whole(Text::new(shifted.clone()), &shifted);
        assert_eq!(sizes(&text)[..2], [505, 508]);
    }

    #[test]
    fn a_word_of_at_most_256_bytes_is_in_one_piece() {
        let split = |text: &str| sizes(&whole(Text::new(text.into()), text));
        let [short, long, longer] = [100, 256, 257].map(|size| "w".repeat(size));
        assert_eq!(split(&[&*long; 3].join(" ")), [257, 257, 256]);
        assert_eq!(split(&[&*short; 9].join(" ")), [505, 403]);
        // What fits into a piece is not split.
        let words = |size| format!("{} {} {short}", "w".repeat(507), "w".repeat(size));
        assert_eq!(split(&words(407)), [508, 508]);
        assert_eq!(split(&words(408)), [508, 409, 100]);
        // The space is the first or the last of the bytes that are searched.
        assert_eq!(split(&format!("{} {long} w", "w".repeat(251))), [252, 258]);
        assert_eq!(split(&format!("{} {short}", "w".repeat(507))), [508, 100]);
        // A longer word is split.
        assert_eq!(split(&format!("{} {longer}", "w".repeat(250))), [508]);
        assert_eq!(split(&format!("{} {longer}w", "w".repeat(250))), [508, 1]);
        assert_eq!(split(""), [0]);
    }
}
