//! CLC STC CMC CLD STD LAHF SAHF SALC (SDM 2A). The interrupt flag and PUSHF/POPF are system families.

use cpu::flags::bit;
use decode::Selected;
use iced_x86::{Instruction, Mnemonic};

use crate::core::{Core, Exec};
use crate::operand::Gpr;
use crate::{Handler, Op, plain};

pub(crate) fn select(instruction: &Instruction) -> Option<Selected<Handler>> {
    Some(plain(match instruction.mnemonic() {
        Mnemonic::Clc => clc,
        Mnemonic::Stc => stc,
        Mnemonic::Cmc => cmc,
        Mnemonic::Cld => cld,
        Mnemonic::Std => std,
        Mnemonic::Lahf => lahf,
        Mnemonic::Sahf => sahf,
        Mnemonic::Salc => salc,
        _ => return None,
    }))
}

fn clc(core: &mut Core, _: &Op) -> Exec {
    core.cpu.flags.set_cf(false);
    Ok(())
}

fn stc(core: &mut Core, _: &Op) -> Exec {
    core.cpu.flags.set_cf(true);
    Ok(())
}

fn cmc(core: &mut Core, _: &Op) -> Exec {
    let cf = core.cpu.flags.cf();
    core.cpu.flags.set_cf(!cf);
    Ok(())
}

fn cld(core: &mut Core, _: &Op) -> Exec {
    core.cpu.flags.assign(bit::DF, false);
    Ok(())
}

fn std(core: &mut Core, _: &Op) -> Exec {
    core.cpu.flags.assign(bit::DF, true);
    Ok(())
}

const AH: u8 = decode::HIGH_BYTE;
/// The flags that AH carries.
const LOW_FLAGS: u64 = bit::CF | bit::PF | bit::AF | bit::ZF | bit::SF;

fn lahf(core: &mut Core, _: &Op) -> Exec {
    let flags = core.cpu.flags.arith() & LOW_FLAGS | bit::FIXED;
    u8::set(&mut core.cpu, AH, flags as u8);
    Ok(())
}

fn sahf(core: &mut Core, _: &Op) -> Exec {
    let ah = u64::from(u8::get(&core.cpu, AH));
    let of = core.cpu.flags.arith() & bit::OF;
    core.cpu.flags.set_arith(ah & LOW_FLAGS | of);
    Ok(())
}

/// AL = CF ? 0xff : 0.
fn salc(core: &mut Core, _: &Op) -> Exec {
    let cf = core.cpu.flags.cf();
    u8::set(&mut core.cpu, 0, if cf { 0xff } else { 0 });
    Ok(())
}
