//! The unit's own state: FNINIT, FNCLEX, FLDCW, FNSTCW, FNSTSW, FLDENV, FNSTENV, FRSTOR, FNSAVE, FWAIT (SDM 1, 8.3.13). None of these
//! touches the last-instruction pointers but by loading them.

use cpu::{Fault, Mode, X87State, control::cr0};
use decode::Selected;
use iced_x86::{Instruction, MemorySize, Mnemonic, OpKind};

use super::image::{Layout, Width, load_environment, load_registers, save_environment, save_registers};
use super::unit::{Stack, available, enter, no_pending_error, read_bytes, status, write_bytes};
use crate::operand::Gpr;
use crate::{Core, Exec, Handler, Op, plain};

pub(crate) fn select(instruction: &Instruction) -> Option<Selected<Handler>> {
    let small = matches!(instruction.memory_size(), MemorySize::FpuEnv14 | MemorySize::FpuState94);
    let handler = match instruction.mnemonic() {
        Mnemonic::Fninit => fninit,
        Mnemonic::Fnclex => fnclex,
        Mnemonic::Fldcw => fldcw,
        Mnemonic::Fnstcw => fnstcw,
        Mnemonic::Fnstsw if instruction.op0_kind() == OpKind::Register => fnstsw_ax,
        Mnemonic::Fnstsw => fnstsw,
        Mnemonic::Fldenv if small => fldenv::<14>,
        Mnemonic::Fldenv => fldenv::<28>,
        Mnemonic::Fnstenv if small => fnstenv::<14>,
        Mnemonic::Fnstenv => fnstenv::<28>,
        Mnemonic::Frstor if small => frstor::<14, 94>,
        Mnemonic::Frstor => frstor::<28, 108>,
        Mnemonic::Fnsave if small => fnsave::<14, 94>,
        Mnemonic::Fnsave => fnsave::<28, 108>,
        Mnemonic::Wait => wait,
        _ => return None,
    };
    Some(plain(handler))
}

/// Everything but the data registers as FNINIT leaves it.
fn initialize(x87: &mut X87State) {
    *x87 = X87State { registers: x87.registers, ..X87State::initialized() };
}

fn fninit(core: &mut Core, _: &Op) -> Exec {
    available(core)?;
    initialize(&mut core.cpu.x87);
    Ok(())
}

fn fnclex(core: &mut Core, _: &Op) -> Exec {
    available(core)?;
    core.cpu.x87.status &= !(status::B | status::ES | status::SF | 0x3f);
    Ok(())
}

fn fldcw(core: &mut Core, op: &Op) -> Exec {
    enter(core)?;
    let control = core.read_operand(op)?;
    core.cpu.x87.set_control(control);
    Ok(())
}

fn fnstcw(core: &mut Core, op: &Op) -> Exec {
    available(core)?;
    core.write_operand(op, core.cpu.x87.control)
}

fn fnstsw(core: &mut Core, op: &Op) -> Exec {
    available(core)?;
    core.write_operand(op, core.cpu.x87.status_word())
}

fn fnstsw_ax(core: &mut Core, _: &Op) -> Exec {
    available(core)?;
    let word = core.cpu.x87.status_word();
    u16::set(&mut core.cpu, 0, word);
    Ok(())
}

/// The layout of an environment of `size` bytes in the current mode (SDM 1, figures 8-9 to 8-12).
fn layout(core: &Core, size: usize) -> Layout {
    let width = if size == 14 { Width::Bits16 } else { Width::Bits32 };
    Layout { width, linear_pointers: matches!(core.cpu.mode, Mode::Real | Mode::Virtual8086) }
}

fn fnstenv<const ENVIRONMENT: usize>(core: &mut Core, op: &Op) -> Exec {
    available(core)?;
    let image = save_environment(&core.cpu.x87, layout(core, ENVIRONMENT));
    write_bytes(core, op, &image[..ENVIRONMENT])?;
    // Everything is masked afterwards, so that an exception handler can compute.
    let control = core.cpu.x87.control | 0x3f;
    core.cpu.x87.set_control(control);
    Ok(())
}

fn fldenv<const ENVIRONMENT: usize>(core: &mut Core, op: &Op) -> Exec {
    enter(core)?;
    let mut image = [0; ENVIRONMENT];
    read_bytes(core, op, &mut image)?;
    let layout = layout(core, ENVIRONMENT);
    load_environment(&mut core.cpu.x87, layout, &image);
    Ok(())
}

fn fnsave<const ENVIRONMENT: usize, const SIZE: usize>(core: &mut Core, op: &Op) -> Exec {
    available(core)?;
    let mut image = [0; SIZE];
    image[..ENVIRONMENT].copy_from_slice(&save_environment(&core.cpu.x87, layout(core, ENVIRONMENT))[..ENVIRONMENT]);
    save_registers(&core.cpu.x87, &mut image[ENVIRONMENT..], 10);
    write_bytes(core, op, &image)?;
    initialize(&mut core.cpu.x87);
    Ok(())
}

fn frstor<const ENVIRONMENT: usize, const SIZE: usize>(core: &mut Core, op: &Op) -> Exec {
    enter(core)?;
    let mut image = [0; SIZE];
    read_bytes(core, op, &mut image)?;
    let layout = layout(core, ENVIRONMENT);
    load_environment(&mut core.cpu.x87, layout, &image[..ENVIRONMENT]);
    load_registers(&mut core.cpu.x87, &image[ENVIRONMENT..], 10);
    Ok(())
}

/// FWAIT heeds CR0.MP and TS together, and not EM (SDM 3A, table 2-2).
fn wait(core: &mut Core, _: &Op) -> Exec {
    const BOTH: u64 = cr0::MP | cr0::TS;
    core.fault_if(core.cpu.cr0 & BOTH == BOTH, Fault::NM)?;
    no_pending_error(core)
}
