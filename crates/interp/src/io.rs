//! Port input and output (SDM 1, chapter 19; 2A and 2B): IN OUT INS OUTS, with the permission check of 19.5.
//!
//! A `rep` instruction makes one access an iteration and commits each iteration as it is answered.

use cpu::{Fault, Mode, RIP, segment};
use decode::Selected;
use decode::op::prefix;
use iced_x86::{Instruction, Mnemonic, OpKind};

use crate::core::{Core, Exec};
use crate::operand::{Gpr, by_size};
use crate::string::advance;
use crate::tables::kind;
use crate::{Handler, Op, alone, ends};

const RCX: usize = 1;
const RDX: usize = 2;
const RSI: usize = 6;
const RDI: usize = 7;
/// Smallest limit of a TSS that has an I/O map base.
const MIN_TSS_LIMIT: u32 = 103;
/// Where the I/O map base lies in a TSS.
const IO_MAP_BASE: u64 = 102;

pub(crate) fn select(instruction: &Instruction) -> Option<Selected<Handler>> {
    let repeated = instruction.has_rep_prefix() || instruction.has_repne_prefix();
    Some(match instruction.mnemonic() {
        Mnemonic::In if instruction.op1_kind() == OpKind::Register => ends(by_size!(instruction.op0_register().size(), in_dx)),
        Mnemonic::In => ends(by_size!(instruction.op0_register().size(), in_imm)),
        Mnemonic::Out if instruction.op0_kind() == OpKind::Register => ends(by_size!(instruction.op1_register().size(), out_dx)),
        Mnemonic::Out => ends(by_size!(instruction.op1_register().size(), out_imm)),
        Mnemonic::Insb | Mnemonic::Insw | Mnemonic::Insd => string(repeated, by_size!(instruction.memory_size().size(), ins)),
        Mnemonic::Outsb | Mnemonic::Outsw | Mnemonic::Outsd => string(repeated, by_size!(instruction.memory_size().size(), outs)),
        _ => return None,
    })
}

fn string(repeated: bool, handler: fn(&mut Core, &Op) -> Exec) -> Selected<Handler> {
    if repeated { alone(handler) } else { ends(handler) }
}

/// Checks that the program may access `size` bytes of ports from `port` on: by IOPL, or else by the TSS's bitmap.
pub fn check_io(core: &mut Core, port: u16, size: u8) -> Exec {
    let by_iopl = core.cpu.mode != Mode::Virtual8086 && core.cpu.cpl <= core.cpu.flags.iopl();
    if core.cpu.mode == Mode::Real || by_iopl {
        return Ok(());
    }
    let tss = core.cpu.tr;
    let has_map = matches!(tss.access.kind(), kind::TSS32 | kind::TSS32_BUSY) && !tss.access.is_unusable();
    core.fault_if(!has_map || tss.limit < MIN_TSS_LIMIT, Fault::GP0)?;
    let base: u16 = core.read_system(tss.base.wrapping_add(IO_MAP_BASE))?;
    let at = u64::from(base) + u64::from(port / 8);
    // The bits of one access may lie in two bytes, and two are read always.
    core.fault_if(at + 1 > u64::from(tss.limit), Fault::GP0)?;
    let bits: u16 = core.read_system(tss.base.wrapping_add(at))?;
    let mask = ((1u16 << size) - 1) << (port % 8);
    core.fault_if(bits & mask != 0, Fault::GP0)
}

fn input<T: Gpr>(core: &mut Core, port: u16) -> Exec {
    check_io(core, port, T::SIZE as u8)?;
    let value = core.port_read(port, T::SIZE as u8)?;
    T::set(&mut core.cpu, 0, T::of(value));
    Ok(())
}

fn output<T: Gpr>(core: &mut Core, port: u16) -> Exec {
    check_io(core, port, T::SIZE as u8)?;
    let value = T::get(&core.cpu, 0).u64();
    core.port_write(port, T::SIZE as u8, value)
}

fn in_dx<T: Gpr>(core: &mut Core, _: &Op) -> Exec {
    input::<T>(core, core.cpu.regs[RDX] as u16)
}

fn in_imm<T: Gpr>(core: &mut Core, op: &Op) -> Exec {
    input::<T>(core, op.imm as u16 & 0xff)
}

fn out_dx<T: Gpr>(core: &mut Core, _: &Op) -> Exec {
    output::<T>(core, core.cpu.regs[RDX] as u16)
}

fn out_imm<T: Gpr>(core: &mut Core, op: &Op) -> Exec {
    output::<T>(core, op.imm as u16 & 0xff)
}

/// Permission is checked before the count, which may be zero.
fn ins<T: Gpr>(core: &mut Core, op: &Op) -> Exec {
    let port = core.cpu.regs[RDX] as u16;
    check_io(core, port, T::SIZE as u8)?;
    repeat(core, op, |core| {
        let seg = if core.in_64_bit_mode() { segment::FLAT } else { segment::ES } as u8;
        let offset = core.cpu.regs[RDI] & op.address_mask();
        core.probe(seg, offset, T::SIZE)?;
        let value = core.port_read(port, T::SIZE as u8)?;
        core.write(seg, offset, T::of(value))?;
        advance::<T>(core, op, RDI);
        Ok(())
    })
}

fn outs<T: Gpr>(core: &mut Core, op: &Op) -> Exec {
    let port = core.cpu.regs[RDX] as u16;
    check_io(core, port, T::SIZE as u8)?;
    repeat(core, op, |core| {
        let offset = core.cpu.regs[RSI] & op.address_mask();
        let value = core.read::<T>(op.seg, offset)?;
        core.port_write(port, T::SIZE as u8, value.u64())?;
        advance::<T>(core, op, RSI);
        Ok(())
    })
}

/// Runs `iteration` once, or under a prefix as often as rCX says and the budget allows. An iteration that faults or
/// exits leaves those before it done, so that the instruction continues where it stopped.
fn repeat(core: &mut Core, op: &Op, iteration: impl Fn(&mut Core) -> Exec) -> Exec {
    if !op.has(prefix::REP | prefix::REPNE) {
        return iteration(core);
    }
    for done in 0..core.rep_budget.max(1) {
        let left = core.cpu.regs[RCX] & op.address_mask();
        if left == 0 {
            return Ok(());
        }
        if done != 0 {
            core.rep_retired += 1;
        }
        iteration(core)?;
        core.device.finish();
        core.set_index(op, RCX, left - 1);
    }
    if core.cpu.regs[RCX] & op.address_mask() != 0 {
        let start = core.cpu.regs[RIP as usize].wrapping_sub(u64::from(op.length));
        core.cpu.set_rip(start);
        core.leave_block();
    }
    Ok(())
}
