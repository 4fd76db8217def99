//! Conversions among floating-point formats and integers (SDM 1, 11.4.1.6).
//!
//! Those with an MMX register use both register files. From memory, CVTPI2PS leaves the MMX file alone as CVTPI2PD does, whatever its
//! page in SDM 2A says: processors do.

use std::marker::PhantomData;

use decode::Selected;
use iced_x86::{Instruction, Mnemonic};
use softfloat::{Env, F32, F64, Float};

use super::lanes::{Lane, build, split, with_low};
use super::operation::{Shape, compute, operations, with_env, xmm_m32, xmm_m64};
use super::vector::{Source, Vector};
use crate::core::{Core, Exec};
use crate::operand::{Gpr, sign_extend, source};
use crate::{Handler, Op, plain};

pub(super) fn select(instruction: &Instruction) -> Option<Selected<Handler>> {
    let (to_64, from_64) = (instruction.op0_register().is_gpr64(), instruction.op1_register().is_gpr64());
    // A memory operand's size tells the same as a register's.
    let from_64 = from_64 || instruction.memory_size().size() == 8;
    Some(match instruction.mnemonic() {
        Mnemonic::Cvtsi2ss if from_64 => plain(from_general::<F32, u64>),
        Mnemonic::Cvtsi2ss => plain(from_general::<F32, u32>),
        Mnemonic::Cvtsi2sd if from_64 => plain(from_general::<F64, u64>),
        Mnemonic::Cvtsi2sd => plain(from_general::<F64, u32>),
        Mnemonic::Cvtss2si if to_64 => xmm_m32::<ToGeneral<F32, u64, false>>(instruction),
        Mnemonic::Cvtss2si => xmm_m32::<ToGeneral<F32, u32, false>>(instruction),
        Mnemonic::Cvttss2si if to_64 => xmm_m32::<ToGeneral<F32, u64, true>>(instruction),
        Mnemonic::Cvttss2si => xmm_m32::<ToGeneral<F32, u32, true>>(instruction),
        Mnemonic::Cvtsd2si if to_64 => xmm_m64::<ToGeneral<F64, u64, false>>(instruction),
        Mnemonic::Cvtsd2si => xmm_m64::<ToGeneral<F64, u32, false>>(instruction),
        Mnemonic::Cvttsd2si if to_64 => xmm_m64::<ToGeneral<F64, u64, true>>(instruction),
        Mnemonic::Cvttsd2si => xmm_m64::<ToGeneral<F64, u32, true>>(instruction),
        _ => return select_vector(instruction),
    })
}

operations! { select_vector:
    compute xmm {
        Cvtdq2ps = |_, b, _, env| convert::<4, _, _>(b, |lane| F32::from_i32(lane, env));
        Cvtps2dq = |_, b, _, env| convert::<4, _, _>(b, |lane: F32| lane.to_i32(env));
        Cvttps2dq = |_, b, _, env| convert::<4, _, _>(b, |lane: F32| lane.to_i32_truncate(env));
        Cvtpd2dq = |_, b, _, env| convert::<2, _, _>(b, |lane: F64| lane.to_i32(env));
        Cvttpd2dq = |_, b, _, env| convert::<2, _, _>(b, |lane: F64| lane.to_i32_truncate(env));
        Cvtpd2ps = |_, b, _, env| convert::<2, _, _>(b, |lane: F64| lane.to_f32(env));
    }
    compute xmm_m64 {
        Cvtdq2pd = |_, b, _, env| convert::<2, _, _>(b, |lane| F64::from_i32(lane, env));
        Cvtps2pd = |_, b, _, env| convert::<2, _, _>(b, |lane: F32| lane.to_f64(env));
        Cvtsd2ss = |a, b, _, env| with_low(a, F64(b as u64).to_f32(env));
    }
    compute xmm_m32 {
        Cvtss2sd = |a, b, _, env| with_low(a, F32(b as u32).to_f64(env));
    }
    to_mmx xmm_m64 {
        Cvtps2pi = |b, env| convert::<2, _, _>(b, |lane: F32| lane.to_i32(env));
        Cvttps2pi = |b, env| convert::<2, _, _>(b, |lane: F32| lane.to_i32_truncate(env));
    }
    to_mmx xmm {
        Cvtpd2pi = |b, env| convert::<2, _, _>(b, |lane: F64| lane.to_i32(env));
        Cvttpd2pi = |b, env| convert::<2, _, _>(b, |lane: F64| lane.to_i32_truncate(env));
    }
    from_mmx mmx {
        Cvtpi2ps = |a, b, env| {
            let low = convert::<2, _, _>(u128::from(b), |lane| F32::from_i32(lane, env));
            with_low(a, low as u64)
        };
        Cvtpi2pd = |_, b, env| convert::<2, _, _>(u128::from(b), |lane| F64::from_i32(lane, env));
    }
}

/// The `N` lowest lanes; the rest of the result is zero.
#[inline(always)]
fn convert<const N: usize, From: Lane, To: Lane>(b: u128, mut f: impl FnMut(From) -> To) -> u128 {
    let b = split::<From, u128>(b);
    let zero = To::split(0)[0];
    build(|index| if index < N { f(b[index]) } else { zero })
}

/// MMX destination = f(XMM or memory source), the low half.
#[inline(always)]
fn to_mmx<V: Vector, S: Source<V>>(core: &mut Core, op: &Op, f: impl FnOnce(V, &mut Env) -> u128) -> Exec {
    u128::enter(core)?;
    u64::enter(core)?;
    let b = S::read(core, op)?;
    let result = with_env(core, |env| f(b, env))?;
    <u64 as Vector>::set(core, op.dst, result as u64);
    Ok(())
}

/// XMM destination = f(destination, MMX or memory source). Memory leaves the MMX file alone.
#[inline(always)]
fn from_mmx<V: Vector, S: Source<V>>(core: &mut Core, op: &Op, f: impl FnOnce(u128, V, &mut Env) -> u128) -> Exec {
    u128::enter(core)?;
    if !S::MEMORY {
        V::enter(core)?;
    }
    let b = S::read(core, op)?;
    let a = u128::get(core, op.dst);
    let result = with_env(core, |env| f(a, b, env))?;
    if !S::MEMORY {
        V::touch(core);
    }
    u128::set(core, op.dst, result);
    Ok(())
}

/// CVTSI2SS, CVTSI2SD from a general register or memory.
fn from_general<F: Lane + Float, G: Gpr>(core: &mut Core, op: &Op) -> Exec {
    u128::enter(core)?;
    let value = sign_extend(source::<G>(core, op, op.src)?) as i64;
    let result = with_env(core, |env| F::from_i64(value, env))?;
    u128::set(core, op.dst, with_low(u128::get(core, op.dst), result));
    Ok(())
}

/// CVTSS2SI and its kin: a scalar to a general register of `G`'s size.
struct ToGeneral<F, G, const TRUNCATE: bool>(PhantomData<(F, G)>);

impl<F: Lane + Float, G: Gpr, const TRUNCATE: bool> Shape<u128> for ToGeneral<F, G, TRUNCATE> {
    fn run<S: Source<u128>>(core: &mut Core, op: &Op) -> Exec {
        u128::enter(core)?;
        let value = split::<F, u128>(S::read(core, op)?)[0];
        let result = with_env(core, |env| match (G::SIZE, TRUNCATE) {
            (4, false) => i64::from(value.to_i32(env)),
            (4, true) => i64::from(value.to_i32_truncate(env)),
            (_, false) => value.to_i64(env),
            (_, true) => value.to_i64_truncate(env),
        })?;
        <G as Gpr>::set(&mut core.cpu, op.dst, G::of(result as u64));
        Ok(())
    }
}
