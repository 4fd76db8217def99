//! The MMX register file: MM0..MM7 are the significands of the physical x87 registers R0..R7 (SDM 1, 9.2; SDM 3A, 13.2).
//!
//! Each MMX instruction leaves TOP at 0 and every register valid, EMMS every register empty; a write also sets the register's sign and
//! exponent to ones. The instructions are those of [`crate::sse`] on 64 bits; only EMMS is here.

use cpu::Fault;
use cpu::control::cr0;
use decode::Selected;
use iced_x86::{Instruction, Mnemonic};
use softfloat::F80;

use crate::core::{Core, Exec};
use crate::sse::vector::Vector;
use crate::x87::unit::{no_pending_error, status};
use crate::{Handler, Op, plain};

pub(crate) fn select(instruction: &Instruction) -> Option<Selected<Handler>> {
    (instruction.mnemonic() == Mnemonic::Emms).then(|| plain(emms))
}

impl Vector for u64 {
    #[inline(always)]
    fn enter(core: &mut Core) -> Exec {
        if core.cpu.cr0 & (cr0::EM | cr0::TS) == 0 && core.cpu.x87.status & status::ES == 0 {
            return Ok(());
        }
        check_slowly(core)
    }
    #[inline(always)]
    fn get(core: &Core, number: u8) -> u64 {
        core.cpu.x87.registers[number as usize & 7].mantissa
    }
    #[inline(always)]
    fn set(core: &mut Core, number: u8, value: u64) {
        core.cpu.x87.registers[number as usize & 7] = F80 { mantissa: value, sign_exponent: 0xffff };
        Self::touch(core);
    }
    #[inline(always)]
    fn touch(core: &mut Core) {
        core.cpu.x87.top = 0;
        core.cpu.x87.empty = 0;
    }
    #[inline(always)]
    fn wide(self) -> u128 {
        u128::from(self)
    }
    #[inline(always)]
    fn narrow(value: u128) -> u64 {
        value as u64
    }
}

/// #UD, #NM, #MF: in this order (SDM 3A, 13.1 and 13.5).
#[cold]
fn check_slowly(core: &mut Core) -> Exec {
    core.fault_if(core.cpu.cr0 & cr0::EM != 0, Fault::UD)?;
    core.fault_if(core.cpu.cr0 & cr0::TS != 0, Fault::NM)?;
    no_pending_error(core)
}

fn emms(core: &mut Core, _: &Op) -> Exec {
    u64::enter(core)?;
    core.cpu.x87.top = 0;
    core.cpu.x87.empty = 0xff;
    Ok(())
}
