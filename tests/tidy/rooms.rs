//! Who may import whom: the floors of docs/ARCHITECTURE.md, the purity of some rooms, and no
//! module that needs itself by way of another.

use std::collections::{BTreeMap, BTreeSet};
use std::slice;

use super::source::{Named, Source, paths};

/// The rooms, from the ground up: each may import from floors below its own. On the top one,
/// where there is only wiring, they may import each other.
pub const FLOORS: &[&[&str]] = &[
    &["base"],
    &["openai", "telemetry"],
    &["net", "http", "policy", "market", "ledger"],
    &["tables", "config"],
    &["proxy", "control"],
    &["server", "worker", "demo", "conformance", "cli"],
];

/// Rooms that are functions of their arguments.
const PURE: &[&str] = &["openai", "http", "policy", "market", "ledger"];

/// Crates that a pure room has no business with.
const IMPURE_CRATES: &[&str] = &[
    "tokio",
    "monoio",
    "hyper",
    "socket2",
    "io_uring",
    "libc",
    "getrandom",
    "rand",
    "fastrand",
];

/// What is data and nothing more, in std's impure modules.
const PURE_STD: &[&str] = &[
    "Duration",
    "IpAddr",
    "Ipv4Addr",
    "Ipv6Addr",
    "SocketAddr",
    "SocketAddrV4",
    "SocketAddrV6",
    "AddrParseError",
];

type Module = Vec<String>;

fn floor(room: &str) -> Option<usize> {
    FLOORS.iter().position(|rooms| rooms.contains(&room))
}

/// The room that a path of `source` leads into.
fn room_of<'n>(named: &'n Named, module: &[String]) -> Option<&'n str> {
    let segments: Vec<&str> = named.segments.iter().map(String::as_str).collect();
    match segments[..] {
        ["crate" | "srpd", room, ..] => Some(room),
        ["super", ..] => {
            let up = segments.iter().take_while(|&&name| name == "super").count();
            (up >= module.len()).then(|| segments.get(up).copied())?
        }
        _ => None,
    }
}

/// Imports that go up, or sideways.
pub fn misplaced_imports(sources: &[Source]) -> Vec<String> {
    let mut complaints = Vec::new();
    for source in sources {
        let Some(module) = source.module() else {
            continue;
        };
        let Some(room) = module.first() else {
            continue;
        };
        let Some(own) = floor(room) else {
            complaints.push(format!("{}: room {room} has no floor", source.path));
            continue;
        };
        for named in paths(&source.shipped) {
            let Some(other) = room_of(&named, &module).filter(|other| other != room) else {
                continue;
            };
            let allowed = floor(other)
                .is_some_and(|other| other < own || (other == own && own == FLOORS.len() - 1));
            if !allowed {
                complaints.push(format!(
                    "{}:{}: {room} imports from {other}",
                    source.path, named.line
                ));
            }
        }
    }
    complaints
}

/// Clocks, sockets, files and chance in rooms that must do without.
pub fn impurities(sources: &[Source]) -> Vec<String> {
    let mut complaints = Vec::new();
    for source in sources {
        let module = source.module().unwrap_or_default();
        if !module
            .first()
            .is_some_and(|room| PURE.contains(&room.as_str()))
        {
            continue;
        }
        for named in paths(&source.shipped) {
            if is_impure(&named) {
                complaints.push(format!(
                    "{}:{}: {} in a pure room",
                    source.path,
                    named.line,
                    named.segments.join("::")
                ));
            }
        }
    }
    complaints
}

fn is_impure(named: &Named) -> bool {
    let segments: Vec<&str> = named.segments.iter().map(String::as_str).collect();
    match segments[..] {
        ["std", "time" | "net"] => true,
        ["std", "time" | "net", item, ..] => !PURE_STD.contains(&item),
        ["std", "fs" | "env" | "thread" | "process" | "os", ..] => true,
        [first, ..] if IMPURE_CRATES.contains(&first) => true,
        _ => segments
            .iter()
            .any(|&name| matches!(name, "Clock" | "OsRng" | "SysRng" | "thread_rng" | "now")),
    }
}

/// Modules that need each other. A module and those inside it count as one.
pub fn cycles(sources: &[Source]) -> Vec<String> {
    let shipped: Vec<(Module, &Source)> = sources
        .iter()
        .filter(|source| !source.shipped.is_empty())
        .filter_map(|source| Some((source.module()?, source)))
        .collect();
    let known: BTreeSet<&[String]> = shipped.iter().map(|(module, _)| &module[..]).collect();
    let reexports = reexports(&shipped, &known);
    // For each parent: which of its children need which others, and where it says so.
    let mut graphs: BTreeMap<Module, BTreeMap<String, BTreeMap<String, String>>> = BTreeMap::new();
    for (from, source) in &shipped {
        for named in paths(&source.shipped) {
            let Some(to) = resolve(&named.segments, from, &known, &reexports) else {
                continue;
            };
            let common = from.iter().zip(&to).take_while(|(a, b)| a == b).count();
            if let (Some(child), Some(other)) = (from.get(common), to.get(common)) {
                let place = format!("{}:{}", source.path, named.line);
                graphs
                    .entry(from[..common].to_vec())
                    .or_default()
                    .entry(child.clone())
                    .or_default()
                    .insert(other.clone(), place);
            }
        }
    }
    graphs.values().flat_map(cycles_of).collect()
}

/// What a module offers under its own name, but has from a child: where it comes from.
fn reexports(
    shipped: &[(Module, &Source)],
    known: &BTreeSet<&[String]>,
) -> BTreeMap<Module, Module> {
    let mut found = BTreeMap::new();
    for (module, source) in shipped {
        for named in paths(&source.shipped) {
            if let [child, .., item] = &named.segments[..] {
                let child = [&module[..], slice::from_ref(child)].concat();
                if known.contains(&child[..]) {
                    found.insert([&module[..], slice::from_ref(item)].concat(), child);
                }
            }
        }
    }
    found
}

fn resolve(
    segments: &[String],
    from: &[String],
    known: &BTreeSet<&[String]>,
    reexports: &BTreeMap<Module, Module>,
) -> Option<Module> {
    let up = segments.iter().take_while(|name| *name == "super").count();
    let path = match segments.first()?.as_str() {
        "crate" | "srpd" => segments[1..].to_vec(),
        "super" => [from.get(..from.len().checked_sub(up)?)?, &segments[up..]].concat(),
        _ => return None,
    };
    (1..=path.len()).rev().find_map(|length| {
        let module = &path[..length];
        if known.contains(module) {
            return Some(module.to_vec());
        }
        reexports.get(module).cloned()
    })
}

fn cycles_of(graph: &BTreeMap<String, BTreeMap<String, String>>) -> Vec<String> {
    let mut complaints = Vec::new();
    let mut done = BTreeSet::new();
    for start in graph.keys() {
        visit(graph, start, &mut Vec::new(), &mut done, &mut complaints);
    }
    complaints
}

fn visit<'g>(
    graph: &'g BTreeMap<String, BTreeMap<String, String>>,
    node: &'g str,
    trail: &mut Vec<(&'g str, &'g str)>,
    done: &mut BTreeSet<&'g str>,
    complaints: &mut Vec<String>,
) {
    if let Some(at) = trail.iter().position(|(name, _)| *name == node) {
        let steps: Vec<String> = trail[at..]
            .iter()
            .map(|(name, place)| format!("{name} ({place})"))
            .collect();
        complaints.push(format!("{} -> {node}", steps.join(" -> ")));
        return;
    }
    if done.contains(node) {
        return;
    }
    for (other, place) in graph.get(node).into_iter().flatten() {
        trail.push((node, place));
        visit(graph, other, trail, done, complaints);
        trail.pop();
    }
    done.insert(node);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn imports(path: &str, text: &str) -> usize {
        misplaced_imports(&[Source::new(path, text)]).len()
    }

    #[test]
    fn imports_may_go_down_but_neither_up_nor_sideways() {
        assert_eq!(
            imports("src/proxy/call.rs", "use crate::tables::Routes;"),
            0
        );
        assert_eq!(imports("src/net/pool.rs", "use crate::base::Moment;"), 0);
        assert_eq!(imports("src/proxy/call.rs", "use super::core::Core;"), 0);
        assert_eq!(imports("src/server.rs", "use crate::worker::Worker;"), 0);
        assert_eq!(imports("src/tables/view.rs", "use crate::proxy::Core;"), 1);
        assert_eq!(imports("src/http/head.rs", "use crate::net::Buffer;"), 1);
        assert_eq!(
            imports("src/base/time.rs", "use crate::{openai::Usage, net};"),
            2
        );
        assert_eq!(
            imports("src/tables/view.rs", "fn f() { crate::config::load() }"),
            1
        );
        assert_eq!(
            imports("src/tables/mod.rs", "use super::config::Config;"),
            1
        );
        assert_eq!(imports("src/attic/mod.rs", "fn f() {}"), 1);
    }

    #[test]
    fn the_two_wings_never_meet() {
        assert_eq!(
            imports("src/proxy/call.rs", "use crate::control::Office;"),
            1
        );
        assert_eq!(imports("src/control/desk.rs", "use crate::proxy::Core;"), 1);
        assert_eq!(imports("src/control/mod.rs", "use super::proxy::Core;"), 1);
    }

    #[test]
    fn tests_may_import_anything() {
        let text = "#[cfg(test)]\nmod tests { use crate::control::Office; }";
        assert_eq!(imports("src/proxy/call.rs", text), 0);
    }

    #[test]
    fn pure_rooms_have_no_clock_no_sockets_and_no_chance() {
        let impure = |text: &str| impurities(&[Source::new("src/policy/chain.rs", text)]).len();
        assert_eq!(impure("use std::time::Duration; use std::net::IpAddr;"), 0);
        for text in [
            "use std::time::{Duration, Instant};",
            "use std::time;",
            "fn f() { std::time::SystemTime::now(); }",
            "use std::net::TcpStream;",
            "use std::fs::File;",
            "use ::tokio::sync::mpsc;",
            "use monoio::net;",
            "use crate::base::Clock;",
            "fn f() { Timestamp::now() }",
            "fn f() { getrandom::fill(&mut x) }",
        ] {
            assert_eq!(impure(text), 1, "{text}");
        }
        assert!(impurities(&[Source::new("src/net/ring.rs", "use monoio::net;")]).is_empty());
    }

    #[test]
    fn a_cycle_is_found_and_a_parent_is_none() {
        let room = |texts: &[(&str, &str)]| {
            let sources: Vec<Source> = texts
                .iter()
                .map(|(name, text)| Source::new(&format!("src/proxy/{name}.rs"), text))
                .collect();
            cycles(&sources)
        };
        let parent = ("mod", "pub use a::A; mod a; mod b; mod c;");
        let a = ("a", "use super::b::B; pub struct A;");
        assert!(room(&[parent, a, ("b", "pub struct B;")]).is_empty());
        assert_eq!(room(&[parent, a, ("b", "use super::a::A;")]).len(), 1);
        assert_eq!(room(&[parent, a, ("b", "use crate::proxy::A;")]).len(), 1);
        let three = [
            parent,
            a,
            ("b", "use super::c::C;"),
            ("c", "use super::a::A;"),
        ];
        assert_eq!(room(&three).len(), 1);
        let below = [
            ("a/mod", "mod x; use super::b::B;"),
            ("a/x", "use super::A;"),
        ];
        assert!(room(&[parent, below[0], below[1], ("b", "")]).is_empty());
        assert_eq!(
            room(&[parent, below[0], ("b", "use super::a::x::X;")]).len(),
            1
        );
    }
}
