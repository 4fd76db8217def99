//! Data movement: MOV MOVZX MOVSX MOVSXD MOVNTI LEA CMOVcc SETcc BSWAP XLAT, the sign extensions CBW..CQO, NOP
//! (SDM 2A, 2B). Moves to and from segment, control and debug registers are system families.

use decode::Selected;
use iced_x86::{Instruction, Mnemonic, OpKind, Register};

use crate::core::{Core, Exec};
use crate::operand::{Gpr, by_size, operand_size, sign_extend, source, write_destination};
use crate::{Handler, Op, plain};

/// Instantiates a handler that is generic over a condition code (const, last parameter) for a code of 0..15.
macro_rules! by_condition {
    ($code:expr, $f:ident $(, $t:ty)*) => {
        by_condition!(@ $code, $f [$($t),*] 0 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15)
    };
    (@ $code:expr, $f:ident $types:tt $($n:literal)*) => {
        match $code & 15 {
            $($n => by_condition!(@@ $f $types $n),)*
            _ => unreachable!("four bits"),
        }
    };
    (@@ $f:ident [$($t:ty),*] $n:literal) => { $f::<$($t,)* $n> as fn(&mut $crate::Core, &$crate::Op) -> $crate::Exec };
}
pub(crate) use by_condition;

/// The low four opcode bits of a condition.
pub(crate) fn condition(instruction: &Instruction) -> u8 {
    use iced_x86::ConditionCode as C;
    match instruction.condition_code() {
        C::o | C::None => 0,
        C::no => 1,
        C::b => 2,
        C::ae => 3,
        C::e => 4,
        C::ne => 5,
        C::be => 6,
        C::a => 7,
        C::s => 8,
        C::ns => 9,
        C::p => 10,
        C::np => 11,
        C::l => 12,
        C::ge => 13,
        C::le => 14,
        C::g => 15,
    }
}

pub(crate) fn select(instruction: &Instruction) -> Option<Selected<Handler>> {
    let size = operand_size(instruction);
    let code = condition(instruction);
    Some(plain(match instruction.mnemonic() {
        Mnemonic::Mov => return select_mov(instruction).map(plain),
        Mnemonic::Movnti => by_size!(size, mov_mr),
        Mnemonic::Movzx | Mnemonic::Movsx | Mnemonic::Movsxd => select_extend(instruction),
        Mnemonic::Lea => by_size!(size, lea),
        Mnemonic::Bswap => by_size!(size, bswap),
        Mnemonic::Xlatb => xlat,
        Mnemonic::Cbw => extend_a::<u8, u16>,
        Mnemonic::Cwde => extend_a::<u16, u32>,
        Mnemonic::Cdqe => extend_a::<u32, u64>,
        Mnemonic::Cwd => extend_d::<u16>,
        Mnemonic::Cdq => extend_d::<u32>,
        Mnemonic::Cqo => extend_d::<u64>,
        Mnemonic::Nop | Mnemonic::Pause | Mnemonic::Reservednop => nop,
        _ if is_hint(instruction) => nop,
        Mnemonic::Cmovo
        | Mnemonic::Cmovno
        | Mnemonic::Cmovb
        | Mnemonic::Cmovae
        | Mnemonic::Cmove
        | Mnemonic::Cmovne
        | Mnemonic::Cmovbe
        | Mnemonic::Cmova
        | Mnemonic::Cmovs
        | Mnemonic::Cmovns
        | Mnemonic::Cmovp
        | Mnemonic::Cmovnp
        | Mnemonic::Cmovl
        | Mnemonic::Cmovge
        | Mnemonic::Cmovle
        | Mnemonic::Cmovg => match size {
            2 => by_condition!(code, cmov, u16),
            4 => by_condition!(code, cmov, u32),
            _ => by_condition!(code, cmov, u64),
        },
        Mnemonic::Seto
        | Mnemonic::Setno
        | Mnemonic::Setb
        | Mnemonic::Setae
        | Mnemonic::Sete
        | Mnemonic::Setne
        | Mnemonic::Setbe
        | Mnemonic::Seta
        | Mnemonic::Sets
        | Mnemonic::Setns
        | Mnemonic::Setp
        | Mnemonic::Setnp
        | Mnemonic::Setl
        | Mnemonic::Setge
        | Mnemonic::Setle
        | Mnemonic::Setg => by_condition!(code, set),
        _ => return None,
    }))
}

fn select_mov(instruction: &Instruction) -> Option<fn(&mut Core, &Op) -> Exec> {
    let is_special = |register: Register| register.is_segment_register() || register.is_cr() || register.is_dr() || register.is_tr();
    if is_special(instruction.op0_register()) || is_special(instruction.op1_register()) {
        return None;
    }
    let size = operand_size(instruction);
    // The 64-bit offset of moffs forms does not fit the displacement.
    let absolute = instruction.memory_base() == Register::None
        && instruction.memory_index() == Register::None
        && instruction.memory_displ_size() == 8
        && instruction.memory_displacement64() as i32 as u64 != instruction.memory_displacement64();
    Some(match (instruction.op0_kind(), instruction.op1_kind()) {
        (OpKind::Register, OpKind::Memory) if absolute => by_size!(size, mov_r_moffs),
        (OpKind::Memory, OpKind::Register) if absolute => by_size!(size, mov_moffs_r),
        (OpKind::Register, OpKind::Register) => by_size!(size, mov_rr),
        (OpKind::Register, OpKind::Memory) => by_size!(size, mov_rm),
        (OpKind::Register, _) => by_size!(size, mov_ri),
        (_, OpKind::Register) => by_size!(size, mov_mr),
        _ => by_size!(size, mov_mi),
    })
}

fn mov_rr<T: Gpr>(core: &mut Core, op: &Op) -> Exec {
    let value = T::get(&core.cpu, op.src);
    T::set(&mut core.cpu, op.dst, value);
    Ok(())
}

fn mov_ri<T: Gpr>(core: &mut Core, op: &Op) -> Exec {
    T::set(&mut core.cpu, op.dst, T::of(op.imm));
    Ok(())
}

fn mov_rm<T: Gpr>(core: &mut Core, op: &Op) -> Exec {
    let value = core.read_operand::<T>(op)?;
    T::set(&mut core.cpu, op.dst, value);
    Ok(())
}

fn mov_mr<T: Gpr>(core: &mut Core, op: &Op) -> Exec {
    let value = T::get(&core.cpu, op.dst);
    core.write_operand(op, value)
}

fn mov_mi<T: Gpr>(core: &mut Core, op: &Op) -> Exec {
    core.write_operand(op, T::of(op.imm))
}

fn mov_r_moffs<T: Gpr>(core: &mut Core, op: &Op) -> Exec {
    let value = core.read::<T>(op.seg, op.imm)?;
    T::set(&mut core.cpu, op.dst, value);
    Ok(())
}

fn mov_moffs_r<T: Gpr>(core: &mut Core, op: &Op) -> Exec {
    let value = T::get(&core.cpu, op.dst);
    core.write(op.seg, op.imm, value)
}

fn select_extend(instruction: &Instruction) -> fn(&mut Core, &Op) -> Exec {
    let from = match instruction.op1_kind() {
        OpKind::Register => instruction.op1_register().size(),
        _ => instruction.memory_size().size(),
    };
    let zero = instruction.mnemonic() == Mnemonic::Movzx;
    match (from, instruction.op0_register().size(), zero) {
        (1, 2, true) => extend::<u8, u16, true>,
        (1, 4, true) => extend::<u8, u32, true>,
        (1, _, true) => extend::<u8, u64, true>,
        (2, 2, true) => extend::<u16, u16, true>,
        (2, 4, true) => extend::<u16, u32, true>,
        (_, _, true) => extend::<u16, u64, true>,
        (1, 2, false) => extend::<u8, u16, false>,
        (1, 4, false) => extend::<u8, u32, false>,
        (1, _, false) => extend::<u8, u64, false>,
        (2, 2, false) => extend::<u16, u16, false>,
        (2, 4, false) => extend::<u16, u32, false>,
        (2, _, false) => extend::<u16, u64, false>,
        // MOVSXD with 16- and 32-bit destinations moves without extending.
        (_, 2, false) => extend::<u16, u16, false>,
        (_, 4, false) => extend::<u32, u32, false>,
        (_, _, false) => extend::<u32, u64, false>,
    }
}

fn extend<From: Gpr, To: Gpr, const ZERO: bool>(core: &mut Core, op: &Op) -> Exec {
    let value = source::<From>(core, op, op.src)?;
    To::set(&mut core.cpu, op.dst, To::of(if ZERO { value.u64() } else { sign_extend(value) }));
    Ok(())
}

fn lea<T: Gpr>(core: &mut Core, op: &Op) -> Exec {
    let address = core.effective_address(op);
    T::set(&mut core.cpu, op.dst, T::of(address));
    Ok(())
}

fn cmov<T: Gpr, const CONDITION: u8>(core: &mut Core, op: &Op) -> Exec {
    let value = source::<T>(core, op, op.src)?;
    let kept = T::get(&core.cpu, op.dst);
    // A 32-bit destination is written, and so cleared above, even when the condition is false.
    let result = if core.cpu.flags.condition(CONDITION) { value } else { kept };
    T::set(&mut core.cpu, op.dst, result);
    Ok(())
}

fn set<const CONDITION: u8>(core: &mut Core, op: &Op) -> Exec {
    let value = u8::from(core.cpu.flags.condition(CONDITION));
    write_destination(core, op, value)
}

fn bswap<T: Gpr>(core: &mut Core, op: &Op) -> Exec {
    let value = T::get(&core.cpu, op.dst).u64();
    let swapped = match T::SIZE {
        // (undefined for words; the table says 0, as processors do)
        2 => 0,
        4 => u64::from((value as u32).swap_bytes()),
        _ => value.swap_bytes(),
    };
    T::set(&mut core.cpu, op.dst, T::of(swapped));
    Ok(())
}

/// XLAT: AL = [rBX + AL].
fn xlat(core: &mut Core, op: &Op) -> Exec {
    let address = core.cpu.regs[3].wrapping_add(core.cpu.regs[0] & 0xff) & op.address_mask();
    let value = core.read::<u8>(op.seg, address)?;
    u8::set(&mut core.cpu, 0, value);
    Ok(())
}

/// CBW CWDE CDQE.
fn extend_a<From: Gpr, To: Gpr>(core: &mut Core, _: &Op) -> Exec {
    let value = sign_extend(From::get(&core.cpu, 0));
    To::set(&mut core.cpu, 0, To::of(value));
    Ok(())
}

/// CWD CDQ CQO.
fn extend_d<T: Gpr>(core: &mut Core, _: &Op) -> Exec {
    let negative = (sign_extend(T::get(&core.cpu, 0)) as i64) < 0;
    T::set(&mut core.cpu, 2, T::of(if negative { u64::MAX } else { 0 }));
    Ok(())
}

/// Instructions of features that no model has, in encodings that processors without them execute as NOP (SDM 2B, NOP; SDM 1, 17.1):
/// compilers emit RDSSP and ENDBR for every processor.
fn is_hint(instruction: &Instruction) -> bool {
    use Mnemonic as M;
    const HINTS: &[M] = &[
        M::Endbr32,
        M::Endbr64,
        M::Rdsspd,
        M::Rdsspq,
        M::Cldemote,
        M::Prefetchit0,
        M::Prefetchit1,
        M::Bndcl,
        M::Bndcn,
        M::Bndcu,
        M::Bndldx,
        M::Bndmk,
        M::Bndmov,
        M::Bndstx,
    ];
    HINTS.contains(&instruction.mnemonic())
}

fn nop(_: &mut Core, _: &Op) -> Exec {
    Ok(())
}
