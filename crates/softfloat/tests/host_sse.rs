//! The SSE arithmetic against the host processor's: results and MXCSR flags, bit by bit.
#![cfg(target_arch = "x86_64")]

mod host;

use core::arch::asm;
use host::{CASES, Random};
use softfloat::{Env, F16, F32, F64, Float, Ordering4, Rounding};

/// A random MXCSR with everything masked and no flags set.
fn control(random: &mut Random) -> u32 {
    let bits = random.next();
    let ftz = if bits & 3 == 0 { 0x8000 } else { 0 };
    let daz = if bits >> 2 & 3 == 0 { 0x40 } else { 0 };
    0x1f80 | ((bits >> 8 & 3) as u32) << 13 | ftz | daz
}

/// Runs one instruction under `mxcsr` on an accumulator and two sources; answers the accumulator and the flags.
macro_rules! vector_op {
    ($name:ident, $instruction:literal) => {
        fn $name(mxcsr: u32, acc: u64, source: u64, third: u64) -> (u64, u8) {
            let (mut saved, mut result, mut status) = (0u32, acc, mxcsr);
            // SAFETY: loads and stores only the three locals; MXCSR is put back.
            unsafe {
                asm!(
                    "stmxcsr [{saved}]", "ldmxcsr [{status}]",
                    "movq xmm0, [{result}]", "movq xmm1, {source}", "movq xmm2, {third}",
                    $instruction,
                    "movq [{result}], xmm0", "stmxcsr [{status}]", "ldmxcsr [{saved}]",
                    saved = in(reg) &raw mut saved, status = in(reg) &raw mut status, result = in(reg) &raw mut result,
                    source = in(reg) source, third = in(reg) third,
                    out("rax") _, out("xmm0") _, out("xmm1") _, out("xmm2") _,
                );
            }
            (result, (status & 0x3f) as u8)
        }
    };
}

/// The same for an instruction whose result is a general register (rax).
macro_rules! integer_op {
    ($name:ident, $instruction:literal) => {
        fn $name(mxcsr: u32, a: u64, b: u64) -> (u64, u8) {
            let (mut saved, mut status, result) = (0u32, mxcsr, 0u64);
            let mut out = result;
            // SAFETY: loads and stores only the locals; MXCSR is put back.
            unsafe {
                asm!(
                    "stmxcsr [{saved}]", "ldmxcsr [{status}]", "movq xmm0, {a}", "movq xmm1, {b}", "xor eax, eax",
                    $instruction,
                    "stmxcsr [{status}]", "ldmxcsr [{saved}]",
                    saved = in(reg) &raw mut saved, status = in(reg) &raw mut status, a = in(reg) a, b = in(reg) b,
                    inout("rax") out, out("xmm0") _, out("xmm1") _,
                );
            }
            (out, (status & 0x3f) as u8)
        }
    };
}

macro_rules! scalar_pair {
    ($test:ident, $single:literal, $double:literal, $method:ident) => {
        #[test]
        fn $test() {
            vector_op!(single, $single);
            vector_op!(double, $double);
            let mut random = Random::new(line!() as u64);
            for _ in 0..CASES / 2 {
                let mxcsr = control(&mut random);
                let a = random.f32();
                let b = random.f32_near(a);
                let mut env = Env::from_mxcsr(mxcsr);
                let ours = a.$method(b, &mut env);
                let (theirs, flags) = single(mxcsr, a.0.into(), b.0.into(), 0);
                assert_eq!((ours.0, env.flags.0), (theirs as u32, flags), "{a:x?} {b:x?} mxcsr {mxcsr:#x}");

                let a = random.f64();
                let b = random.f64_near(a);
                let mut env = Env::from_mxcsr(mxcsr);
                let ours = a.$method(b, &mut env);
                let (theirs, flags) = double(mxcsr, a.0, b.0, 0);
                assert_eq!((ours.0, env.flags.0), (theirs, flags), "{a:x?} {b:x?} mxcsr {mxcsr:#x}");
            }
        }
    };
}

scalar_pair!(add, "addss xmm0, xmm1", "addsd xmm0, xmm1", add);
scalar_pair!(sub, "subss xmm0, xmm1", "subsd xmm0, xmm1", sub);
scalar_pair!(mul, "mulss xmm0, xmm1", "mulsd xmm0, xmm1", mul);
scalar_pair!(div, "divss xmm0, xmm1", "divsd xmm0, xmm1", div);
scalar_pair!(min, "minss xmm0, xmm1", "minsd xmm0, xmm1", min);
scalar_pair!(max, "maxss xmm0, xmm1", "maxsd xmm0, xmm1", max);

/// One operand to one result of any width.
macro_rules! unary {
    ($test:ident, $instruction:literal, $make:ident, |$a:ident, $env:ident| $ours:expr) => {
        #[test]
        fn $test() {
            vector_op!(host, $instruction);
            let mut random = Random::new(line!() as u64);
            for _ in 0..CASES {
                let mxcsr = control(&mut random);
                let $a = random.$make();
                let mut env = Env::from_mxcsr(mxcsr);
                let $env = &mut env;
                let ours = u64::from($ours.0);
                let (theirs, flags) = host(mxcsr, 0, $a.0.into(), 0);
                assert_eq!((ours, env.flags.0), (theirs, flags), "{:x?} mxcsr {mxcsr:#x}", $a);
            }
        }
    };
}

unary!(sqrt_single, "sqrtss xmm0, xmm1", f32, |a, env| a.sqrt(env));
unary!(sqrt_double, "sqrtsd xmm0, xmm1", f64, |a, env| a.sqrt(env));
unary!(widen, "cvtss2sd xmm0, xmm1", f32, |a, env| a.to_f64(env));
unary!(narrow, "cvtsd2ss xmm0, xmm1", f64, |a, env| a.to_f32(env));
unary!(round_nearest_single, "roundss xmm0, xmm1, 0", f32, |a, env| a.round_to_integral(Rounding::Nearest, false, env));
unary!(round_down_double, "roundsd xmm0, xmm1, 1", f64, |a, env| a.round_to_integral(Rounding::Down, false, env));
unary!(round_up_single, "roundss xmm0, xmm1, 2", f32, |a, env| a.round_to_integral(Rounding::Up, false, env));
unary!(round_quietly_double, "roundsd xmm0, xmm1, 11", f64, |a, env| a.round_to_integral(Rounding::TowardZero, true, env));
unary!(round_by_control_double, "roundsd xmm0, xmm1, 4", f64, |a, env| a.round_to_integral(env.rounding, false, env));

macro_rules! to_integer {
    ($test:ident, $instruction:literal, $make:ident, $method:ident, $unsigned:ty) => {
        #[test]
        fn $test() {
            integer_op!(host, $instruction);
            let mut random = Random::new(line!() as u64);
            for _ in 0..CASES {
                let mxcsr = control(&mut random);
                let a = random.$make();
                let mut env = Env::from_mxcsr(mxcsr);
                let ours = a.$method(&mut env) as $unsigned;
                let (theirs, flags) = host(mxcsr, a.0.into(), 0);
                assert_eq!((u64::from(ours), env.flags.0), (theirs, flags), "{a:x?} mxcsr {mxcsr:#x}");
            }
        }
    };
}

to_integer!(single_to_i32, "cvtss2si eax, xmm0", f32, to_i32, u32);
to_integer!(single_to_i64, "cvtss2si rax, xmm0", f32, to_i64, u64);
to_integer!(double_to_i32, "cvtsd2si eax, xmm0", f64, to_i32, u32);
to_integer!(double_to_i64, "cvtsd2si rax, xmm0", f64, to_i64, u64);
to_integer!(single_to_i32_truncate, "cvttss2si eax, xmm0", f32, to_i32_truncate, u32);
to_integer!(single_to_i64_truncate, "cvttss2si rax, xmm0", f32, to_i64_truncate, u64);
to_integer!(double_to_i32_truncate, "cvttsd2si eax, xmm0", f64, to_i32_truncate, u32);
to_integer!(double_to_i64_truncate, "cvttsd2si rax, xmm0", f64, to_i64_truncate, u64);

macro_rules! from_integer {
    ($test:ident, $instruction:literal, $format:ty, $method:ident, $integer:ty) => {
        #[test]
        fn $test() {
            vector_op!(host, $instruction);
            let mut random = Random::new(line!() as u64);
            for _ in 0..CASES {
                let mxcsr = control(&mut random);
                let value = (random.next() as i64 >> random.below(64)) as $integer;
                let mut env = Env::from_mxcsr(mxcsr);
                let ours = <$format>::$method(value, &mut env);
                let (theirs, flags) = host(mxcsr, 0, value as u64, 0);
                assert_eq!((u64::from(ours.0), env.flags.0), (theirs, flags), "{value} mxcsr {mxcsr:#x}");
            }
        }
    };
}

from_integer!(single_from_i32, "movq rax, xmm1\ncvtsi2ss xmm0, eax", F32, from_i32, i32);
from_integer!(single_from_i64, "movq rax, xmm1\ncvtsi2ss xmm0, rax", F32, from_i64, i64);
from_integer!(double_from_i32, "movq rax, xmm1\ncvtsi2sd xmm0, eax", F64, from_i32, i32);
from_integer!(double_from_i64, "movq rax, xmm1\ncvtsi2sd xmm0, rax", F64, from_i64, i64);

macro_rules! comparison {
    ($test:ident, $instruction:literal, $make:ident, $near:ident, $quiet:literal) => {
        #[test]
        fn $test() {
            integer_op!(host, $instruction);
            let mut random = Random::new(line!() as u64);
            for _ in 0..CASES {
                let mxcsr = control(&mut random);
                let a = random.$make();
                let b = random.$near(a);
                let mut env = Env::from_mxcsr(mxcsr);
                // ZF, PF and CF as LAHF gathers them.
                let ours = match a.compare(b, &mut env, $quiet) {
                    Ordering4::Unordered => 0x45,
                    Ordering4::Equal => 0x40,
                    Ordering4::Less => 0x01,
                    Ordering4::Greater => 0,
                };
                let (theirs, flags) = host(mxcsr, a.0.into(), b.0.into());
                assert_eq!((ours, env.flags.0), (theirs >> 8 & 0x45, flags), "{a:x?} {b:x?} mxcsr {mxcsr:#x}");
            }
        }
    };
}

comparison!(compare_single, "comiss xmm0, xmm1\nlahf", f32, f32_near, false);
comparison!(compare_double, "comisd xmm0, xmm1\nlahf", f64, f64_near, false);
comparison!(compare_single_quietly, "ucomiss xmm0, xmm1\nlahf", f32, f32_near, true);
comparison!(compare_double_quietly, "ucomisd xmm0, xmm1\nlahf", f64, f64_near, true);

#[test]
fn fused_multiply_add() {
    vector_op!(single, "vfmadd213ss xmm0, xmm1, xmm2");
    vector_op!(double, "vfmadd213sd xmm0, xmm1, xmm2");
    if !std::is_x86_feature_detected!("fma") {
        return;
    }
    let mut random = Random::new(7);
    for _ in 0..CASES / 2 {
        let mxcsr = control(&mut random);
        let (a, b) = (random.f32(), random.f32());
        let product = a.mul(b, &mut Env::default());
        let c = random.f32_near(product);
        let mut env = Env::from_mxcsr(mxcsr);
        let ours = b.mul_add(a, c, &mut env);
        let (theirs, flags) = single(mxcsr, a.0.into(), b.0.into(), c.0.into());
        assert_eq!((ours.0, env.flags.0), (theirs as u32, flags), "{a:x?} {b:x?} {c:x?} mxcsr {mxcsr:#x}");

        let (a, b) = (random.f64(), random.f64());
        let product = a.mul(b, &mut Env::default());
        let c = random.f64_near(product);
        let mut env = Env::from_mxcsr(mxcsr);
        let ours = b.mul_add(a, c, &mut env);
        let (theirs, flags) = double(mxcsr, a.0, b.0, c.0);
        assert_eq!((ours.0, env.flags.0), (theirs, flags), "{a:x?} {b:x?} {c:x?} mxcsr {mxcsr:#x}");
    }
}

#[test]
fn half_precision() {
    vector_op!(widen, "vcvtph2ps xmm0, xmm1");
    vector_op!(narrow, "vcvtps2ph xmm0, xmm1, 4");
    if !std::is_x86_feature_detected!("f16c") {
        return;
    }
    let mut random = Random::new(8);
    for bits in 0..=u16::MAX {
        let mxcsr = control(&mut random);
        let mut env = Env::from_mxcsr(mxcsr);
        let ours = F16(bits).to_f32(&mut env);
        let (theirs, flags) = widen(mxcsr, 0, bits.into(), 0);
        assert_eq!((ours.0, env.flags.0), (theirs as u32, flags), "{bits:#x} mxcsr {mxcsr:#x}");
    }
    for _ in 0..CASES {
        let mxcsr = control(&mut random);
        let a = random.f32();
        let mut env = Env::from_mxcsr(mxcsr);
        let ours = a.to_f16(&mut env);
        let (theirs, flags) = narrow(mxcsr, 0, a.0.into(), 0);
        assert_eq!((ours.0, env.flags.0), (theirs as u16, flags), "{a:x?} mxcsr {mxcsr:#x}");
    }
}
