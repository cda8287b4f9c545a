//! A host that is as it should be, and what is said once one thing about it isn't.

mod fixture;

use std::collections::BTreeSet;
use std::path::Path;

use super::*;
use crate::cli::tests::srpd;
use crate::config::{Cores, Driver};
use crate::net::ring::Form;
use fixture::Fixture;

/// One thing that is otherwise: the check that must notice, how bad it finds that, and words of
/// what it found or of what it says to change.
struct Case {
    check: &'static str,
    change: fn(&mut Fixture),
    grade: Grade,
    says: &'static str,
}

/// A case in which files have other texts.
macro_rules! case {
    ($check:literal, $grade:ident, $says:literal, |$host:ident| $change:expr) => {
        Case {
            check: $check,
            change: |$host| $change,
            grade: Grade::$grade,
            says: $says,
        }
    };
    ($check:literal, $grade:ident, $says:literal, $($path:literal = $text:literal),+) => {
        case!($check, $grade, $says, |host| { $(host.write($path, $text);)+ })
    };
}

fn cases() -> impl Iterator<Item = &'static Case> {
    let all = [THE_KERNELS, THE_LIMITS, THE_CPUS, THE_NETWORKS, THE_SYSTEMS];
    all.into_iter().flatten()
}

const THE_KERNELS: &[Case] = &[
    case!(
        "kernel",
        Advice,
        "6.1 or later",
        "proc/sys/kernel/osrelease" = "5.19.0\n"
    ),
    case!(
        "kernel",
        Warning,
        "5.15.0-1",
        "proc/sys/kernel/osrelease" = "5.15.0-1\n"
    ),
    case!(
        "kernel",
        Unknown,
        "Linux x",
        "proc/sys/kernel/osrelease" = "x\n"
    ),
    case!(
        "io_uring",
        Warning,
        "sysctl -w kernel.io_uring_disabled=0",
        "proc/sys/kernel/io_uring_disabled" = "2\n"
    ),
    case!(
        "io_uring",
        Warning,
        "granted to root only",
        "proc/sys/kernel/io_uring_disabled" = "1\n"
    ),
    case!("io_uring", Warning, "seccomp filter (EPERM)", |host| {
        host.write("proc/self/status", "Seccomp:\t2\n");
        host.ring = Err("EPERM".to_owned());
    }),
    case!("io_uring", Problem, "denied: EPERM", |host| {
        host.needs.driver = Driver::IoUring;
        host.ring = Err("EPERM".to_owned());
    }),
    case!("io_uring", Advice, "coop_taskrun", |host| host.ring =
        Ok(Form::CoopTaskrun)),
    case!("io_uring", Ok, "not asked for", |host| {
        host.needs.driver = Driver::Epoll;
        host.ring = Err("EPERM".to_owned());
    }),
    case!(
        "clock source",
        Warning,
        "echo tsc >",
        "sys/devices/system/clocksource/clocksource0/current_clocksource" = "hpet\n"
    ),
    case!(
        "clock source",
        Warning,
        "journalctl -k",
        "sys/devices/system/clocksource/clocksource0/current_clocksource" = "hpet\n",
        "sys/devices/system/clocksource/clocksource0/available_clocksource" = "hpet acpi_pm\n"
    ),
    case!("time", Warning, "chrony", |host| host.synchronised =
        Some(false)),
    case!("time", Unknown, "doesn't say", |host| host.synchronised =
        None),
];

const THE_LIMITS: &[Case] = &[
    case!(
        "descriptors",
        Warning,
        "LimitNOFILE=106956",
        "proc/self/limits" = "Max open files  1024  20000  files\n"
    ),
    case!(
        "descriptors",
        Problem,
        "is no start",
        "proc/self/limits" = "Max open files  64  64  files\n"
    ),
    case!(
        "descriptors",
        Warning,
        "sysctl -w fs.nr_open=",
        "proc/self/limits" = "Max open files  1024  20000  files\n",
        "proc/sys/fs/nr_open" = "65536\n"
    ),
    case!("descriptors", Ok, "4 cores", |host| {
        host.write("proc/self/limits", "Max open files  1024  20000  files\n");
        (host.needs.connections, host.needs.calls) = (4000, 1000);
    }),
    case!(
        "locked memory",
        Warning,
        "LimitMEMLOCK=2097152",
        "proc/sys/kernel/osrelease" = "5.10.0\n",
        "proc/self/limits" = "Max locked memory  65536  65536  bytes\n"
    ),
    case!(
        "locked memory",
        Ok,
        "8388608",
        "proc/sys/kernel/osrelease" = "5.10.0\n"
    ),
    case!(
        "threads",
        Problem,
        "TasksMax=36",
        "sys/fs/cgroup/system.slice/pids.max" = "20\n"
    ),
    case!(
        "threads",
        Problem,
        "RLIMIT_NPROC",
        "proc/self/limits" = "Max processes  8  8  processes\n"
    ),
    case!(
        "address space",
        Warning,
        "LimitAS=",
        "proc/self/limits" = "Max address space  1000  1000  bytes\n"
    ),
    case!(
        "CPU quota",
        Warning,
        "2 CPUs (/sys/fs/cgroup/system.slice/cpu.max) for 4 cores",
        "sys/fs/cgroup/system.slice/cpu.max" = "200000 100000\n"
    ),
    case!(
        "CPU quota",
        Warning,
        "used up 7 times",
        "sys/fs/cgroup/system.slice/srpd.service/cpu.max" = "400000 100000\n",
        "sys/fs/cgroup/system.slice/srpd.service/cpu.stat" = "usage_usec 1\nnr_throttled 7\n"
    ),
    case!(
        "CPU quota",
        Ok,
        "4 CPUs",
        "sys/fs/cgroup/system.slice/srpd.service/cpu.max" = "400000 100000\n"
    ),
    case!("memory", Warning, "and there are 512 MiB", |host| {
        host.write("sys/fs/cgroup/system.slice/memory.max", "536870912\n");
        host.needs.memory = Some(1 << 30);
    }),
    case!(
        "memory",
        Warning,
        "MemoryHigh=",
        "sys/fs/cgroup/system.slice/srpd.service/memory.high" = "1073741824\n"
    ),
    case!(
        "memory",
        Advice,
        "idle ones may take 625 MiB",
        "sys/fs/cgroup/system.slice/memory.max" = "536870912\n"
    ),
];

const THE_CPUS: &[Case] = &[
    case!("CPUs", Problem, "4 are allowed: 0-3", |host| host
        .needs
        .cores =
        Cores::Count(8.try_into().unwrap())),
    case!("CPUs", Problem, "AllowedCPUs=", |host| host.needs.cores =
        Cores::Cpus(vec![2, 4])),
    case!(
        "CPUs",
        Advice,
        "CPUAffinity=4-7",
        "sys/devices/system/cpu/isolated" = "4-7\n"
    ),
    case!("CPUs", Ok, "2-3 of 0-3", |host| host.needs.cores =
        Cores::Cpus(vec![2, 3])),
    case!(
        "siblings",
        Advice,
        "instance.cores = [0, 1]",
        "sys/devices/system/cpu/cpu0/topology/thread_siblings_list" = "0,2\n",
        "sys/devices/system/cpu/cpu2/topology/thread_siblings_list" = "0,2\n",
        "sys/devices/system/cpu/cpu1/topology/thread_siblings_list" = "1,3\n",
        "sys/devices/system/cpu/cpu3/topology/thread_siblings_list" = "1,3\n"
    ),
    case!(
        "governor",
        Advice,
        "cpupower frequency-set",
        "sys/devices/system/cpu/cpu3/cpufreq/scaling_governor" = "powersave\n"
    ),
    case!(
        "idle states",
        Advice,
        "C6 ends after 133 µs",
        "sys/devices/system/cpu/cpu0/cpuidle/state1/disable" = "0\n"
    ),
    case!(
        "NUMA",
        Advice,
        "cores on node 0, 1 of 2",
        "sys/devices/system/node/node0/cpulist" = "0-1\n",
        "sys/devices/system/node/node1/cpulist" = "2-3\n"
    ),
    case!("NUMA", Advice, "instance.cores within 4-7", |host| {
        host.write("sys/devices/system/node/node1/cpulist", "4-7\n");
        host.write("sys/class/net/eth0/device/numa_node", "1\n");
    }),
];

const THE_NETWORKS: &[Case] = &[
    case!(
        "queues",
        Advice,
        "ethtool -L eth1 combined 4",
        "sys/class/net/eth1/operstate" = "up\n",
        "sys/class/net/eth1/device/vendor" = "x\n",
        "sys/class/net/eth1/queues/rx-0/rps_cpus" = "0\n"
    ),
    case!(
        "queues",
        Ok,
        "eth1 has 1, handed on (RPS)",
        "sys/class/net/eth1/operstate" = "up\n",
        "sys/class/net/eth1/device/vendor" = "x\n",
        "sys/class/net/eth1/queues/rx-0/rps_cpus" = "f\n"
    ),
    case!(
        "queues",
        Unknown,
        "no network card",
        "sys/class/net/eth0/operstate" = "down\n"
    ),
    case!(
        "interrupts",
        Advice,
        "smp_affinity_list",
        "proc/irq/31/effective_affinity_list" = "0\n"
    ),
    case!(
        "coalescing",
        Advice,
        "eth0 waits up to 20 µs",
        "sys/class/net/eth0/gro_flush_timeout" = "20000\n",
        "sys/class/net/eth0/napi_defer_hard_irqs" = "2\n"
    ),
    case!(
        "packets",
        Advice,
        "18 dropped",
        "proc/net/softnet_stat" = "0000aa00 00000012 00000000\n"
    ),
    case!(
        "backlog",
        Warning,
        "net.core.somaxconn=4096",
        "proc/sys/net/core/somaxconn" = "128\n"
    ),
    case!(
        "backlog",
        Ok,
        "full 9 times",
        "proc/net/netstat" = "TcpExt: A ListenOverflows\nTcpExt: 5 9\n"
    ),
    case!(
        "SYN flood",
        Warning,
        "tcp_max_syn_backlog=4096",
        "proc/sys/net/ipv4/tcp_syncookies" = "0\n"
    ),
    case!(
        "closing listeners",
        Advice,
        "tcp_migrate_req=1",
        "proc/sys/net/ipv4/tcp_migrate_req" = "0\n"
    ),
    case!(
        "ports",
        Warning,
        "can't have 40000 calls",
        "proc/sys/net/ipv4/ip_local_port_range" = "32768 60999\n"
    ),
    case!("ports", Ok, "for each endpoint", |host| {
        host.write("proc/sys/net/ipv4/ip_local_port_range", "32768 60999\n");
        host.needs.endpoints = 2;
    }),
    case!(
        "ports",
        Advice,
        "tcp_tw_reuse=1",
        "proc/sys/net/ipv4/tcp_tw_reuse" = "0\n"
    ),
    case!(
        "reserved ports",
        Warning,
        "ip_local_reserved_ports=18080",
        |host| host.needs.ports = vec![18080, 9090]
    ),
    case!("reserved ports", Ok, "nobody else", |host| {
        host.needs.ports = vec![18080];
        host.write("proc/sys/net/ipv4/ip_local_reserved_ports", "18000-18100\n");
    }),
    case!(
        "idle restart",
        Advice,
        "slow_start_after_idle=0",
        "proc/sys/net/ipv4/tcp_slow_start_after_idle" = "1\n"
    ),
    case!(
        "busy polling",
        Advice,
        "net.core.busy_read = 50",
        "proc/sys/net/core/busy_read" = "50\n"
    ),
    case!(
        "connection tracking",
        Warning,
        "notrack",
        "proc/sys/net/netfilter/nf_conntrack_max" = "65536\n",
        "proc/sys/net/netfilter/nf_conntrack_count" = "9\n"
    ),
    case!(
        "connection tracking",
        Ok,
        "9 of 262144",
        "proc/sys/net/netfilter/nf_conntrack_max" = "262144\n",
        "proc/sys/net/netfilter/nf_conntrack_count" = "9\n"
    ),
];

const THE_SYSTEMS: &[Case] = &[
    case!(
        "swap",
        Advice,
        "MemorySwapMax=0",
        "proc/swaps" = "Filename Type\n/dev/sda2 partition\n"
    ),
    case!(
        "swap",
        Ok,
        "none for this process",
        "proc/swaps" = "Filename Type\n/dev/sda2 partition\n",
        "sys/fs/cgroup/system.slice/srpd.service/memory.swap.max" = "0\n"
    ),
    case!(
        "huge pages",
        Advice,
        "transparent_hugepage=madvise",
        "sys/kernel/mm/transparent_hugepage/enabled" = "[always] madvise never\n"
    ),
    case!(
        "names",
        Problem,
        "nobody to ask",
        "etc/resolv.conf" = "search example\n"
    ),
    case!(
        "names",
        Advice,
        "10.0.0.1 alone",
        "etc/resolv.conf" = "nameserver 10.0.0.1\n"
    ),
    case!(
        "names",
        Ok,
        "on this host",
        "etc/resolv.conf" = "nameserver 127.0.0.53\n"
    ),
    case!("names", Ok, "not needed", |host| {
        host.write("etc/resolv.conf", "");
        host.needs.names = false;
    }),
    case!(
        "journal",
        Warning,
        "LogRateLimitIntervalSec=0",
        "etc/systemd/system/srpd.service" = "[Service]\n"
    ),
    case!(
        "journal",
        Ok,
        "goes elsewhere",
        "etc/systemd/system/srpd.service" = "StandardOutput=append:/var/log/srpd/a\n"
    ),
    case!("log space", Warning, "1 MiB are free", |host| host.free =
        1 << 20),
];

#[test]
fn of_a_sound_host_nothing_is_to_be_changed() {
    let fixture = Fixture::sound();
    for check in checks() {
        let verdict = fixture.verdict(check.name);
        assert_eq!(verdict.grade, Grade::Ok, "{}: {verdict:?}", check.name);
        assert!(
            verdict.change.is_empty() && !verdict.found.is_empty(),
            "{verdict:?}"
        );
    }
}

#[test]
fn what_is_otherwise_is_noticed_and_what_to_change_is_said() {
    for case in cases() {
        let mut fixture = Fixture::sound();
        (case.change)(&mut fixture);
        let verdict = fixture.verdict(case.check);
        assert_eq!(verdict.grade, case.grade, "{}: {verdict:?}", case.check);
        let said = format!("{}\n{}", verdict.found, verdict.change);
        assert!(
            said.contains(case.says),
            "{}: no {:?} in {said}",
            case.check,
            case.says
        );
        let says_what = !verdict.change.is_empty();
        assert_eq!(says_what, verdict.grade > Grade::Unknown, "{verdict:?}");
    }
}

#[test]
fn every_check_can_find_something() {
    let bad = cases().filter(|case| case.grade > Grade::Unknown);
    let found: BTreeSet<&str> = bad.map(|case| case.check).collect();
    let all: BTreeSet<&str> = checks().map(|check| check.name).collect();
    assert_eq!(found, all);
}

#[test]
fn a_host_that_says_nothing_at_all_panics_nowhere() {
    let fixture = Fixture {
        root: tempfile::tempdir().unwrap(),
        ..Fixture::sound()
    };
    for check in checks() {
        let finding = check.finding(&fixture.host(), &fixture.needs);
        assert!(!finding.found.is_empty(), "{}", check.name);
    }
}

#[test]
fn another_process_is_asked_about_by_its_id() {
    let fixture = Fixture::sound();
    fixture.write("proc/4711/limits", "Max open files  64  64  files\n");
    fixture.write("proc/4711/status", "Cpus_allowed_list:\t0\n");
    let host = Host::new(fixture.root.path(), Some(4711), fixture.host().probed);
    assert!(host.has_process());
    assert_eq!(host.bound("Max open files"), Some(64));
    assert_eq!(host.allowed(), Some(vec![0]));
    let other = Host::new(fixture.root.path(), Some(4712), fixture.host().probed);
    assert!(!other.has_process());
    let Err(said) = srpd(&["doctor", "--pid", "4194304"]) else {
        panic!("there is no such process");
    };
    assert!(said.contains("no such process"), "{said}");
}

#[test]
fn what_is_shown_begins_with_the_worst_and_ends_with_a_sum() {
    let mut fixture = Fixture::sound();
    fixture.synchronised = Some(false);
    fixture.write("etc/resolv.conf", "");
    let host = fixture.host();
    let findings: Vec<Finding> = checks()
        .map(|check| check.finding(&host, &fixture.needs))
        .collect();
    let mut out = Vec::new();
    finding::show(&findings, false, &mut out).unwrap();
    let shown = String::from_utf8(out).unwrap();
    assert!(
        shown.starts_with("PROBLEM  names: /etc/resolv.conf names nobody to ask\n"),
        "{shown}"
    );
    assert!(shown.contains("\nwarning  time: "), "{shown}");
    let sum = format!(
        "1 PROBLEM, 1 warning, 0 advice, 0 unknown, {} ok\n",
        findings.len() - 2
    );
    assert!(shown.ends_with(&sum), "{shown}");

    let mut out = Vec::new();
    finding::write_json(&findings, &mut out).unwrap();
    let json: serde_json::Value = serde_json::from_slice(&out).unwrap();
    assert_eq!(
        (&json["problems"], &json["warnings"]),
        (&1.into(), &1.into())
    );
    let names = json["findings"].as_array().unwrap().iter();
    let names = names
        .clone()
        .find(|finding| finding["check"] == "names")
        .unwrap();
    assert_eq!(names["grade"], "problem");
    assert!(names["change"].as_str().unwrap().contains("nameserver"));
}

#[test]
fn this_host_is_looked_at_with_a_configuration_or_without() {
    let said = srpd(&["doctor", "--json"]).unwrap_or_default();
    assert!(said.is_empty() || serde_json::from_str::<serde_json::Value>(&said).is_ok());
    assert!(Path::new("/proc/self").exists());
    let refused = srpd(&["doctor", "--config", "/nonexistent/srpd.toml"]).unwrap_err();
    assert!(refused.starts_with("/nonexistent/srpd.toml: "), "{refused}");
}
