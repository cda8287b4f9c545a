//! A host that is a directory.

use super::super::finding::Verdict;
use super::super::*;
use crate::net::ring::Form;

/// Files of a host with four CPUs on which nothing is to be changed.
const SOUND: &[(&str, &str)] = &[
    ("proc/sys/kernel/osrelease", "6.12.9-amd64\n"),
    ("proc/sys/kernel/io_uring_disabled", "0\n"),
    (
        "proc/self/limits",
        "Limit                     Soft Limit           Hard Limit           Units\n\
         Max processes             96364                96364                processes\n\
         Max open files            1024                 1048576              files\n\
         Max locked memory         8388608              8388608              bytes\n\
         Max address space         unlimited            unlimited            bytes\n",
    ),
    (
        "proc/self/status",
        "Name:\tsrpd\nSeccomp:\t0\nCpus_allowed_list:\t0-3\n",
    ),
    ("proc/self/cgroup", "0::/system.slice/srpd.service\n"),
    (
        "sys/fs/cgroup/system.slice/srpd.service/cpu.max",
        "max 100000\n",
    ),
    (
        "sys/fs/cgroup/system.slice/srpd.service/memory.max",
        "max\n",
    ),
    ("sys/fs/cgroup/system.slice/srpd.service/pids.max", "4096\n"),
    ("proc/meminfo", "MemTotal:       16384000 kB\n"),
    ("proc/swaps", "Filename  Type  Size  Used  Priority\n"),
    (
        "proc/net/softnet_stat",
        "0000aa00 00000000 00000000\n0000bb00 00000000 00000000\n",
    ),
    (
        "proc/net/netstat",
        "TcpExt: SyncookiesSent ListenOverflows ListenDrops\nTcpExt: 5 0 0\nIpExt: InNoRoutes\nIpExt: 0\n",
    ),
    ("proc/sys/net/core/somaxconn", "4096\n"),
    ("proc/sys/net/core/busy_poll", "0\n"),
    ("proc/sys/net/core/busy_read", "0\n"),
    ("proc/sys/net/ipv4/tcp_syncookies", "1\n"),
    ("proc/sys/net/ipv4/tcp_max_syn_backlog", "512\n"),
    ("proc/sys/net/ipv4/tcp_migrate_req", "1\n"),
    ("proc/sys/net/ipv4/tcp_tw_reuse", "2\n"),
    ("proc/sys/net/ipv4/tcp_slow_start_after_idle", "0\n"),
    ("proc/sys/net/ipv4/ip_local_port_range", "10240\t65535\n"),
    ("proc/sys/net/ipv4/ip_local_reserved_ports", "\n"),
    ("proc/irq/30/effective_affinity_list", "0\n"),
    ("proc/irq/31/effective_affinity_list", "1\n"),
    ("sys/class/net/lo/operstate", "unknown\n"),
    ("sys/class/net/eth0/operstate", "up\n"),
    ("sys/class/net/eth0/device/numa_node", "0\n"),
    ("sys/class/net/eth0/device/msi_irqs/30", "msix\n"),
    ("sys/class/net/eth0/device/msi_irqs/31", "msix\n"),
    ("sys/class/net/eth0/gro_flush_timeout", "0\n"),
    ("sys/class/net/eth0/napi_defer_hard_irqs", "0\n"),
    ("sys/class/net/eth0/queues/rx-0/rps_cpus", "0\n"),
    ("sys/class/net/eth0/queues/rx-1/rps_cpus", "0\n"),
    ("sys/class/net/eth0/queues/rx-2/rps_cpus", "0\n"),
    ("sys/class/net/eth0/queues/rx-3/rps_cpus", "0\n"),
    (
        "sys/devices/system/clocksource/clocksource0/current_clocksource",
        "tsc\n",
    ),
    (
        "sys/devices/system/clocksource/clocksource0/available_clocksource",
        "tsc hpet\n",
    ),
    ("sys/devices/system/cpu/isolated", "\n"),
    (
        "sys/devices/system/cpu/cpu0/cpufreq/scaling_governor",
        "performance\n",
    ),
    ("sys/devices/system/cpu/cpu0/cpuidle/state0/name", "POLL\n"),
    ("sys/devices/system/cpu/cpu0/cpuidle/state0/latency", "0\n"),
    ("sys/devices/system/cpu/cpu0/cpuidle/state1/name", "C6\n"),
    (
        "sys/devices/system/cpu/cpu0/cpuidle/state1/latency",
        "133\n",
    ),
    ("sys/devices/system/cpu/cpu0/cpuidle/state1/disable", "1\n"),
    (
        "sys/devices/system/cpu/cpu0/topology/thread_siblings_list",
        "0\n",
    ),
    (
        "sys/devices/system/cpu/cpu1/topology/thread_siblings_list",
        "1\n",
    ),
    (
        "sys/devices/system/cpu/cpu2/topology/thread_siblings_list",
        "2\n",
    ),
    (
        "sys/devices/system/cpu/cpu3/topology/thread_siblings_list",
        "3\n",
    ),
    ("sys/devices/system/node/node0/cpulist", "0-3\n"),
    (
        "sys/kernel/mm/transparent_hugepage/enabled",
        "always [madvise] never\n",
    ),
    (
        "etc/resolv.conf",
        "# by hand\nnameserver 10.0.0.1\nnameserver 10.0.0.2\n",
    ),
    ("run/systemd/journal/socket", ""),
    (
        "etc/systemd/system/srpd.service",
        "[Service]\nLogRateLimitIntervalSec=0\n",
    ),
];

/// A host in a directory.
pub(super) struct Fixture {
    pub(super) root: tempfile::TempDir,
    pub(super) needs: Needs,
    pub(super) ring: Result<Form, String>,
    pub(super) synchronised: Option<bool>,
    pub(super) free: u64,
}

impl Fixture {
    pub(super) fn sound() -> Fixture {
        let fixture = Fixture {
            root: tempfile::tempdir().unwrap(),
            needs: Needs::usual(),
            ring: Ok(Form::DeferTaskrun),
            synchronised: Some(true),
            free: 1 << 40,
        };
        SOUND
            .iter()
            .for_each(|(path, text)| fixture.write(path, text));
        fixture
    }

    pub(super) fn write(&self, path: &str, text: &str) {
        let path = self.root.path().join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }

    pub(super) fn host(&self) -> Host {
        let probed = Probed {
            ring: self.ring.clone(),
            synchronised: self.synchronised,
            log_bytes_free: Some(self.free),
            privileged: true,
        };
        Host::new(self.root.path(), None, probed)
    }

    pub(super) fn verdict(&self, name: &str) -> Verdict {
        let check = checks().find(|check| check.name == name);
        let check = check.unwrap_or_else(|| panic!("there is no check {name:?}"));
        (check.look)(&self.host(), &self.needs)
    }
}
