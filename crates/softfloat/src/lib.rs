//! x86 floating point in integer arithmetic: the same bits and the same exception flags on every host.
//!
//! [`F32`] and [`F64`] follow the SSE rules (Intel SDM 1, chapters 4.8, 4.9 and 11.5) through the [`Float`] trait; [`F80`] follows
//! the x87 rules (chapter 8). An [`Env`] carries the control bits in and the raised flags out; its bit layouts are MXCSR's and FSW's.
//!
//! How the rooms connect: a format is opened into an [`unpacked::Unpacked`], `arith` computes a result that is exact but for a
//! sticky last bit, `round` fits it into the destination and raises overflow, underflow and precision. What the SSE and x87
//! rules do differently (NaN choice, unsupported encodings) is in `float` and `f80`. The x87 transcendentals evaluate 128-bit series.
//!
//! Left out: approximations that a CPU model's table fixes (RCPPS, RSQRTPS), and everything about registers, stacks and faults.
//!
//! # Unmasked exceptions
//!
//! An operation that raises an unmasked invalid, denormal or zero-divide stops there: later flags are not raised and its result
//! is meaningless; the caller sees it with [`Env::unmasked`] and leaves its destination alone. A caller that runs several lanes over one `Env`
//! drops the other lanes' later flags with [`Env::settle_lanes`]. Unmasked overflow and underflow return the result with the
//! bias-adjusted exponent (SDM 1, 4.9.1.4 and 4.9.1.5), which x87 stores into registers and SSE discards.
#![forbid(unsafe_code)]

mod arith;
mod env;
mod f80;
mod float;
mod half;
mod integer;
mod round;
mod transcendental;
mod unpacked;

pub use env::{Env, Exceptions, Ordering4, Precision, Rounding};
pub use f80::{Class, Constant, F80, Operand, Remainder};
pub use float::{F32, F64, Float};
pub use half::F16;
pub use transcendental::OutOfRange;
