//! The kernel: its version, io_uring, its clocks.

use super::finding::{Check, Grade, Verdict};
use super::host::Host;
use super::needs::Needs;
use crate::config::Driver;
use crate::net::ring::Form;

pub(super) const CHECKS: &[Check] = &[
    Check {
        name: "kernel",
        why: "Linux 6.1 has the cheapest form of io_uring (DEFER_TASKRUN), 5.19 the second one.",
        look: version,
    },
    Check {
        name: "io_uring",
        why: "Without io_uring the cores run on epoll, which costs more CPU per call.",
        look: io_uring,
    },
    Check {
        name: "clock source",
        why: "Each call reads the clock several times. Of some sources that is a system call, or a device.",
        look: clock_source,
    },
    Check {
        name: "time",
        why: "Accreditations and certificates are valid by this clock, and access records are dated by it.",
        look: synchronised,
    },
];

fn version(host: &Host, _: &Needs) -> Verdict {
    const CHANGE: &str = "install a kernel of 6.1 or later (Debian 12, Ubuntu 24.04, RHEL 10)";
    let Some(release) = host.read("proc/sys/kernel/osrelease") else {
        return Verdict::unknown("proc/sys/kernel/osrelease can't be read");
    };
    let grade = match host.version() {
        None => return Verdict::unknown(format!("Linux {release}")),
        Some(version) if version >= (6, 1) => return Verdict::ok(format!("Linux {release}")),
        Some(version) if version >= (5, 19) => Grade::Advice,
        Some(_) => Grade::Warning,
    };
    Verdict::new(grade, format!("Linux {release}"), CHANGE)
}

fn io_uring(host: &Host, needs: &Needs) -> Verdict {
    const SWITCH: &str = "sysctl -w kernel.io_uring_disabled=0\n\
                          echo kernel.io_uring_disabled=0 > /etc/sysctl.d/90-srpd.conf";
    const FILTER: &str = "allow io_uring_setup, io_uring_enter and io_uring_register:\n\
                          systemd: SystemCallFilter=@system-service io_uring_setup io_uring_enter io_uring_register\n\
                          containers: a seccomp profile with the three (--security-opt seccomp=FILE)";
    if needs.driver == Driver::Epoll {
        return Verdict::ok("not asked for: instance.driver = \"epoll\"");
    }
    let switch = host.sysctl("kernel.io_uring_disabled").unwrap_or(0);
    let filtered = host.status("Seccomp").as_deref() == Some("2");
    let denied = match needs.driver {
        Driver::IoUring => Grade::Problem,
        _ => Grade::Warning,
    };
    if switch == 2 {
        return Verdict::new(
            denied,
            "denied to everybody: kernel.io_uring_disabled = 2",
            SWITCH,
        );
    }
    match &host.probed.ring {
        Err(why) if switch == 1 => {
            let found = format!("denied to who isn't root: kernel.io_uring_disabled = 1 ({why})");
            Verdict::new(denied, found, SWITCH)
        }
        Err(why) if filtered => Verdict::new(
            denied,
            format!("denied by a seccomp filter ({why})"),
            FILTER,
        ),
        Err(why) => Verdict::new(denied, format!("denied: {why}"), FILTER),
        // Root is let in where the service isn't.
        Ok(_) if switch == 1 && host.probed.privileged => Verdict::new(
            denied,
            "granted to root only: kernel.io_uring_disabled = 1",
            SWITCH,
        ),
        Ok(form) if host.asks_about_another() && filtered => Verdict::unknown(format!(
            "{} here; the process has a seccomp filter of its own: its line \"listening\" says which driver it has",
            form.name()
        )),
        Ok(Form::DeferTaskrun) => Verdict::ok(Form::DeferTaskrun.name()),
        Ok(form) => Verdict::advice(form.name(), "a kernel of 6.1 or later has DEFER_TASKRUN"),
    }
}

fn clock_source(host: &Host, _: &Needs) -> Verdict {
    const AT: &str = "sys/devices/system/clocksource/clocksource0";
    let Some(current) = host.read(&format!("{AT}/current_clocksource")) else {
        return Verdict::unknown("the kernel names no clock source");
    };
    // These are read without a system call.
    if matches!(
        current.as_str(),
        "tsc" | "kvm-clock" | "hyperv_clocksource_tsc_page" | "arch_sys_counter"
    ) {
        return Verdict::ok(current);
    }
    let available = host.read(&format!("{AT}/available_clocksource"));
    let change = match available.is_some_and(|all| all.split_whitespace().any(|one| one == "tsc")) {
        true => {
            "echo tsc > /sys/devices/system/clocksource/clocksource0/current_clocksource\n\
                 kernel command line: clocksource=tsc tsc=reliable"
        }
        false => {
            "journalctl -k | grep -i tsc says why the kernel doesn't trust it; \
                  kernel command line: tsc=reliable if the hardware is sound"
        }
    };
    Verdict::warning(format!("{current}, and not tsc"), change)
}

fn synchronised(host: &Host, _: &Needs) -> Verdict {
    const CHANGE: &str = "apt-get install chrony, or timedatectl set-ntp true";
    match host.probed.synchronised {
        None => Verdict::unknown("the kernel doesn't say whether its clock is synchronised"),
        Some(true) => Verdict::ok("synchronised"),
        Some(false) => Verdict::warning("nothing keeps the clock synchronised", CHANGE),
    }
}
