//! File descriptors: how many the process may have, and how many of them are sockets of a core.

use std::io;

/// Kept for what isn't a core's socket: admin connections, lookups of names, files of a reload.
/// Where descriptors are few, a quarter of them is kept.
const KEPT: usize = 96;

/// What is taken to be open at the start if nobody says.
pub const UNKNOWN: usize = 64;

/// Of each core's runtime, beside its sockets.
const PER_CORE: usize = 4;

/// Raises the bound on open descriptors as far as this process may, and returns it.
///
/// # Errors
/// What the kernel says.
pub fn raise() -> io::Result<usize> {
    let mut bound = bound()?;
    if bound.rlim_cur < bound.rlim_max {
        let soft = bound.rlim_cur;
        bound.rlim_cur = bound.rlim_max;
        // SAFETY: the kernel only reads the struct.
        if unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &raw const bound) } != 0 {
            // A hard bound beyond what the kernel itself allows: the soft one stays.
            bound.rlim_cur = soft;
        }
    }
    Ok(usize::try_from(bound.rlim_cur).unwrap_or(usize::MAX))
}

fn bound() -> io::Result<libc::rlimit> {
    let mut bound = libc::rlimit {
        rlim_cur: 0,
        rlim_max: 0,
    };
    // SAFETY: the kernel writes the struct that it is given.
    match unsafe { libc::getrlimit(libc::RLIMIT_NOFILE, &raw mut bound) } {
        0 => Ok(bound),
        _ => Err(io::Error::last_os_error()),
    }
}

/// Descriptors that this process has open; a guess where there is no `/proc`.
pub fn open() -> usize {
    std::fs::read_dir("/proc/self/fd").map_or(UNKNOWN, Iterator::count)
}

/// Sockets that each of `cores` may have open, if the process may have `bound` descriptors and
/// has `open` before the cores are started.
pub fn share(bound: usize, open: usize, cores: usize) -> usize {
    let cores = cores.max(1);
    let left = bound.saturating_sub(open + cores * PER_CORE);
    (left - KEPT.min(left / 4)) / cores
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bound_is_raised_to_what_is_allowed() {
        let raised = raise().unwrap();
        let bound = bound().unwrap();
        assert_eq!(raised as u64, bound.rlim_cur);
        assert_eq!(bound.rlim_cur, bound.rlim_max);
        assert_eq!(raise().unwrap(), raised);
    }

    #[test]
    fn what_is_open_is_counted() {
        // Other tests open and close files meanwhile.
        let files: Vec<_> = (0..200)
            .map(|_| std::fs::File::open("/dev/null").unwrap())
            .collect();
        assert!(open() >= files.len());
    }

    #[test]
    fn the_cores_share_what_is_left_over() {
        assert_eq!(share(1024, 20, 2), (1024 - 20 - 8 - 96) / 2);
        assert_eq!(share(128, 20, 1), 104 - 26);
        assert_eq!(share(10, 20, 2), 0);
        assert_eq!(share(usize::MAX, 20, 1) + 20 + 4 + 96, usize::MAX);
    }
}
