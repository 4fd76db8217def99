//! Bit tests and scans: BT BTS BTR BTC BSF BSR (SDM 2A). TZCNT and LZCNT encodings are BSF and BSR on models without
//! BMI1 and LZCNT. After BSF/BSR all flags but ZF are undefined: the table says that they are those of a logic
//! operation whose result is 1 (0 for a zero source), and a zero source leaves the destination alone.

use decode::Selected;

use iced_x86::{Instruction, Mnemonic, OpKind};

use crate::core::{Core, Exec};
use crate::operand::{Gpr, bits, by_size, operand_size, sign_extend, source};
use crate::{Handler, Op, plain};

/// What BT and its siblings do to the tested bit.
trait Change {
    const WRITES: bool = true;
    fn apply(value: u64, mask: u64) -> u64;
}

struct Bt;
impl Change for Bt {
    const WRITES: bool = false;
    fn apply(value: u64, _: u64) -> u64 {
        value
    }
}
struct Bts;
impl Change for Bts {
    fn apply(value: u64, mask: u64) -> u64 {
        value | mask
    }
}
struct Btr;
impl Change for Btr {
    fn apply(value: u64, mask: u64) -> u64 {
        value & !mask
    }
}
struct Btc;
impl Change for Btc {
    fn apply(value: u64, mask: u64) -> u64 {
        value ^ mask
    }
}

pub(crate) fn select(instruction: &Instruction) -> Option<Selected<Handler>> {
    let size = operand_size(instruction);
    Some(match instruction.mnemonic() {
        Mnemonic::Bt => select_test::<Bt>(instruction),
        Mnemonic::Bts => select_test::<Bts>(instruction),
        Mnemonic::Btr => select_test::<Btr>(instruction),
        Mnemonic::Btc => select_test::<Btc>(instruction),
        Mnemonic::Bsf | Mnemonic::Tzcnt => plain(by_size!(size, bsf)),
        Mnemonic::Bsr | Mnemonic::Lzcnt => plain(by_size!(size, bsr)),
        _ => return None,
    })
}

fn select_test<C: Change>(instruction: &Instruction) -> Selected<Handler> {
    let size = operand_size(instruction);
    let by_register = instruction.op1_kind() == OpKind::Register;
    plain(match (instruction.op0_kind(), by_register) {
        (OpKind::Register, true) => by_size!(size, test_rr, C),
        (OpKind::Register, false) => by_size!(size, test_ri, C),
        (_, true) => by_size!(size, test_mr, C),
        (_, false) => by_size!(size, test_mi, C),
    })
}

#[inline(always)]
fn test_register<T: Gpr, C: Change>(core: &mut Core, op: &Op, index: u64) -> Exec {
    let index = index as u32 % bits::<T>();
    let value = T::get(&core.cpu, op.dst);
    core.cpu.flags.set_cf(value.u64() >> index & 1 != 0);
    if C::WRITES {
        T::set(&mut core.cpu, op.dst, T::of(C::apply(value.u64(), 1 << index)));
    }
    Ok(())
}

fn test_rr<T: Gpr, C: Change>(core: &mut Core, op: &Op) -> Exec {
    let index = T::get(&core.cpu, op.src).u64();
    test_register::<T, C>(core, op, index)
}

fn test_ri<T: Gpr, C: Change>(core: &mut Core, op: &Op) -> Exec {
    test_register::<T, C>(core, op, op.imm)
}

#[inline(always)]
fn test_memory<T: Gpr, C: Change>(core: &mut Core, seg: u8, address: u64, index: u32) -> Exec {
    if !C::WRITES {
        let value = core.read::<T>(seg, address)?;
        core.cpu.flags.set_cf(value.u64() >> index & 1 != 0);
        return Ok(());
    }
    core.update::<T>(seg, address, |core, value| {
        core.cpu.flags.set_cf(value.u64() >> index & 1 != 0);
        T::of(C::apply(value.u64(), 1 << index))
    })
}

/// The bit string form: the register is a signed bit offset from the operand's address.
fn test_mr<T: Gpr, C: Change>(core: &mut Core, op: &Op) -> Exec {
    let offset = sign_extend(T::get(&core.cpu, op.dst)) as i64;
    let words = offset >> bits::<T>().trailing_zeros();
    let address = core.effective_address(op).wrapping_add((words * T::SIZE as i64) as u64) & op.address_mask();
    test_memory::<T, C>(core, op.seg, address, offset as u32 % bits::<T>())
}

fn test_mi<T: Gpr, C: Change>(core: &mut Core, op: &Op) -> Exec {
    test_memory::<T, C>(core, op.seg, core.effective_address(op), op.imm as u32 % bits::<T>())
}

#[inline(always)]
fn scan<T: Gpr>(core: &mut Core, op: &Op, find: impl FnOnce(u64) -> u32) -> Exec {
    let value = source::<T>(core, op, op.src)?.u64();
    if value == 0 {
        core.cpu.flags.logic(0u8);
        return Ok(());
    }
    let position = find(value);
    T::set(&mut core.cpu, op.dst, T::of(u64::from(position)));
    core.cpu.flags.logic(1u8);
    Ok(())
}

fn bsf<T: Gpr>(core: &mut Core, op: &Op) -> Exec {
    scan::<T>(core, op, u64::trailing_zeros)
}

fn bsr<T: Gpr>(core: &mut Core, op: &Op) -> Exec {
    scan::<T>(core, op, |value| 63 - value.leading_zeros())
}
