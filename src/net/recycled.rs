//! Boxes whose memory is used again on the same thread: of what every call needs one of, none is
//! asked of the allocator once as many are at hand as there have ever been calls at a time.

use std::alloc::{Layout, alloc, dealloc, handle_alloc_error};
use std::cell::RefCell;
use std::marker::PhantomData;
use std::ops::{Deref, DerefMut};
use std::pin::Pin;
use std::ptr::NonNull;

/// Most blocks that a thread keeps of each layout; further ones are freed.
const KEPT: usize = 64;

/// Free blocks of one layout.
struct Spare {
    layout: Layout,
    blocks: Vec<NonNull<u8>>,
}

impl Drop for Spare {
    fn drop(&mut self) {
        for block in self.blocks.drain(..) {
            // SAFETY: the block came from the allocator with this layout, and nobody uses it.
            unsafe { dealloc(block.as_ptr(), self.layout) };
        }
    }
}

thread_local! {
    // One for each type that is boxed so: a handful, which are looked through faster than a map.
    static SPARE: RefCell<Vec<Spare>> = const { RefCell::new(Vec::new()) };
}

/// A block of that layout, which is not empty. Nothing is known of what it holds.
fn block(layout: Layout) -> NonNull<u8> {
    let kept = SPARE.try_with(|spare| {
        let mut spare = spare.try_borrow_mut().ok()?;
        let spare = spare.iter_mut().find(|spare| spare.layout == layout)?;
        spare.blocks.pop()
    });
    kept.ok().flatten().unwrap_or_else(|| {
        // SAFETY: the layout's size is not zero: `Recycled::new` sees to it.
        let block = unsafe { alloc(layout) };
        NonNull::new(block).unwrap_or_else(|| handle_alloc_error(layout))
    })
}

/// Takes a block back that [`block`] gave for the same layout.
fn give_back(block: NonNull<u8>, layout: Layout) {
    // Fails only while the thread is going down.
    let kept = SPARE.try_with(|spare| {
        let Ok(mut spare) = spare.try_borrow_mut() else {
            return false;
        };
        let index = spare.iter().position(|spare| spare.layout == layout);
        let index = index.unwrap_or_else(|| {
            let blocks = Vec::with_capacity(KEPT);
            spare.push(Spare { layout, blocks });
            spare.len() - 1
        });
        let blocks = &mut spare[index].blocks;
        let fits = blocks.len() < KEPT;
        if fits {
            blocks.push(block);
        }
        fits
    });
    if kept != Ok(true) {
        // SAFETY: as in `Spare::drop`.
        unsafe { dealloc(block.as_ptr(), layout) };
    }
}

/// A value on the heap, as in a `Box`, in recycled memory.
pub struct Recycled<T>(NonNull<T>, PhantomData<T>);

impl<T> Recycled<T> {
    /// Puts a value on the heap.
    pub fn new(value: T) -> Recycled<T> {
        const { assert!(size_of::<T>() > 0) };
        let place = block(Layout::new::<T>()).cast::<T>();
        // SAFETY: the block has `T`'s layout, and nobody else has it.
        unsafe { place.write(value) };
        Recycled(place, PhantomData)
    }

    /// Puts a value on the heap, from where it doesn't move.
    pub fn pin(value: T) -> Pin<Recycled<T>> {
        // SAFETY: the value stays where it is until it is dropped there. Only `into_inner` could move
        // it out, and a `Pin` doesn't part with what it is made of, unless that is `Unpin`.
        unsafe { Pin::new_unchecked(Recycled::new(value)) }
    }

    /// Takes the value off the heap.
    pub fn into_inner(self) -> T {
        // SAFETY: the value is there, and is not used again: `self` is forgotten.
        let value = unsafe { self.0.read() };
        give_back(self.0.cast(), Layout::new::<T>());
        std::mem::forget(self);
        value
    }
}

impl<T> Drop for Recycled<T> {
    fn drop(&mut self) {
        // SAFETY: the value is there, and is not used again. If its drop panics its memory is leaked.
        unsafe { self.0.drop_in_place() };
        give_back(self.0.cast(), Layout::new::<T>());
    }
}

impl<T> Deref for Recycled<T> {
    type Target = T;

    #[inline]
    fn deref(&self) -> &T {
        // SAFETY: the value is there for as long as `self` is, and is borrowed as `self` is.
        unsafe { self.0.as_ref() }
    }
}

impl<T> DerefMut for Recycled<T> {
    #[inline]
    fn deref_mut(&mut self) -> &mut T {
        // SAFETY: as above; `self` is borrowed by nobody else.
        unsafe { self.0.as_mut() }
    }
}

#[cfg(test)]
mod tests {
    use std::rc::Rc;

    use super::*;

    fn place<T>(boxed: &Recycled<T>) -> *const T {
        &raw const **boxed
    }

    #[test]
    fn memory_is_used_again_by_what_has_its_layout() {
        let first = Recycled::new([1_u64; 9]);
        let at = place(&first);
        let other = Recycled::new([2_u64; 10]);
        drop(first);
        let second = Recycled::new([3_i64; 9]);
        assert_eq!((place(&second).cast(), *second), (at, [3; 9]));
        assert_eq!(*other, [2; 10]);
        let third = Recycled::new([4_i64; 9]);
        assert_ne!(place(&third), place(&second));
        assert_eq!((second.into_inner(), *third), ([3; 9], [4; 9]));
    }

    #[test]
    fn a_value_is_dropped_once_wherever_it_ends() {
        let counted = Rc::new(());
        let mut boxed: Vec<_> = (0..2 * KEPT)
            .map(|_| Recycled::new(Rc::clone(&counted)))
            .collect();
        let taken = boxed.pop().map(Recycled::into_inner);
        assert_eq!(Rc::strong_count(&counted), 2 * KEPT + 1);
        drop((boxed, taken));
        assert_eq!(Rc::strong_count(&counted), 1);
        let pinned = Recycled::pin(async move { drop(counted) });
        drop(pinned);
    }
}
