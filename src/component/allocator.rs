//! The allocator of the component. It overwrites all memory that is freed, because that can have
//! held a token or a key (R22).

use std::alloc::{GlobalAlloc, Layout, System};

/// The allocator of the standard library, but freed memory is zero.
pub(super) struct WipingAllocator;

// The default `realloc` always moves a block, and frees the old one with `dealloc`.
//
// SAFETY: every function passes its arguments to `System`, which has the same requirements.
#[expect(unsafe_code, reason = "an allocator cannot be implemented without it")]
unsafe impl GlobalAlloc for WipingAllocator {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        // SAFETY: the caller owns the block, which has this size.
        unsafe {
            block.write_bytes(0, layout.size());
            System.dealloc(block, layout);
        }
    }
}
