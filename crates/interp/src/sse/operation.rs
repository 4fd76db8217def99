//! The shapes of vector instructions: what surrounds the computation, and from where its operands come.

use decode::Selected;
use iced_x86::{Instruction, OpKind, Register as Name};
use softfloat::{Env, Exceptions};

use super::vector::{Aligned, Immediate, Register, Source, Unaligned, Vector};
use crate::core::{Core, Exec};
use crate::operand::Gpr;
use crate::{Handler, Op, plain};
use cpu::Fault;
use cpu::control::cr4;

/// An instruction with one source, a `V` from wherever `S` says.
pub(crate) trait Shape<V: Vector> {
    fn run<S: Source<V>>(core: &mut Core, op: &Op) -> Exec;
}

/// Declares instructions and a function that selects among them.
///
/// ```text
/// operations! { select:
///     combine xmm { Pmulld = |a, b, imm| ...; }
/// }
/// ```
///
/// `combine` is the function that runs the closure (here `a` is the destination register, `b` the source, `imm` the immediate byte);
/// `xmm` the function that picks the handler by operand kinds.
macro_rules! operations {
    ($select:ident: $($run:ident $operands:ident { $($(#[$doc:meta])* $name:ident = |$($arg:pat_param),*| $body:expr;)* })*) => {
        pub(crate) fn $select(instruction: &iced_x86::Instruction) -> Option<decode::Selected<$crate::Handler>> {
            Some(match instruction.mnemonic() {
                $($(iced_x86::Mnemonic::$name => $crate::sse::operation::$operands::<$name>(instruction),)*)*
                _ => return None,
            })
        }
        $($(
            $(#[$doc])*
            struct $name;
            $crate::sse::operation::shape! { $operands $run $name |$($arg),*| $body }
        )*)*
    };
}

/// Implements [`Shape`] for the register files that an operand description allows.
macro_rules! shape {
    (mmx_or_xmm $($rest:tt)*) => { $crate::sse::operation::shape! { @both $($rest)* } };
    (mmx_m32_or_xmm $($rest:tt)*) => { $crate::sse::operation::shape! { @both $($rest)* } };
    (mmx_or_xmm_or_imm $($rest:tt)*) => { $crate::sse::operation::shape! { @both $($rest)* } };
    (mmx $($rest:tt)*) => { $crate::sse::operation::shape! { @one u64, $($rest)* } };
    (@both $run:ident $name:ident |$($arg:pat_param),*| $body:expr) => {
        impl<V: $crate::sse::vector::Vector> $crate::sse::operation::Shape<V> for $name {
            #[inline(always)]
            fn run<S: $crate::sse::vector::Source<V>>(core: &mut $crate::Core, op: &$crate::Op) -> $crate::Exec {
                $run::<V, S>(core, op, |$($arg),*| $body)
            }
        }
    };
    (@one $vector:ty, $run:ident $name:ident |$($arg:pat_param),*| $body:expr) => {
        impl $crate::sse::operation::Shape<$vector> for $name {
            #[inline(always)]
            fn run<S: $crate::sse::vector::Source<$vector>>(core: &mut $crate::Core, op: &$crate::Op) -> $crate::Exec {
                $run::<$vector, S>(core, op, |$($arg),*| $body)
            }
        }
    };
    ($operands:ident $($rest:tt)*) => { $crate::sse::operation::shape! { @one u128, $($rest)* } };
}

pub(crate) use {operations, shape};

// What surrounds the closure.

/// destination = f(destination, source, immediate).
#[inline(always)]
pub(crate) fn combine<V: Vector, S: Source<V>>(core: &mut Core, op: &Op, f: impl FnOnce(V, V, u8) -> V) -> Exec {
    V::enter(core)?;
    let b = S::read(core, op)?;
    let result = f(V::get(core, op.dst), b, op.imm as u8);
    V::set(core, op.dst, result);
    Ok(())
}

/// destination = f(destination, source, immediate, environment), unless an unmasked floating-point exception is found.
#[inline(always)]
pub(crate) fn compute<V: Vector, S: Source<V>>(core: &mut Core, op: &Op, f: impl FnOnce(V, V, u8, &mut Env) -> V) -> Exec {
    V::enter(core)?;
    let b = S::read(core, op)?;
    let a = V::get(core, op.dst);
    let result = with_env(core, |env| f(a, b, op.imm as u8, env))?;
    V::set(core, op.dst, result);
    Ok(())
}

/// General register destination = f(source), zero-extended.
#[inline(always)]
pub(crate) fn gather<V: Vector, S: Source<V>>(core: &mut Core, op: &Op, f: impl FnOnce(V) -> u64) -> Exec {
    V::enter(core)?;
    let result = f(S::read(core, op)?);
    V::touch(core);
    <u64 as Gpr>::set(&mut core.cpu, op.dst, result);
    Ok(())
}

/// Runs floating-point lanes under MXCSR, whose flags take up what they raise: also when #XM (#UD where the operating system
/// does not expect that) is due and nothing else changes (SDM 1, 11.5).
#[inline(always)]
pub(crate) fn with_env<R>(core: &mut Core, f: impl FnOnce(&mut Env) -> R) -> Exec<R> {
    let mut env = Env { flags: Exceptions::NONE, ..Env::from_mxcsr(core.cpu.mxcsr) };
    let result = f(&mut env);
    if !env.unmasked().is_empty() {
        return unmasked(core, env).map(|()| result);
    }
    core.cpu.mxcsr |= u32::from(env.flags.0);
    Ok(result)
}

#[cold]
fn unmasked(core: &mut Core, mut env: Env) -> Exec {
    env.settle_lanes();
    core.cpu.mxcsr |= u32::from(env.flags.0);
    let expected = core.cpu.cr4 & cr4::OSXMMEXCPT != 0;
    Err(core.raise(if expected { Fault::XM } else { Fault::UD }))
}

// Which operands an instruction has.

/// The handler for a source that is a register, or memory as `M` reads it.
#[inline(always)]
fn by_source<V: Vector, M: Source<V>, O: Shape<V>>(instruction: &Instruction) -> Selected<Handler> {
    match instruction.op1_kind() {
        OpKind::Memory => plain(O::run::<M>),
        _ => plain(O::run::<Register>),
    }
}

fn has_mmx(instruction: &Instruction) -> bool {
    let is_mmx = |register: Name| register.is_mm();
    is_mmx(instruction.op0_register()) || is_mmx(instruction.op1_register())
}

/// mm, mm/m64 or xmm, xmm/m128.
pub(crate) fn mmx_or_xmm<O: Shape<u64> + Shape<u128>>(instruction: &Instruction) -> Selected<Handler> {
    if has_mmx(instruction) { mmx::<O>(instruction) } else { xmm::<O>(instruction) }
}

/// mm, mm/m32 or xmm, xmm/m128.
pub(crate) fn mmx_m32_or_xmm<O: Shape<u64> + Shape<u128>>(instruction: &Instruction) -> Selected<Handler> {
    if has_mmx(instruction) { by_source::<u64, Unaligned<u32>, O>(instruction) } else { xmm::<O>(instruction) }
}

/// As [`mmx_or_xmm`], or an immediate for a source.
pub(crate) fn mmx_or_xmm_or_imm<O: Shape<u64> + Shape<u128>>(instruction: &Instruction) -> Selected<Handler> {
    match instruction.op1_kind() {
        OpKind::Immediate8 if has_mmx(instruction) => plain(<O as Shape<u64>>::run::<Immediate>),
        OpKind::Immediate8 => xmm_imm::<O>(instruction),
        _ => mmx_or_xmm::<O>(instruction),
    }
}

/// A source of mm/m64.
pub(crate) fn mmx<O: Shape<u64>>(instruction: &Instruction) -> Selected<Handler> {
    by_source::<u64, Unaligned<u64>, O>(instruction)
}

/// xmm, xmm/m128.
pub(crate) fn xmm<O: Shape<u128>>(instruction: &Instruction) -> Selected<Handler> {
    by_source::<u128, Aligned, O>(instruction)
}

/// xmm, xmm/m128 with no alignment demanded.
pub(crate) fn xmm_unaligned<O: Shape<u128>>(instruction: &Instruction) -> Selected<Handler> {
    by_source::<u128, Unaligned<u128>, O>(instruction)
}

/// xmm, xmm/m64.
pub(crate) fn xmm_m64<O: Shape<u128>>(instruction: &Instruction) -> Selected<Handler> {
    by_source::<u128, Unaligned<u64>, O>(instruction)
}

/// xmm, xmm/m32.
pub(crate) fn xmm_m32<O: Shape<u128>>(instruction: &Instruction) -> Selected<Handler> {
    by_source::<u128, Unaligned<u32>, O>(instruction)
}

/// xmm, xmm/m16.
pub(crate) fn xmm_m16<O: Shape<u128>>(instruction: &Instruction) -> Selected<Handler> {
    by_source::<u128, Unaligned<u16>, O>(instruction)
}

/// xmm, imm8.
pub(crate) fn xmm_imm<O: Shape<u128>>(_: &Instruction) -> Selected<Handler> {
    plain(O::run::<Immediate>)
}
