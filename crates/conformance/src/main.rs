//! The conformance runner's command line.
//!
//! `conformance [--cases N] [--seed S] [--only NAME] [--case N] [--print N] [--jobs N]`: NAME is a mnemonic, an iced-x86 code or
//! a family. Exit status 0 when nothing differs, 1 when something does, 2 for a bad option, 3 when the host cannot be the reference.

use std::process::ExitCode;

#[cfg(all(unix, target_arch = "x86_64"))]
mod command {
    use std::process::{Child, Command, ExitCode, Stdio};

    use conformance::run::{Options, Summary, run};

    /// What the command line asks for.
    struct Arguments {
        options: Options,
        jobs: usize,
    }

    fn parse(arguments: &[String]) -> Result<Arguments, String> {
        let mut parsed = Arguments { options: Options::default(), jobs: 1 };
        let mut rest = arguments.iter();
        while let Some(name) = rest.next() {
            let value = rest.next().ok_or_else(|| format!("{name} needs a value"))?;
            let number = || value.parse::<u64>().map_err(|_| format!("{name} takes a number, not {value:?}"));
            match name.as_str() {
                "--cases" => parsed.options.cases = number()?,
                "--seed" => parsed.options.seed = number()?,
                "--only" => parsed.options.only = Some(value.clone()),
                "--case" => parsed.options.case = Some(number()?),
                "--print" => parsed.options.print = number()? as usize,
                "--jobs" => parsed.jobs = number()?.max(1) as usize,
                "--part" => {
                    let (part, of) = value.split_once('/').ok_or("--part takes N/M")?;
                    let number = |text: &str| text.parse::<usize>().map_err(|_| "--part takes N/M".to_owned());
                    parsed.options.part = (number(part)?, number(of)?.max(1));
                }
                other => return Err(format!("unknown option {other}")),
            }
        }
        Ok(parsed)
    }

    pub fn main() -> ExitCode {
        let arguments = std::env::args().skip(1).collect::<Vec<_>>();
        let parsed = match parse(&arguments) {
            Ok(parsed) => parsed,
            Err(message) => {
                eprintln!("conformance: {message}");
                return ExitCode::from(2);
            }
        };
        println!("seed {}, {} cases of each form, host {}", parsed.options.seed, parsed.options.cases, conformance::host::vendor());
        let summary = if parsed.jobs > 1 {
            spread(&arguments, parsed.jobs)
        } else {
            run(&parsed.options, &mut |text| println!("{text}")).map_err(|error| error.to_string())
        };
        match summary {
            Ok(summary) => {
                println!(
                    "forms {}, cases {} ({} ended in faults), forms without a case {}, differences {}",
                    summary.forms, summary.cases, summary.faults, summary.empty_forms, summary.differences
                );
                ExitCode::from(u8::from(summary.differences > 0 || summary.empty_forms > 0))
            }
            Err(message) => {
                println!("skipped: {message}");
                ExitCode::from(3)
            }
        }
    }

    /// Runs the parts in processes of their own: the arena and the signal handlers are one to a process.
    fn spread(arguments: &[String], jobs: usize) -> Result<Summary, String> {
        let program = std::env::current_exe().map_err(|error| error.to_string())?;
        let children = (0..jobs)
            .map(|part| {
                let part = format!("{part}/{jobs}");
                Command::new(&program).args(arguments).args(["--jobs", "1", "--part", &part]).stdout(Stdio::piped()).spawn()
            })
            .collect::<Result<Vec<Child>, _>>()
            .map_err(|error| error.to_string())?;
        let mut total = Summary::default();
        for child in children {
            let output = child.wait_with_output().map_err(|error| error.to_string())?;
            let text = String::from_utf8_lossy(&output.stdout);
            let (report, last) = text.trim_end().rsplit_once('\n').unwrap_or(("", text.trim_end()));
            println!("{}", report.split_once('\n').map_or("", |(_, rest)| rest));
            let part = parse_summary(last).ok_or_else(|| format!("a part ended with {}: {last}", output.status))?;
            total.forms += part.forms;
            total.cases += part.cases;
            total.faults += part.faults;
            total.empty_forms += part.empty_forms;
            total.differences += part.differences;
        }
        Ok(total)
    }

    /// The numbers of a summary line.
    fn parse_summary(line: &str) -> Option<Summary> {
        let numbers = line.split(|c: char| !c.is_ascii_digit()).filter(|part| !part.is_empty()).map(|part| part.parse().ok());
        let numbers = numbers.collect::<Option<Vec<u64>>>()?;
        let [forms, cases, faults, empty_forms, differences] = numbers[..] else { return None };
        line.starts_with("forms ").then_some(Summary {
            forms: forms as usize,
            cases,
            faults,
            empty_forms: empty_forms as usize,
            differences,
        })
    }
}

#[cfg(all(unix, target_arch = "x86_64"))]
fn main() -> ExitCode {
    command::main()
}

#[cfg(not(all(unix, target_arch = "x86_64")))]
fn main() -> ExitCode {
    println!("skipped: the conformance runner needs an x86-64 Unix host");
    ExitCode::from(3)
}
