//! Where the cores run, and what slows them down there.

use std::collections::BTreeMap;

use super::finding::{Check, Verdict};
use super::host::{Host, cpu_list, show_cpus};
use super::needs::Needs;
use crate::config::Cores;

/// A CPU that takes longer to wake up, µs, delays each first byte by about that.
const WAKE_UP_MAX: u64 = 50;

const SYSTEM: &str = "sys/devices/system";

pub(super) const CHECKS: &[Check] = &[
    Check {
        name: "CPUs",
        why: "A core is a thread that is pinned to a CPU of its own.",
        look: cpus,
    },
    Check {
        name: "siblings",
        why: "Two cores on one physical CPU share its units: together they do less than on two.",
        look: siblings,
    },
    Check {
        name: "governor",
        why: "Between calls a CPU is slowed down, and the next call begins at that speed.",
        look: governor,
    },
    Check {
        name: "idle states",
        why: "A CPU that sleeps deeply needs long to wake up, and that is added to a call's first byte.",
        look: idle,
    },
    Check {
        name: "NUMA",
        why: "Memory and a network card on another node are slower to reach for every packet.",
        look: numa,
    },
];

fn cpus(host: &Host, needs: &Needs) -> Verdict {
    let Some(allowed) = host.allowed() else {
        return Verdict::unknown("/proc says nothing of allowed CPUs");
    };
    let shown = show_cpus(&allowed);
    let isolated = host
        .read(&format!("{SYSTEM}/cpu/isolated"))
        .unwrap_or_default();
    match &needs.cores {
        Cores::Count(count) if count.get() as usize > allowed.len() => Verdict::problem(
            format!(
                "instance.cores = {count}, and {} are allowed: {shown}",
                allowed.len()
            ),
            "lower instance.cores, or widen CPUAffinity= and AllowedCPUs= (systemd unit)",
        ),
        Cores::Cpus(wanted) if wanted.iter().any(|cpu| !allowed.contains(cpu)) => Verdict::problem(
            format!("instance.cores = {wanted:?}, and {shown} are allowed"),
            "CPUAffinity= and AllowedCPUs= (systemd unit) must hold them all; so must the cpuset of a container",
        ),
        Cores::Auto
            if !isolated.is_empty()
                && cpu_list(&isolated)
                    .is_some_and(|cpus| cpus.iter().all(|cpu| !allowed.contains(cpu))) =>
        {
            Verdict::advice(
                format!("{shown}, and none of the isolated ones: {isolated}"),
                format!(
                    "instance.cores = [{isolated}] and CPUAffinity={isolated} (systemd unit), if they are for srpd"
                ),
            )
        }
        _ => Verdict::ok(format!("{} of {shown}", show_cpus(&needs.cpus(host)))),
    }
}

fn siblings(host: &Host, needs: &Needs) -> Verdict {
    let cpus = needs.cpus(host);
    let mut physical: BTreeMap<Vec<usize>, Vec<usize>> = BTreeMap::new();
    for cpu in &cpus {
        let list = host.read(&format!(
            "{SYSTEM}/cpu/cpu{cpu}/topology/thread_siblings_list"
        ));
        let Some(list) = list.as_deref().and_then(cpu_list) else {
            return Verdict::unknown(format!("the kernel doesn't say who shares CPU {cpu}"));
        };
        physical.entry(list).or_default().push(*cpu);
    }
    if physical.len() == cpus.len() {
        return Verdict::ok(format!(
            "each of {} cores has a physical CPU of its own",
            cpus.len()
        ));
    }
    let first: Vec<String> = physical.values().map(|own| own[0].to_string()).collect();
    Verdict::advice(
        format!(
            "{} cores share {} physical CPUs",
            cpus.len(),
            physical.len()
        ),
        format!(
            "instance.cores = [{}]; measure both with your own load",
            first.join(", ")
        ),
    )
}

fn governor(host: &Host, needs: &Needs) -> Verdict {
    let read = |cpu| host.read(&format!("{SYSTEM}/cpu/cpu{cpu}/cpufreq/scaling_governor"));
    let mut found: Vec<String> = needs.cpus(host).into_iter().filter_map(read).collect();
    found.sort();
    found.dedup();
    match found.as_slice() {
        [] => Verdict::ok("none here: the hypervisor or the firmware decides"),
        [one] if one == "performance" => Verdict::ok("performance"),
        others => Verdict::advice(
            others.join(", "),
            "cpupower frequency-set -g performance\n\
             echo performance | tee /sys/devices/system/cpu/cpu*/cpufreq/scaling_governor",
        ),
    }
}

fn idle(host: &Host, needs: &Needs) -> Verdict {
    let mut slowest = None;
    for cpu in needs.cpus(host) {
        let at = format!("{SYSTEM}/cpu/cpu{cpu}/cpuidle");
        for state in host.list(&at) {
            let number = |file| host.number(&format!("{at}/{state}/{file}"));
            if number("disable") == Some(1) {
                continue;
            }
            if let Some(latency) = number("latency") {
                let name = host.read(&format!("{at}/{state}/name")).unwrap_or(state);
                slowest = slowest.max(Some((latency, name)));
            }
        }
    }
    match slowest {
        None => Verdict::ok("none here: the hypervisor or the firmware decides"),
        Some((latency, name)) if latency <= WAKE_UP_MAX => {
            Verdict::ok(format!("the deepest, {name}, ends within {latency} µs"))
        }
        Some((latency, name)) => Verdict::advice(
            format!("{name} ends after {latency} µs"),
            format!(
                "cpupower idle-set -D {WAKE_UP_MAX}, or kernel command line: intel_idle.max_cstate=1 processor.max_cstate=1"
            ),
        ),
    }
}

fn numa(host: &Host, needs: &Needs) -> Verdict {
    let nodes = host.list(&format!("{SYSTEM}/node"));
    let nodes: Vec<(String, Vec<usize>)> = nodes
        .into_iter()
        .filter_map(|node| {
            let number = node.strip_prefix("node")?.to_owned();
            let cpus = host.read(&format!("{SYSTEM}/node/{node}/cpulist"))?;
            Some((number, cpu_list(&cpus)?)).filter(|(_, cpus)| !cpus.is_empty())
        })
        .collect();
    if nodes.len() < 2 {
        return Verdict::ok("one node");
    }
    let cpus = needs.cpus(host);
    let used = nodes
        .iter()
        .filter(|(_, own)| own.iter().any(|cpu| cpus.contains(cpu)));
    let used: Vec<&str> = used.map(|(number, _)| number.as_str()).collect();
    let mut cards: Vec<String> = super::nic::cards(host)
        .iter()
        .filter_map(|card| host.read(&format!("sys/class/net/{card}/device/numa_node")))
        .filter(|node| node != "-1")
        .collect();
    cards.sort();
    cards.dedup();
    let home = cards
        .first()
        .map_or(used.first().copied().unwrap_or("0"), String::as_str);
    let near = nodes.iter().find(|(number, _)| number == home);
    let near = near.map(|(_, cpus)| show_cpus(cpus)).unwrap_or_default();
    let change = format!(
        "instance.cores within {near} and NUMAPolicy=bind, NUMAMask={home} (systemd unit); \
         another instance for another node's card"
    );
    let found = format!("cores on node {}", used.join(", "));
    match cards.as_slice() {
        _ if used.len() > 1 => Verdict::advice(format!("{found} of {}", nodes.len()), change),
        [card] if used != [card.as_str()] => {
            Verdict::advice(format!("{found}, the network card on node {card}"), change)
        }
        _ => Verdict::ok(found),
    }
}
