//! Network cards: their queues, and which CPUs these interrupt.

use super::finding::{Check, Verdict};
use super::host::{Host, cpu_list, show_cpus};
use super::needs::Needs;

pub(super) const CHECKS: &[Check] = &[
    Check {
        name: "queues",
        why: "A card's queue interrupts one CPU. With fewer queues than cores some CPUs do the others' packets.",
        look: queues,
    },
    Check {
        name: "interrupts",
        why: "Packets are taken in by the CPU that is interrupted. If that is one for all, it is full before the cores are.",
        look: interrupts,
    },
    Check {
        name: "coalescing",
        why: "What waits to be merged with the next packet arrives later: an event of a stream is one packet.",
        look: coalescing,
    },
    Check {
        name: "packets",
        why: "What the kernel drops before it has looked at it is sent again, after some hundred milliseconds.",
        look: dropped,
    },
];

/// Network interfaces that have hardware behind them and are up.
pub(super) fn cards(host: &Host) -> Vec<String> {
    let all = host.list("sys/class/net").into_iter();
    let up = |name: &String| {
        let state = host.read(&format!("sys/class/net/{name}/operstate"));
        host.has(&format!("sys/class/net/{name}/device")) && state.as_deref() == Some("up")
    };
    all.filter(up).collect()
}

fn queues(host: &Host, needs: &Needs) -> Verdict {
    let cores = needs.cpus(host).len();
    let mut found = Vec::new();
    let mut few = Vec::new();
    for card in cards(host) {
        let at = format!("sys/class/net/{card}/queues");
        let queues: Vec<String> = host
            .list(&at)
            .into_iter()
            .filter(|queue| queue.starts_with("rx-"))
            .collect();
        // Packets of a queue can be handed on to other CPUs.
        let steered = queues.iter().any(|queue| {
            let mask = host
                .read(&format!("{at}/{queue}/rps_cpus"))
                .unwrap_or_default();
            mask.chars().any(|digit| !matches!(digit, '0' | ','))
        });
        if queues.len() < cores && !steered {
            few.push(card.clone());
        }
        let by_software = if steered { ", handed on (RPS)" } else { "" };
        found.push(format!("{card} has {}{by_software}", queues.len()));
    }
    if found.is_empty() {
        return Verdict::unknown("no network card is up");
    }
    let found = format!("{} for {cores} cores", found.join("; "));
    let change: Vec<String> = few
        .iter()
        .map(|card| {
            format!(
                "ethtool -l {card}; ethtool -L {card} combined {cores}\n\
                 if it has no more: echo {} > /sys/class/net/{card}/queues/rx-0/rps_cpus",
                mask(&needs.cpus(host))
            )
        })
        .collect();
    match few.is_empty() {
        true => Verdict::ok(found),
        false => Verdict::advice(found, change.join("\n")),
    }
}

/// CPUs as the kernel's masks are written: 32 in each group.
fn mask(cpus: &[usize]) -> String {
    let groups = cpus.iter().max().map_or(1, |most| most / 32 + 1);
    let group = |group: usize| {
        let own = cpus.iter().filter(|cpu| *cpu / 32 == group);
        own.fold(0_u32, |mask, cpu| mask | 1 << (cpu % 32))
    };
    let shown: Vec<String> = (0..groups)
        .rev()
        .map(|at| format!("{:x}", group(at)))
        .collect();
    shown.join(",")
}

fn interrupts(host: &Host, needs: &Needs) -> Verdict {
    let cores = needs.cpus(host).len();
    let mut found = Vec::new();
    let mut crowded = false;
    for card in cards(host) {
        let numbers = host.list(&format!("sys/class/net/{card}/device/msi_irqs"));
        let mut hit: Vec<usize> = numbers
            .iter()
            .filter_map(|number| {
                let read = |file| host.read(&format!("proc/irq/{number}/{file}"));
                cpu_list(&read("effective_affinity_list").or_else(|| read("smp_affinity_list"))?)
            })
            .flatten()
            .collect();
        hit.sort_unstable();
        hit.dedup();
        if hit.is_empty() {
            continue;
        }
        crowded |= numbers.len() > 1 && hit.len() == 1 && cores > 1;
        found.push(format!(
            "{card}: {} on CPUs {}",
            numbers.len(),
            show_cpus(&hit)
        ));
    }
    match (found.is_empty(), crowded) {
        (true, _) => Verdict::unknown("no network card says which interrupts it has"),
        (_, false) => Verdict::ok(found.join("; ")),
        (_, true) => Verdict::advice(
            found.join("; "),
            "systemctl stop irqbalance, then for each queue's interrupt N of /proc/interrupts:\n\
             echo CPU > /proc/irq/N/smp_affinity_list",
        ),
    }
}

fn coalescing(host: &Host, _: &Needs) -> Verdict {
    let mut late = Vec::new();
    for card in cards(host) {
        let nanos = host.number(&format!("sys/class/net/{card}/gro_flush_timeout"));
        let deferred = host.number(&format!("sys/class/net/{card}/napi_defer_hard_irqs"));
        if let (Some(nanos @ 1..), Some(1..)) = (nanos, deferred) {
            late.push((card, nanos / 1000));
        }
    }
    let found: Vec<String> = late
        .iter()
        .map(|(card, micros)| format!("{card} waits up to {micros} µs"))
        .collect();
    let change: Vec<String> = late
        .iter()
        .map(|(card, _)| {
            format!(
                "echo 0 > /sys/class/net/{card}/napi_defer_hard_irqs\n\
                 echo 0 > /sys/class/net/{card}/gro_flush_timeout"
            )
        })
        .collect();
    match found.is_empty() {
        true => Verdict::ok(
            "the kernel keeps no packet back (for the card see ethtool -c, for LRO ethtool -k)",
        ),
        false => Verdict::advice(found.join("; "), change.join("\n")),
    }
}

fn dropped(host: &Host, _: &Needs) -> Verdict {
    let Some(text) = host.read("proc/net/softnet_stat") else {
        return Verdict::unknown("/proc/net/softnet_stat can't be read");
    };
    let column = |line: &str| u64::from_str_radix(line.split_whitespace().nth(1)?, 16).ok();
    let dropped: u64 = text.lines().filter_map(column).sum();
    match dropped {
        0 => Verdict::ok("none dropped since the start"),
        _ => Verdict::advice(
            format!("{dropped} dropped since the start"),
            "sysctl -w net.core.netdev_max_backlog=16384 net.core.netdev_budget=600\n\
             ethtool -g and -G: longer rings; see whether interrupts are spread over CPUs",
        ),
    }
}
