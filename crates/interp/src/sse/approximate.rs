//! RCPPS, RCPSS, RSQRTPS, RSQRTSS (SDM 1, 10.4.1.2).
//!
//! Processors differ here within a relative error of 1.5 * 2^-12. The table of every model: 1/x and 1/sqrt(x) in single precision, each
//! operation rounded to nearest, then the fraction rounded to 12 bits, halves up. As architected, denormals count as zeros, tiny results
//! are zeros, and MXCSR is neither consulted nor changed.

use softfloat::{Env, F32, Float};

use super::lanes::{map, with_low};
use super::operation::{combine, operations};

operations! { select:
    combine xmm {
        Rcpps = |_, b, _| map(b, reciprocal);
        Rsqrtps = |_, b, _| map(b, reciprocal_root);
    }
    combine xmm_m32 {
        Rcpss = |a, b, _| with_low(a, reciprocal(F32(b as u32)));
        Rsqrtss = |a, b, _| with_low(a, reciprocal_root(F32(b as u32)));
    }
}

const ONE: F32 = F32(0x3f80_0000);
/// Fraction bits that a result does not have.
const DROPPED: u32 = 23 - 12;

fn env() -> Env {
    Env { denormals_are_zero: true, flush_to_zero: true, ..Env::default() }
}

fn reciprocal(x: F32) -> F32 {
    shorten(ONE.div(x, &mut env()))
}

fn reciprocal_root(x: F32) -> F32 {
    let env = &mut env();
    shorten(ONE.div(x.sqrt(env), env))
}

/// Keeps 12 bits of a finite number's fraction. No result is so large that this could carry into infinity.
fn shorten(value: F32) -> F32 {
    let finite = value.0 >> 23 & 0xff != 0xff;
    if finite { F32((value.0 + (1 << (DROPPED - 1))) & !((1 << DROPPED) - 1)) } else { value }
}
