//! The kernel's TCP: queues, ports, what is tracked.

use super::finding::{Check, Verdict};
use super::host::Host;
use super::needs::Needs;

/// What srpd asks for: `BACKLOG` in `net/listener.rs`.
const BACKLOG: u64 = 4096;

pub(super) const CHECKS: &[Check] = &[
    Check {
        name: "backlog",
        why: "srpd asks for 4096 connections that wait to be accepted on each core; the kernel allows no more than this.",
        look: backlog,
    },
    Check {
        name: "SYN flood",
        why: "Without cookies, connections that are never completed fill the queue of those that would be.",
        look: syn,
    },
    Check {
        name: "closing listeners",
        why: "When one of several processes closes its listeners, those who wait in their queues are reset, or move to the others.",
        look: migrate,
    },
    Check {
        name: "ports",
        why: "Each connection to an endpoint takes a port of ours; without one, connects fail.",
        look: ports,
    },
    Check {
        name: "reserved ports",
        why: "A connection to a provider may be given the port that srpd listens on, and then srpd can't be started again.",
        look: reserved,
    },
    Check {
        name: "idle restart",
        why: "A pooled connection that was idle begins slowly again, and a long prompt on it takes round trips more.",
        look: slow_start,
    },
    Check {
        name: "busy polling",
        why: "srpd waits in io_uring, which these settings don't reach: they cost CPU in whatever polls.",
        look: busy,
    },
    Check {
        name: "connection tracking",
        why: "A firewall that tracks connections drops packets of new ones when its table is full.",
        look: tracking,
    },
];

/// Two lines: now, and at each boot.
fn set(setting: &str, value: impl std::fmt::Display) -> String {
    format!("sysctl -w {setting}={value}\necho '{setting} = {value}' >> /etc/sysctl.d/90-srpd.conf")
}

fn backlog(host: &Host, _: &Needs) -> Verdict {
    let Some(most) = host.sysctl("net.core.somaxconn") else {
        return Verdict::unknown("net.core.somaxconn can't be read");
    };
    let overflows = host
        .read("proc/net/netstat")
        .and_then(|text| overflows(&text));
    let overflows = overflows.filter(|times| *times > 0);
    let overflows = overflows
        .map(|times| format!("; full {times} times since the start"))
        .unwrap_or_default();
    let found = format!("net.core.somaxconn = {most}{overflows}");
    match most >= BACKLOG {
        true => Verdict::ok(found),
        false => Verdict::warning(found, set("net.core.somaxconn", BACKLOG)),
    }
}

/// `ListenOverflows` of `/proc/net/netstat`: a line of names, and one of numbers.
fn overflows(text: &str) -> Option<u64> {
    let mut lines = text.lines().filter_map(|line| line.strip_prefix("TcpExt:"));
    let (names, numbers) = (lines.next()?, lines.next()?);
    let at = names
        .split_whitespace()
        .position(|name| name == "ListenOverflows")?;
    numbers.split_whitespace().nth(at)?.parse().ok()
}

fn syn(host: &Host, _: &Needs) -> Verdict {
    let cookies = host.sysctl("net.ipv4.tcp_syncookies");
    let queue = host.sysctl("net.ipv4.tcp_max_syn_backlog");
    match (cookies, queue) {
        (None, _) => Verdict::unknown("net.ipv4.tcp_syncookies can't be read"),
        (Some(0), Some(queue)) if queue < BACKLOG => Verdict::warning(
            format!("no cookies, and net.ipv4.tcp_max_syn_backlog = {queue}"),
            format!(
                "{}\n{}",
                set("net.ipv4.tcp_syncookies", 1),
                set("net.ipv4.tcp_max_syn_backlog", BACKLOG)
            ),
        ),
        (Some(0), _) => Verdict::advice("no cookies", set("net.ipv4.tcp_syncookies", 1)),
        (Some(_), _) => Verdict::ok("cookies when the queue is full"),
    }
}

fn migrate(host: &Host, _: &Needs) -> Verdict {
    match host.sysctl("net.ipv4.tcp_migrate_req") {
        None => Verdict::unknown("this kernel can't move them (Linux 5.14 can)"),
        Some(0) => Verdict::advice(
            "they are reset: net.ipv4.tcp_migrate_req = 0",
            set("net.ipv4.tcp_migrate_req", 1),
        ),
        Some(_) => Verdict::ok("they move"),
    }
}

/// Ports that connections are given: first and last.
fn range(host: &Host) -> Option<(u64, u64)> {
    let text = host.read("proc/sys/net/ipv4/ip_local_port_range")?;
    let mut numbers = text.split_whitespace().map(str::parse);
    Some((numbers.next()?.ok()?, numbers.next()?.ok()?))
}

fn ports(host: &Host, needs: &Needs) -> Verdict {
    let Some((first, last)) = range(host) else {
        return Verdict::unknown("net.ipv4.ip_local_port_range can't be read");
    };
    let reuse = host.sysctl("net.ipv4.tcp_tw_reuse").unwrap_or(0);
    let found = format!("{first} to {last} for each endpoint, tcp_tw_reuse = {reuse}");
    let ports = last.saturating_sub(first) + 1;
    let calls = (needs.calls * needs.cpus(host).len()) as u64;
    // Calls may all be at one endpoint, and whatever else is on the host has ports as well.
    if ports * (needs.endpoints.max(1) as u64) < calls {
        return Verdict::warning(
            format!(
                "{found}: {} endpoints can't have {calls} calls in flight",
                needs.endpoints
            ),
            set("net.ipv4.ip_local_port_range", "\"10240 65535\""),
        );
    }
    match reuse {
        0 => Verdict::advice(
            format!("{found}: a port that was closed is kept for a minute"),
            set("net.ipv4.tcp_tw_reuse", 1),
        ),
        _ => Verdict::ok(found),
    }
}

fn reserved(host: &Host, needs: &Needs) -> Verdict {
    let Some((first, last)) = range(host) else {
        return Verdict::unknown("net.ipv4.ip_local_port_range can't be read");
    };
    let kept = host
        .read("proc/sys/net/ipv4/ip_local_reserved_ports")
        .unwrap_or_default();
    let kept = super::host::cpu_list(&kept).unwrap_or_default();
    let taken = |port: &&u16| {
        (first..=last).contains(&u64::from(**port)) && !kept.contains(&usize::from(**port))
    };
    let ports: Vec<String> = needs
        .ports
        .iter()
        .filter(taken)
        .map(u16::to_string)
        .collect();
    match ports.is_empty() {
        true => Verdict::ok("srpd's ports are given to nobody else"),
        false => Verdict::warning(
            format!("{} lies within {first} to {last}", ports.join(", ")),
            set("net.ipv4.ip_local_reserved_ports", ports.join(",")),
        ),
    }
}

fn slow_start(host: &Host, _: &Needs) -> Verdict {
    match host.sysctl("net.ipv4.tcp_slow_start_after_idle") {
        None => Verdict::unknown("net.ipv4.tcp_slow_start_after_idle can't be read"),
        Some(0) => Verdict::ok("connections go on as fast as they were"),
        Some(_) => Verdict::advice(
            "net.ipv4.tcp_slow_start_after_idle = 1",
            set("net.ipv4.tcp_slow_start_after_idle", 0),
        ),
    }
}

fn busy(host: &Host, _: &Needs) -> Verdict {
    let names = ["net.core.busy_poll", "net.core.busy_read"];
    let on: Vec<String> = names
        .iter()
        .filter_map(|name| Some((name, host.sysctl(name).filter(|micros| *micros > 0)?)))
        .map(|(name, micros)| format!("{name} = {micros}"))
        .collect();
    match on.is_empty() {
        true => Verdict::ok("off"),
        false => Verdict::advice(
            on.join(", "),
            "sysctl -w net.core.busy_poll=0 net.core.busy_read=0",
        ),
    }
}

fn tracking(host: &Host, needs: &Needs) -> Verdict {
    let Some(most) = host.sysctl("net.netfilter.nf_conntrack_max") else {
        return Verdict::ok("none");
    };
    let cores = needs.cpus(host).len();
    let wanted = ((needs.connections + needs.calls) * cores) as u64;
    let now = host.sysctl("net.netfilter.nf_conntrack_count").unwrap_or(0);
    let found = format!("{now} of {most} tracked");
    match most >= wanted {
        true => Verdict::ok(found),
        false => Verdict::warning(
            format!("{found}, where {cores} cores may have {wanted}"),
            format!(
                "{}\nor don't track them: nft add rule inet raw prerouting tcp dport {} notrack",
                set("net.netfilter.nf_conntrack_max", wanted * 2),
                needs.ports.first().copied().unwrap_or(8080)
            ),
        ),
    }
}
