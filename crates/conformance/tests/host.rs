//! The interpreter against this machine's processor: every form, 50 cases each, and the runner's own exits.
//!
//! On processors of the vendor that the table of open results was checked against nothing may differ. Others leave the same
//! things open in ways nobody has looked at yet: there the report is printed, and less than one case in a hundred may differ.

#![cfg(all(unix, target_arch = "x86_64"))]

use std::process::{Command, Output};

use conformance::host;

fn runner(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_conformance")).args(arguments).output().expect("the runner was built with this test")
}

/// The report, or None where the host cannot be the reference (said in one line).
fn report(arguments: &[&str]) -> Option<(String, i32)> {
    let output = runner(arguments);
    let text = String::from_utf8(output.stdout).expect("the report is text");
    let status = output.status.code().unwrap_or_else(|| panic!("the runner died: {}\n{text}", output.status));
    if status == 3 {
        println!("{}", text.lines().last().unwrap_or_default());
        return None;
    }
    Some((text, status))
}

#[test]
fn every_form_does_as_the_host_does() {
    let Some((text, status)) = report(&["--cases", "50", "--jobs", "2"]) else { return };
    let summary = text.lines().last().expect("a report ends with its summary");
    let numbers = summary.split(|c: char| !c.is_ascii_digit()).filter_map(|part| part.parse::<u64>().ok()).collect::<Vec<_>>();
    let [forms, cases, _, empty, differences] = numbers[..] else { panic!("no summary: {summary}") };
    assert!(forms > 4000 && cases == forms * 50 && empty == 0, "{summary}");
    if text.lines().next().is_some_and(|first| first.ends_with(host::CHECKED_VENDOR)) {
        assert_eq!((differences, status), (0, 0), "{text}");
    } else {
        println!("{text}");
        assert!(differences * 100 < cases, "{summary}");
    }
}

#[test]
fn a_seed_makes_the_same_cases_again() {
    let arguments = ["--only", "add", "--cases", "20", "--seed", "99"];
    let (Some(first), Some(second)) = (report(&arguments), report(&arguments)) else { return };
    assert_eq!(first, second);
    assert!(first.0.starts_with("seed 99"), "{}", first.0);
}

#[test]
fn a_bad_option_is_refused() {
    assert_eq!(runner(&["--bogus", "1"]).status.code(), Some(2));
    assert_eq!(runner(&["--cases", "many"]).status.code(), Some(2));
}
