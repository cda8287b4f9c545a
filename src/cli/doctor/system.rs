//! What else is on the host: pages, swap, names, logs.

use super::finding::{Check, Verdict};
use super::host::Host;
use super::needs::Needs;

/// Where logs are kept this much should be free.
const LOG_BYTES_MIN: u64 = 1 << 30;

/// journald's own bound, where nothing else is set: lines in 30 seconds.
const JOURNAL_BURST: &str = "10000 lines in 30 s, 333 calls a second";

pub(super) const CHECKS: &[Check] = &[
    Check {
        name: "swap",
        why: "A page that was swapped out holds its core up until the disk has it, and credentials may lie on that disk.",
        look: swap,
    },
    Check {
        name: "huge pages",
        why: "Given to everybody, they keep memory that a burst has needed, and the kernel stops threads to make them.",
        look: huge_pages,
    },
    Check {
        name: "names",
        why: "Endpoints that are names are looked up again and again; one that can't be is served by others.",
        look: names,
    },
    Check {
        name: "journal",
        why: "The access log is a line a call. Above its rate journald drops lines, and says so once.",
        look: journal,
    },
    Check {
        name: "log space",
        why: "An access log that can't be written loses records; they are counted in srpd_access_lost_total.",
        look: space,
    },
];

fn swap(host: &Host, _: &Needs) -> Verdict {
    let Some(text) = host.read("proc/swaps") else {
        return Verdict::unknown("/proc/swaps can't be read");
    };
    let devices: Vec<&str> = text
        .lines()
        .skip(1)
        .filter_map(|line| line.split_whitespace().next())
        .collect();
    if devices.is_empty() {
        return Verdict::ok("none");
    }
    let denied = host
        .groups("memory.swap.max")
        .iter()
        .any(|(_, text)| text == "0");
    match denied {
        true => Verdict::ok("none for this process"),
        false => Verdict::advice(
            devices.join(", "),
            "MemorySwapMax=0 (systemd unit), or swapoff -a",
        ),
    }
}

fn huge_pages(host: &Host, _: &Needs) -> Verdict {
    let Some(text) = host.read("sys/kernel/mm/transparent_hugepage/enabled") else {
        return Verdict::ok("this kernel has none");
    };
    let chosen = text.split(['[', ']']).nth(1).unwrap_or(&text);
    match chosen {
        "always" => Verdict::advice(
            "given to everybody",
            "echo madvise > /sys/kernel/mm/transparent_hugepage/enabled\n\
             kernel command line: transparent_hugepage=madvise",
        ),
        other => Verdict::ok(other),
    }
}

fn names(host: &Host, needs: &Needs) -> Verdict {
    if !needs.names {
        return Verdict::ok("not needed: every endpoint is an address");
    }
    let text = host.read("etc/resolv.conf").unwrap_or_default();
    let servers: Vec<&str> = text
        .lines()
        .filter_map(|line| line.trim().strip_prefix("nameserver"))
        .map(str::trim)
        .collect();
    match servers.as_slice() {
        [] => Verdict::problem(
            "/etc/resolv.conf names nobody to ask",
            "ln -sf /run/systemd/resolve/stub-resolv.conf /etc/resolv.conf, or a line: nameserver ADDRESS",
        ),
        // A resolver of this host has a cache, and several to ask.
        [one] if one.starts_with("127.") || *one == "::1" => {
            Verdict::ok(format!("{one}, on this host"))
        }
        [one] => Verdict::advice(
            format!("{one} alone, with no cache on this host"),
            "apt-get install systemd-resolved, or a second line: nameserver ADDRESS",
        ),
        several => Verdict::ok(several.join(", ")),
    }
}

fn journal(host: &Host, needs: &Needs) -> Verdict {
    if !needs.access_log {
        return Verdict::ok("not needed: log.access = false");
    }
    if !host.has("run/systemd/journal/socket") {
        return Verdict::ok("no journald here: the access log is standard output");
    }
    let directories = host.list("etc/systemd/journald.conf.d").into_iter();
    let files = directories.map(|file| format!("etc/systemd/journald.conf.d/{file}"));
    let all = [String::from("etc/systemd/journald.conf")]
        .into_iter()
        .chain(files);
    let units = [
        "etc/systemd/system/srpd.service.d",
        "usr/lib/systemd/system/srpd.service.d",
    ];
    let drop_ins = units.iter().flat_map(|directory| {
        host.list(directory)
            .into_iter()
            .map(move |file| format!("{directory}/{file}"))
    });
    let units = [
        "etc/systemd/system/srpd.service",
        "usr/lib/systemd/system/srpd.service",
    ];
    let units = units.map(String::from).into_iter().chain(drop_ins);
    let unlimited = all.chain(units).any(|path| {
        let text = host.read(&path).unwrap_or_default();
        let mut lines = text.lines().map(str::trim);
        lines.any(|line| {
            [
                "RateLimitIntervalSec=0",
                "LogRateLimitIntervalSec=0",
                "RateLimitBurst=0",
                "LogRateLimitBurst=0",
            ]
            .contains(&line)
                || line.starts_with("StandardOutput=") && !line.ends_with("journal")
        })
    });
    match unlimited {
        true => Verdict::ok("its rate isn't limited for srpd, or the access log goes elsewhere"),
        false => Verdict::warning(
            format!("journald takes {JOURNAL_BURST}, if nobody has raised that"),
            "LogRateLimitIntervalSec=0 (systemd unit)\n\
             or StandardOutput=append:/var/log/srpd/access.log (systemd unit), or log.access = false",
        ),
    }
}

fn space(host: &Host, needs: &Needs) -> Verdict {
    if !needs.access_log {
        return Verdict::ok("not needed: log.access = false");
    }
    let Some(free) = host.probed.log_bytes_free else {
        return Verdict::unknown("/var/log can't be asked");
    };
    let found = format!("{} MiB are free at /var/log", free >> 20);
    match free >= LOG_BYTES_MIN {
        true => Verdict::ok(found),
        false => Verdict::warning(
            found,
            "SystemMaxUse= in journald.conf, logrotate, or a larger disk",
        ),
    }
}
