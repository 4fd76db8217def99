//! Whether two outcomes are the same, but for what [`crate::undefined`] leaves open.

use cpu::Fault;
use cpu::fault::{page_error, vector};
use softfloat::F80;

use crate::arena;
use crate::state::End;
use crate::undefined::{Open, Seen, open};

/// One register, flag set or byte that differs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Difference {
    pub what: String,
    pub before: String,
    pub host: String,
    pub guest: String,
}

/// RFLAGS bits that are compared: RF is set in the image of a fault, and the rest is the operating system's.
const FLAGS: u64 = 0x0024_7fd5;

const GPR: [&str; 16] = ["rax", "rcx", "rdx", "rbx", "rsp", "rbp", "rsi", "rdi", "r8", "r9", "r10", "r11", "r12", "r13", "r14", "r15"];

/// Everything that differs; empty when the interpreter did as the host.
pub fn compare(seen: &Seen, memory: &[u8]) -> Vec<Difference> {
    let open = open(seen);
    if open.everything {
        return Vec::new();
    }
    let mut found = Vec::new();
    ends(seen, &open, &mut found);
    registers(seen, &open, &mut found);
    x87(seen, &open, &mut found);
    vectors(seen, &open, &mut found);
    bytes(seen, &open, memory, &mut found);
    found
}

fn hex(what: &str, before: u64, host: u64, guest: u64, found: &mut Vec<Difference>) {
    if host != guest {
        let text = |value: u64| format!("{value:#x}");
        found.push(Difference { what: what.to_owned(), before: text(before), host: text(host), guest: text(guest) });
    }
}

fn ends(seen: &Seen, open: &Open, found: &mut Vec<Difference>) {
    let same = match (seen.host.end, seen.guest.end) {
        (End::Completed, End::Completed) => true,
        (End::Fault(host), End::Fault(guest)) => {
            let inside = |fault: Fault| open.fault_within.is_some_and(|(start, length)| fault.address.wrapping_sub(start) < length as u64);
            let both_inside = host.vector == guest.vector && host.vector == vector::PF && inside(host) && inside(guest);
            both_inside || same_fault(host, guest)
        }
        _ => false,
    };
    if !same {
        found.push(Difference {
            what: "end".to_owned(),
            before: String::new(),
            host: end_text(seen.host.end),
            guest: end_text(seen.guest.end),
        });
    }
}

/// The same vector, error code and address. For addresses of the upper half the kernel hides whether the page is present.
fn same_fault(host: Fault, guest: Fault) -> bool {
    let hidden = if host.vector == vector::PF && host.address >> 63 != 0 { page_error::PRESENT } else { 0 };
    let error = |fault: Fault| fault.error.map(|error| error & !hidden);
    host.vector == guest.vector && error(host) == error(guest) && host.address == guest.address
}

/// "#PF(6) at 0x10005000".
pub fn end_text(end: End) -> String {
    let End::Fault(fault) = end else { return "completed".to_owned() };
    let name = match fault.vector {
        vector::DE => "DE",
        vector::DB => "DB",
        vector::BP => "BP",
        vector::UD => "UD",
        vector::NM => "NM",
        vector::SS => "SS",
        vector::GP => "GP",
        vector::PF => "PF",
        vector::MF => "MF",
        vector::AC => "AC",
        vector::XM => "XM",
        other => return format!("vector {other}"),
    };
    let error = fault.error.map_or(String::new(), |error| format!("({error:x})"));
    let place = if fault.vector == vector::PF { format!(" at {:#x}", fault.address) } else { String::new() };
    format!("#{name}{error}{place}")
}

fn registers(seen: &Seen, open: &Open, found: &mut Vec<Difference>) {
    let (before, host, guest) = (&seen.case.state, &seen.host.state, &seen.guest.state);
    for (number, name) in GPR.into_iter().enumerate() {
        let mask = !open.gpr[number] & u64::MAX >> (64 - seen.case.bits);
        hex(name, before.gpr[number], host.gpr[number] & mask, guest.gpr[number] & mask, found);
    }
    hex("rip", before.rip, host.rip, guest.rip, found);
    let mask = FLAGS & !open.flags;
    hex("rflags", before.rflags & mask, host.rflags & mask, guest.rflags & mask, found);
    hex("fs base", before.fs_base, host.fs_base, guest.fs_base, found);
    hex("gs base", before.gs_base, host.gs_base, guest.gs_base, found);
    let mask = !open.mxcsr;
    hex("mxcsr", before.mxcsr.into(), (host.mxcsr & mask).into(), (guest.mxcsr & mask).into(), found);
}

fn x87(seen: &Seen, open: &Open, found: &mut Vec<Difference>) {
    let (before, host, guest) = (&seen.case.state.x87, &seen.host.state.x87, &seen.guest.state.x87);
    hex("x87 control", before.control.into(), host.control.into(), guest.control.into(), found);
    let mask = !open.status & if open.x87_stack { !0x3800 } else { !0 };
    hex("x87 status", before.status.into(), (host.status & mask).into(), (guest.status & mask).into(), found);
    if open.x87_stack {
        return;
    }
    hex("x87 valid", before.valid.into(), host.valid.into(), guest.valid.into(), found);
    for (index, (host, guest)) in host.st.iter().zip(&guest.st).enumerate() {
        let same = open.st0 && index == 0 || within_ulps(*host, *guest, open.st_ulps);
        if !same {
            let text = |value: F80| format!("{:04x}.{:016x}", value.sign_exponent, value.mantissa);
            found.push(Difference { what: format!("st({index})"), before: text(before.st[index]), host: text(*host), guest: text(*guest) });
        }
    }
}

/// Equal, or finite and so near each other.
fn within_ulps(a: F80, b: F80, ulps: u64) -> bool {
    let place = |value: F80| {
        let magnitude = i128::from(value.sign_exponent & 0x7fff) << 63 | i128::from(value.mantissa & (u64::MAX >> 1));
        if value.is_negative() { -magnitude } else { magnitude }
    };
    let finite = |value: F80| value.sign_exponent & 0x7fff != 0x7fff;
    a == b || ulps > 0 && finite(a) && finite(b) && place(a).abs_diff(place(b)) <= u128::from(ulps)
}

fn vectors(seen: &Seen, open: &Open, found: &mut Vec<Difference>) {
    for (index, (host, guest)) in seen.host.state.xmm.iter().zip(&seen.guest.state.xmm).enumerate() {
        let near = open
            .lane_error
            .is_some_and(|error| (0..4).all(|lane| near((host >> (32 * lane)) as u32, (guest >> (32 * lane)) as u32, error)));
        if host != guest && !near {
            let text = |value: u128| format!("{value:032x}");
            let before = seen.case.state.xmm[index];
            found.push(Difference { what: format!("xmm{index}"), before: text(before), host: text(*host), guest: text(*guest) });
        }
    }
}

/// Single-precision numbers that are equal, or apart by at most `error` / 2^12 of their size.
fn near(a: u32, b: u32, error: f32) -> bool {
    let (x, y) = (f32::from_bits(a), f32::from_bits(b));
    // A result at the smallest normal number may have been flushed to zero.
    a == b || x.is_finite() && y.is_finite() && (x - y).abs() <= (y.abs() * error / 4096.0).max(f32::MIN_POSITIVE)
}

fn bytes(seen: &Seen, open: &Open, memory: &[u8], found: &mut Vec<Difference>) {
    let (host, guest) = (&seen.host.memory, &seen.guest.memory);
    if host == guest {
        return;
    }
    let is_open = |at: usize| {
        let linear = arena::BASE + at as u64;
        open.memory.iter().any(|(start, length)| linear.wrapping_sub(*start) < *length as u64)
    };
    let differing = (0..arena::SIZE).filter(|&at| host[at] != guest[at] && !is_open(at)).collect::<Vec<_>>();
    let (Some(first), Some(last)) = (differing.first(), differing.last()) else { return };
    let range = *first..(*last + 1).min(first + 64);
    let text = |bytes: &[u8]| bytes[range.clone()].iter().map(|byte| format!("{byte:02x}")).collect::<Vec<_>>().join(" ");
    found.push(Difference {
        what: format!("memory at {:#x} ({} bytes differ)", arena::BASE + *first as u64, differing.len()),
        before: text(memory),
        host: text(host),
        guest: text(guest),
    });
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::case::Case;
    use crate::state::{Outcome, State};
    use iced_x86::{Decoder, DecoderOptions};

    fn case(code: &[u8]) -> Case {
        let instruction = Decoder::with_ip(64, code, arena::CODE, DecoderOptions::NONE).decode();
        Case { instruction, bits: 64, code: code.to_vec(), state: State { rip: arena::CODE, ..State::default() }, patches: Vec::new() }
    }

    fn differences(code: &[u8], change: impl FnOnce(&mut Outcome)) -> Vec<String> {
        let case = case(code);
        let host = Outcome { end: End::Completed, state: case.state.clone(), memory: vec![0; arena::SIZE] };
        let mut guest = host.clone();
        change(&mut guest);
        let memory = vec![0; arena::SIZE];
        let seen = Seen { case: &case, host: &host, guest: &guest, amd: false };
        compare(&seen, &memory).into_iter().map(|difference| difference.what).collect()
    }

    const ADD_EAX_ECX: &[u8] = &[0x01, 0xc8];
    const AND_EAX_ECX: &[u8] = &[0x21, 0xc8];
    const FSIN: &[u8] = &[0xd9, 0xfe];

    #[test]
    fn every_part_of_the_state_is_compared() {
        assert!(differences(ADD_EAX_ECX, |_| {}).is_empty());
        assert_eq!(differences(ADD_EAX_ECX, |guest| guest.state.gpr[9] = 1), ["r9"]);
        assert_eq!(differences(ADD_EAX_ECX, |guest| guest.state.rflags ^= 0x10), ["rflags"]);
        assert_eq!(differences(ADD_EAX_ECX, |guest| guest.state.xmm[3] = 1), ["xmm3"]);
        assert_eq!(differences(ADD_EAX_ECX, |guest| guest.state.mxcsr ^= 1), ["mxcsr"]);
        assert_eq!(differences(ADD_EAX_ECX, |guest| guest.state.x87.st[7] = F80::ONE), ["st(7)"]);
        assert_eq!(differences(ADD_EAX_ECX, |guest| guest.state.gs_base = 1), ["gs base"]);
        assert_eq!(differences(ADD_EAX_ECX, |guest| guest.end = End::Fault(Fault::UD)), ["end"]);
        assert_eq!(differences(ADD_EAX_ECX, |guest| guest.memory[0x5000] = 1).len(), 1);
    }

    #[test]
    fn what_the_manual_leaves_open_is_passed_over_and_nothing_else() {
        assert!(differences(AND_EAX_ECX, |guest| guest.state.rflags ^= 0x10).is_empty(), "AF after AND");
        assert_eq!(differences(AND_EAX_ECX, |guest| guest.state.rflags ^= 0x1), ["rflags"]);
        assert!(differences(FSIN, |guest| guest.state.x87.st[0].mantissa ^= 1).is_empty());
        assert_eq!(differences(FSIN, |guest| guest.state.x87.st[0].mantissa ^= 8), ["st(0)"]);
    }

    #[test]
    fn faults_are_the_same_by_vector_code_and_address() {
        assert!(same_fault(Fault::page(0x1000, 6), Fault::page(0x1000, 6)));
        assert!(!same_fault(Fault::page(0x1000, 6), Fault::page(0x1001, 6)));
        assert!(!same_fault(Fault::page(0x1000, 6), Fault::page(0x1000, 7)));
        assert!(same_fault(Fault::page(u64::MAX, 7), Fault::page(u64::MAX, 6)));
        assert!(!same_fault(Fault::GP0, Fault::SS0));
    }
}
