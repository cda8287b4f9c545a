//! What the process may have: descriptors, locked memory, threads, CPU time, memory.

use super::finding::{Check, Grade, Verdict};
use super::host::Host;
use super::needs::Needs;
use crate::net::descriptors;

/// Fewer sockets than these for a core, and there is no start.
const SOCKETS_MIN: usize = crate::server::SOCKETS_MIN;

/// Of a core's ring, where the kernel counts it as locked: 4096 entries and their completions.
const RING_BYTES: u64 = 512 * 1024;

/// Threads beside the cores: the office, its resolver, the log, the allocator's, and some to spare.
const OTHER_THREADS: u64 = 32;

/// What an idle connection is promised to take at most.
const IDLE_BYTES: usize = 8 * 1024;

pub(super) const CHECKS: &[Check] = &[
    Check {
        name: "descriptors",
        why: "A client takes one, a call in flight another. Where they run out idle clients are closed, then calls refused.",
        look: open_files,
    },
    Check {
        name: "locked memory",
        why: "Before Linux 5.12 the rings of io_uring count as locked memory.",
        look: locked,
    },
    Check {
        name: "threads",
        why: "srpd starts a thread for each core and some more; one that it can't start ends the start.",
        look: threads,
    },
    Check {
        name: "address space",
        why: "The allocator reserves more addresses than it uses: a bound on them ends the process, with memory left.",
        look: address_space,
    },
    Check {
        name: "CPU quota",
        why: "A quota stops every core at once when it is used up: all calls wait until the next period.",
        look: quota,
    },
    Check {
        name: "memory",
        why: "The kernel ends a process that needs more than its control group has; srpd refuses calls before that.",
        look: memory,
    },
];

fn open_files(host: &Host, needs: &Needs) -> Verdict {
    let Some(bound) = host.bound("Max open files") else {
        return Verdict::unknown("/proc says nothing of limits");
    };
    let cores = needs.cpus(host).len().max(1);
    let bound = usize::try_from(bound).unwrap_or(usize::MAX);
    let share = descriptors::share(bound, descriptors::UNKNOWN, cores);
    // Calls get three eighths of a core's sockets.
    let wanted = needs.connections.max((needs.calls * 8).div_ceil(3));
    let enough = (wanted + 8) * cores + 256;
    let change = format!(
        "LimitNOFILE={enough} (systemd unit), ulimit -Hn {enough}{}",
        {
            let most = host.sysctl("fs.nr_open").unwrap_or(u64::MAX);
            match most < enough as u64 {
                true => format!("\nsysctl -w fs.nr_open={enough}"),
                false => String::new(),
            }
        }
    );
    let found = format!("{bound}: {share} sockets for each of {cores} cores");
    if share < SOCKETS_MIN {
        return Verdict::problem(
            format!("{found}, and fewer than {SOCKETS_MIN} is no start"),
            change,
        );
    }
    if share >= wanted {
        return Verdict::ok(found);
    }
    let (connections, calls) = (needs.connections, needs.calls);
    Verdict::warning(
        format!(
            "{found}, where connections_per_core = {connections} and calls_per_core = {calls} ask for {wanted}"
        ),
        change,
    )
}

fn locked(host: &Host, needs: &Needs) -> Verdict {
    if host.version().is_some_and(|version| version >= (5, 12)) {
        return Verdict::ok("not counted by this kernel");
    }
    let Some(bound) = host.bound("Max locked memory") else {
        return Verdict::unknown("/proc says nothing of limits");
    };
    let wanted = RING_BYTES * needs.cpus(host).len().max(1) as u64;
    match bound >= wanted {
        true => Verdict::ok(format!("{bound} bytes")),
        false => Verdict::warning(
            format!("{bound} bytes, where the rings need {wanted}"),
            format!("LimitMEMLOCK={wanted} (systemd unit), or a kernel of 5.12 or later"),
        ),
    }
}

fn threads(host: &Host, needs: &Needs) -> Verdict {
    let wanted = needs.cpus(host).len() as u64 + OTHER_THREADS;
    let own = host
        .bound("Max processes")
        .map(|bound| ("RLIMIT_NPROC".to_owned(), bound));
    let groups = host.groups("pids.max");
    let groups = groups
        .iter()
        .filter_map(|(path, text)| Some((path.clone(), text.parse().ok()?)));
    let Some((who, least)) = own
        .into_iter()
        .chain(groups)
        .min_by_key(|(_, bound)| *bound)
    else {
        return Verdict::unknown("/proc says nothing of limits");
    };
    if least >= wanted {
        return Verdict::ok(format!("at least {wanted} may be started"));
    }
    Verdict::problem(
        format!("{least} by {who}, where srpd starts up to {wanted}"),
        format!("TasksMax={wanted} and LimitNPROC={wanted} (systemd unit)"),
    )
}

fn address_space(host: &Host, _: &Needs) -> Verdict {
    match host.bound("Max address space") {
        None => Verdict::unknown("/proc says nothing of limits"),
        Some(u64::MAX) => Verdict::ok("not limited"),
        Some(bound) => Verdict::warning(
            format!("limited to {bound} bytes"),
            "remove LimitAS= (systemd unit), ulimit -v; limits.memory_bytes and MemoryMax= bound memory",
        ),
    }
}

fn quota(host: &Host, needs: &Needs) -> Verdict {
    let groups = host.groups("cpu.max");
    let cores = needs.cpus(host).len();
    let least = groups.iter().filter_map(|(path, text)| {
        let (quota, period) = text.split_once(' ')?;
        let cpus = quota.parse::<f64>().ok()? / period.parse::<f64>().ok()?;
        Some((path, cpus))
    });
    let Some((path, cpus)) = least.min_by(|one, other| one.1.total_cmp(&other.1)) else {
        return Verdict::ok("none");
    };
    let held_up = host.groups("cpu.stat").iter().find_map(|(_, text)| {
        let line = text
            .lines()
            .find_map(|line| line.strip_prefix("nr_throttled "))?;
        line.parse::<u64>().ok().filter(|times| *times > 0)
    });
    let held_up = held_up
        .map(|times| format!(", used up {times} times so far"))
        .unwrap_or_default();
    let found = format!("{cpus} CPUs ({path}) for {cores} cores{held_up}");
    match cpus >= cores as f64 && held_up.is_empty() {
        true => Verdict::ok(found),
        false => Verdict::warning(
            found,
            "CPUQuota= (systemd unit: remove it), resources.limits.cpu (Kubernetes: remove it, or whole CPUs with the \
             static CPU manager)\ninstance.cores: no more than the quota has",
        ),
    }
}

fn memory(host: &Host, needs: &Needs) -> Verdict {
    let machine = host.read("proc/meminfo").and_then(|text| {
        let kib = text
            .lines()
            .find_map(|line| line.strip_prefix("MemTotal:"))?;
        kib.trim().strip_suffix(" kB")?.trim().parse::<usize>().ok()
    });
    let groups = host.groups("memory.max");
    let groups = groups
        .iter()
        .filter_map(|(_, text)| text.parse::<usize>().ok());
    let Some(bound) = groups.chain(machine.map(|kib| kib * 1024)).min() else {
        return Verdict::unknown(
            "neither /proc/meminfo nor a control group says how much there is",
        );
    };
    let mib = |bytes: usize| format!("{} MiB", bytes >> 20);
    if let Some(asked) = needs.memory.filter(|asked| *asked > bound) {
        return Verdict::warning(
            format!(
                "limits.memory_bytes is {}, and there are {}",
                mib(asked),
                mib(bound)
            ),
            "limits.memory_bytes = \"auto\", or raise MemoryMax= (systemd unit)",
        );
    }
    let high = host.groups("memory.high");
    let high = high
        .iter()
        .filter_map(|(_, text)| text.parse::<usize>().ok())
        .min();
    if let Some(high) = high.filter(|high| *high < bound) {
        return Verdict::warning(
            format!(
                "memory.high is {}: above it the kernel slows every core down",
                mib(high)
            ),
            "remove MemoryHigh= (systemd unit): srpd refuses what it has no memory for by itself",
        );
    }
    let bound = needs.memory.unwrap_or(bound);
    let idle = IDLE_BYTES * needs.connections * needs.cpus(host).len().max(1);
    let found = format!("{} may be resident", mib(bound));
    // From three quarters on srpd refuses large bodies.
    if idle > bound / 4 * 3 {
        return Verdict::new(
            Grade::Advice,
            format!(
                "{found}: connections_per_core = {} idle ones may take {}",
                needs.connections,
                mib(idle)
            ),
            "raise MemoryMax= (systemd unit), or lower limits.connections_per_core",
        );
    }
    Verdict::ok(found)
}
