//! An allocator that overwrites memory when it is freed.

use std::alloc::{GlobalAlloc, Layout};
use std::hint::black_box;

/// An allocator that overwrites each block with zeros before it frees the block.
///
/// Many parts of a host copy tokens and keys: the runtime of the component, the buffers of
/// connections, futures. With this allocator, memory that is free holds none of them, and neither
/// does a core dump. The component has such an allocator for its own memory.
///
/// A block that grows or shrinks is always moved. A call of the allocator takes a few nanoseconds
/// longer, and about 20 ns more for each KiB that is freed.
///
/// ```
/// use std::alloc::System;
///
/// use clawdb_session_host::WipingAllocator;
///
/// #[global_allocator]
/// static ALLOCATOR: WipingAllocator<System> = WipingAllocator(System);
/// ```
#[derive(Clone, Copy, Debug, Default)]
pub struct WipingAllocator<A>(pub A);

// The default `realloc` allocates a block, copies the content, and frees the old block with the
// `dealloc` below.
//
// SAFETY: each function passes its arguments to the inner allocator, and the requirements are the
// same.
#[expect(unsafe_code, reason = "an allocator cannot be implemented without it")]
unsafe impl<A: GlobalAlloc> GlobalAlloc for WipingAllocator<A> {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        unsafe { self.0.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        unsafe { self.0.alloc_zeroed(layout) }
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        // SAFETY: the block has this size, and nothing refers to it any longer.
        unsafe { block.write_bytes(0, layout.size()) };
        // The compiler cannot assume that nothing reads the zeros.
        let block = black_box(block);
        unsafe { self.0.dealloc(block, layout) }
    }
}

#[cfg(test)]
#[expect(unsafe_code, reason = "an allocator is unsafe to call")]
mod tests {
    use super::*;
    use std::alloc::System;
    use std::cell::RefCell;

    /// An allocator that records the content of blocks when they are freed.
    struct Recording(RefCell<Vec<Vec<u8>>>);

    // SAFETY: it passes all calls to `System`.
    unsafe impl GlobalAlloc for Recording {
        unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
            unsafe { System.alloc(layout) }
        }

        unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
            // SAFETY: all bytes were written before.
            let content = unsafe { std::slice::from_raw_parts(block, layout.size()) };
            self.0.borrow_mut().push(content.into());
            unsafe { System.dealloc(block, layout) }
        }
    }

    #[test]
    fn a_block_is_zero_when_it_is_freed_or_moved() {
        let allocator = WipingAllocator(Recording(RefCell::default()));
        let layout = Layout::array::<u8>(100).unwrap();
        // SAFETY: the block is used within its size, and freed once with its layout.
        unsafe {
            let block = allocator.alloc(layout);
            block.write_bytes(7, 100);
            let moved = allocator.realloc(block, layout, 200);
            assert_eq!(moved.add(99).read(), 7);
            moved.write_bytes(7, 200);
            allocator.dealloc(moved, Layout::array::<u8>(200).unwrap());
        }
        let freed = allocator.0.0.into_inner();
        assert_eq!(freed, [vec![0; 100], vec![0; 200]]);
    }
}
