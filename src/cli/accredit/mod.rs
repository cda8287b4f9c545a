//! `srpd accredit …`: what an authority does, and how anybody checks it.

mod keygen;
mod sign;
mod verify;

use std::io::Write;

use super::Failure;

/// Accreditations of backstops
#[derive(clap::Subcommand)]
pub(super) enum Command {
    #[command(after_long_help = keygen::MORE)]
    Keygen(keygen::Arguments),
    #[command(after_long_help = sign::MORE)]
    Sign(sign::Arguments),
    #[command(after_long_help = verify::MORE)]
    Verify(verify::Arguments),
}

pub(super) fn run(command: Command, out: &mut dyn Write) -> Result<(), Failure> {
    match command {
        Command::Keygen(arguments) => keygen::run(&arguments, out),
        Command::Sign(arguments) => sign::run(arguments, out),
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
