//! How much memory the process has, and may have.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

/// The memory that this process may have, bytes: the least of what the machine has and of the
/// bounds of the control groups that it is in. None if nobody says.
pub fn bound() -> Option<usize> {
    let read = |path: &Path| std::fs::read_to_string(path).ok();
    let groups = read(Path::new("/proc/self/cgroup")).unwrap_or_default();
    let grouped = group_files(&groups).filter_map(|file| read(&file)?.trim().parse().ok());
    let machine = read(Path::new("/proc/meminfo")).and_then(|text| total(&text));
    grouped.chain(machine).min()
}

/// Files that may hold a bound on memory: of each group in `/proc/self/cgroup`, and of all above
/// it. Where a container sees its own group as the root, the path is not to be trusted: the
/// outermost is looked at in any case.
fn group_files(groups: &str) -> impl Iterator<Item = PathBuf> {
    let lines = groups.lines().filter_map(|line| {
        let (_number, rest) = line.split_once(':')?;
        let (controllers, group) = rest.split_once(':')?;
        let (root, file) = match controllers {
            "" => ("/sys/fs/cgroup", "memory.max"),
            _ => ("/sys/fs/cgroup/memory", "memory.limit_in_bytes"),
        };
        let ours = controllers.is_empty() || controllers.split(',').any(|it| it == "memory");
        ours.then(|| (root, file, Path::new(group.trim_matches('/'))))
    });
    lines.flat_map(|(root, file, group)| {
        let above = group.ancestors();
        above.map(move |group| Path::new(root).join(group).join(file))
    })
}

/// `MemTotal` of `/proc/meminfo`, bytes.
fn total(meminfo: &str) -> Option<usize> {
    let rest = meminfo
        .lines()
        .find_map(|line| line.strip_prefix("MemTotal:"))?;
    let kib: usize = rest.trim().strip_suffix(" kB")?.trim().parse().ok()?;
    kib.checked_mul(1024)
}

/// Says how much memory is resident.
pub struct Gauge {
    statm: File,
    page: usize,
}

impl Gauge {
    /// None where there is no `/proc`.
    pub fn open() -> Option<Gauge> {
        // SAFETY: sysconf takes no pointer.
        let page = unsafe { libc::sysconf(libc::_SC_PAGESIZE) };
        Some(Gauge {
            statm: File::open("/proc/self/statm").ok()?,
            page: usize::try_from(page).ok()?,
        })
    }

    /// Bytes that are resident, files included. Some microseconds. None if the kernel doesn't say.
    pub fn resident(&self) -> Option<usize> {
        let mut text = [0; 128];
        let length = self.statm.read_at(&mut text, 0).ok()?;
        let text = std::str::from_utf8(text.get(..length)?).ok()?;
        let pages: usize = text.split(' ').nth(1)?.parse().ok()?;
        pages.checked_mul(self.page)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn files(groups: &str) -> Vec<String> {
        let files = group_files(groups).map(|file| file.display().to_string());
        files.collect()
    }

    #[test]
    fn the_bound_may_be_that_of_any_group_above() {
        assert_eq!(
            files("0::/system.slice/srpd.service\n"),
            [
                "/sys/fs/cgroup/system.slice/srpd.service/memory.max",
                "/sys/fs/cgroup/system.slice/memory.max",
                "/sys/fs/cgroup/memory.max",
            ]
        );
        assert_eq!(
            files("5:cpu,cpuacct:/a\n4:memory:/docker/0af\n1:name=systemd:/b\n"),
            [
                "/sys/fs/cgroup/memory/docker/0af/memory.limit_in_bytes",
                "/sys/fs/cgroup/memory/docker/memory.limit_in_bytes",
                "/sys/fs/cgroup/memory/memory.limit_in_bytes",
            ]
        );
        assert_eq!(files("0::/\n"), ["/sys/fs/cgroup/memory.max"]);
        assert_eq!(files("what is this\n4"), [""; 0]);
    }

    #[test]
    fn what_the_machine_has_is_read() {
        assert_eq!(
            total("MemTotal:       16384 kB\nMemFree: 1 kB\n"),
            Some(16_777_216)
        );
        assert_eq!(total("MemFree: 1 kB\n"), None);
        assert!(bound().is_some_and(|bound| bound > 1 << 20));
    }

    #[test]
    fn what_is_touched_is_resident() {
        let gauge = Gauge::open().unwrap();
        let before = gauge.resident().unwrap();
        let touched = std::hint::black_box(vec![1_u8; 64 << 20]);
        let after = gauge.resident().unwrap();
        assert!(after > before + touched.len() / 2, "{before} to {after}");
    }
}
