//! The bytes of the fuzzer as a sequence of choices.

/// The choices that are left. After the last byte, each choice is the first of its possibilities.
pub struct Script<'a> {
    rest: &'a [u8],
}

impl<'a> Script<'a> {
    /// Returns the choices in these bytes.
    pub fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }

    /// Returns whether no byte is left.
    pub fn is_at_end(&self) -> bool {
        self.rest.is_empty()
    }

    /// Takes a byte.
    pub fn byte(&mut self) -> u8 {
        let (byte, rest) = self.rest.split_first().unwrap_or((&0, &[]));
        self.rest = rest;
        *byte
    }

    /// Takes a number below `bound`, which is at most 256.
    pub fn below(&mut self, bound: usize) -> usize {
        usize::from(self.byte()) % bound
    }

    /// Takes a truth value.
    pub fn flag(&mut self) -> bool {
        self.byte() & 1 == 1
    }

    /// Takes one of the values. Returns `None` if there are none.
    pub fn pick<T: Clone>(&mut self, values: &[T]) -> Option<T> {
        let number = usize::from(u16::from_le_bytes([self.byte(), 0]));
        let index = number.checked_rem(values.len())?;
        values.get(index).cloned()
    }

    /// Takes a number: most are small, some are at the ends of the range, and some are arbitrary.
    pub fn number(&mut self) -> u64 {
        match self.byte() {
            small @ 0..=199 => small.into(),
            200..=219 => u64::from(self.byte()) * 1_000,
            220..=229 => u64::from(self.byte()) << 32,
            230..=239 => u64::MAX - u64::from(self.byte()),
            240..=247 => (1 << 53) + u64::from(self.byte()) - 128,
            _ => u64::from_le_bytes(self.bytes()),
        }
    }

    /// Takes `N` bytes.
    pub fn bytes<const N: usize>(&mut self) -> [u8; N] {
        std::array::from_fn(|_| self.byte())
    }

    /// Takes at most this many bytes as a text; other bytes than UTF-8 are replaced.
    pub fn text(&mut self, max: usize) -> String {
        let len = self.below(max + 1).min(self.rest.len());
        let (text, rest) = self.rest.split_at(len);
        self.rest = rest;
        String::from_utf8_lossy(text).into_owned()
    }

    /// Takes all bytes that are left.
    pub fn rest(&mut self) -> &'a [u8] {
        std::mem::take(&mut self.rest)
    }
}
