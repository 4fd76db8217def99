//! Calls into the kernel without gates (SDM 3A, 5.8.7 and 5.8.8): SYSCALL SYSRET SYSENTER SYSEXIT.

use cpu::control::efer;
use cpu::flags::bit;
use cpu::segment::{self, Segment};
use cpu::{Fault, Mode};
use decode::Selected;
use iced_x86::{Instruction, Mnemonic};

use crate::core::{Core, Exec, SingleStep};
use crate::tables::{is_canonical, is_null};
use crate::{Handler, Op, ends};

const RCX: usize = 1;
const RDX: usize = 2;
const RSP: usize = 4;
const R11: usize = 11;

pub(crate) fn select(instruction: &Instruction) -> Option<Selected<Handler>> {
    Some(ends(match instruction.mnemonic() {
        Mnemonic::Syscall => syscall,
        Mnemonic::Sysret => sysret32,
        Mnemonic::Sysretq => sysret64,
        Mnemonic::Sysenter => sysenter,
        Mnemonic::Sysexit => sysexit32,
        Mnemonic::Sysexitq => sysexit64,
        _ => return None,
    }))
}

/// Enters flat code of 16, 32 or 64 bits at level `cpl`; SS is flat as well.
fn enter_flat(core: &mut Core, code: u16, stack: u16, cpl: u8, long: bool, rip: u64) {
    let level = u32::from(cpl) << 5;
    // Granular, present, accessed; execute and read, with L or D; read and write, with B.
    let code_access = if long { 0xa09b } else { 0xc09b } | level;
    core.cpu.seg[segment::SS] = Segment::new(stack & !3 | u16::from(cpl), 0, u32::MAX, 0xc093 | level);
    core.enter_code(Segment::new(code & !3 | u16::from(cpl), 0, u32::MAX, code_access), rip);
}

/// Intel's processors have SYSCALL in 64-bit mode only, AMD's in compatibility mode too, through CSTAR.
fn syscall(core: &mut Core, _: &Op) -> Exec {
    let long = core.in_64_bit_mode();
    let compatible = core.cpu.mode == Mode::Compatibility && is_amd(core);
    core.fault_if(core.cpu.efer & efer::SCE == 0 || !(long || compatible), Fault::UD)?;
    let flags = core.cpu.flags.get() & !bit::RF;
    let msr = &core.cpu.msr;
    let (target, selector, mask) = (if long { msr.lstar } else { msr.cstar }, (msr.star >> 32) as u16, msr.sfmask);
    core.cpu.regs[RCX] = core.cpu.rip();
    core.cpu.regs[R11] = flags;
    core.cpu.flags.set(flags & !mask & !bit::VM);
    core.attention.single_step = SingleStep::ByFlagAfter;
    enter_flat(core, selector, selector.wrapping_add(8), 0, true, target);
    Ok(())
}

fn is_amd(core: &Core) -> bool {
    core.cpu.model.cpuid(0, 0, Default::default()).ebx == u32::from_le_bytes(*b"Auth")
}

fn check_sysret(core: &mut Core) -> Exec {
    core.fault_if(core.cpu.efer & efer::SCE == 0 || !core.in_64_bit_mode(), Fault::UD)?;
    core.require_cpl0()
}

fn sysret32(core: &mut Core, _: &Op) -> Exec {
    check_sysret(core)?;
    sysret(core, 0, false);
    Ok(())
}

fn sysret64(core: &mut Core, _: &Op) -> Exec {
    check_sysret(core)?;
    core.fault_if(!is_canonical(core.cpu.regs[RCX]), Fault::GP0)?;
    sysret(core, 16, true);
    Ok(())
}

/// Returns to level 3 with CS at `code_offset` from STAR's upper selector.
fn sysret(core: &mut Core, code_offset: u16, long: bool) {
    let selector = (core.cpu.msr.star >> 48) as u16;
    let rip = core.cpu.regs[RCX];
    core.cpu.flags.set(core.cpu.regs[R11] & !(bit::RF | bit::VM));
    core.attention.single_step = SingleStep::ByFlagAfter;
    enter_flat(core, selector.wrapping_add(code_offset), selector.wrapping_add(8), 3, long, rip);
}

fn sysenter(core: &mut Core, _: &Op) -> Exec {
    let selector = core.cpu.msr.sysenter_cs as u16;
    core.fault_if(core.cpu.mode == Mode::Real || is_null(selector), Fault::GP0)?;
    let long = core.cpu.long_mode();
    let mask = if long { u64::MAX } else { 0xffff_ffff };
    let (rip, rsp) = (core.cpu.msr.sysenter_eip & mask, core.cpu.msr.sysenter_esp & mask);
    core.cpu.flags.assign(bit::VM | bit::IF | bit::RF, false);
    enter_flat(core, selector, selector.wrapping_add(8), 0, long, rip);
    core.cpu.regs[RSP] = rsp;
    Ok(())
}

fn check_sysexit(core: &mut Core) -> Exec {
    let selector = core.cpu.msr.sysenter_cs as u16;
    core.fault_if(core.cpu.mode == Mode::Real || core.cpu.cpl != 0 || is_null(selector), Fault::GP0)
}

fn sysexit32(core: &mut Core, _: &Op) -> Exec {
    check_sysexit(core)?;
    let selector = core.cpu.msr.sysenter_cs as u16;
    let (rip, rsp) = (core.cpu.regs[RDX] & 0xffff_ffff, core.cpu.regs[RCX] & 0xffff_ffff);
    enter_flat(core, selector.wrapping_add(16), selector.wrapping_add(24), 3, false, rip);
    core.cpu.regs[RSP] = rsp;
    Ok(())
}

fn sysexit64(core: &mut Core, _: &Op) -> Exec {
    check_sysexit(core)?;
    let selector = core.cpu.msr.sysenter_cs as u16;
    let (rip, rsp) = (core.cpu.regs[RDX], core.cpu.regs[RCX]);
    core.fault_if(!is_canonical(rip) || !is_canonical(rsp), Fault::GP0)?;
    enter_flat(core, selector.wrapping_add(32), selector.wrapping_add(40), 3, true, rip);
    core.cpu.regs[RSP] = rsp;
    Ok(())
}
