//! The handlers of SIGSEGV, SIGBUS, SIGILL, SIGFPE and SIGTRAP: they keep every register, the vector, its error code and CR2
//! from the signal frame, and send the thread back to [`super::enter`].

use std::arch::naked_asm;
use std::cell::UnsafeCell;
use std::mem::MaybeUninit;
use std::ptr::null_mut;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use cpu::Fault;

use super::enter::{HOST_FS, HOST_GS, host_rsp, return_address};
use super::{Unavailable, fault_of};
use crate::state::{FX_SIZE, State};

const SIGNALS: [i32; 5] = [libc::SIGSEGV, libc::SIGBUS, libc::SIGILL, libc::SIGFPE, libc::SIGTRAP];
/// Linux's selector of 64-bit user code.
const USER_CODE_64: u16 = 0x33;
const STACK_SIZE: usize = 256 << 10;

/// What ended a case: a breakpoint is vector 3.
pub(super) struct Caught {
    pub state: State,
    pub fault: Fault,
}

/// What the handler leaves, in plain memory: it may not allocate.
struct Frame {
    registers: [i64; 23],
    fx: [u8; FX_SIZE],
}

struct Shared(UnsafeCell<Frame>);
// SAFETY: the handler writes while the one thread that runs a case waits in it; that thread reads afterwards.
unsafe impl Sync for Shared {}

static FRAME: Shared = Shared(UnsafeCell::new(Frame { registers: [0; 23], fx: [0; FX_SIZE] }));
/// A case is running: a signal is its end.
static RUNNING: AtomicBool = AtomicBool::new(false);
/// FS and GS bases as the case left them.
static SEEN_FS: AtomicU64 = AtomicU64::new(0);
static SEEN_GS: AtomicU64 = AtomicU64::new(0);

/// The installed handlers and the stack they run on; both are given back on drop.
pub(super) struct Handlers {
    stack: Box<[u8]>,
    before: Vec<(i32, libc::sigaction)>,
}

impl Handlers {
    pub fn install() -> Result<Self, Unavailable> {
        let error = |what: &str| Unavailable(format!("{what}: {}", std::io::Error::last_os_error()));
        let mut handlers = Self { stack: vec![0; STACK_SIZE].into_boxed_slice(), before: Vec::new() };
        let stack = libc::stack_t { ss_sp: handlers.stack.as_mut_ptr().cast(), ss_flags: 0, ss_size: STACK_SIZE };
        // SAFETY: the box lives as long as the handlers do, and `drop` takes the stack out of use first.
        if unsafe { libc::sigaltstack(&stack, null_mut()) } != 0 {
            return Err(error("setting the signal stack"));
        }
        for signal in SIGNALS {
            // SAFETY: sigaction is plain data for which all zeroes is a value.
            let mut action = unsafe { MaybeUninit::<libc::sigaction>::zeroed().assume_init() };
            action.sa_sigaction = on_signal as *const () as usize;
            action.sa_flags = libc::SA_SIGINFO | libc::SA_ONSTACK | libc::SA_NODEFER;
            let mut before = action;
            // SAFETY: both point to live sigactions; the handler keeps to async-signal-safe work.
            if unsafe { libc::sigaction(signal, &action, &mut before) } != 0 {
                return Err(error("installing a signal handler"));
            }
            handlers.before.push((signal, before));
        }
        Ok(handlers)
    }
}

impl Drop for Handlers {
    fn drop(&mut self) {
        for (signal, before) in &self.before {
            // SAFETY: `before` is what sigaction returned for this signal.
            unsafe { libc::sigaction(*signal, before, null_mut()) };
        }
        let none = libc::stack_t { ss_sp: null_mut(), ss_flags: libc::SS_DISABLE, ss_size: 0 };
        // SAFETY: disabling the alternate stack has no preconditions while no handler runs.
        unsafe { libc::sigaltstack(&none, null_mut()) };
    }
}

/// Announces that the next signal ends a case.
pub(super) fn expect() {
    RUNNING.store(true, Ordering::SeqCst);
}

/// What the last case left.
pub(super) fn caught() -> Caught {
    // SAFETY: the handler has returned, and no case runs until this thread starts one.
    let frame = unsafe { &*FRAME.0.get() };
    let register = |index: i32| frame.registers[index as usize] as u64;
    use libc::*;
    let order = [
        REG_RAX, REG_RCX, REG_RDX, REG_RBX, REG_RSP, REG_RBP, REG_RSI, REG_RDI, REG_R8, REG_R9, REG_R10, REG_R11, REG_R12, REG_R13,
        REG_R14, REG_R15,
    ];
    let mut state = State {
        gpr: order.map(register),
        rip: register(REG_RIP),
        rflags: register(REG_EFL),
        fs_base: SEEN_FS.load(Ordering::Relaxed),
        gs_base: SEEN_GS.load(Ordering::Relaxed),
        ..State::default()
    };
    state.set_fx_image(&frame.fx);
    Caught { state, fault: fault_of(register(REG_TRAPNO), register(REG_ERR), register(REG_CR2)) }
}

/// Entered with the case's FS and GS bases: keeps them and puts back the host's before any Rust code runs.
#[unsafe(naked)]
unsafe extern "C" fn on_signal(signal: i32, info: *mut libc::siginfo_t, context: *mut libc::c_void) {
    naked_asm!(
        // The kernel leaves AC as the case had it, and Rust code is not all aligned.
        "push 0x202",
        "popfq",
        "cmp byte ptr [rip + {running}], 0",
        "je {keep}",
        "rdfsbase rax",
        "mov [rip + {seen_fs}], rax",
        "rdgsbase rax",
        "mov [rip + {seen_gs}], rax",
        "mov rax, [rip + {host_fs}]",
        "wrfsbase rax",
        "mov rax, [rip + {host_gs}]",
        "wrgsbase rax",
        "jmp {keep}",
        running = sym RUNNING,
        seen_fs = sym SEEN_FS,
        seen_gs = sym SEEN_GS,
        host_fs = sym HOST_FS,
        host_gs = sym HOST_GS,
        keep = sym keep,
    )
}

extern "C" fn keep(signal: i32, _info: *mut libc::siginfo_t, context: *mut libc::c_void) {
    if !RUNNING.swap(false, Ordering::SeqCst) {
        // The runner itself is at fault: the default action reports it when the instruction runs again.
        // SAFETY: resetting a disposition is async-signal-safe.
        unsafe { libc::signal(signal, libc::SIG_DFL) };
        return;
    }
    // SAFETY: the kernel passes a ucontext that lives until the handler returns.
    let context = unsafe { &mut (*context.cast::<libc::ucontext_t>()).uc_mcontext };
    // SAFETY: only the running case's end writes here (`RUNNING` was set), and its thread is this one.
    let frame = unsafe { &mut *FRAME.0.get() };
    frame.registers = context.gregs;
    // SAFETY: an x86-64 signal frame always has floating-point state, in FXSAVE layout, of at least 512 bytes.
    unsafe { std::ptr::copy_nonoverlapping(context.fpregs.cast::<u8>(), frame.fx.as_mut_ptr(), FX_SIZE) };
    context.gregs[libc::REG_RIP as usize] = return_address() as i64;
    context.gregs[libc::REG_RSP as usize] = host_rsp() as i64;
    context.gregs[libc::REG_EFL as usize] = 0x202;
    // Back to 64-bit code; the upper fields (GS, FS, SS) stay.
    let selectors = &mut context.gregs[libc::REG_CSGSFS as usize];
    *selectors = *selectors & !0xffff | i64::from(USER_CODE_64);
}
