//! Which CPUs a process may use, and putting a thread on one of them.

use std::io;

/// The CPUs that the calling thread may run on, ascending.
///
/// # Errors
/// What the kernel says.
pub fn allowed() -> io::Result<Vec<usize>> {
    // SAFETY: an all-zero cpu_set_t is a valid, empty set.
    let mut set: libc::cpu_set_t = unsafe { std::mem::zeroed() };
    let size = std::mem::size_of_val(&set);
    // SAFETY: the kernel writes at most `size` bytes into `set`.
    if unsafe { libc::sched_getaffinity(0, size, &raw mut set) } != 0 {
        return Err(io::Error::last_os_error());
    }
    let limit = usize::try_from(libc::CPU_SETSIZE).unwrap_or(0);
    // SAFETY: CPU_ISSET only reads the set, and `cpu` is below CPU_SETSIZE.
    Ok((0..limit)
        .filter(|&cpu| unsafe { libc::CPU_ISSET(cpu, &set) })
        .collect())
}

/// Puts the calling thread on one CPU.
///
/// # Errors
/// What the kernel says: `EINVAL` for a CPU that isn't there or isn't allowed.
pub fn pin(cpu: usize) -> io::Result<()> {
    monoio::utils::bind_to_cpu_set([cpu]).map_err(io::Error::from)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_thread_can_be_put_on_a_cpu_that_it_may_use() {
        let cpus = allowed().unwrap();
        assert!(cpus.is_sorted() && !cpus.is_empty());
        let last = cpus[cpus.len() - 1];
        let pinned = std::thread::spawn(move || pin(last).and_then(|()| allowed()));
        assert_eq!(pinned.join().unwrap().unwrap(), [last]);
        assert_eq!(
            allowed().unwrap(),
            cpus,
            "other threads stay where they were"
        );
    }
}
