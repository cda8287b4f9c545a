//! What the kernel says of its wall clock.

/// Whether something keeps it synchronised (adjtimex(2)). None if the kernel doesn't say.
pub fn is_synchronised() -> Option<bool> {
    // SAFETY: an all-zero timex is valid, and with no mode set nothing is changed.
    let mut state: libc::timex = unsafe { std::mem::zeroed() };
    // SAFETY: the kernel writes the struct that it is given.
    match unsafe { libc::adjtimex(&raw mut state) } {
        -1 => None,
        _ => Some(state.status & libc::STA_UNSYNC == 0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernel_says_whether_its_clock_is_synchronised() {
        // Sandboxes may deny it: then it isn't known.
        let said = is_synchronised();
        assert!(said.is_none() || said == is_synchronised());
    }
}
