//! One x87 instruction on the host processor.

use softfloat::F80;

/// What the host left behind.
pub struct Host {
    pub st0: F80,
    pub st1: F80,
    pub status: u16,
}

/// Runs one instruction with ST(0) = a, ST(1) = b and a memory operand at rdi.
macro_rules! x87_op {
    ($name:ident, $instruction:literal) => {
        fn $name(control: u16, a: F80, b: F80, memory: &mut [u8; 16]) -> Host {
            let (a, b) = (a.to_bytes(), b.to_bytes());
            let (mut st0, mut st1) = ([0u8; 10], [0u8; 10]);
            let status: u16;
            let after = 0x37fu16;
            // SAFETY: the x87 starts and ends empty and initialized; memory operands are the locals and `memory`.
            unsafe {
                core::arch::asm!(
                    "fninit", "fldcw [{control}]", "fld tbyte ptr [{b}]", "fld tbyte ptr [{a}]",
                    $instruction,
                    "fnstsw ax", "fnclex", "fldcw [{after}]", "fstp tbyte ptr [{st0}]", "fstp tbyte ptr [{st1}]", "fninit",
                    control = in(reg) &raw const control, after = in(reg) &raw const after,
                    a = in(reg) &raw const a, b = in(reg) &raw const b,
                    st0 = in(reg) &raw mut st0, st1 = in(reg) &raw mut st1, in("rdi") memory.as_mut_ptr(),
                    out("ax") status,
                    out("st(0)") _, out("st(1)") _, out("st(2)") _, out("st(3)") _,
                    out("st(4)") _, out("st(5)") _, out("st(6)") _, out("st(7)") _,
                );
            }
            Host { st0: F80::from_bytes(st0), st1: F80::from_bytes(st1), status }
        }
    };
}
pub(crate) use x87_op;
