//! `srpd accredit …`: what an authority does, and how anybody checks it.

mod grounds;
pub(super) mod keygen;
mod sign;
mod test;
mod verify;

use std::io::Write;

use super::Failure;

/// Test, sign and verify what makes a provider a backstop
///
/// An authority makes a key pair (keygen), holds a provider's endpoint against what SRP demands
/// (test), and signs (sign). Operators put its public key into their configurations, and anybody can
/// check a signature (verify). docs/ACCREDITATION.md says who does what.
#[derive(clap::Subcommand)]
pub(super) enum Command {
    #[command(after_long_help = keygen::MORE)]
    Keygen(keygen::Arguments),
    #[command(after_long_help = test::MORE)]
    Test(Box<test::Arguments>),
    #[command(after_long_help = sign::MORE)]
    Sign(sign::Arguments),
    #[command(after_long_help = verify::MORE)]
    Verify(verify::Arguments),
}

pub(super) fn run(command: Command, out: &mut dyn Write) -> Result<(), Failure> {
    match command {
        Command::Keygen(arguments) => keygen::run(&arguments, out),
        Command::Sign(arguments) => sign::run(arguments, out),
        Command::Test(arguments) => test::run(&arguments, out),
        Command::Verify(arguments) => verify::run(&arguments, out),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::super::tests::srpd;

    #[test]
    fn what_is_signed_verifies_under_the_printed_key_only() {
        let directory = tempfile::tempdir().unwrap();
        let path = |name: &str| directory.path().join(name).to_str().unwrap().to_owned();
        let (key, file) = (path("authority.pem"), path("aloomu.accreditation.json"));
        let public = srpd(&["accredit", "keygen", "--out", &key]).unwrap();
        let mode = std::fs::metadata(&key).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);

        let sign = [
            "accredit",
            "sign",
            "--key",
            &key,
            "--provider",
            "aloomu",
            "--jurisdiction",
            "AU",
            "--endpoint",
            "https://Silicon.example/v1",
            "http://127.0.0.1:9101",
            "--endpoint",
            "http://127.0.0.1:9102",
            "--days",
            "90",
            "--out",
            &file,
        ];
        let said = srpd(&sign).unwrap();
        assert!(
            said.contains("\"aloomu\" in au on 127.0.0.1, silicon.example"),
            "{said}"
        );

        let verify = ["accredit", "verify", &file, "--public-key"];
        let verified = srpd(&[&verify[..], &[public.trim()]].concat()).unwrap();
        assert_eq!(verified, said);
        let other = srpd(&["accredit", "keygen", "--out", &path("other.pem")]).unwrap();
        let refused = srpd(&[&verify[..], &[other.trim()]].concat()).unwrap_err();
        assert!(
            refused.contains("not that of the given authority"),
            "{refused}"
        );
    }

    #[test]
    fn with_reports_nothing_is_signed_that_they_do_not_speak_for() {
        let directory = tempfile::tempdir().unwrap();
        let path = |name: &str| directory.path().join(name).to_str().unwrap().to_owned();
        let (key, file, report) = (path("a.pem"), path("a.json"), path("report.json"));
        srpd(&["accredit", "keygen", "--out", &key]).unwrap();
        let now = jiff::Timestamp::now();
        let ago = |days: i64| (now - jiff::SignedDuration::from_hours(24 * days)).to_string();
        let written = |change: &[(&str, serde_json::Value)]| {
            let mut json = serde_json::json!({
                "format": 1, "srp": "1", "provider": "aloomu", "conforms": true,
                "endpoint": "https://silicon.example", "started": ago(29), "checks": [],
            });
            for (member, value) in change {
                json[*member] = value.clone();
            }
            std::fs::write(&report, json.to_string()).unwrap();
        };
        let sign = |endpoints: &[&str]| {
            let usual = ["accredit", "sign", "--key", &key, "--provider", "aloomu"];
            let more = ["--jurisdiction", "au", "--days", "9", "--out", &file];
            let grounds = ["--report", &report, "--endpoint"];
            srpd(&[&usual[..], &more, &grounds, endpoints].concat())
        };
        let host = "https://Silicon.example:8443/v1";
        written(&[]);
        sign(&[host]).unwrap();
        std::fs::remove_file(&file).unwrap();
        let refused = sign(&[host, "http://10.0.0.1"]).unwrap_err();
        assert!(
            refused.contains("no report speaks for host \"10.0.0.1\""),
            "{refused}"
        );
        for (member, value, says) in [
            ("conforms", false.into(), "does not conform"),
            ("provider", "fleet".into(), "about provider \"fleet\""),
            ("started", ago(31).into(), "more than 30 days ago"),
            ("started", ago(-1).into(), "in the future"),
            ("srp", "2".into(), "on SRP 1"),
            ("format", 2.into(), "of format 1"),
            ("endpoint", "silicon".into(), "http(s)://HOST"),
            ("started", "yesterday".into(), "expected a report"),
        ] {
            written(&[(member, value)]);
            let refused = sign(&[host]).unwrap_err();
            assert!(
                refused.starts_with(&report) && refused.contains(says),
                "{refused}"
            );
        }
        assert!(!std::fs::exists(&file).unwrap());
    }

    #[test]
    fn a_key_is_never_overwritten() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("authority.pem");
        std::fs::write(&path, "mine").unwrap();
        let refused = srpd(&["accredit", "keygen", "--out", path.to_str().unwrap()]).unwrap_err();
        assert!(refused.contains("exists"), "{refused}");
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "mine");
    }

    #[test]
    fn senseless_arguments_are_usage_errors() {
        let usual = ["accredit", "sign", "--key", "k", "--out", "o"];
        for (provider, jurisdiction, endpoint, days, says) in [
            ("a b", "au", "http://a", "1", "1 to 64 characters"),
            ("a", "xx", "http://a", "1", "ISO 3166-1"),
            ("a", "au", "a.example", "1", "http(s)://HOST"),
            ("a", "au", "http://a", "0", "0 is not in 1..=3650"),
        ] {
            let given = [
                "--provider",
                provider,
                "--jurisdiction",
                jurisdiction,
                "--endpoint",
                endpoint,
                "--days",
                days,
            ];
            let refused = srpd(&[&usual[..], &given].concat()).unwrap_err();
            assert!(refused.contains(says), "{refused}");
        }
    }
}
