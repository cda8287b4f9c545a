//! The program's allocator, told to give freed memory back soon.
//!
//! A burst of connections leaves holes of every size behind. glibc's malloc keeps small ones and
//! fills them badly, so what is large doesn't come from its heaps but from the kernel, to which it
//! goes back at once. With the feature `jemalloc` small ones go back too, within a second.

/// Sets the allocator up. To be called once, before other threads are started. False if it can't
/// be done as it should: then memory is returned later, or less of it.
pub fn set_up() -> bool {
    allocator::set_up()
}

#[cfg(not(feature = "jemalloc"))]
mod allocator {
    use std::ffi::c_int;

    use crate::net::buffer::LARGE;

    /// Bytes from which on an allocation is the kernel's. glibc's own bound grows with use. Buffers
    /// of that size are recycled by their threads, so that few calls meet the kernel.
    const MAPPED_FROM: usize = LARGE;

    /// Free bytes at the end of a heap that stay with it.
    const KEPT: usize = 256 * 1024;

    pub fn set_up() -> bool {
        set(libc::M_MMAP_THRESHOLD, MAPPED_FROM) && set(libc::M_TRIM_THRESHOLD, KEPT)
    }

    fn set(parameter: c_int, bytes: usize) -> bool {
        let Ok(bytes) = c_int::try_from(bytes) else {
            return false;
        };
        // SAFETY: two numbers, and no other thread yet.
        unsafe { libc::mallopt(parameter, bytes) == 1 }
    }

    #[cfg(test)]
    mod tests {
        #[test]
        fn glibc_takes_the_settings() {
            assert!(super::set_up());
        }
    }
}

#[cfg(feature = "jemalloc")]
mod allocator {
    use std::ffi::CStr;

    use tikv_jemalloc_sys::mallctl;

    /// Milliseconds that freed memory may wait for its next use before the kernel gets it back.
    const DECAY_MS: isize = 1000;

    /// Threads that give it back, so that no core has to.
    const SWEEPERS: usize = 1;

    pub fn set_up() -> bool {
        // The arena that exists already, then those to come.
        set(c"arena.0.dirty_decay_ms", DECAY_MS)
            & set(c"arenas.dirty_decay_ms", DECAY_MS)
            & set(c"max_background_threads", SWEEPERS)
            & set(c"background_thread", true)
    }

    /// Changes one setting. `T` must be the type that jemalloc's manual gives it.
    fn set<T: Setting>(name: &CStr, mut value: T) -> bool {
        // SAFETY: the name ends with a NUL; jemalloc copies the value while the call lasts, and
        // refuses one of another size than its own.
        let error = unsafe {
            mallctl(
                name.as_ptr(),
                std::ptr::null_mut(),
                std::ptr::null_mut(),
                (&raw mut value).cast(),
                size_of::<T>(),
            )
        };
        error == 0
    }

    /// Types of settings in which every bit pattern of the right size is a value of jemalloc's.
    trait Setting: Copy {}

    impl Setting for bool {}
    impl Setting for usize {}
    impl Setting for isize {}

    #[cfg(test)]
    mod tests {
        use super::*;

        #[test]
        fn jemalloc_knows_the_settings_and_no_others() {
            assert!(set_up());
            assert!(!set(c"arenas.no_such_setting", 1_usize));
            assert!(!set(c"background_thread", 1_usize), "of another size");
        }
    }
}
