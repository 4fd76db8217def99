//! Instructions on the host processor and on the interpreter, compared.
//!
//! - [`form`]: what there is to test: every instruction of the model, by operand kind and prefix; [`excluded`]: what is not.
//! - [`generate`]: a form and a seed to a [`case`]: encoding, registers, memory; [`family`] knows what makes a family's cases
//!   interesting. [`values`] and [`rng`] supply the numbers, [`arena`] the addresses.
//! - [`host`] and [`guest`]: the two processors; both take a [`case`] and give a [`state::Outcome`].
//! - [`undefined`]: the one table of what the manuals leave open; [`compare`]: everything else must be equal.
//! - [`run`]: all forms, and the report.
//!
//! The host part needs an x86-64 Unix.

pub mod address;
pub mod arena;
pub mod case;
pub mod compare;
pub mod excluded;
pub mod family;
pub mod form;
pub mod generate;
pub mod guest;
#[cfg(all(unix, target_arch = "x86_64"))]
pub mod host;
pub mod operand;
pub mod rng;
#[cfg(all(unix, target_arch = "x86_64"))]
pub mod run;
pub mod state;
pub mod undefined;
pub mod values;
