//! The state of the x87 and SSE units in memory: FXSAVE, FXRSTOR (SDM 1, 10.5), XSAVE, XRSTOR in the standard form (SDM 1, 13.7, 13.8),
//! and MXCSR by itself. XGETBV and XSETBV are in the system family. XSAVEOPT, XSAVEC and XSAVES are in no model.
//!
//! What the manual leaves open: FXSAVE and FXRSTOR move the XMM registers whatever CR4.OSFXSR is, and XSAVE finds every component in use.

use cpu::control::{cr0, cr4};
use cpu::tlb::AccessKind;
use cpu::{Fault, Mode, Word, X87State};
use decode::Selected;
use iced_x86::{Instruction, Mnemonic};

use crate::core::{Core, Exec};
use crate::sse::vector::Vector;
use crate::x87::image::{FXSAVE_BYTES, load_fxsave, save_fxsave};
use crate::x87::unit;
use crate::{Handler, Op, plain};

pub(crate) fn select(instruction: &Instruction) -> Option<Selected<Handler>> {
    Some(plain(match instruction.mnemonic() {
        Mnemonic::Fxsave => fxsave::<false>,
        Mnemonic::Fxsave64 => fxsave::<true>,
        Mnemonic::Fxrstor => fxrstor::<false>,
        Mnemonic::Fxrstor64 => fxrstor::<true>,
        Mnemonic::Xsave => xsave::<false>,
        Mnemonic::Xsave64 => xsave::<true>,
        Mnemonic::Xrstor => xrstor::<false>,
        Mnemonic::Xrstor64 => xrstor::<true>,
        Mnemonic::Ldmxcsr => ldmxcsr,
        Mnemonic::Stmxcsr => stmxcsr,
        _ => return None,
    }))
}

/// MXCSR bits that exist (MXCSR_MASK).
const MXCSR_MASK: u32 = 0xffff;

/// State components, in the bit positions of XCR0 and XSTATE_BV.
mod component {
    pub const X87: u64 = 1;
    pub const SSE: u64 = 2;
}

// Offsets in the legacy region and the XSAVE header (SDM 1, tables 10-2 and 13.4.2).
const MXCSR: u64 = 24;
const ST0: u64 = 32;
const XMM0: u64 = 160;
const XSTATE_BV: u64 = 512;
const FXSAVE_AREA: usize = 512;
const XSAVE_AREA: usize = 576;

/// The memory operand of a save or restore.
#[derive(Clone, Copy)]
struct Area {
    seg: u8,
    linear: u64,
}

impl Area {
    /// Checks segment and alignment, and every page, also where no component lies.
    fn new(core: &mut Core, op: &Op, size: usize, alignment: u64, kind: AccessKind) -> Exec<Self> {
        let offset = core.effective_address(op);
        let linear = core.linear(op.seg, offset, size, kind)?;
        core.fault_if(linear % alignment != 0, Fault::GP0)?;
        let last = linear.wrapping_add(size as u64 - 1) & core.cpu.linear_mask;
        for edge in [linear, last] {
            core.translate(edge, kind, core.cpu.view, op.seg)?;
        }
        Ok(Self { seg: op.seg, linear })
    }

    fn load<T: Word>(self, core: &mut Core, at: u64) -> Exec<T> {
        core.load(self.linear.wrapping_add(at) & core.cpu.linear_mask, core.cpu.view, self.seg)
    }

    fn store<T: Word>(self, core: &mut Core, at: u64, value: T) -> Exec {
        core.store(self.linear.wrapping_add(at) & core.cpu.linear_mask, core.cpu.view, self.seg, value)
    }
}

/// XMM registers that the mode can reach; the others are neither saved nor restored.
fn reachable(core: &Core) -> usize {
    if core.cpu.mode == Mode::Long64 { 16 } else { 8 }
}

/// Stores the components. Memory that belongs to none of them stays as it is.
fn save(core: &mut Core, area: Area, components: u64, wide: bool) -> Exec {
    if components & component::X87 != 0 {
        let image = save_fxsave(&core.cpu.x87, wide);
        let quarter = |at: u64| u64::from_le_bytes(image[at as usize..][..8].try_into().expect("eight bytes of the image"));
        for at in (0..MXCSR).chain(ST0..XMM0).step_by(8) {
            area.store(core, at, quarter(at))?;
        }
    }
    if components & component::SSE != 0 {
        area.store(core, MXCSR, u64::from(MXCSR_MASK) << 32 | u64::from(core.cpu.mxcsr))?;
        for index in 0..reachable(core) {
            area.store(core, XMM0 + 16 * index as u64, core.cpu.xmm[index])?;
        }
    }
    Ok(())
}

fn load_x87(core: &mut Core, area: Area, wide: bool) -> Exec<X87State> {
    let mut image = [0; FXSAVE_BYTES];
    for (at, piece) in (0..).step_by(16).zip(image.chunks_exact_mut(16)) {
        piece.copy_from_slice(&area.load::<u128>(core, at)?.to_le_bytes());
    }
    let mut x87 = core.cpu.x87;
    load_fxsave(&mut x87, &image, wide);
    Ok(x87)
}

fn load_xmm(core: &mut Core, area: Area) -> Exec<[u128; 16]> {
    let mut xmm = core.cpu.xmm;
    for (index, register) in xmm.iter_mut().enumerate().take(reachable(core)) {
        *register = area.load(core, XMM0 + 16 * index as u64)?;
    }
    Ok(xmm)
}

/// MXCSR in the area; #GP(0) if it sets a bit that does not exist.
fn load_mxcsr(core: &mut Core, area: Area) -> Exec<u32> {
    let mxcsr = area.load::<u32>(core, MXCSR)?;
    core.fault_if(mxcsr & !MXCSR_MASK != 0, Fault::GP0)?;
    Ok(mxcsr)
}

fn fxsave<const WIDE: bool>(core: &mut Core, op: &Op) -> Exec {
    unit::available(core)?;
    let area = Area::new(core, op, FXSAVE_AREA, 16, AccessKind::Write)?;
    save(core, area, component::X87 | component::SSE, WIDE)
}

fn fxrstor<const WIDE: bool>(core: &mut Core, op: &Op) -> Exec {
    unit::available(core)?;
    let area = Area::new(core, op, FXSAVE_AREA, 16, AccessKind::Read)?;
    let mxcsr = load_mxcsr(core, area)?;
    let x87 = load_x87(core, area, WIDE)?;
    let xmm = load_xmm(core, area)?;
    (core.cpu.x87, core.cpu.xmm, core.cpu.mxcsr) = (x87, xmm, mxcsr);
    Ok(())
}

/// #UD, #NM, and the components that XCR0 and EDX:EAX both name.
fn requested(core: &mut Core) -> Exec<u64> {
    core.fault_if(core.cpu.cr4 & cr4::OSXSAVE == 0, Fault::UD)?;
    core.fault_if(core.cpu.cr0 & cr0::TS != 0, Fault::NM)?;
    let mask = core.cpu.regs[2] << 32 | core.cpu.regs[0] & 0xffff_ffff;
    Ok(mask & core.cpu.xcr0)
}

fn xsave<const WIDE: bool>(core: &mut Core, op: &Op) -> Exec {
    let requested = requested(core)?;
    let area = Area::new(core, op, XSAVE_AREA, 64, AccessKind::Write)?;
    let present = area.load::<u64>(core, XSTATE_BV)?;
    save(core, area, requested, WIDE)?;
    area.store(core, XSTATE_BV, present | requested)
}

/// A requested component that XSTATE_BV does not name gets its initial state; MXCSR is loaded whenever SSE state is requested.
fn xrstor<const WIDE: bool>(core: &mut Core, op: &Op) -> Exec {
    let requested = requested(core)?;
    let area = Area::new(core, op, XSAVE_AREA, 64, AccessKind::Read)?;
    let present = area.load::<u64>(core, XSTATE_BV)?;
    let reserved = area.load::<u64>(core, XSTATE_BV + 8)? | area.load::<u64>(core, XSTATE_BV + 16)?;
    core.fault_if(present & !core.cpu.xcr0 != 0 || reserved != 0, Fault::GP0)?;

    let (mut x87, mut xmm, mut mxcsr) = (core.cpu.x87, core.cpu.xmm, core.cpu.mxcsr);
    if requested & component::X87 != 0 {
        x87 = if present & component::X87 != 0 { load_x87(core, area, WIDE)? } else { X87State::initialized() };
    }
    if requested & component::SSE != 0 {
        mxcsr = load_mxcsr(core, area)?;
        if present & component::SSE != 0 {
            xmm = load_xmm(core, area)?;
        } else {
            xmm[..reachable(core)].fill(0);
        }
    }
    (core.cpu.x87, core.cpu.xmm, core.cpu.mxcsr) = (x87, xmm, mxcsr);
    Ok(())
}

fn ldmxcsr(core: &mut Core, op: &Op) -> Exec {
    u128::enter(core)?;
    let mxcsr = core.read_operand::<u32>(op)?;
    core.fault_if(mxcsr & !MXCSR_MASK != 0, Fault::GP0)?;
    core.cpu.mxcsr = mxcsr;
    Ok(())
}

fn stmxcsr(core: &mut Core, op: &Op) -> Exec {
    u128::enter(core)?;
    core.write_operand(op, core.cpu.mxcsr)
}
