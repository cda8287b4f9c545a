//! `srpd accredit test URL`

use std::fs;
use std::io::{self, IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::ValueHint;
use zeroize::Zeroizing;

use crate::base::Secret;
use crate::cli::Failure;
use crate::config::endpoint::{EndpointError, EndpointUrl, parse_endpoint};
use crate::conformance::{self, Checked, Plan, Progress, Report, Severity, Verdict, checks};
use crate::net::{BadTls, ClientTls, Roots};

/// Where a key may stand that is in no file.
const KEY_VARIABLE: &str = "SRPD_BACKSTOP_KEY";

/// Behind the help.
pub(super) const MORE: &str = "\
Examples:
  srpd accredit test http://10.1.0.5:8000 --model aloomu-70b --capacity 16
  srpd accredit test https://silicon.example --provider aloomu --model aloomu-70b \\
    --key-file backstop.key --capacity 64 --context 32768 --markdown report.md --html report.html

What is checked, and what each failure means: docs/ACCREDITATION.md. The suite takes a minute or
two, most of it the model's own time. The endpoint should have nothing else to do: what is in its
way counts against it.

Exit status:
  0   nothing that must hold has failed
  1   something has, or there is nobody to be tested: standard error says which
  64  arguments that make no sense (EX_USAGE)

Environment:
  SRPD_BACKSTOP_KEY            the key, where --key-file isn't given
  SSL_CERT_FILE, SSL_CERT_DIR  authorities of https:// endpoints, in place of the system's";

/// Hold a backstop's endpoint against what SRP demands, and write a report
///
/// Asks it as an instance would: whole and streamed, right and wrong, in time and too slowly, alone
/// and as many times at once as it claims. Each check has a name, what it demands and where that
/// comes from, a verdict, and what was sent and received.
#[derive(clap::Args)]
pub(in crate::cli) struct Arguments {
    /// The endpoint, as a configuration has it
    #[arg(value_name = "URL", value_parser = endpoint)]
    url: EndpointUrl,
    /// The model that is asked for
    #[arg(long, value_name = "NAME")]
    model: String,
    /// The provider's name in the report [default: the endpoint's host]
    #[arg(long, value_name = "NAME", value_parser = crate::cli::name)]
    provider: Option<String>,
    /// The model that is asked for embeddings [default: --model]
    #[arg(long, value_name = "NAME")]
    embedding_model: Option<String>,
    /// The file that holds the endpoint's key, in one line
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    key_file: Option<PathBuf>,
    /// Authorities that vouch for an https:// endpoint, in PEM [default: the system's]
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    ca: Option<PathBuf>,
    /// Calls at a time that the endpoint claims to serve: 1 to 1024
    #[arg(long, value_name = "CALLS", default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=1024))]
    capacity: u16,
    /// Bytes of a request that it claims to take: up to 64 MiB
    #[arg(long, value_name = "BYTES", default_value_t = 1 << 20, value_parser = clap::value_parser!(u32).range(1024..=64 << 20))]
    body_bytes: u32,
    /// Tokens of the model's context, to be overflowed [default: not tried]
    #[arg(long, value_name = "TOKENS", value_parser = clap::value_parser!(u32).range(16..=4_000_000))]
    context: Option<u32>,
    /// How long an answer may take as a whole, in seconds
    #[arg(long, value_name = "SECONDS", default_value_t = 60, value_parser = clap::value_parser!(u16).range(1..=3600))]
    timeout: u16,
    /// How long a stream may be silent, in seconds
    #[arg(long, value_name = "SECONDS", default_value_t = 5, value_parser = clap::value_parser!(u16).range(1..=3600))]
    stall: u16,
    /// Make only these checks, or those of these groups: no conformance comes of it
    #[arg(long, value_name = "CHECK", num_args = 1.., value_parser = check)]
    only: Vec<String>,
    /// Write the report for a machine to read
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    json: Option<PathBuf>,
    /// Write the report in Markdown
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    markdown: Option<PathBuf>,
    /// Write the report as a page for a browser
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    html: Option<PathBuf>,
}

pub(super) fn run(arguments: &Arguments, out: &mut dyn Write) -> Result<(), Failure> {
    let plan = plan(arguments)?;
    let mut display = Display {
        out,
        colour: io::stdout().is_terminal(),
        live: io::stderr().is_terminal(),
        trouble: Ok(()),
    };
    let report = conformance::run(&plan, |progress| display.show(&progress))?;
    display.trouble?;
    // First what was asked for, then what doesn't fit on a screen.
    let written = [
        (&arguments.json, report.json().map_err(io::Error::from)?),
        (&arguments.markdown, conformance::report::markdown(&report)),
        (&arguments.html, conformance::report::html(&report)),
    ];
    for (path, text) in &written {
        if let Some(path) = path {
            fs::write(path, text).map_err(Failure::file(path))?;
        }
    }
    writeln!(out, "\n{}", report.sentence())?;
    verdict(&report)
}

fn verdict(report: &Report) -> Result<(), Failure> {
    match report.summary.failed_must {
        0 => Ok(()),
        count => Err(Failure::NotConforming(count)),
    }
}

fn plan(arguments: &Arguments) -> Result<Plan, Failure> {
    let endpoint = arguments.url.clone();
    let tls = match endpoint.https {
        false => None,
        true => Some(trust(arguments.ca.as_deref(), &endpoint.host)?),
    };
    let provider = arguments.provider.as_ref().unwrap_or(&endpoint.host);
    let embedding = arguments.embedding_model.as_ref();
    Ok(Plan {
        provider: provider.clone(),
        tls,
        key: key(arguments.key_file.as_deref())?,
        model: arguments.model.clone(),
        embedding_model: embedding.unwrap_or(&arguments.model).clone(),
        capacity: arguments.capacity.into(),
        context: arguments.context.map(|tokens| tokens as usize),
        body_bytes: arguments.body_bytes as usize,
        timeout: Duration::from_secs(arguments.timeout.into()),
        stall: Duration::from_secs(arguments.stall.into()),
        only: arguments.only.clone(),
        endpoint,
    })
}

fn trust(ca: Option<&Path>, host: &str) -> Result<ClientTls, Failure> {
    let roots = match ca {
        Some(path) => {
            let pem = fs::read(path).map_err(Failure::file(path))?;
            Roots::from_pem(&pem).map_err(Failure::content(path))?
        }
        None => Roots::system().map_err(tls)?,
    };
    ClientTls::new(&roots, host).map_err(tls)
}

fn tls(bad: BadTls) -> Failure {
    Failure::Instance(bad.to_string())
}

/// The key of the file, or of the environment.
fn key(file: Option<&Path>) -> Result<Option<Secret>, Failure> {
    let (bytes, from) = match (file, std::env::var_os(KEY_VARIABLE)) {
        (Some(path), _) => (
            fs::read(path).map_err(Failure::file(path))?,
            path.to_owned(),
        ),
        (None, Some(value)) => (value.into_encoded_bytes(), PathBuf::from(KEY_VARIABLE)),
        (None, None) => return Ok(None),
    };
    let bytes = Zeroizing::new(bytes);
    let text = String::from_utf8_lossy(&bytes);
    let text = text.trim_end_matches(['\n', '\r']);
    if text.is_empty() || !text.bytes().all(|byte| byte.is_ascii_graphic()) {
        let expected = "expected a key of visible ASCII characters in one line";
        return Err(Failure::content(&from)(expected));
    }
    Ok(Some(Secret::new(text.as_bytes().to_vec())))
}

fn endpoint(url: &str) -> Result<EndpointUrl, EndpointError> {
    parse_endpoint(url)
}

/// The name of a check or of a group.
fn check(name: &str) -> Result<String, String> {
    if checks::all().any(|item| item.is(name)) {
        return Ok(name.to_owned());
    }
    let mut groups: Vec<&str> = checks::all()
        .filter_map(|item| item.id.split('.').next())
        .collect();
    groups.sort_unstable();
    groups.dedup();
    let groups = groups.join(", ");
    Err(format!(
        "expected the name of a check, such as chat.whole, or of a group: {groups}"
    ))
}

/// A line for each check as it ends, and on a terminal the one that is being made.
struct Display<'o> {
    out: &'o mut dyn Write,
    colour: bool,
    live: bool,
    trouble: io::Result<()>,
}

impl Display<'_> {
    fn show(&mut self, progress: &Progress<'_>) {
        match progress {
            Progress::Begins(number, total, item) if self.live => {
                eprint!("\r\x1b[K[{number}/{total}] {} …", item.id);
            }
            Progress::Begins(..) => {}
            Progress::Ended(checked) => {
                if self.live {
                    eprint!("\r\x1b[K");
                }
                let line = line(checked, self.colour);
                // The run goes on: its report is worth more than the line.
                if let Err(error) = writeln!(self.out, "{line}").and_then(|()| self.out.flush()) {
                    self.trouble = Err(error);
                }
            }
        }
    }
}

fn line(checked: &Checked, colour: bool) -> String {
    let code = match (checked.verdict, checked.severity) {
        (Verdict::Pass, _) => "32",
        (Verdict::Fail, Severity::Must) => "1;31",
        (Verdict::Fail, Severity::Should) => "33",
        (Verdict::Skipped, _) => "2",
    };
    let word = format!("{:<8}", checked.verdict.word());
    let word = match colour {
        true => format!("\x1b[{code}m{word}\x1b[0m"),
        false => word,
    };
    let seconds = checked.duration_ms as f64 / 1e3;
    let mut line = format!(
        "{word} {:<6}  {:<24} {seconds:>5.1} s  {}",
        checked.severity.word(),
        checked.id,
        checked.title.replace('`', "")
    );
    if checked.verdict != Verdict::Pass {
        line.push_str(&format!("\n{:25}{}", "", checked.detail));
    }
    line
}
