//! The x87 arithmetic against the host processor's: results, exception flags and condition codes, bit by bit, under every rounding
//! and precision control and with random masks.
#![cfg(target_arch = "x86_64")]

mod host;
#[path = "host/x87.rs"]
mod x87;

use host::{CASES, Random};
use softfloat::{Constant, Env, Exceptions, F32, F64, F80, Ordering4, Rounding};
use x87::{Host, x87_op};

const C0: u16 = 1 << 8;
const C1: u16 = 1 << 9;
const C2: u16 = 1 << 10;
const C3: u16 = 1 << 14;
/// The bits of FSW that a case compares: the six exceptions and the four condition codes.
const WATCHED: u16 = 0x3f | C0 | C1 | C2 | C3;

/// A random control word: any rounding, any of the three precisions, mostly masked.
fn control(random: &mut Random) -> u16 {
    let precision = [0, 0x200, 0x300, 0x300][random.below(4) as usize];
    let masks = if random.below(3) == 0 { random.below(64) as u16 } else { 0x3f };
    (random.below(4) as u16) << 10 | precision | masks
}

/// Flags and C1 as the status word shows them.
fn status(env: &Env) -> u16 {
    u16::from(env.flags.0) | if env.rounded_up { C1 } else { 0 }
}

/// Whether the operation took place: nothing found before computing is unmasked.
fn computed(env: &Env) -> bool {
    (env.unmasked() & Exceptions::PRE_COMPUTATION).is_empty()
}

fn check(ours: F80, env: &Env, conditions: u16, host: &Host, case: &str) {
    let expected = status(env) | conditions;
    assert_eq!(expected, host.status & WATCHED, "status of {case}: ours {ours:x?} theirs {:x?}", host.st0);
    if computed(env) {
        assert_eq!(ours, host.st0, "value of {case}");
    }
}

macro_rules! binary {
    ($test:ident, $instruction:literal, |$a:ident, $b:ident, $env:ident| $ours:expr) => {
        #[test]
        fn $test() {
            x87_op!(host, $instruction);
            let mut random = Random::new(line!() as u64);
            for _ in 0..CASES {
                let control = control(&mut random);
                let $a = random.f80();
                let $b = random.f80_near($a);
                let mut env = Env::from_x87_control(control);
                let $env = &mut env;
                let ours = $ours;
                let theirs = host(control, $a, $b, &mut [0; 16]);
                check(ours, &env, 0, &theirs, &format!("{:x?} {:x?} control {control:#x}", $a, $b));
            }
        }
    };
}

binary!(add, "fadd st(0), st(1)", |a, b, env| a.add(b, env));
binary!(sub, "fsub st(0), st(1)", |a, b, env| a.sub(b, env));
binary!(sub_reversed, "fsubr st(0), st(1)", |a, b, env| a.sub_from(b, env));
binary!(mul, "fmul st(0), st(1)", |a, b, env| a.mul(b, env));
binary!(div, "fdiv st(0), st(1)", |a, b, env| a.div(b, env));
binary!(div_reversed, "fdivr st(0), st(1)", |a, b, env| a.div_into(b, env));
binary!(sqrt, "fsqrt", |a, _b, env| a.sqrt(env));
binary!(round_to_integral, "frndint", |a, _b, env| a.round_to_integral(env));

macro_rules! memory_operand {
    ($test:ident, $instruction:literal, $make:ident, |$a:ident, $m:ident, $env:ident| $ours:expr) => {
        #[test]
        fn $test() {
            x87_op!(host, $instruction);
            let mut random = Random::new(line!() as u64);
            for _ in 0..CASES {
                let control = control(&mut random);
                let ($a, $m) = (random.f80(), random.$make());
                let mut memory = [0; 16];
                let bytes = $m.0.to_le_bytes();
                memory[..bytes.len()].copy_from_slice(&bytes);
                let mut env = Env::from_x87_control(control);
                let $env = &mut env;
                let ours = $ours;
                let theirs = host(control, $a, F80::ZERO, &mut memory);
                check(ours, &env, 0, &theirs, &format!("{:x?} {:x?} control {control:#x}", $a, $m));
            }
        }
    };
}

memory_operand!(add_single, "fadd dword ptr [rdi]", f32, |a, m, env| a.add(m, env));
memory_operand!(sub_from_double, "fsubr qword ptr [rdi]", f64, |a, m, env| a.sub_from(m, env));
memory_operand!(mul_double, "fmul qword ptr [rdi]", f64, |a, m, env| a.mul(m, env));
memory_operand!(div_single, "fdiv dword ptr [rdi]", f32, |a, m, env| a.div(m, env));
memory_operand!(div_into_single, "fdivr dword ptr [rdi]", f32, |a, m, env| a.div_into(m, env));
memory_operand!(load_single, "fld dword ptr [rdi]", f32, |_a, m, env| F80::from_f32(m, env));
memory_operand!(load_double, "fld qword ptr [rdi]", f64, |_a, m, env| F80::from_f64(m, env));

fn comparison_codes(order: Ordering4) -> u16 {
    match order {
        Ordering4::Greater => 0,
        Ordering4::Less => C0,
        Ordering4::Equal => C3,
        Ordering4::Unordered => C0 | C2 | C3,
    }
}

macro_rules! comparison {
    ($test:ident, $instruction:literal, |$a:ident, $b:ident, $m:ident, $env:ident| $ours:expr) => {
        #[test]
        fn $test() {
            x87_op!(host, $instruction);
            let mut random = Random::new(line!() as u64);
            for _ in 0..CASES {
                let control = control(&mut random);
                let ($a, $m) = (random.f80(), random.f64());
                let $b = random.f80_near($a);
                let mut memory = [0; 16];
                memory[..8].copy_from_slice(&$m.0.to_le_bytes());
                let mut env = Env::from_x87_control(control);
                let $env = &mut env;
                let ours = comparison_codes($ours);
                let theirs = host(control, $a, $b, &mut memory);
                // An unmasked exception leaves the condition codes to chance.
                let watched = if computed(&env) { WATCHED } else { 0x3f };
                assert_eq!((status(&env) | ours) & watched, theirs.status & watched, "{:x?} {:x?} control {control:#x}", $a, $b);
            }
        }
    };
}

comparison!(compare, "fcom st(1)", |a, b, _m, env| a.compare(b, env, false));
comparison!(compare_quietly, "fucom st(1)", |a, b, _m, env| a.compare(b, env, true));
comparison!(compare_with_memory, "fcom qword ptr [rdi]", |a, _b, m, env| a.compare(m, env, false));
comparison!(compare_with_zero, "ftst", |a, _b, _m, env| a.compare(F80::ZERO, env, false));

macro_rules! store {
    ($test:ident, $instruction:literal, $bytes:literal, |$a:ident, $env:ident| $ours:expr) => {
        #[test]
        fn $test() {
            x87_op!(host, $instruction);
            let mut random = Random::new(line!() as u64);
            for _ in 0..CASES {
                let control = control(&mut random);
                // Shift some exponents into the range of the narrow format.
                let narrow = random.f64().0 >> 52 & 0x7ff;
                let mut $a = random.f80();
                if random.below(2) == 0 {
                    $a.sign_exponent = $a.sign_exponent & 0x8000 | (0x3c00 + narrow) as u16;
                    $a.mantissa |= 1 << 63;
                }
                let mut memory = [0; 16];
                let mut env = Env::from_x87_control(control);
                let $env = &mut env;
                let ours = $ours;
                let theirs = host(control, $a, F80::ZERO, &mut memory);
                let case = format!("{:x?} control {control:#x}", $a);
                assert_eq!(status(&env), theirs.status & WATCHED, "status of {case}");
                let stored = (env.unmasked() & !Exceptions::PRECISION).is_empty();
                assert_eq!(if stored { ours } else { [0; $bytes] }, memory[..$bytes], "value of {case}");
            }
        }
    };
}

store!(store_single, "fst dword ptr [rdi]", 4, |a, env| a.to_f32(env).0.to_le_bytes());
store!(store_double, "fst qword ptr [rdi]", 8, |a, env| a.to_f64(env).0.to_le_bytes());
store!(store_i16, "fist word ptr [rdi]", 2, |a, env| a.to_i16(env).to_le_bytes());
store!(store_i32, "fist dword ptr [rdi]", 4, |a, env| a.to_i32(env).to_le_bytes());
store!(store_i64, "fistp qword ptr [rdi]", 8, |a, env| a.to_i64(env).to_le_bytes());
store!(store_i16_truncate, "fisttp word ptr [rdi]", 2, |a, env| a.to_i16_truncate(env).to_le_bytes());
store!(store_i32_truncate, "fisttp dword ptr [rdi]", 4, |a, env| a.to_i32_truncate(env).to_le_bytes());
store!(store_i64_truncate, "fisttp qword ptr [rdi]", 8, |a, env| a.to_i64_truncate(env).to_le_bytes());
store!(store_decimal, "fbstp [rdi]", 10, |a, env| a.to_bcd(env));

macro_rules! remainder {
    ($test:ident, $instruction:literal, $method:ident) => {
        #[test]
        fn $test() {
            x87_op!(host, $instruction);
            let mut random = Random::new(line!() as u64);
            for _ in 0..CASES {
                let control = control(&mut random);
                let a = random.f80();
                let b = random.f80_near(a);
                let mut env = Env::from_x87_control(control);
                let ours = a.$method(b, &mut env);
                let q = u16::from(ours.quotient);
                let conditions = (q & 1) << 9 | (q >> 1 & 1) << 14 | (q >> 2 & 1) << 8 | if ours.complete { 0 } else { C2 };
                let theirs = host(control, a, b, &mut [0; 16]);
                check(ours.value, &env, conditions, &theirs, &format!("{a:x?} {b:x?} control {control:#x}"));
            }
        }
    };
}

remainder!(remainder_truncated, "fprem", rem);
remainder!(remainder_nearest, "fprem1", rem_nearest);

#[test]
fn scale() {
    x87_op!(host, "fscale");
    let mut random = Random::new(1);
    for _ in 0..CASES {
        let control = control(&mut random);
        let a = random.f80();
        let b = match random.below(3) {
            0 => random.f80(),
            1 => F80::from_f64(random.f64(), &mut Env::default()),
            _ => F80::from_i32(random.next() as i32 >> (8 + random.below(20))).add(F32(0x3f40_0000), &mut Env::default()),
        };
        let mut env = Env::from_x87_control(control);
        let ours = a.scale(b, &mut env);
        let theirs = host(control, a, b, &mut [0; 16]);
        check(ours, &env, 0, &theirs, &format!("{a:x?} {b:x?} control {control:#x}"));
    }
}

#[test]
fn extract() {
    x87_op!(host, "fxtract");
    let mut random = Random::new(2);
    for _ in 0..CASES {
        let control = control(&mut random);
        let a = random.f80();
        let mut env = Env::from_x87_control(control);
        let (exponent, significand) = a.extract(&mut env);
        let theirs = host(control, a, F80::ZERO, &mut [0; 16]);
        let case = format!("{a:x?} control {control:#x}");
        check(significand, &env, 0, &theirs, &case);
        if computed(&env) {
            assert_eq!(exponent, theirs.st1, "exponent of {case}");
        }
    }
}

#[test]
fn integer_and_decimal_loads() {
    x87_op!(load_i16, "fild word ptr [rdi]");
    x87_op!(load_i32, "fild dword ptr [rdi]");
    x87_op!(load_i64, "fild qword ptr [rdi]");
    x87_op!(load_decimal, "fbld [rdi]");
    let mut random = Random::new(3);
    for _ in 0..CASES / 4 {
        let value = random.next() as i64 >> random.below(64);
        let mut memory = [0; 16];
        memory[..8].copy_from_slice(&value.to_le_bytes());
        assert_eq!(F80::from_i16(value as i16), load_i16(0x37f, F80::ONE, F80::ONE, &mut memory).st0, "{value}");
        assert_eq!(F80::from_i32(value as i32), load_i32(0x37f, F80::ONE, F80::ONE, &mut memory).st0, "{value}");
        assert_eq!(F80::from_i64(value), load_i64(0x37f, F80::ONE, F80::ONE, &mut memory).st0, "{value}");

        let mut decimal = [0; 10];
        for byte in &mut decimal[..9] {
            *byte = (random.below(10) << 4 | random.below(10)) as u8;
        }
        decimal[9] = (random.below(2) << 7) as u8;
        memory[..10].copy_from_slice(&decimal);
        assert_eq!(F80::from_bcd(decimal), load_decimal(0x37f, F80::ONE, F80::ONE, &mut memory).st0, "{decimal:x?}");
    }
}

#[test]
fn constants_follow_the_rounding_control() {
    x87_op!(one, "fld1");
    x87_op!(log2_of_10, "fldl2t");
    x87_op!(log2_of_e, "fldl2e");
    x87_op!(pi, "fldpi");
    x87_op!(log10_of_2, "fldlg2");
    x87_op!(ln_of_2, "fldln2");
    x87_op!(zero, "fldz");
    type Load = fn(u16, F80, F80, &mut [u8; 16]) -> Host;
    let loads: [(Constant, Load); 7] = [
        (Constant::One, one),
        (Constant::Log2Of10, log2_of_10),
        (Constant::Log2OfE, log2_of_e),
        (Constant::Pi, pi),
        (Constant::Log10Of2, log10_of_2),
        (Constant::LnOf2, ln_of_2),
        (Constant::Zero, zero),
    ];
    for (constant, load) in loads {
        for rounding in 0..4 {
            let theirs = load(0x37f | u16::from(rounding) << 10, F80::ONE, F80::ONE, &mut [0; 16]);
            assert_eq!(F80::constant(constant, Rounding::from_bits(rounding)), theirs.st0, "{constant:?} {rounding}");
        }
    }
}

#[test]
fn a_signaling_nan_in_memory_yields_to_a_quiet_register() {
    let quiet = F80 { mantissa: 0xc000_0000_0000_0001, sign_exponent: 0x7fff };
    let mut env = Env::default();
    assert_eq!(quiet.add(F64(0x7ff4_0000_0000_0000), &mut env), quiet);
    assert_eq!(env.flags, Exceptions::INVALID);
}
