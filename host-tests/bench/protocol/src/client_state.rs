//! What callers know of the sessions that were made. It stands apart from the contestant, and what it
//! takes is known, so that it can be left out of the contestant's memory.

use uuid::Uuid;

use crate::target::{Failure, Granted};
use crate::workload;

/// Ids and tokens by the sessions' numbers; tokens in one block, each in a place of the same size.
#[derive(Debug, Default)]
pub struct Book {
    ids: Vec<Uuid>,
    tokens: Vec<u8>,
    place: usize,
}

impl Book {
    /// How many sessions there are.
    #[must_use]
    pub fn len(&self) -> u32 {
        u32::try_from(self.ids.len()).unwrap_or(u32::MAX)
    }

    /// There are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.ids.is_empty()
    }

    /// Room for so many sessions in all, so that the block is never copied.
    pub fn reserve(&mut self, count: u32) {
        let more = usize::try_from(count.saturating_sub(self.len())).unwrap_or(0);
        self.ids.reserve_exact(more);
        self.tokens
            .reserve_exact(more.saturating_mul(self.place.max(workload::TOKEN_LENGTH + 66)));
    }

    /// Another session.
    ///
    /// # Errors
    /// [`Failure`] for a token that is far longer than the first one.
    pub fn add(&mut self, granted: &Granted) -> Result<(), Failure> {
        if self.is_empty() {
            // Two bytes for its length, and some for later ones.
            self.place = granted.token.len() + 34;
        }
        let number = self.ids.len();
        self.ids.push(granted.id);
        self.tokens.resize((number + 1) * self.place, 0);
        self.write(number, &granted.token)
    }

    /// A session has another token now.
    ///
    /// # Errors
    /// [`Failure`] for a token that is far longer than the first one.
    pub fn replace(&mut self, number: u32, token: &str) -> Result<(), Failure> {
        self.write(index(number), token)
    }

    /// A session's id.
    #[must_use]
    pub fn id(&self, number: u32) -> Uuid {
        self.ids[index(number)]
    }

    /// A session's token.
    #[must_use]
    pub fn token(&self, number: u32) -> String {
        let place = &self.tokens[index(number) * self.place..];
        let length = usize::from(u16::from_le_bytes([place[0], place[1]]));
        String::from_utf8_lossy(&place[2..2 + length]).into_owned()
    }

    /// How much memory it takes, in bytes.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.ids.len() * size_of::<Uuid>() + self.tokens.len()
    }

    fn write(&mut self, number: usize, token: &str) -> Result<(), Failure> {
        let too_long = || Failure::broken("its tokens have very different lengths");
        let length = u16::try_from(token.len()).map_err(|_| too_long())?;
        let place = &mut self.tokens[number * self.place..][..self.place];
        let room = place.get_mut(2..2 + token.len()).ok_or_else(too_long)?;
        room.copy_from_slice(token.as_bytes());
        place[..2].copy_from_slice(&length.to_le_bytes());
        Ok(())
    }
}

fn index(number: u32) -> usize {
    usize::try_from(number).unwrap_or(usize::MAX)
}
