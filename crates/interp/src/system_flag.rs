//! Flags that the mode and privilege level guard (SDM 2A and 2B): CLI STI, PUSHF POPF in every size, CLAC STAC.

use cpu::control::cr4;
use cpu::flags::bit;
use cpu::{Fault, Mode};
use decode::Selected;
use iced_x86::{Instruction, Mnemonic};

use crate::core::{Core, Exec};
use crate::operand::Gpr;
use crate::{Handler, Op, ends, plain};

pub(crate) fn select(instruction: &Instruction) -> Option<Selected<Handler>> {
    Some(match instruction.mnemonic() {
        Mnemonic::Cli => plain(cli),
        Mnemonic::Sti => ends(sti),
        Mnemonic::Pushf => plain(pushf::<u16>),
        Mnemonic::Pushfd => plain(pushf::<u32>),
        Mnemonic::Pushfq => plain(pushf::<u64>),
        Mnemonic::Popf => ends(popf::<u16>),
        Mnemonic::Popfd => ends(popf::<u32>),
        Mnemonic::Popfq => ends(popf::<u64>),
        Mnemonic::Clac => plain(clac),
        Mnemonic::Stac => plain(stac),
        _ => return None,
    })
}

/// IF belongs to code that is at least as privileged as IOPL. There is neither VME nor PVI.
fn check_iopl(core: &mut Core) -> Exec {
    core.fault_if(core.cpu.cpl > core.cpu.flags.iopl(), Fault::GP0)
}

fn cli(core: &mut Core, _: &Op) -> Exec {
    check_iopl(core)?;
    core.cpu.flags.assign(bit::IF, false);
    Ok(())
}

fn sti(core: &mut Core, _: &Op) -> Exec {
    check_iopl(core)?;
    if !core.cpu.flags.has(bit::IF) {
        core.attention.interrupt_shadow = true;
        core.cpu.flags.assign(bit::IF, true);
        core.leave_block();
    }
    Ok(())
}

fn check_v86(core: &mut Core) -> Exec {
    core.fault_if(core.cpu.mode == Mode::Virtual8086 && core.cpu.flags.iopl() < 3, Fault::GP0)
}

fn pushf<T: Gpr>(core: &mut Core, _: &Op) -> Exec {
    check_v86(core)?;
    let flags = core.cpu.flags.get() & !(bit::VM | bit::RF);
    core.push(T::of(flags))
}

fn popf<T: Gpr>(core: &mut Core, _: &Op) -> Exec {
    check_v86(core)?;
    let popped = core.peek::<T>(0)?.u64();
    let mut mask = bit::ARITH | bit::TF | bit::DF | bit::NT;
    if T::SIZE != 2 {
        mask |= bit::AC | bit::ID;
    }
    if core.cpu.cpl <= core.cpu.flags.iopl() {
        mask |= bit::IF;
    }
    if core.cpu.cpl == 0 {
        mask |= bit::IOPL;
    }
    core.drop_stack(T::SIZE as u64);
    let kept = core.cpu.flags.get() & !mask & !bit::RF;
    core.cpu.flags.set(kept | popped & mask);
    core.cpu.update_view();
    core.leave_block();
    Ok(())
}

fn clac(core: &mut Core, _: &Op) -> Exec {
    set_ac(core, false)
}

fn stac(core: &mut Core, _: &Op) -> Exec {
    set_ac(core, true)
}

fn set_ac(core: &mut Core, on: bool) -> Exec {
    // CR4.SMAP is asked first because it tells the same of the model in less time.
    let exists = core.cpu.cr4 & cr4::SMAP != 0 || core.cpu.model.has("smap");
    core.fault_if(core.cpu.cpl != 0 || !exists, Fault::UD)?;
    core.cpu.flags.assign(bit::AC, on);
    core.cpu.update_view();
    Ok(())
}
