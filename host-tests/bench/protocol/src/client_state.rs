//! The client's copy of the sessions' ids and tokens. Its size is known and is subtracted from the
//! memory that is measured for the target.

use uuid::Uuid;

use crate::target::{CreatedSession, TargetError};
use crate::workload;

/// The ids and tokens by the sessions' numbers. The tokens are in one block, in slots of equal
/// size.
#[derive(Debug, Default)]
pub struct ClientState {
    ids: Vec<Uuid>,
    tokens: Vec<u8>,
    slot_size: usize,
}

impl ClientState {
    /// Returns the number of sessions.
    #[must_use]
    pub fn len(&self) -> u32 {
        u32::try_from(self.ids.len()).unwrap_or(u32::MAX)
    }

    /// Returns whether there are no sessions.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.ids.is_empty()
    }

    /// Reserves memory for this total number of sessions, so that the block is never copied.
    pub fn reserve(&mut self, count: u32) {
        let more = usize::try_from(count.saturating_sub(self.len())).unwrap_or(0);
        self.ids.reserve_exact(more);
        self.tokens
            .reserve_exact(more.saturating_mul(self.slot_size.max(workload::TOKEN_LENGTH + 66)));
    }

    /// Adds a session.
    ///
    /// # Errors
    /// [`TargetError`] for a token that is more than 32 bytes longer than the first one.
    pub fn add(&mut self, session: &CreatedSession) -> Result<(), TargetError> {
        if self.is_empty() {
            // Two bytes for the length, and 32 for later tokens that are longer.
            self.slot_size = session.token.len() + 34;
        }
        let number = self.ids.len();
        self.ids.push(session.id);
        self.tokens.resize((number + 1) * self.slot_size, 0);
        self.write(number, &session.token)
    }

    /// Replaces a session's token.
    ///
    /// # Errors
    /// [`TargetError`] for a token that is more than 32 bytes longer than the first one.
    pub fn replace_token(&mut self, number: u32, token: &str) -> Result<(), TargetError> {
        self.write(index(number), token)
    }

    /// Returns a session's id.
    #[must_use]
    pub fn id(&self, number: u32) -> Uuid {
        self.ids[index(number)]
    }

    /// Returns a session's token.
    #[must_use]
    pub fn token(&self, number: u32) -> String {
        let slot = &self.tokens[index(number) * self.slot_size..];
        let length = usize::from(u16::from_le_bytes([slot[0], slot[1]]));
        String::from_utf8_lossy(&slot[2..2 + length]).into_owned()
    }

    /// Returns the size of the ids and tokens in memory, in bytes.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.ids.len() * size_of::<Uuid>() + self.tokens.len()
    }

    fn write(&mut self, number: usize, token: &str) -> Result<(), TargetError> {
        let too_long =
            || TargetError::failed("a token is more than 32 bytes longer than the first one");
        let length = u16::try_from(token.len()).map_err(|_| too_long())?;
        let slot = &mut self.tokens[number * self.slot_size..][..self.slot_size];
        let bytes = slot.get_mut(2..2 + token.len()).ok_or_else(too_long)?;
        bytes.copy_from_slice(token.as_bytes());
        slot[..2].copy_from_slice(&length.to_le_bytes());
        Ok(())
    }
}

fn index(number: u32) -> usize {
    usize::try_from(number).unwrap_or(usize::MAX)
}
