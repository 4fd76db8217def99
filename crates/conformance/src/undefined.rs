//! The one table of what the manuals leave open, and of where the host's vendor differs from the model's (Intel): everything that a
//! comparison passes over is here, with its clause. Sections are of the Intel SDM where nothing else is said.

use cpu::fault::vector;
use iced_x86::{Code, Instruction, Mnemonic as M, OpKind, RflagsBits};

use crate::case::Case;
use crate::generate::{gpr, operand_bytes};
use crate::state::{End, Outcome};

/// One case as both processors ended it.
pub struct Seen<'a> {
    pub case: &'a Case,
    pub host: &'a Outcome,
    pub guest: &'a Outcome,
    /// The host is an AMD processor.
    pub amd: bool,
}

/// What need not be equal.
#[derive(Clone, Debug, Default)]
pub struct Open {
    /// RFLAGS bits.
    pub flags: u64,
    /// Bits of general registers.
    pub gpr: [u64; 16],
    /// Bits of the x87 status word.
    pub status: u16,
    /// ST(0).
    pub st0: bool,
    /// Last places by which x87 registers may differ.
    pub st_ulps: u64,
    /// Relative error that single-precision lanes of XMM registers may have: a numerator over 2^12.
    pub lane_error: Option<f32>,
    /// MXCSR bits.
    pub mxcsr: u32,
    /// Linear addresses and lengths in memory.
    pub memory: Vec<(u64, usize)>,
    /// Where the address of a page fault may be, if both fault there.
    pub fault_within: Option<(u64, usize)>,
    /// TOP, tags and registers of the x87 stack.
    pub x87_stack: bool,
    /// The way the instruction ended, and with it everything.
    pub everything: bool,
}

/// A line of the table.
pub struct Rule {
    pub clause: &'static str,
    pub open: fn(&Seen, &mut Open),
}

/// The table.
pub const RULES: &[Rule] = &[
    Rule { clause: "2, Flags Affected of each instruction: undefined flags", open: flags },
    Rule {
        clause: "2, SAL/SAR/SHL/SHR, RCL/RCR/ROL/ROR: OF for counts other than 1, CF for counts of the width and more",
        open: shift_flags,
    },
    Rule { clause: "2, SHLD, SHRD: destination and flags for counts above the width", open: double_shift },
    Rule { clause: "2, BSF, BSR: the destination for a source of zero; APM 3: unchanged", open: bit_scan },
    Rule { clause: "2, BSWAP: the result for a 16-bit register", open: bswap },
    Rule { clause: "2, FPU Flags Affected: undefined condition codes", open: condition_codes },
    Rule { clause: "1, 8.3.10: transcendentals are accurate within 1 ulp, and differ between processors", open: transcendental },
    Rule { clause: "1, 8.3.8: angles beyond pi/4 are reduced by a 66-bit pi on Intel, by a longer one on AMD", open: angle_reduction },
    Rule { clause: "2, RCPPS RCPSS RSQRTPS RSQRTSS: relative error up to 1.5 * 2^-12", open: approximation },
    Rule {
        clause: "1, 8.1.8 and 10.5.1; APM 2, 11.4.4: x87 pointers are saved only while an exception is pending on AMD",
        open: x87_pointers,
    },
    Rule { clause: "1, 11.6.6: MXCSR_MASK is the processor's; APM 1, 4.2.2: AMD has bit 17", open: mxcsr_mask },
    Rule { clause: "3A, 6.5: an image of many words faults at any of those it cannot access, and may be partly written", open: image },
    Rule { clause: "3A, 6.9.1: whether a misaligned image at a non-canonical address is #GP or #SS", open: misaligned_image },
    Rule {
        clause: "2, RET JMP CALL; APM 3: a non-canonical target faults before the branch on Intel, after it (and its push) on AMD",
        open: target,
    },
    Rule {
        clause: "2, FCOM FICOM FUCOM: unmasked exceptions leave the condition codes on Intel and set them on AMD",
        open: unmasked_compare,
    },
    Rule {
        clause: "2, FCOMI FUCOMI: C1 is cleared on Intel and kept on AMD, which also sets flags when an exception is unmasked",
        open: compare_to_flags,
    },
    Rule { clause: "2, FLD: an unmasked denormal operand is not loaded on Intel and is on AMD", open: load_denormal },
    Rule { clause: "2, F2XM1 FYL2XP1: the result for an argument out of range", open: argument_range },
    Rule { clause: "2, CVTPS2PI CVTPD2PI CVTPI2PS: whether the switch to MMX comes before a SIMD exception", open: switch_to_mmx },
    Rule {
        clause: "2, MASKMOVQ MASKMOVDQU: whether bytes that the mask leaves out fault, and whether the switch to MMX comes before",
        open: masked_store,
    },
    Rule { clause: "3A, 5.3.1: whether an access across the end of a segment of 4 GiB faults or wraps", open: segment_end },
    Rule { clause: "2, MOVSXD; APM 3: a 16-bit destination reads 16 bits on Intel and 32 on AMD", open: sign_extend_to_16 },
    Rule { clause: "3A, 6.15 (#AC) and table 6-7: alignment checks of operands wider than 8 bytes", open: wide_alignment },
];

/// What the table leaves open for a case.
pub fn open(seen: &Seen) -> Open {
    let mut open = Open::default();
    for rule in RULES {
        (rule.open)(seen, &mut open);
    }
    open
}

fn completed(seen: &Seen) -> bool {
    seen.host.end == End::Completed
}

fn instruction<'a>(seen: &'a Seen) -> &'a Instruction {
    &seen.case.instruction
}

/// The decoder library's summary of the manual, in RFLAGS places. Shifts have their own rules: they depend on the count.
fn flags(seen: &Seen, open: &mut Open) {
    if !completed(seen) || shift_count(seen) == Some(0) {
        return;
    }
    let undefined = instruction(seen).rflags_undefined();
    for (bit, place) in [
        (RflagsBits::OF, 0x800),
        (RflagsBits::SF, 0x80),
        (RflagsBits::ZF, 0x40),
        (RflagsBits::AF, 0x10),
        (RflagsBits::CF, 0x1),
        (RflagsBits::PF, 0x4),
    ] {
        if undefined & bit != 0 {
            open.flags |= place;
        }
    }
}

/// The masked count of a shift or rotate.
fn shift_count(seen: &Seen) -> Option<u32> {
    let instruction = instruction(seen);
    let count_operand = match instruction.mnemonic() {
        M::Shl | M::Sal | M::Shr | M::Sar | M::Rol | M::Ror | M::Rcl | M::Rcr => 1,
        M::Shld | M::Shrd => 2,
        _ => return None,
    };
    let count = match instruction.op_kind(count_operand) {
        OpKind::Register => seen.case.state.gpr[gpr::RCX] as u32,
        OpKind::Immediate8 => u32::from(instruction.immediate8()),
        _ => 1,
    };
    Some(count & if operand_bits(instruction) == 64 { 63 } else { 31 })
}

fn operand_bits(instruction: &Instruction) -> u32 {
    8 * match instruction.op0_kind() {
        OpKind::Register => instruction.op0_register().size() as u32,
        _ => instruction.memory_size().size() as u32,
    }
}

fn shift_flags(seen: &Seen, open: &mut Open) {
    let Some(count) = shift_count(seen).filter(|_| completed(seen)) else { return };
    if count > 1 {
        open.flags |= 0x800;
    }
    let shifts = matches!(instruction(seen).mnemonic(), M::Shl | M::Sal | M::Shr | M::Sar);
    if shifts && count >= operand_bits(instruction(seen)) {
        open.flags |= 0x1;
    }
}

fn double_shift(seen: &Seen, open: &mut Open) {
    let instruction = instruction(seen);
    let double = matches!(instruction.mnemonic(), M::Shld | M::Shrd);
    let (Some(count), true, true) = (shift_count(seen), double, completed(seen)) else { return };
    if count > operand_bits(instruction) {
        open.flags |= 0x8d5;
        result(seen, open);
    }
}

/// Leaves an integer destination open.
fn result(seen: &Seen, open: &mut Open) {
    let instruction = instruction(seen);
    match instruction.op0_kind() {
        OpKind::Register => open.gpr[instruction.op0_register().full_register().number()] |= u64::MAX >> (64 - operand_bits(instruction)),
        _ => open.memory.extend(memory_operand(seen.case)),
    }
}

/// Where the memory operand lies, and its bytes.
pub fn memory_operand(case: &Case) -> Option<(u64, usize)> {
    let address = case.instruction.virtual_address(
        (0..case.instruction.op_count()).find(|index| case.instruction.op_kind(*index) == OpKind::Memory)?,
        0,
        |register, _, _| {
            use iced_x86::Register as R;
            Some(match register {
                R::FS => case.state.fs_base,
                R::GS => case.state.gs_base,
                R::ES | R::CS | R::SS | R::DS => 0,
                register if register.size() == 8 => case.state.gpr[register.number()],
                register if register.size() == 4 => case.state.gpr[register.full_register().number()] & 0xffff_ffff,
                register if register.size() == 2 => case.state.gpr[register.number()] & 0xffff,
                register => case.state.gpr[register.full_register().number()] & 0xff,
            })
        },
    )?;
    Some((address & u64::MAX >> (64 - case.bits), operand_bytes(case.instruction.code())))
}

fn bit_scan(seen: &Seen, open: &mut Open) {
    let found_nothing = seen.host.state.rflags & 0x40 != 0;
    if !seen.amd && completed(seen) && found_nothing && matches!(instruction(seen).mnemonic(), M::Bsf | M::Bsr) {
        open.gpr[instruction(seen).op0_register().full_register().number()] = u64::MAX;
    }
}

fn bswap(seen: &Seen, open: &mut Open) {
    if instruction(seen).code() == Code::Bswap_r16 {
        result(seen, open);
    }
}

/// C0 to C3 in the status word.
fn condition_codes(seen: &Seen, open: &mut Open) {
    let undefined = instruction(seen).rflags_undefined();
    for (bit, place) in [(RflagsBits::C0, 1 << 8), (RflagsBits::C1, 1 << 9), (RflagsBits::C2, 1 << 10), (RflagsBits::C3, 1 << 14)] {
        if completed(seen) && undefined & bit != 0 {
            open.status |= place;
        }
    }
}

fn transcendental(seen: &Seen, open: &mut Open) {
    if matches!(instruction(seen).mnemonic(), M::F2xm1 | M::Fyl2x | M::Fyl2xp1 | M::Fpatan | M::Fsin | M::Fcos | M::Fsincos | M::Fptan) {
        open.st_ulps = 2;
        // Which way the last place was rounded.
        open.status |= 1 << 9;
    }
}

fn angle_reduction(seen: &Seen, open: &mut Open) {
    let large = seen.case.state.x87.st[0].sign_exponent & 0x7fff >= 0x3ffe;
    if !seen.amd && large && matches!(instruction(seen).mnemonic(), M::Fsin | M::Fcos | M::Fsincos | M::Fptan) {
        (open.x87_stack, open.status) = (true, CONDITION_C1 | EXCEPTIONS);
    }
}

fn approximation(seen: &Seen, open: &mut Open) {
    if matches!(instruction(seen).mnemonic(), M::Rcpps | M::Rcpss | M::Rsqrtps | M::Rsqrtss) {
        // Each side has its own error.
        open.lane_error = Some(3.0);
    }
}

fn x87_pointers(seen: &Seen, open: &mut Open) {
    let ranges: &[(u64, usize)] = match instruction(seen).code() {
        // Protected-mode formats: instruction pointer, its selector and the opcode, data pointer, its selector.
        Code::Fnstenv_m28byte | Code::Fnsave_m108byte => &[(12, 16)],
        Code::Fnstenv_m14byte | Code::Fnsave_m94byte => &[(6, 8)],
        Code::Fxsave_m512byte | Code::Fxsave64_m512byte | Code::Xsave_mem | Code::Xsave64_mem => &[(6, 18)],
        _ => return,
    };
    if let Some((at, _)) = memory_operand(seen.case) {
        open.memory.extend(ranges.iter().map(|(offset, length)| (at.wrapping_add(*offset), *length)));
    }
}

fn mxcsr_mask(seen: &Seen, open: &mut Open) {
    if matches!(instruction(seen).code(), Code::Fxsave_m512byte | Code::Fxsave64_m512byte | Code::Xsave_mem | Code::Xsave64_mem)
        && let Some((at, _)) = memory_operand(seen.case)
    {
        open.memory.push((at.wrapping_add(28), 4));
    }
}

/// x87, FXSAVE and XSAVE images, and the ten bytes of extended and decimal numbers.
fn image(seen: &Seen, open: &mut Open) {
    let operand = memory_operand(seen.case).filter(|(_, size)| *size >= 10 && *size != 16 && !completed(seen));
    open.fault_within = operand;
    // Where an image goes on that runs over the end of 16-bit addresses.
    let wraps = operand.is_some_and(|(start, size)| seen.case.bits == 32 && start <= 0xffff && start + size as u64 > 0x1_0000);
    open.everything |= wraps && faulted(seen.host, vector::PF) && faulted(seen.guest, vector::PF);
    if matches!(instruction(seen).mnemonic(), M::Fnstenv | M::Fnsave | M::Fxsave | M::Fxsave64 | M::Xsave | M::Xsave64 | M::Fstp | M::Fbstp)
    {
        open.memory.extend(operand);
    }
}

fn misaligned_image(seen: &Seen, open: &mut Open) {
    let Some((address, 512..)) = memory_operand(seen.case) else { return };
    let one_of_both = |outcome: &Outcome| faulted(outcome, vector::GP) || faulted(outcome, vector::SS);
    open.everything |= !is_canonical(address) && address % 16 != 0 && one_of_both(seen.host) && one_of_both(seen.guest);
}

fn is_canonical(address: u64) -> bool {
    (address as i64) << 16 >> 16 == address as i64
}

fn faulted(outcome: &Outcome, vector: u8) -> bool {
    matches!(outcome.end, End::Fault(fault) if fault.vector == vector)
}

fn target(seen: &Seen, open: &mut Open) {
    let canonical = is_canonical(seen.host.state.rip);
    let pushed =
        instruction(seen).mnemonic() == M::Call && [vector::PF, vector::SS, vector::AC].iter().any(|vector| faulted(seen.host, *vector));
    open.everything |= seen.amd && faulted(seen.guest, vector::GP) && (completed(seen) && !canonical || pushed);
}

/// True when the host, an AMD processor, has an unmasked x87 exception pending.
fn pending_on_amd(seen: &Seen) -> bool {
    seen.amd && completed(seen) && seen.host.state.x87.status & 0x80 != 0
}

// Bits of the x87 status word.
const CONDITION_CODES: u16 = 0x4700;
const CONDITION_C1: u16 = 0x200;
/// The exception flags, their summary and the busy bit.
const EXCEPTIONS: u16 = 0x80bf;

fn unmasked_compare(seen: &Seen, open: &mut Open) {
    let compares = matches!(
        instruction(seen).mnemonic(),
        M::Fcom | M::Fcomp | M::Fcompp | M::Fucom | M::Fucomp | M::Fucompp | M::Ficom | M::Ficomp | M::Ftst
    );
    if compares && pending_on_amd(seen) {
        open.status |= CONDITION_CODES;
    }
}

fn compare_to_flags(seen: &Seen, open: &mut Open) {
    if seen.amd && matches!(instruction(seen).mnemonic(), M::Fcomi | M::Fcomip | M::Fucomi | M::Fucomip) {
        open.status |= 1 << 9;
        if pending_on_amd(seen) {
            open.flags |= 0x8d5;
        }
    }
}

fn load_denormal(seen: &Seen, open: &mut Open) {
    let widens = matches!(instruction(seen).code(), Code::Fld_m32fp | Code::Fld_m64fp);
    open.x87_stack |= widens && pending_on_amd(seen);
}

fn argument_range(seen: &Seen, open: &mut Open) {
    let argument = seen.case.state.x87.st[0];
    let limit = match instruction(seen).mnemonic() {
        // -1 to 1.
        M::F2xm1 => (0x3fff, 1 << 63),
        // -(1 - sqrt(1/2)) to 1 - sqrt(1/2): about 0.29.
        M::Fyl2xp1 => (0x3ffd, 0x95f6_1998_0c43_36f7),
        _ => return,
    };
    if (argument.sign_exponent & 0x7fff, argument.mantissa) > limit {
        open.st0 = true;
        open.status |= CONDITION_C1 | EXCEPTIONS;
        // One that is refused is not popped either.
        open.x87_stack |= instruction(seen).mnemonic() == M::Fyl2xp1;
    }
}

fn masked_store(seen: &Seen, open: &mut Open) {
    if !matches!(instruction(seen).mnemonic(), M::Maskmovq | M::Maskmovdqu) || completed(seen) {
        return;
    }
    open.x87_stack = true;
    open.fault_within = masked_operand(seen.case);
    open.everything |= seen.guest.end == End::Completed;
}

/// The operand at RDI of a masked store.
fn masked_operand(case: &Case) -> Option<(u64, usize)> {
    let mask = match case.instruction.op0_kind() {
        OpKind::MemorySegRDI => u64::MAX,
        OpKind::MemorySegEDI => 0xffff_ffff,
        _ => 0xffff,
    };
    let base = match case.instruction.segment_prefix() {
        iced_x86::Register::FS => case.state.fs_base,
        iced_x86::Register::GS => case.state.gs_base,
        _ => 0,
    };
    Some(((case.state.gpr[gpr::RDI] & mask).wrapping_add(base), operand_bytes(case.instruction.code())))
}

fn switch_to_mmx(seen: &Seen, open: &mut Open) {
    let converts = matches!(instruction(seen).mnemonic(), M::Cvtps2pi | M::Cvttps2pi | M::Cvtpd2pi | M::Cvttpd2pi | M::Cvtpi2ps);
    open.x87_stack |= converts && faulted(seen.host, vector::XM) && faulted(seen.guest, vector::XM);
}

fn wide_alignment(seen: &Seen, open: &mut Open) {
    let size = operand_bytes(seen.case.instruction.code());
    let wide = size > 8 || matches!(instruction(seen).mnemonic(), M::Maskmovq | M::Maskmovdqu);
    // AMD's MOVSXD reads more than the operand.
    let widened = seen.amd && instruction(seen).code() == Code::Movsxd_r16_rm16;
    open.everything |= (wide || widened) && (faulted(seen.host, vector::AC) || faulted(seen.guest, vector::AC));
}

fn segment_end(seen: &Seen, open: &mut Open) {
    let at_the_end = |outcome: &Outcome| match outcome.end {
        End::Fault(fault) if fault.vector == vector::PF => fault.address < 64 || fault.address > 0xffff_ff00,
        // Misaligned is what an access across the end is too.
        End::Fault(fault) => fault.vector == vector::AC,
        _ => false,
    };
    let limit = faulted(seen.host, vector::SS) || faulted(seen.host, vector::GP);
    open.everything |= seen.case.bits == 32 && limit && at_the_end(seen.guest);
}

fn sign_extend_to_16(seen: &Seen, open: &mut Open) {
    let narrow = instruction(seen).code() == Code::Movsxd_r16_rm16;
    open.everything |= seen.amd && narrow && faulted(seen.host, vector::PF);
}
