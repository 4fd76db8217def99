//! Control and debug registers (SDM 3A, 2.5, 4.10.4, 9.8.5; 3B, 17.2): MOV to and from CRn and DRn, CLTS, LMSW SMSW.
//!
//! Debug registers are storage: breakpoints are not modelled. TR3 to TR7 do not exist.

use cpu::control::{cr0, cr4, efer};
use cpu::paging::PHYS_BITS;
use cpu::{Fault, Mode, Word, segment};
use decode::Selected;
use guest_mem::Kind;
use iced_x86::{Code, Instruction, Mnemonic, OpKind};

use crate::core::{Core, Exec};
use crate::operand::{Gpr, by_size, source, write_destination};
use crate::tables::kind;
use crate::{Handler, Op, ends, plain};

pub(crate) fn select(instruction: &Instruction) -> Option<Selected<Handler>> {
    Some(match (instruction.mnemonic(), instruction.code()) {
        (_, Code::Mov_r32_cr) => plain(mov_from_cr::<u32>),
        (_, Code::Mov_r64_cr) => plain(mov_from_cr::<u64>),
        (_, Code::Mov_cr_r32) => ends(mov_to_cr::<u32>),
        (_, Code::Mov_cr_r64) => ends(mov_to_cr::<u64>),
        (_, Code::Mov_r32_dr) => plain(mov_from_dr::<u32>),
        (_, Code::Mov_r64_dr) => plain(mov_from_dr::<u64>),
        (_, Code::Mov_dr_r32) => ends(mov_to_dr::<u32>),
        (_, Code::Mov_dr_r64) => ends(mov_to_dr::<u64>),
        (Mnemonic::Clts, _) => ends(clts),
        (Mnemonic::Lmsw, _) => ends(lmsw),
        (Mnemonic::Smsw, _) => plain(match instruction.op0_kind() {
            OpKind::Register => by_size!(instruction.op0_register().size(), smsw),
            _ => smsw::<u16>,
        }),
        _ => return None,
    })
}

fn mov_from_cr<T: Gpr>(core: &mut Core, op: &Op) -> Exec {
    core.require_cpl0()?;
    let value = match op.src {
        0 => core.cpu.cr0,
        2 => core.cpu.cr2,
        3 => core.cpu.cr3,
        4 => core.cpu.cr4,
        8 => u64::from(core.lapic.cr8()),
        _ => return Err(core.raise(Fault::UD)),
    };
    T::set(&mut core.cpu, op.dst, T::of(value));
    Ok(())
}

fn mov_to_cr<T: Gpr>(core: &mut Core, op: &Op) -> Exec {
    core.require_cpl0()?;
    let value = T::get(&core.cpu, op.src).u64();
    core.leave_block();
    match op.dst {
        0 => core.write_cr0(value),
        2 => {
            core.cpu.cr2 = value;
            Ok(())
        }
        3 => core.write_cr3(value),
        4 => core.write_cr4(value),
        8 => core.lapic.set_cr8(value).map_err(|_| core.raise(Fault::GP0)),
        _ => Err(core.raise(Fault::UD)),
    }
}

impl Core {
    /// MOV to CR0: the forbidden combinations, and IA-32e mode's activation and end.
    pub(crate) fn write_cr0(&mut self, value: u64) -> Exec {
        use cr0::{CD, ET, NW, PE, PG, WP, WRITABLE};
        let invalid = value >> 32 != 0 || value & (PG | PE) == PG || value & (NW | CD) == NW;
        self.fault_if(invalid, Fault::GP0)?;
        let new = value & WRITABLE | ET;
        let old = self.cpu.cr0;
        let mut long = self.cpu.efer & efer::LMA;
        if new & !old & PG != 0 && self.cpu.efer & efer::LME != 0 {
            let tss16 = matches!(self.cpu.tr.access.kind(), kind::TSS16 | kind::TSS16_BUSY);
            let refused = self.cpu.cr4 & cr4::PAE == 0 || self.cpu.seg[segment::CS].access.long() || tss16;
            self.fault_if(refused, Fault::GP0)?;
            long = efer::LMA;
        } else if old & !new & PG != 0 {
            self.fault_if(self.cpu.mode == Mode::Long64 || self.cpu.cr4 & cr4::PCIDE != 0, Fault::GP0)?;
            long = 0;
        }
        if new & PG != 0 && (old ^ new) & (PG | CD | NW) != 0 && long == 0 && self.cpu.cr4 & cr4::PAE != 0 {
            self.check_pdptes(self.cpu.cr3)?;
        }
        self.cpu.cr0 = new;
        self.cpu.efer = self.cpu.efer & !efer::LMA | long;
        if (old ^ new) & (PG | WP | PE) != 0 {
            self.cpu.tlb.flush();
        }
        self.cpu.update_mode();
        Ok(())
    }

    /// MOV to CR3. Translations carry no PCID, so all go, unless the address space stays and bit 63 asks to keep them.
    pub(crate) fn write_cr3(&mut self, value: u64) -> Exec {
        const KEEP: u64 = 1 << 63;
        let pcid = self.cpu.cr4 & cr4::PCIDE != 0;
        let new = if pcid { value & !KEEP } else { value };
        if self.cpu.long_mode() {
            self.fault_if(new >> PHYS_BITS != 0, Fault::GP0)?;
        } else if self.cpu.cr0 & cr0::PG != 0 && self.cpu.cr4 & cr4::PAE != 0 {
            self.check_pdptes(new)?;
        }
        let keeps = pcid && value & KEEP != 0 && new == self.cpu.cr3;
        self.cpu.cr3 = new;
        if !keeps {
            self.cpu.tlb.flush();
        }
        Ok(())
    }

    /// MOV to CR4: a bit is writable if the model has its feature.
    pub(crate) fn write_cr4(&mut self, value: u64) -> Exec {
        /// Bits that belong to a feature of the model.
        const FEATURES: [(u64, &str); 14] = [
            (cr4::TSD, "tsc"),
            (cr4::DE, "de"),
            (cr4::PSE, "pse"),
            (cr4::PAE, "pae"),
            (cr4::PGE, "pge"),
            (cr4::PCE, "tsc"),
            (cr4::OSFXSR, "fxsr"),
            (cr4::OSXMMEXCPT, "sse"),
            (cr4::UMIP, "umip"),
            (cr4::FSGSBASE, "fsgsbase"),
            (cr4::PCIDE, "pcid"),
            (cr4::OSXSAVE, "xsave"),
            (cr4::SMEP, "smep"),
            (cr4::SMAP, "smap"),
        ];
        const TRANSLATION: u64 = cr4::PGE | cr4::PSE | cr4::PAE | cr4::PCIDE | cr4::SMEP | cr4::SMAP;
        let old = self.cpu.cr4;
        let set = value & !old;
        let model = &self.cpu.model;
        let known = FEATURES.iter().filter(|(bit, name)| set & bit != 0 && model.has(name)).fold(0, |known, (bit, _)| known | bit);
        let long = self.cpu.long_mode();
        let bad_pcid = set & cr4::PCIDE != 0 && (!long || self.cpu.cr3 & 0xfff != 0);
        let bad_pae = long && value & cr4::PAE == 0;
        self.fault_if(set & !known != 0 || bad_pcid || bad_pae, Fault::GP0)?;
        let reloads = (old ^ value) & (cr4::PAE | cr4::PGE | cr4::PSE | cr4::SMEP) != 0;
        if reloads && !long && self.cpu.cr0 & cr0::PG != 0 && value & cr4::PAE != 0 {
            self.check_pdptes(self.cpu.cr3)?;
        }
        self.cpu.cr4 = value;
        if (old ^ value) & TRANSLATION != 0 {
            self.cpu.tlb.flush();
        }
        self.cpu.update_mode();
        Ok(())
    }

    /// The PDPTEs of PAE paging are checked when CR3 is loaded (SDM 3A, 4.4.1). They are not cached: the walk reads them.
    fn check_pdptes(&mut self, cr3: u64) -> Exec {
        const PRESENT: u64 = 1;
        const RESERVED: u64 = 0x1e6 | !((1 << PHYS_BITS) - 1);
        let at = cr3 & 0xffff_ffe0;
        let page = self.mem.page(at);
        if page.kind == Kind::Mmio {
            return Ok(());
        }
        let invalid = (0..4).any(|index| {
            let entry: u64 = self.mem.load(page.ram_offset + at as usize % 4096 + index * u64::SIZE);
            entry & PRESENT != 0 && entry & RESERVED != 0
        });
        self.fault_if(invalid, Fault::GP0)
    }
}

/// DR7.GD: the next access to a debug register traps.
const GENERAL_DETECT: u64 = 1 << 13;
/// DR6.BD: an access to a debug register was detected.
const BD: u64 = 1 << 13;

/// Which register `number` means, after the checks that reads and writes share. Unless CR4.DE is set DR4 and DR5 are
/// other names for DR6 and DR7.
fn debug_register(core: &mut Core, number: u8) -> Exec<usize> {
    let aliased = matches!(number, 4 | 5);
    core.fault_if(number > 7 || aliased && core.cpu.cr4 & cr4::DE != 0, Fault::UD)?;
    core.require_cpl0()?;
    if core.cpu.dr[7] & GENERAL_DETECT != 0 {
        core.cpu.dr[6] |= BD;
        core.cpu.dr[7] &= !GENERAL_DETECT;
        return Err(core.raise(Fault::DB));
    }
    Ok(usize::from(if aliased { number + 2 } else { number }))
}

fn mov_from_dr<T: Gpr>(core: &mut Core, op: &Op) -> Exec {
    let number = debug_register(core, op.src)?;
    let value = core.cpu.dr[number];
    T::set(&mut core.cpu, op.dst, T::of(value));
    Ok(())
}

fn mov_to_dr<T: Gpr>(core: &mut Core, op: &Op) -> Exec {
    let number = debug_register(core, op.dst)?;
    let value = T::get(&core.cpu, op.src).u64();
    core.fault_if(number >= 6 && value >> 32 != 0, Fault::GP0)?;
    core.cpu.dr[number] = match number {
        6 => value & 0xe00f | 0xffff_0ff0,
        7 => value & 0xffff_23ff | 0x400,
        _ => value,
    };
    Ok(())
}

fn clts(core: &mut Core, _: &Op) -> Exec {
    core.require_cpl0()?;
    core.cpu.cr0 &= !cr0::TS;
    Ok(())
}

/// Loads PE, MP, EM and TS; PE cannot be cleared.
fn lmsw(core: &mut Core, op: &Op) -> Exec {
    core.require_cpl0()?;
    let word = u64::from(source::<u16>(core, op, op.dst)?);
    let value = core.cpu.cr0 & !0xe | word & 0xf;
    core.leave_block();
    core.write_cr0(value)
}

fn smsw<T: Gpr>(core: &mut Core, op: &Op) -> Exec {
    core.check_umip()?;
    let value = T::of(core.cpu.cr0);
    write_destination(core, op, value)
}
