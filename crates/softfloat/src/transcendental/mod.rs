//! The x87 transcendentals (SDM 1, 8.3.6 to 8.3.10), evaluated as 128-bit series and rounded once, as RC says.
//!
//! The error before rounding is below 2^-118 of the result, far within the 1 ulp that the manual promises, and the bits are the same on
//! every host. They are those of no particular processor: hardware differs between models in the last place.
//! Precision control does not apply. The special cases are the tables of each instruction's page in SDM 2.

mod arctangent;
mod exponential;
mod logarithm;
mod series;
mod trigonometry;

pub use trigonometry::OutOfRange;

use crate::f80::{F80, operand_fault};
use crate::unpacked::{Format, Unpacked};
use crate::{Env, Exceptions};

/// Opens two operands; `Err` is the result if they are NaNs or unsupported.
fn open_pair(a: F80, b: F80, env: &mut Env) -> Result<(Unpacked, Unpacked), F80> {
    env.rounded_up = false;
    let pair = [a.unpack(false), b.unpack(false)];
    match operand_fault(&pair, env) {
        Some(fault) => Err(fault),
        None => Ok(pair.into()),
    }
}

/// The masked response to a zero-divide.
fn zero_divide(sign: bool, env: &mut Env) -> F80 {
    env.raise(Exceptions::ZERO_DIVIDE);
    F80::infinity(sign)
}
