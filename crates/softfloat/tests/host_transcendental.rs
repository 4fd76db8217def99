//! The x87 transcendentals against the host processor's: within a unit in the last place, special cases and flags exactly.
#![cfg(target_arch = "x86_64")]

mod host;
#[path = "host/x87.rs"]
#[expect(dead_code, reason = "no function here leaves two results")]
mod x87;

use host::{CASES, Random};
use softfloat::{Class, Env, F80};
use x87::{Host, x87_op};

const C2: u16 = 1 << 10;

/// How far apart two values of the same sign are, in units of the last place.
fn distance(a: F80, b: F80) -> u64 {
    let count = |it: F80| i128::from(it.sign_exponent & 0x7fff) << 63 | i128::from(it.mantissa & u64::MAX >> 1);
    if a.is_negative() != b.is_negative() { u64::MAX } else { count(a).abs_diff(count(b)).try_into().unwrap_or(u64::MAX) }
}

fn check(ours: F80, env: &Env, theirs: F80, status: u16, case: &str) {
    assert_eq!(u16::from(env.flags.0), status & 0x3f, "flags of {case}: ours {ours:x?} theirs {theirs:x?}");
    let near = matches!(ours.classify(), Class::Normal | Class::Denormal) && distance(ours, theirs) <= 1;
    assert!(near || ours == theirs, "{case}: ours {ours:x?} theirs {theirs:x?}");
}

/// Everything masked, any rounding.
fn control(random: &mut Random) -> u16 {
    0x33f | (random.below(4) as u16) << 10
}

/// A number with an exponent in a small range above 2^`low`.
fn scaled(random: &mut Random, low: i32, span: u64) -> F80 {
    let exponent = (0x3fff + low) as u64 + random.below(span);
    F80 { mantissa: random.next() | 1 << 63, sign_exponent: (random.below(2) << 15 | exponent) as u16 }
}

macro_rules! angle {
    ($test:ident, $instruction:literal, $method:ident) => {
        #[test]
        fn $test() {
            x87_op!(host, $instruction);
            let mut random = Random::new(line!() as u64);
            for _ in 0..CASES {
                let control = control(&mut random);
                let a = if random.below(3) == 0 { random.f80() } else { scaled(&mut random, -40, 70) };
                let case = format!("{a:x?} control {control:#x}");
                let Host { st0, status, .. } = host(control, a, F80::ZERO, &mut [0; 16]);
                let mut env = Env::from_x87_control(control);
                match a.$method(&mut env) {
                    Ok(ours) => {
                        assert_eq!(status & C2, 0, "C2 of {case}");
                        check(ours, &env, st0, status, &case);
                    }
                    Err(_) => assert_eq!((status & C2, st0), (C2, a), "C2 of {case}"),
                }
            }
        }
    };
}

angle!(sine, "fsin", fsin);
angle!(cosine, "fcos", fcos);
angle!(tangent, "fptan\nfnstsw ax\ntest eax, 0x400\njnz 2f\nfstp st(0)\n2:", fptan);

#[test]
fn sine_and_cosine_together() {
    let mut random = Random::new(4);
    for _ in 0..CASES / 10 {
        let a = random.f80();
        let (mut apart, mut together) = (Env::default(), Env::default());
        let pair = a.fsin(&mut apart).and_then(|sine| Ok((sine, a.fcos(&mut apart)?)));
        assert_eq!(a.fsincos(&mut together), pair);
        assert_eq!(together.flags, apart.flags);
    }
}

#[test]
fn power_of_two_minus_one() {
    x87_op!(host, "f2xm1");
    let mut random = Random::new(5);
    for _ in 0..CASES {
        let control = control(&mut random);
        let mut a = if random.below(3) == 0 { random.f80() } else { scaled(&mut random, -30, 31) };
        if a.abs() != F80::ONE && a.sign_exponent & 0x7fff >= 0x3fff && a.classify() == Class::Normal {
            a.sign_exponent = a.sign_exponent & 0x8000 | 0x3ffe;
        }
        let theirs = host(control, a, F80::ZERO, &mut [0; 16]);
        let mut env = Env::from_x87_control(control);
        let ours = a.f2xm1(&mut env);
        check(ours, &env, theirs.st0, theirs.status, &format!("{a:x?} control {control:#x}"));
    }
}

macro_rules! pair {
    ($test:ident, $instruction:literal, |$random:ident| $draw:expr, |$a:ident, $b:ident, $env:ident| $ours:expr) => {
        #[test]
        fn $test() {
            x87_op!(host, $instruction);
            let mut random = Random::new(line!() as u64);
            for _ in 0..CASES {
                let control = control(&mut random);
                let $random = &mut random;
                let ($a, $b) = $draw;
                let theirs = host(control, $a, $b, &mut [0; 16]);
                let mut env = Env::from_x87_control(control);
                let $env = &mut env;
                let ours = $ours;
                check(ours, &env, theirs.st0, theirs.status, &format!("{:x?} {:x?} control {control:#x}", $a, $b));
            }
        }
    };
}

pair!(
    arctangent,
    "fpatan",
    |random| {
        let a = random.f80();
        (a, random.f80_near(a))
    },
    |a, b, env| b.fpatan(a, env)
);
pair!(
    logarithm,
    "fyl2x",
    |random| (if random.below(2) == 0 { random.f80() } else { scaled(random, -2, 4).abs() }, random.f80()),
    |a, b, env| a.fyl2x(b, env)
);
pair!(
    logarithm_plus_one,
    "fyl2xp1",
    |random| {
        let mut a = if random.below(2) == 0 { random.f80() } else { scaled(random, -20, 19) };
        if a.sign_exponent & 0x7fff > 0x3ffc && matches!(a.classify(), Class::Normal | Class::Infinity) {
            a = F80 { mantissa: a.mantissa | 1 << 63, sign_exponent: a.sign_exponent & 0x8000 | 0x3ffc };
        }
        (a, random.f80())
    },
    |a, b, env| a.fyl2xp1(b, env)
);
