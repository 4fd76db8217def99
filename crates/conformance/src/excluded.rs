//! Instructions of the model that are not run against the host, and why. Other tests cover them.

use iced_x86::{Code, Mnemonic, OpCodeOperandKind as Kind};

/// Why an instruction is not run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Reason {
    /// The result belongs to the machine, not to the instruction: time, CPUID, XCR0.
    Machine,
    /// It enters the operating system, or needs its descriptor tables.
    OperatingSystem,
    /// Intel and AMD processors take its bytes for different instructions in 64-bit mode; the model follows Intel.
    Vendor,
    /// The breakpoint after the instruction could not be told from it.
    Breakpoint,
}

impl Reason {
    /// One line for the report.
    pub fn text(self) -> &'static str {
        match self {
            Self::Machine => "the result belongs to the machine (time, CPUID, XCR0, UMIP)",
            Self::OperatingSystem => "enters the operating system or reads its descriptor tables",
            Self::Vendor => "Intel and AMD disagree: 66h before a near branch, 0F 0D with a register",
            Self::Breakpoint => "cannot be told from the breakpoint that ends a case",
        }
    }
}

/// Why `code` is not run in code of `bits` bits, if it is not.
pub fn reason(code: Code, bits: u32) -> Option<Reason> {
    use Mnemonic as M;
    let info = code.op_code();
    let narrow_branch = info.op_kinds().iter().any(|kind| matches!(kind, Kind::br16_1 | Kind::br16_2)) || is_near_branch_16(code);
    if bits == 64 && narrow_branch {
        return Some(Reason::Vendor);
    }
    Some(match code.mnemonic() {
        M::Cpuid | M::Rdtsc | M::Rdtscp | M::Rdpmc | M::Xgetbv | M::Sgdt | M::Sidt | M::Sldt | M::Str | M::Smsw => Reason::Machine,
        M::Syscall | M::Sysenter | M::Sysexit | M::Sysret | M::Into | M::Int | M::Int1 | M::Iret | M::Iretd | M::Iretq => {
            Reason::OperatingSystem
        }
        M::Sysexitq | M::Sysretq | M::Lar | M::Lsl | M::Verr | M::Verw | M::Lss | M::Lfs | M::Lgs | M::Lds | M::Les | M::Retf => {
            Reason::OperatingSystem
        }
        M::Jmp | M::Call if is_far(code) => Reason::OperatingSystem,
        M::Mov | M::Pop if writes_segment(code) => Reason::OperatingSystem,
        M::Reservednop if info.op_code() == 0x0f0d || info.op_code() == 0x0d => Reason::Vendor,
        M::Int3 => Reason::Breakpoint,
        _ => return None,
    })
}

fn is_near_branch_16(code: Code) -> bool {
    matches!(code, Code::Jmp_rm16 | Code::Call_rm16 | Code::Retnw | Code::Retnw_imm16)
}

fn is_far(code: Code) -> bool {
    code.is_jmp_far() || code.is_call_far() || code.is_jmp_far_indirect() || code.is_call_far_indirect()
}

fn writes_segment(code: Code) -> bool {
    matches!(code.op_code().op0_kind(), Kind::seg_reg | Kind::es | Kind::ss | Kind::ds | Kind::fs | Kind::gs)
}
