//! What a host says of itself: files below a root, so that checks can be tried on hosts that aren't
//! there.

use std::path::{Path, PathBuf};

use crate::net::ring::Form;

/// What no file says.
pub(super) struct Probed {
    /// The best form of io_uring that this process may use, or why it may use none.
    pub(super) ring: Result<Form, String>,
    /// Whether the kernel takes its clock for synchronised, if it says.
    pub(super) synchronised: Option<bool>,
    /// Bytes that are free where logs are kept, if that is known.
    pub(super) log_bytes_free: Option<u64>,
    /// Whether this process has root's rights, which the service hasn't.
    pub(super) privileged: bool,
}

/// A host, and the process that is asked about.
pub(super) struct Host {
    /// `/`, or where a test has its own.
    root: PathBuf,
    /// `self`, or a process id.
    process: String,
    pub(super) probed: Probed,
}

impl Host {
    pub(super) fn new(root: &Path, process: Option<u32>, probed: Probed) -> Host {
        Host {
            root: root.to_owned(),
            process: process.map_or("self".to_owned(), |id| id.to_string()),
            probed,
        }
    }

    /// A file's text, without white space around it. None if it can't be read.
    pub(super) fn read(&self, path: &str) -> Option<String> {
        let text = std::fs::read_to_string(self.root.join(path)).ok()?;
        Some(text.trim().to_owned())
    }

    /// A file that is a number.
    pub(super) fn number(&self, path: &str) -> Option<u64> {
        self.read(path)?.parse().ok()
    }

    /// A setting of sysctl: `net.core.somaxconn`.
    pub(super) fn sysctl(&self, name: &str) -> Option<u64> {
        self.number(&format!("proc/sys/{}", name.replace('.', "/")))
    }

    /// The names in a directory, in order. Empty if there is none.
    pub(super) fn list(&self, path: &str) -> Vec<String> {
        let entries = std::fs::read_dir(self.root.join(path))
            .into_iter()
            .flatten();
        let mut names: Vec<String> = entries
            .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
            .collect();
        names.sort();
        names
    }

    /// Whether something is there.
    pub(super) fn has(&self, path: &str) -> bool {
        self.root.join(path).exists()
    }

    /// Whether it is another process that is asked about, not this one.
    pub(super) fn asks_about_another(&self) -> bool {
        self.process != "self"
    }

    /// Whether the process is there.
    pub(super) fn has_process(&self) -> bool {
        self.has(&format!("proc/{}", self.process))
    }

    /// A file of the process.
    pub(super) fn of_process(&self, file: &str) -> Option<String> {
        self.read(&format!("proc/{}/{file}", self.process))
    }

    /// A bound of the process, the hard one: `Max open files`. `u64::MAX` if there is none.
    pub(super) fn bound(&self, name: &str) -> Option<u64> {
        let limits = self.of_process("limits")?;
        let rest = limits.lines().find_map(|line| line.strip_prefix(name))?;
        match rest.split_whitespace().nth(1)? {
            "unlimited" => Some(u64::MAX),
            number => number.parse().ok(),
        }
    }

    /// A line of the process's status: `Cpus_allowed_list`.
    pub(super) fn status(&self, name: &str) -> Option<String> {
        let status = self.of_process("status")?;
        status.lines().find_map(|line| {
            let (key, value) = line.split_once(':')?;
            (key == name).then(|| value.trim().to_owned())
        })
    }

    /// CPUs that the process may run on.
    pub(super) fn allowed(&self) -> Option<Vec<usize>> {
        cpu_list(&self.status("Cpus_allowed_list")?)
    }

    /// The Linux version, as `(6, 1)`.
    pub(super) fn version(&self) -> Option<(u32, u32)> {
        let release = self.read("proc/sys/kernel/osrelease")?;
        let mut parts = release.split(|c: char| !c.is_ascii_digit());
        Some((parts.next()?.parse().ok()?, parts.next()?.parse().ok()?))
    }

    /// A file of the process's control group and of each above it (version 2): path and text.
    pub(super) fn groups(&self, file: &str) -> Vec<(String, String)> {
        let groups = self.of_process("cgroup").unwrap_or_default();
        let own = groups.lines().find_map(|line| line.strip_prefix("0::"));
        let Some(own) = own else {
            return Vec::new();
        };
        let above = Path::new(own.trim_matches('/')).ancestors();
        let read = above.filter_map(|group| {
            let path = Path::new("sys/fs/cgroup").join(group).join(file);
            let path = path.to_str()?.to_owned();
            Some((format!("/{path}"), self.read(&path)?))
        });
        read.collect()
    }
}

/// Reads `0-3,8`. Empty text is no CPU.
pub(super) fn cpu_list(text: &str) -> Option<Vec<usize>> {
    let mut cpus = Vec::new();
    for part in text.split(',').filter(|part| !part.trim().is_empty()) {
        let (first, last) = part
            .trim()
            .split_once('-')
            .unwrap_or((part.trim(), part.trim()));
        cpus.extend(first.parse().ok()?..=last.parse::<usize>().ok()?);
    }
    Some(cpus)
}

/// Writes `0-3,8`.
pub(super) fn show_cpus(cpus: &[usize]) -> String {
    let mut ranges: Vec<(usize, usize)> = Vec::new();
    let mut sorted = cpus.to_vec();
    sorted.sort_unstable();
    for cpu in sorted {
        match ranges.last_mut() {
            Some((_, last)) if *last + 1 >= cpu => *last = cpu,
            _ => ranges.push((cpu, cpu)),
        }
    }
    let shown: Vec<String> = ranges
        .iter()
        .map(|(first, last)| match first == last {
            true => first.to_string(),
            false => format!("{first}-{last}"),
        })
        .collect();
    shown.join(",")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_of_cpus_are_read_and_written_alike() {
        for (text, cpus) in [("0", vec![0]), ("0-3,8", vec![0, 1, 2, 3, 8]), ("", vec![])] {
            assert_eq!(cpu_list(text).as_ref(), Some(&cpus));
            assert_eq!(show_cpus(&cpus), text);
        }
        assert_eq!(cpu_list("0-x"), None);
        assert_eq!(show_cpus(&[3, 1, 2]), "1-3");
    }
}
