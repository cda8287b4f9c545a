//! No core dumps: one would hold every credential, and the bodies of the calls in flight.

use std::io;

/// Lets the kernel write no core dump of this process, for good: neither to a file, which a
/// limit of 0 bytes stops, nor to a program (`core_pattern` with `|`), which asks no limit and is
/// stopped by `PR_SET_DUMPABLE`. The latter also keeps all users but root from attaching to the
/// process and from reading its memory and environment (prctl(2), core(5), ptrace(2)).
///
/// # Errors
/// What the kernel says: a sandbox that denies these calls.
pub fn forbid() -> io::Result<()> {
    let none: libc::c_ulong = 0;
    // SAFETY: with PR_SET_DUMPABLE, prctl takes numbers and touches no memory of ours.
    if unsafe { libc::prctl(libc::PR_SET_DUMPABLE, none, none, none, none) } != 0 {
        return Err(io::Error::last_os_error());
    }
    let nothing = libc::rlimit {
        rlim_cur: 0,
        rlim_max: 0,
    };
    // SAFETY: the kernel reads one rlimit, which lives on for the call.
    if unsafe { libc::setrlimit(libc::RLIMIT_CORE, &raw const nothing) } != 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_of_the_two_ways_is_shut() {
        forbid().unwrap();
        // SAFETY: PR_GET_DUMPABLE returns a number and touches no memory.
        assert_eq!(unsafe { libc::prctl(libc::PR_GET_DUMPABLE) }, 0);
        let mut limit = libc::rlimit {
            rlim_cur: 1,
            rlim_max: 1,
        };
        // SAFETY: the kernel writes one rlimit, which is there.
        let asked = unsafe { libc::getrlimit(libc::RLIMIT_CORE, &raw mut limit) };
        assert_eq!(asked, 0);
        assert_eq!((limit.rlim_cur, limit.rlim_max), (0, 0));
    }
}
