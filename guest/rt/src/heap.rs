//! The memory that formats take for their windows, and decompressors for theirs.

use core::alloc::{GlobalAlloc, Layout};
use core::cell::UnsafeCell;
use core::ffi::{c_int, c_void};
use core::ptr::{self, NonNull};

use guest_abi::layout::{HEAP_ADDR, HEAP_LEN};

#[global_allocator]
static HEAP: Heap = Heap(UnsafeCell::new(linked_list_allocator::Heap::empty()));

/// A guest's one heap.
struct Heap(UnsafeCell<linked_list_allocator::Heap>);

// SAFETY: a guest has one processor and no interrupts, so nothing runs beside the function that uses the heap.
unsafe impl Sync for Heap {}

/// Makes the heap usable. Called once, before anything allocates.
pub(crate) fn init() {
    let bottom = ptr::with_exposed_provenance_mut(HEAP_ADDR as usize);
    // SAFETY: no other reference to the heap exists: its methods below make theirs for as long as they run, they call
    // nothing that comes back here, and nothing runs beside them.
    let heap = unsafe { &mut *HEAP.0.get() };
    // SAFETY: the host maps HEAP_LEN bytes at HEAP_ADDR for reading and writing, for as long as the guest runs, and
    // nothing else in the guest uses them. This is the only call.
    unsafe { heap.init(bottom, HEAP_LEN as usize) }
}

// SAFETY: the blocks are those of linked_list_allocator, which keeps the contract: they do not overlap, fit their
// layout, and stay valid until they are given back.
unsafe impl GlobalAlloc for Heap {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // SAFETY: as in `init`: this is the only reference while the function runs.
        let heap = unsafe { &mut *self.0.get() };
        heap.allocate_first_fit(layout).map_or(ptr::null_mut(), NonNull::as_ptr)
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        // SAFETY: as in `init`: this is the only reference while the function runs.
        let heap = unsafe { &mut *self.0.get() };
        if let Some(block) = NonNull::new(block) {
            // SAFETY: the caller got the block from `alloc` with this layout and gives it back once.
            unsafe { heap.deallocate(block, layout) }
        }
    }
}

/// Memory for zlib-rs. Without a standard library it asks for it as a C program does, once for each thing that it keeps.
///
/// # Safety
///
/// As POSIX's `posix_memalign`, and `len` is not 0.
// SAFETY: the guest links no C library, so the name is defined once, as the function that POSIX describes.
#[unsafe(no_mangle)]
unsafe extern "C" fn posix_memalign(place: *mut *mut c_void, align: usize, len: usize) -> c_int {
    const EINVAL: c_int = 22;
    const ENOMEM: c_int = 12;

    let Ok(layout) = Layout::from_size_align(len, align) else { return EINVAL };
    // SAFETY: the caller does not ask for nothing.
    let block = unsafe { HEAP.alloc(layout) };
    if block.is_null() {
        return ENOMEM;
    }
    // SAFETY: the caller owns the place.
    unsafe { place.write(block.cast()) };
    0
}

/// Gives nothing back, as the block's length is not known: a guest keeps its decompressor for as long as it runs.
// SAFETY: as `posix_memalign`: the contract of `free` does not say when the memory is used again.
#[unsafe(no_mangle)]
extern "C" fn free(_block: *mut c_void) {}
