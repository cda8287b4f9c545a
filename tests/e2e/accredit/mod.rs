//! `srpd accredit test`: what it says of backstops that do everything right, or everything but one
//! thing.

mod backstop;
mod starting;

use std::path::Path;
use std::process::{Command, Output, Stdio};

use serde_json::Value;
use srpd::demo::Upstreams;

use self::backstop::{Backstop, CAPACITY, CONTEXT, KEY, MODEL, Vice};
use crate::support::setup::SRPD;
use crate::support::{Authority, Identity, Refusing, Reply, Upstream, ms};

fn start(vice: Vice) -> Upstream {
    let backstop = Backstop::new(vice);
    Upstream::start(move |request| backstop.answer(request))
}

fn test(directory: &Path, url: &str, more: &[&str]) -> Output {
    let mut arguments = vec!["accredit", "test", url, "--model", MODEL];
    arguments.extend(more);
    Command::new(SRPD)
        .args(arguments)
        .current_dir(directory)
        .env_remove("SRPD_BACKSTOP_KEY")
        .stdin(Stdio::null())
        .output()
        .expect("srpd runs")
}

/// The report of a run with these arguments, and its exit status.
fn report(url: &str, more: &[&str]) -> (Value, Option<i32>) {
    let directory = tempfile::tempdir().expect("a directory");
    std::fs::write(directory.path().join("key"), format!("{KEY}\n")).expect("a key");
    let arguments = [&["--json", "report.json"], more].concat();
    let output = test(directory.path(), url, &arguments);
    let text = std::fs::read_to_string(directory.path().join("report.json"));
    let text = text.unwrap_or_else(|error| panic!("{error}: {output:?}"));
    let report = serde_json::from_str(&text).expect("JSON");
    (report, output.status.code())
}

/// The same of a scripted backstop, with what it claims.
fn report_on(upstream: &Upstream, more: &[&str]) -> (Value, Option<i32>) {
    let (capacity, context) = (CAPACITY.to_string(), CONTEXT.to_string());
    let mut arguments = vec!["--key-file", "key", "--stall", "3"];
    arguments.extend(["--capacity", &capacity, "--context", &context]);
    arguments.extend(more);
    report(&upstream.url(), &arguments)
}

/// The checks that ended so.
fn ended(report: &Value, verdict: &str) -> Vec<String> {
    let checks = report["checks"].as_array().expect("checks");
    let of_it = checks.iter().filter(|check| check["verdict"] == verdict);
    of_it
        .map(|check| check["id"].as_str().expect("an id").to_owned())
        .collect()
}

/// Each vice with the check that finds it, behind the checks without which it isn't met.
const VICES: &[(Vice, &[&str])] = &[
    (Vice::ChatWithoutAChoice, &["chat.whole"]),
    (Vice::NoSystemMessage, &["chat.turns"]),
    (Vice::NoParts, &["chat.parts"]),
    (Vice::UnknownMembersRefused, &["chat.unknown-members"]),
    (Vice::MaxTokensIgnored, &["chat.max-tokens"]),
    (Vice::LengthNotSaid, &["chat.max-tokens"]),
    (Vice::CompletionWithoutText, &["completions.whole"]),
    (Vice::EmbeddingsOutOfOrder, &["embeddings.whole"]),
    (Vice::NoModels, &["models.list"]),
    (Vice::StreamAsJson, &["stream.framing"]),
    (Vice::StreamWithStrayLine, &["stream.framing"]),
    (Vice::StreamCutInAnEvent, &["stream.framing"]),
    (Vice::StreamWithoutDone, &["stream.done"]),
    (Vice::DoneTwice, &["stream.done"]),
    (Vice::ChunksOfTwoIds, &["stream.chunks"]),
    (Vice::NoFinishReason, &["stream.chunks"]),
    (Vice::StreamHeldBack, &["stream.first-event"]),
    (Vice::NoStreamedUsage, &["stream.include-usage"]),
    (Vice::NoStreamedUsage, &["usage.streamed"]),
    (Vice::UsageUnasked, &["stream.usage-unasked"]),
    (Vice::ErrorEventIn200, &["stream.refusal"]),
    (Vice::SlowReaderCutOff, &["stream.slow-reader"]),
    (Vice::CompletionStreamWithoutDone, &["stream.completions"]),
    (Vice::NoUsage, &["usage.whole"]),
    (Vice::UsageDoesNotAddUp, &["usage.whole"]),
    (Vice::StreamsCostMore, &["usage.streamed"]),
    (Vice::PromptsAllCostTheSame, &["usage.prompt"]),
    (Vice::StreamsCostNothing, &["usage.events"]),
    (Vice::MalformedIs500, &["errors.malformed-json"]),
    (Vice::MissingIs500, &["errors.missing-messages"]),
    (Vice::MissingIs500, &["errors.wrong-type"]),
    (Vice::ErrorsInHtml, &["errors.wrong-type"]),
    (Vice::AnyModel, &["errors.unknown-model"]),
    (Vice::UnknownPathInText, &["errors.unknown-path"]),
    (Vice::WrongMethodServed, &["errors.wrong-method"]),
    (Vice::AnyKey, &["errors.wrong-key"]),
    (Vice::ClosesBehindErrors, &["errors.then-serves"]),
    (Vice::SmallBodiesOnly, &["limits.body"]),
    (Vice::SmallHeadsOnly, &["limits.head"]),
    (Vice::ContextIs500, &["limits.context"]),
    (Vice::PromptsCut, &["limits.context"]),
    (Vice::ClosesUnannounced, &["transport.keep-alive"]),
    (Vice::ClosesIdle, &["transport.idle"]),
    (Vice::ResidencyRefused, &["srp.residency-field"]),
    (Vice::RequestIdRefused, &["srp.request-id"]),
    (Vice::OneAtATime, &["capacity.streams"]),
    (Vice::Stalls, &["capacity.streams"]),
    (Vice::DropsWhatIsTooMuch, &["capacity.beyond"]),
    (Vice::KeepsSlotsOfStreams, &["cancel.streams"]),
    (Vice::KeepsSlotsOfWholes, &["cancel.whole"]),
    (
        Vice::NoRetryAfter,
        &["capacity.beyond", "errors.retry-after"],
    ),
    (Vice::TwoLengths, &["chat.whole", "transport.framing"]),
    (Vice::Redirects, &["chat.whole", "srp.no-redirect"]),
    (Vice::NoRequestId, &["transport.request-id"]),
    (Vice::DiesOfIt, &["cancel.whole", "transport.afterwards"]),
];

#[test]
fn each_vice_is_found_by_its_check() {
    let mut unfound = Vec::new();
    for (vice, checks) in VICES {
        let upstream = start(*vice);
        let only = [&["--only"], *checks].concat();
        let (report, status) = report_on(&upstream, &only);
        let check = checks.last().expect("a check");
        let failed = ended(&report, "fail");
        if !failed.iter().any(|failed| failed == check) {
            unfound.push(format!("{vice:?} by {check}: {}", report["checks"]));
        }
        let must = report["summary"]["failed_must"].as_u64().expect("a count");
        assert_eq!(status, Some(i32::from(must > 0)), "{vice:?}");
    }
    assert!(unfound.is_empty(), "{}", unfound.join("\n"));
}

#[test]
fn every_check_has_a_vice() {
    let without = [
        // By `a_server_that_does_not_wait_for_a_body_is_found`, and by the check's own tests.
        "transport.slow-body",
        "transport.tls",
    ];
    for item in srpd::conformance::checks::all() {
        let found = VICES
            .iter()
            .any(|(_, checks)| checks.last() == Some(&item.id));
        assert!(found || without.contains(&item.id), "{}", item.id);
    }
}

#[test]
fn a_backstop_without_a_vice_conforms() {
    let upstream = start(Vice::None);
    let (report, status) = report_on(&upstream, &[]);
    assert_eq!(ended(&report, "fail"), [""; 0], "{report:#}");
    assert_eq!(
        ended(&report, "skipped"),
        ["transport.tls", "errors.retry-after"]
    );
    assert_eq!((status, &report["conforms"]), (Some(0), &true.into()));
    // Twice the connection serves on, and in 8 KiB of fields nothing of ours is doubled.
    let requests = upstream.requests();
    assert!(requests.iter().any(|request| request.on_connection == 2));
    let fields = |name| {
        requests
            .iter()
            .filter(|one| one.field(name).is_some())
            .count()
    };
    assert!(fields("x-sovereign-residency") >= 2 && fields("authorization") > 40);
}

#[test]
fn the_embedded_backstop_conforms() {
    let upstreams = Upstreams::start(0).expect("the demo's upstreams");
    let url = format!("http://{}", upstreams.endpoints("aloomu")[0]);
    let (report, status) = report(&url, &["--capacity", "8", "--context", "8192"]);
    assert_eq!(ended(&report, "fail"), [""; 0], "{report:#}");
    // It is open to whoever reaches it, on loopback, and refuses nothing.
    let skipped = ["errors.wrong-key", "transport.tls", "errors.retry-after"];
    assert_eq!(ended(&report, "skipped"), skipped);
    assert_eq!((status, &report["conforms"]), (Some(0), &true.into()));
}

#[test]
fn a_server_that_does_not_wait_for_a_body_is_found() {
    let late = Reply::failure(408);
    let upstream = Upstream::early(late);
    let (report, _) = report_on(&upstream, &["--only", "transport.slow-body"]);
    assert_eq!(ended(&report, "fail"), ["transport.slow-body"]);
}

#[test]
fn the_key_is_in_no_report_even_where_it_is_echoed() {
    let upstream = Upstream::start(|request| {
        let field = request.field("authorization").unwrap_or_default();
        let body = format!(r#"{{"error":{{"message":"no: {field}","type":"x"}}}}"#);
        Reply::json(401, &body)
    });
    let directory = tempfile::tempdir().expect("a directory");
    let formats = ["json", "markdown", "html"];
    let arguments: Vec<String> = formats
        .iter()
        .flat_map(|format| [format!("--{format}"), format!("report.{format}")])
        .collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let output = Command::new(SRPD)
        .args(["accredit", "test", &upstream.url(), "--model", MODEL])
        .args(["--provider", "aloomu", "--only", "chat", "errors.wrong-key"])
        .args(arguments)
        .current_dir(directory.path())
        .env("SRPD_BACKSTOP_KEY", KEY)
        .output()
        .expect("srpd runs");
    assert_eq!(
        upstream.last().field("authorization"),
        Some("Bearer srp-conformance-wrong-key".into())
    );
    assert_eq!(
        upstream.requests()[1].field("authorization"),
        Some(format!("Bearer {KEY}"))
    );
    let said = format!("{output:?}");
    assert!(said.contains("expected status 200, found 401"), "{said}");
    assert!(!said.contains(KEY));
    for format in formats {
        let file = directory.path().join(format!("report.{format}"));
        let text = std::fs::read_to_string(file).expect("a report");
        assert!(text.contains("aloomu") && text.contains("[key]"), "{text}");
        assert!(!text.contains(KEY), "{format}");
    }
}

#[test]
fn over_tls_only_a_trusted_certificate_is_talked_to() {
    let directory = tempfile::tempdir().expect("a directory");
    let authority = Authority::new();
    std::fs::write(directory.path().join("ca.pem"), authority.pem()).expect("a file");
    let upstream = start(Vice::None).over_tls(authority.server().server());
    let only = ["--only", "chat.whole", "transport.tls", "--ca", "ca.pem"];
    let output = test(directory.path(), &upstream.url(), &only);
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{output:?}");
    assert_eq!(said.matches("pass ").count(), 2, "{said}");

    upstream.set_tls(Some(Identity::self_signed().server()));
    let seen = upstream.count();
    let output = test(directory.path(), &upstream.url(), &only);
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(said.contains("the TLS handshake failed"), "{said}");
    assert_eq!((output.status.code(), upstream.count()), (Some(1), seen));
}

#[test]
fn nobody_to_be_tested_is_said_clearly() {
    let directory = tempfile::tempdir().expect("a directory");
    let says = |url: &str, more: &[&str]| {
        let output = test(directory.path(), url, more);
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        (output.status.code(), said)
    };
    let (status, said) = says(&Refusing::new().url(), &[]);
    assert_eq!(status, Some(1));
    assert!(said.contains("nobody answers at 127.0.0.1"), "{said}");
    let (status, said) = says("http://nowhere.invalid", &[]);
    assert_eq!(status, Some(1));
    assert!(said.contains("nowhere.invalid has no address"), "{said}");
    let talker = Upstream::always(Reply::new().send("SSH-2.0-OpenSSH\r\n\r\n").close());
    let (status, said) = says(&talker.url(), &[]);
    assert_eq!(status, Some(1));
    assert!(
        said.contains("doesn't answer as an OpenAI server"),
        "{said}"
    );
    let mute = Upstream::always(Reply::new().stall());
    let (status, said) = says(&mute.url(), &["--timeout", "1"]);
    assert_eq!(status, Some(1));
    assert!(said.contains("nothing came for 1.0 s"), "{said}");
    let usage = [
        ("silicon.example", &[][..], "http(s)://HOST"),
        (
            "http://127.0.0.1:9",
            &["--only", "chat.hole"],
            "of a group: cancel, capacity",
        ),
        (
            "http://127.0.0.1:9",
            &["--capacity", "0"],
            "0 is not in 1..=1024",
        ),
    ];
    for (url, more, expected) in usage {
        let (status, said) = says(url, more);
        assert!(status == Some(64) && said.contains(expected), "{said}");
    }
    std::fs::write(directory.path().join("key"), "two\nlines").expect("a file");
    let (status, said) = says("http://127.0.0.1:9", &["--key-file", "key"]);
    assert_eq!(status, Some(1));
    assert!(said.starts_with("key: expected a key"), "{said}");
}

#[test]
fn a_time_out_is_a_failure_and_the_run_goes_on() {
    let upstream = Upstream::start(|request| match request.line() {
        "GET /v1/models" => Reply::json(200, "{}"),
        _ => Reply::new().pause(ms(1500)),
    });
    let only = ["--timeout", "1", "--only", "chat.whole", "models.list"];
    let (report, _) = report_on(&upstream, &only);
    assert_eq!(ended(&report, "fail"), ["chat.whole", "models.list"]);
    let detail = report["checks"][0]["detail"].as_str().expect("a text");
    assert!(detail.contains("nothing came for 1.0 s"), "{detail}");
}
