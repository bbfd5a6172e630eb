//! Typed slots: the number of a value in a [`Slab`](super::slab::Slab). Each kind of value has its
//! own slot type, so that the slot of one kind cannot index the slab of another.

use std::num::NonZeroU32;

/// The number of a slot, counted from 0.
pub trait Slot: Copy {
    /// Returns the slot with this number.
    fn from_index(index: u32) -> Self;

    /// Returns the number of the slot.
    fn index(self) -> u32;
}

/// A slot's number plus one, so that an `Option` of a slot takes no more memory than a slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct RawSlot(NonZeroU32);

impl Slot for RawSlot {
    fn from_index(index: u32) -> Self {
        Self(NonZeroU32::MIN.saturating_add(index))
    }

    fn index(self) -> u32 {
        self.0.get().saturating_sub(1)
    }
}

/// Declares the slot type of one kind of values.
macro_rules! slot_type {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
        pub struct $name($crate::collections::slot::RawSlot);

        impl $crate::collections::slot::Slot for $name {
            fn from_index(index: u32) -> Self {
                Self($crate::collections::slot::Slot::from_index(index))
            }

            fn index(self) -> u32 {
                $crate::collections::slot::Slot::index(self.0)
            }
        }

        impl ::std::fmt::Debug for $name {
            fn fmt(&self, f: &mut ::std::fmt::Formatter<'_>) -> ::std::fmt::Result {
                let index = $crate::collections::slot::Slot::index(*self);
                f.debug_tuple(stringify!($name)).field(&index).finish()
            }
        }
    };
}

pub(crate) use slot_type;

#[cfg(test)]
mod tests {
    use super::*;

    slot_type! {
        /// The slot of a test value.
        TestSlot
    }

    #[test]
    fn a_slot_keeps_its_number_and_slots_are_ordered_by_number() {
        for index in [0, 1, 255, u32::MAX - 1] {
            assert_eq!(TestSlot::from_index(index).index(), index);
        }
        assert!(TestSlot::from_index(1) < TestSlot::from_index(2));
        assert_eq!(format!("{:?}", TestSlot::from_index(7)), "TestSlot(7)");
    }

    #[test]
    fn an_option_of_a_slot_takes_no_more_memory_than_a_slot() {
        assert_eq!(size_of::<TestSlot>(), 4);
        assert_eq!(size_of::<Option<TestSlot>>(), 4);
    }
}
