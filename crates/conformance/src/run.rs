//! All forms on both processors, and the report of what differs.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;

use crate::arena;
use crate::case::Case;
use crate::compare::{Difference, compare, end_text};
use crate::excluded::Reason;
use crate::family;
use crate::form::{self, Form};
use crate::generate;
use crate::guest::Guest;
use crate::host::{self, Host, Unavailable};
use crate::rng::Rng;
use crate::state::Outcome;
use crate::undefined::Seen;
use crate::values::{self, Flavour};

/// What to run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Options {
    pub seed: u64,
    /// Cases of each form.
    pub cases: u64,
    /// Only instructions, or families, of this name.
    pub only: Option<String>,
    /// Only one case of each form, by number.
    pub case: Option<u64>,
    /// Part `part.0` of `part.1` equal parts, from 0.
    pub part: (usize, usize),
    /// Differing cases printed for each form.
    pub print: usize,
}

impl Default for Options {
    fn default() -> Self {
        Self { seed: 1, cases: 50, only: None, case: None, part: (0, 1), print: 2 }
    }
}

/// What was run and what differed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Summary {
    pub forms: usize,
    pub cases: u64,
    /// Cases in which the two processors differed.
    pub differences: u64,
    /// Forms for which no case could be made.
    pub empty_forms: usize,
    /// Cases that ended in a fault on the host.
    pub faults: u64,
}

/// Runs the cases of every form and writes the report to `out`.
pub fn run(options: &Options, out: &mut dyn FnMut(&str)) -> Result<Summary, Unavailable> {
    let missing = host::missing_features();
    if !missing.is_empty() {
        return Err(Unavailable(format!("the host lacks {}", missing.join(", "))));
    }
    let mut host = Host::new()?;
    let mut guest = Guest::new();
    let amd = host::vendor() == "AuthenticAMD";
    let forms = form::enumerate();
    let mut summary = Summary::default();
    let mut by_family: BTreeMap<&str, (u64, BTreeSet<String>)> = BTreeMap::new();
    let chosen = forms.covered.iter().filter(|form| wanted(form, options.only.as_deref())).collect::<Vec<_>>();
    for (index, form) in chosen.into_iter().enumerate() {
        if index % options.part.1 != options.part.0 {
            continue;
        }
        summary.forms += 1;
        let template = template(options.seed, form);
        let mut made = 0;
        let mut printed = 0;
        let mut differing = 0;
        for number in options.case.map_or(0..options.cases, |case| case..case + 1) {
            let mut rng = Rng::for_case(options.seed, form.number(), number);
            let Some(case) = generate::case(form, &mut rng) else { continue };
            made += 1;
            let memory = case.memory(&template);
            let on_host = host.run(&case, &memory);
            let on_guest = guest.run(&case, &memory);
            summary.faults += u64::from(on_host.end != crate::state::End::Completed);
            let seen = Seen { case: &case, host: &on_host, guest: &on_guest, amd };
            let found = compare(&seen, &memory);
            if found.is_empty() {
                continue;
            }
            differing += 1;
            if printed < options.print {
                printed += 1;
                out(&describe(form, number, &case, &on_host, &on_guest, &found));
            }
        }
        summary.cases += made;
        summary.differences += differing;
        if made == 0 {
            summary.empty_forms += 1;
            out(&format!("no case: {}", form.name()));
        }
        if differing > 0 {
            let entry = by_family.entry(family::of(form.code).name).or_default();
            entry.0 += differing;
            entry.1.insert(format!("{} ({differing} of {made})", form.name()));
        }
    }
    for (family, (count, forms)) in by_family {
        out(&format!(
            "{family}: {count} differing cases in {} forms\n  {}",
            forms.len(),
            forms.into_iter().collect::<Vec<_>>().join("\n  ")
        ));
    }
    if options.part.0 == 0 && options.only.is_none() {
        out(&excluded(&forms.excluded));
    }
    Ok(summary)
}

fn wanted(form: &Form, only: Option<&str>) -> bool {
    let Some(only) = only else { return true };
    let is = |name: &str| name.eq_ignore_ascii_case(only);
    is(&format!("{:?}", form.code.mnemonic())) || is(&format!("{:?}", form.code)) || is(family::of(form.code).name)
}

/// The arena's contents around a form's operands.
fn template(seed: u64, form: &Form) -> Vec<u8> {
    let mut rng = Rng::for_case(seed, form.number(), u64::MAX);
    let flavour = Flavour::any(&mut rng);
    let mut memory = vec![0; arena::SIZE];
    values::fill(&mut rng, flavour, &mut memory);
    let code = arena::offset(arena::CODE_PAGES.start, 0).expect("code lies in the arena");
    memory[code..code + (arena::CODE_PAGES.end - arena::CODE_PAGES.start) as usize].fill(arena::BREAKPOINT);
    memory
}

fn describe(form: &Form, number: u64, case: &Case, host: &Outcome, guest: &Outcome, found: &[Difference]) -> String {
    let mut text = String::new();
    let mut line = |args: std::fmt::Arguments| writeln!(text, "{args}").expect("writing to a String cannot fail");
    let code = case.code.iter().map(|byte| format!("{byte:02x}")).collect::<Vec<_>>().join(" ");
    line(format_args!("differs: {} case {number}", form.name()));
    line(format_args!("  {code}    {}", case.text()));
    let state = &case.state;
    for row in 0..4 {
        let cells = (row * 4..row * 4 + 4).map(|n| format!("{:016x}", state.gpr[n])).collect::<Vec<_>>();
        line(format_args!("  {} {}", ["rax rcx rdx rbx", "rsp rbp rsi rdi", "r8  r9  r10 r11", "r12 r13 r14 r15"][row], cells.join(" ")));
    }
    line(format_args!("  rflags {:x} mxcsr {:04x} fs {:x} gs {:x}", state.rflags, state.mxcsr, state.fs_base, state.gs_base));
    if family::of(form.code).name == "x87" {
        let x87 = &state.x87;
        line(format_args!("  x87 control {:04x} status {:04x} valid {:02x}", x87.control, x87.status, x87.valid));
        let cells = x87.st.iter().map(|value| format!("{:04x}.{:016x}", value.sign_exponent, value.mantissa)).collect::<Vec<_>>();
        line(format_args!("  st {}", cells.join(" ")));
    }
    let mut info = iced_x86::InstructionInfoFactory::new();
    for used in info.info(&case.instruction).used_registers().iter().filter(|used| used.register().is_xmm()) {
        line(format_args!("  {:?} {:032x}", used.register(), state.xmm[used.register().number()]));
    }
    if let Some((at, size)) = crate::undefined::memory_operand(case) {
        let bytes = (0..size.min(64)).map(|index| {
            let offset = arena::offset(at.wrapping_add(index as u64), 1);
            offset.map_or("..".to_owned(), |offset| format!("{:02x}", case.memory(&vec![0; arena::SIZE])[offset]))
        });
        line(format_args!("  memory {at:x}: {}", bytes.collect::<Vec<_>>().join(" ")));
    }
    line(format_args!("  host {}, interpreter {}", end_text(host.end), end_text(guest.end)));
    for difference in found {
        line(format_args!("  {}: before {}", difference.what, difference.before));
        line(format_args!("    host        {}", difference.host));
        line(format_args!("    interpreter {}", difference.guest));
    }
    text
}

fn excluded(list: &[(iced_x86::Code, u32, Reason)]) -> String {
    let mut by_reason: BTreeMap<Reason, BTreeSet<String>> = BTreeMap::new();
    for (code, _, reason) in list {
        by_reason.entry(*reason).or_default().insert(code.op_code().instruction_string().to_owned());
    }
    let mut text = format!("{} instructions of the model have no case against the host:", list.len());
    for (reason, names) in by_reason {
        write!(text, "\n  {}: {}", reason.text(), names.into_iter().collect::<Vec<_>>().join("; "))
            .expect("writing to a String cannot fail");
    }
    text
}
