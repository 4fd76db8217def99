//! The way into a case and out of it: every register loaded, a jump; and the return that the signal handler arranges.

use std::arch::naked_asm;
use std::mem::offset_of;
use std::sync::atomic::{AtomicU64, Ordering};

use super::signal::{self, Caught, Handlers};
use crate::state::{FX_SIZE, State};

/// What [`enter`] loads, in the order of the offsets it uses.
#[repr(C, align(64))]
struct Entry {
    fx: [u8; FX_SIZE],
    gpr: [u64; 16],
    rflags: u64,
    fs_base: u64,
    gs_base: u64,
    /// Where the last, near jump goes: to the instruction, or to [`to_compatibility_mode`].
    rip: u64,
    /// Offset (32 bits) and selector that the latter goes on to.
    far: u64,
    /// Selector of DS and ES.
    data: u64,
}

/// Linux's selectors of 32-bit user code and of flat user data.
const USER_CODE_32: u64 = 0x23;
const USER_DATA: u64 = 0x2b;

const GPR: usize = offset_of!(Entry, gpr);
const _: () = assert!(offset_of!(Entry, fx) == 0);

/// The host's own stack pointer, FS and GS bases while a case runs; the handler puts them back.
pub(super) static HOST_RSP: AtomicU64 = AtomicU64::new(0);
pub(super) static HOST_FS: AtomicU64 = AtomicU64::new(0);
pub(super) static HOST_GS: AtomicU64 = AtomicU64::new(0);
/// Where the case begins: a jump through memory needs no register.
static TARGET: AtomicU64 = AtomicU64::new(0);
static FAR_TARGET: AtomicU64 = AtomicU64::new(0);
/// MXCSR at power-on, which Rust code expects.
static MXCSR: u32 = 0x1f80;

/// Runs the instruction at `state.rip` with the registers of `state` until its breakpoint or fault.
pub(super) fn run(_handlers: &Handlers, state: &State, bits: u32) -> Caught {
    let compatible = bits == 32;
    let entry = Entry {
        fx: state.to_fx_image(),
        gpr: state.gpr,
        rflags: state.rflags,
        fs_base: state.fs_base,
        gs_base: state.gs_base,
        rip: if compatible { to_compatibility_mode as *const () as u64 } else { state.rip },
        far: state.rip | USER_CODE_32 << 32,
        data: if compatible { USER_DATA } else { 0 },
    };
    signal::expect();
    // SAFETY: the handlers are installed (`_handlers`), so whatever the code at `rip` raises returns through `leave` with
    // stack, callee-saved registers, FS and GS restored; the code itself reaches the arena's pages only.
    unsafe { enter(&entry) };
    signal::caught()
}

/// Address that the signal handler returns to.
pub(super) fn return_address() -> u64 {
    leave as *const () as u64
}

#[unsafe(naked)]
unsafe extern "C" fn enter(entry: *const Entry) {
    naked_asm!(
        "push rbx",
        "push rbp",
        "push r12",
        "push r13",
        "push r14",
        "push r15",
        "sub rsp, 8",
        "mov [rip + {host_rsp}], rsp",
        "rdfsbase rax",
        "mov [rip + {host_fs}], rax",
        "rdgsbase rax",
        "mov [rip + {host_gs}], rax",
        "fxrstor64 [rdi]",
        "mov rax, [rdi + {rip}]",
        "mov [rip + {target}], rax",
        "mov rax, [rdi + {far}]",
        "mov [rip + {far_target}], rax",
        "mov eax, [rdi + {data}]",
        "mov ds, eax",
        "mov es, eax",
        "mov rax, [rdi + {fs}]",
        "wrfsbase rax",
        "mov rax, [rdi + {gs}]",
        "wrgsbase rax",
        "push qword ptr [rdi + {rflags}]",
        "popfq",
        "mov rax, [rdi + {gpr}]",
        "mov rcx, [rdi + {gpr} + 8]",
        "mov rdx, [rdi + {gpr} + 16]",
        "mov rbx, [rdi + {gpr} + 24]",
        "mov rsp, [rdi + {gpr} + 32]",
        "mov rbp, [rdi + {gpr} + 40]",
        "mov rsi, [rdi + {gpr} + 48]",
        "mov r8, [rdi + {gpr} + 64]",
        "mov r9, [rdi + {gpr} + 72]",
        "mov r10, [rdi + {gpr} + 80]",
        "mov r11, [rdi + {gpr} + 88]",
        "mov r12, [rdi + {gpr} + 96]",
        "mov r13, [rdi + {gpr} + 104]",
        "mov r14, [rdi + {gpr} + 112]",
        "mov r15, [rdi + {gpr} + 120]",
        "mov rdi, [rdi + {gpr} + 56]",
        "jmp qword ptr [rip + {target}]",
        host_rsp = sym HOST_RSP,
        host_fs = sym HOST_FS,
        host_gs = sym HOST_GS,
        target = sym TARGET,
        far_target = sym FAR_TARGET,
        gpr = const GPR,
        rflags = const offset_of!(Entry, rflags),
        fs = const offset_of!(Entry, fs_base),
        gs = const offset_of!(Entry, gs_base),
        rip = const offset_of!(Entry, rip),
        far = const offset_of!(Entry, far),
        data = const offset_of!(Entry, data),
    )
}

#[unsafe(naked)]
unsafe extern "C" fn to_compatibility_mode() {
    naked_asm!("jmp fword ptr [rip + {far_target}]", far_target = sym FAR_TARGET)
}

/// The end of [`enter`]: RSP is what it had saved, the direction flag is clear.
#[unsafe(naked)]
unsafe extern "C" fn leave() {
    naked_asm!(
        "fninit",
        "ldmxcsr [rip + {mxcsr}]",
        "add rsp, 8",
        "pop r15",
        "pop r14",
        "pop r13",
        "pop r12",
        "pop rbp",
        "pop rbx",
        "ret",
        mxcsr = sym MXCSR,
    )
}

/// The stack pointer that [`leave`] expects.
pub(super) fn host_rsp() -> u64 {
    HOST_RSP.load(Ordering::Relaxed)
}
