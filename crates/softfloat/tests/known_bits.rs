//! Known results, on every host: the tests against a processor run only where there is an x86 one.

use softfloat::{Env, Exceptions, F32, F64, F80, Float, OutOfRange, Precision, Rounding};

const fn f80(sign_exponent: u16, mantissa: u64) -> F80 {
    F80 { mantissa, sign_exponent }
}

#[test]
fn double_arithmetic_rounds_to_nearest_even() {
    let mut env = Env::default();
    assert_eq!(F64(0x3fb9_9999_9999_999a).add(F64(0x3fc9_9999_9999_999a), &mut env), F64(0x3fd3_3333_3333_3334));
    assert_eq!(F64(0x3ff0_0000_0000_0000).div(F64(0x4008_0000_0000_0000), &mut env), F64(0x3fd5_5555_5555_5555));
    assert_eq!(F64(0x4000_0000_0000_0000).sqrt(&mut env), F64(0x3ff6_a09e_667f_3bcd));
    assert_eq!(env.flags, Exceptions::PRECISION);
}

#[test]
fn the_default_nan_is_negative_and_quiet() {
    let mut env = Env::default();
    assert_eq!(F32(0).div(F32(0), &mut env), F32(0xffc0_0000));
    assert_eq!(F80::ZERO.div(F80::ZERO, &mut env), F80::INDEFINITE);
    assert_eq!(env.flags, Exceptions::INVALID);
}

#[test]
fn an_unmasked_denormal_stops_before_rounding() {
    let mut env = Env { masks: Exceptions(0x3d), ..Env::default() };
    let _ = F32(1).add(F32(0x3f80_0000), &mut env);
    assert_eq!(env.flags, Exceptions::DENORMAL);
    let mut lanes = Env { flags: Exceptions(0x32), ..env };
    lanes.settle_lanes();
    assert_eq!(lanes.flags, Exceptions::DENORMAL);
}

#[test]
fn flushing_reports_underflow_even_when_exact() {
    let mut env = Env::from_mxcsr(0x9f80);
    assert_eq!(F32(0x8080_0000).mul(F32(0x3f00_0000), &mut env), F32(0x8000_0000));
    assert_eq!(env.flags, Exceptions(0x30));
}

#[test]
fn unmasked_overflow_wraps_the_extended_exponent() {
    let mut env = Env { masks: Exceptions(0x37), ..Env::default() };
    let huge = f80(0x7ffe, 1 << 63);
    assert_eq!(huge.mul(huge, &mut env), f80(0x7ffe + 0x3fff - 0x6000, 1 << 63));
    assert_eq!(env.flags, Exceptions::OVERFLOW);
}

#[test]
fn precision_control_narrows_the_significand() {
    let mut env = Env { precision: Precision::Single, rounding: Rounding::Up, ..Env::default() };
    assert_eq!(F80::ONE.div(F80::from_i32(3), &mut env), f80(0x3ffd, 0xaaaa_ab00_0000_0000));
    assert!(env.rounded_up);
}

#[test]
fn transcendentals_have_these_bits_everywhere() {
    let mut env = Env::default();
    let half = f80(0x3ffe, 1 << 63);
    assert_eq!(F80::ONE.fsin(&mut env), Ok(f80(0x3ffe, 0xd76a_a478_4867_7021)));
    assert_eq!(F80::ONE.fcos(&mut env), Ok(f80(0x3ffe, 0x8a51_407d_a834_5c92)));
    assert_eq!(F80::ONE.fptan(&mut env), Ok(f80(0x3fff, 0xc759_22e5_f71d_2dc5)));
    assert_eq!(F80::ONE.fpatan(F80::ONE, &mut env), f80(0x3ffe, 0xc90f_daa2_2168_c235));
    assert_eq!(half.f2xm1(&mut env), f80(0x3ffd, 0xd413_cccf_e779_9211));
    assert_eq!(F80::from_i32(10).fyl2x(F80::ONE, &mut env), f80(0x4000, 0xd49a_784b_cd1b_8afe));
    assert_eq!(F80::ONE.fyl2xp1(F80::ONE, &mut env), F80::ONE);
    assert_eq!(f80(0x403e, 1 << 63).fsin(&mut env), Err(OutOfRange));
}

#[test]
fn decimals_round_trip() {
    let mut env = Env::default();
    let bytes = [0x78, 0x56, 0x34, 0x12, 0, 0, 0, 0, 0x90, 0x80];
    assert_eq!(F80::from_bcd(bytes).to_bcd(&mut env), bytes);
    assert_eq!(F80::INDEFINITE.to_bcd(&mut env)[7..], [0xc0, 0xff, 0xff]);
}
