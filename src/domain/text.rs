//! Long texts of the state, in pieces.

/// The most bytes of a piece. A block of the allocator has 4 bytes more.
const PIECE: usize = 508;

/// A text that is stored in pieces of at most 508 bytes.
///
/// A short piece fits between the blocks of memory that are in use. So the memory that ended
/// sessions have freed is used again, however long the next texts are (R3).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Text {
    first: Box<str>,
    /// The other pieces. A short text has none, and then this takes one pointer.
    rest: Option<Box<Pieces>>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Pieces(Box<[Box<str>]>);

impl Text {
    /// Returns the text in pieces that end anywhere.
    #[must_use]
    pub fn new(text: String) -> Self {
        Self::split(text, |text| Some(text.floor_char_boundary(PIECE)))
    }

    /// Returns the text in pieces that end with a space, except the last one. A word without a
    /// space in 508 bytes, and all after it, are one piece.
    #[must_use]
    pub fn of_words(text: String) -> Self {
        let end = |text: &str| {
            let mut bytes = text.bytes().take(PIECE);
            Some(bytes.rposition(|byte| byte == b' ')?.saturating_add(1))
        };
        Self::split(text, end)
    }

    /// Splits the text where `end` says. It gets what is left, if that is longer than a piece.
    fn split(text: String, end: impl Fn(&str) -> Option<usize>) -> Self {
        if text.len() <= PIECE {
            return Self {
                first: text.into(),
                rest: None,
            };
        }
        let mut left = text.as_str();
        let mut pieces = std::iter::from_fn(|| {
            let at = end(left).filter(|_| left.len() > PIECE);
            let (piece, after) = left.split_at_checked(at.unwrap_or(left.len()))?;
            left = after;
            (!piece.is_empty()).then(|| piece.into())
        });
        let first = pieces.next().unwrap_or_default();
        let rest = Some(Box::new(Pieces(pieces.collect())));
        Self { first, rest }
    }

    /// Returns the pieces in their order.
    pub fn pieces(&self) -> impl Iterator<Item = &str> {
        let rest = self.rest.iter().flat_map(|rest| rest.0.iter());
        std::iter::once(&self.first)
            .chain(rest)
            .map(|piece| &**piece)
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
    fn a_piece_of_words_ends_with_a_space() {
        let of_words = |text: &str| whole(Text::of_words(text.into()), text);
        let [short, long] = [100, 256].map(|size| "w".repeat(size));
        let text = of_words(&[&*long; 3].join(" "));
        assert_eq!(sizes(&text), [257, 257, 256]);
        let text = of_words(&[&*short; 9].join(" "));
        assert_eq!(sizes(&text), [505, 403]);
        let text = of_words(&format!("{} {short}", "w".repeat(507)));
        assert_eq!(sizes(&text), [508, 100]);
        // What fits into a piece is not split.
        let text = of_words(&format!("{} {} {short}", "w".repeat(507), "w".repeat(407)));
        assert_eq!(sizes(&text), [508, 508]);
        // Here the first space is after a whole piece.
        let text = of_words(&format!("{} {short}", "w".repeat(508)));
        assert_eq!(sizes(&text), [609]);
        assert_eq!(sizes(&of_words("")), [0]);
    }
}
