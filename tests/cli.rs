//! The program's exit status and where it writes, as scripts see them.

use std::process::{Command, Output};

fn srpd(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_srpd"))
        .args(arguments)
        .output()
        .unwrap()
}

#[test]
fn success_goes_to_standard_output_with_status_0() {
    for arguments in [&["--version"][..], &["--help"], &["key", "new", "acme"]] {
        let output = srpd(arguments);
        assert_eq!(output.status.code(), Some(0), "{arguments:?}");
        assert!(
            !output.stdout.is_empty() && output.stderr.is_empty(),
            "{arguments:?}"
        );
    }
}

#[test]
fn failure_goes_to_standard_error_with_status_1() {
    let output = srpd(&["check", "/nonexistent/srpd.toml"]);
    assert_eq!(output.status.code(), Some(1));
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(
        said.starts_with("/nonexistent/srpd.toml: expected a readable file"),
        "{said}"
    );
    assert!(output.stdout.is_empty());
}

#[test]
fn senseless_arguments_are_ex_usage() {
    for arguments in [
        &[][..],
        &["chekc"],
        &["check"],
        &["key", "new", "a b"],
        &["check", "a", "b"],
    ] {
        let output = srpd(arguments);
        assert_eq!(output.status.code(), Some(64), "{arguments:?}");
        assert!(
            output.stdout.is_empty() && !output.stderr.is_empty(),
            "{arguments:?}"
        );
    }
}
