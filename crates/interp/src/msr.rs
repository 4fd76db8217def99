//! Model-specific registers (SDM 4, 2.1): what RDMSR and WRMSR may do with each. The APIC's are in `lapic`. Numbers that
//! are not listed raise #GP(0).
//!
//! MTRRs and PAT are checked and kept, and change nothing: all memory here is coherent.

use cpu::control::{cr0, efer, msr};
use cpu::{Fault, Mode, segment};

use crate::core::{Core, Exec};
use crate::tables::is_canonical;

/// MTRRcap: eight variable ranges, fixed ranges, write-combining.
const MTRR_CAP: u64 = 1 << 10 | 1 << 8 | 8;
/// IA32_FEATURE_CONTROL: locked with everything off.
const FEATURE_CONTROL_LOCKED: u64 = 1;
/// Microcode revision 1, which lies in the upper half.
const BIOS_UPDATE_SIGNATURE: u64 = 1 << 32;
/// MISC_ENABLE: fast strings, the one switch there is.
const MISC_ENABLE: u64 = 1;
/// IA32_SPEC_CTRL: IBRS, STIBP, SSBD.
const SPEC_CTRL: u64 = 7;
/// MTRRdefType: default type, fixed ranges, enable.
const MTRR_DEF_TYPE: u64 = 0xcff;
const PHYS_MASK: u64 = (1 << cpu::paging::PHYS_BITS) - 1;

/// Index into `Msrs::mtrr_fixed`.
fn fixed_range(number: u32) -> Option<usize> {
    match number {
        msr::MTRR_FIX64K => Some(0),
        msr::MTRR_FIX16K_80000 => Some(1),
        msr::MTRR_FIX16K_A0000 => Some(2),
        msr::MTRR_FIX4K_FIRST..=msr::MTRR_FIX4K_LAST => Some((number - msr::MTRR_FIX4K_FIRST) as usize + 3),
        _ => None,
    }
}

/// Memory types (SDM 3A, table 11-2); PAT also has UC-.
fn is_memory_type(value: u8) -> bool {
    matches!(value, 0 | 1 | 4 | 5 | 6)
}

impl Core {
    /// RDMSR of register `number`; the privilege level has been checked.
    pub(crate) fn read_msr(&mut self, number: u32) -> Exec<u64> {
        let plain = &self.cpu.msr;
        Ok(match number {
            msr::TSC => self.now().tsc,
            msr::PLATFORM_ID | msr::MCG_CAP | msr::MCG_STATUS => 0,
            msr::APIC_BASE | msr::TSC_DEADLINE | msr::X2APIC_FIRST..=msr::X2APIC_LAST => {
                let now = self.now();
                self.lapic.read_msr(number, now).map_err(|_| self.raise(Fault::GP0))?
            }
            msr::FEATURE_CONTROL => FEATURE_CONTROL_LOCKED,
            msr::TSC_ADJUST if self.cpu.model.has("tsc_adjust") => plain.tsc_adjust,
            msr::SPEC_CTRL if self.cpu.model.has("spec_ctrl") => plain.spec_ctrl,
            msr::BIOS_UPDATE_SIGNATURE => BIOS_UPDATE_SIGNATURE,
            msr::MTRR_CAP => MTRR_CAP,
            msr::ARCH_CAPABILITIES if self.cpu.model.has("arch_capabilities") => self.cpu.model.arch_capabilities(),
            msr::SYSENTER_CS => plain.sysenter_cs,
            msr::SYSENTER_ESP => plain.sysenter_esp,
            msr::SYSENTER_EIP => plain.sysenter_eip,
            msr::MISC_ENABLE => plain.misc_enable,
            msr::MTRR_PHYS_BASE0..=msr::MTRR_PHYS_LAST => plain.mtrr_phys[(number - msr::MTRR_PHYS_BASE0) as usize],
            msr::PAT => plain.pat,
            msr::MTRR_DEF_TYPE => plain.mtrr_def_type,
            msr::EFER => self.cpu.efer,
            msr::STAR => plain.star,
            msr::LSTAR => plain.lstar,
            msr::CSTAR => plain.cstar,
            msr::SFMASK => plain.sfmask,
            msr::FS_BASE => self.cpu.seg[segment::FS].base,
            msr::GS_BASE => self.cpu.seg[segment::GS].base,
            msr::KERNEL_GS_BASE => plain.kernel_gs_base,
            msr::TSC_AUX if self.cpu.model.has("rdtscp") => plain.tsc_aux,
            _ => match fixed_range(number) {
                Some(index) => plain.mtrr_fixed[index],
                None => return Err(self.raise(Fault::GP0)),
            },
        })
    }

    /// WRMSR of register `number`; the privilege level has been checked. The run loop is to look around afterwards: messages,
    /// interrupts and deadlines may have changed.
    pub(crate) fn write_msr(&mut self, number: u32, value: u64) -> Exec {
        match number {
            msr::TSC => {
                let now = self.now().tsc;
                let adjust = self.cpu.msr.tsc_adjust.wrapping_add(value.wrapping_sub(now));
                self.cpu.msr.tsc_adjust = adjust;
            }
            msr::TSC_ADJUST if self.cpu.model.has("tsc_adjust") => self.cpu.msr.tsc_adjust = value,
            msr::APIC_BASE | msr::TSC_DEADLINE | msr::X2APIC_FIRST..=msr::X2APIC_LAST => self.write_apic_msr(number, value)?,
            msr::SPEC_CTRL if self.cpu.model.has("spec_ctrl") => {
                self.check_bits(value, SPEC_CTRL)?;
                self.cpu.msr.spec_ctrl = value;
            }
            // IBPB and L1D flush: nothing is predicted or cached across them.
            msr::PRED_CMD if self.cpu.model.has("spec_ctrl") => self.check_bits(value, 1)?,
            msr::FLUSH_CMD if self.cpu.model.has("flush_l1d") => self.check_bits(value, 1)?,
            msr::BIOS_UPDATE_SIGNATURE => {}
            msr::MCG_STATUS => self.check_bits(value, 0)?,
            msr::MISC_ENABLE => self.cpu.msr.misc_enable = value & MISC_ENABLE,
            msr::SYSENTER_CS => self.cpu.msr.sysenter_cs = value & 0xffff_ffff,
            msr::SYSENTER_ESP => self.cpu.msr.sysenter_esp = self.canonical(value)?,
            msr::SYSENTER_EIP => self.cpu.msr.sysenter_eip = self.canonical(value)?,
            msr::MTRR_PHYS_BASE0..=msr::MTRR_PHYS_LAST => self.write_variable_range(number - msr::MTRR_PHYS_BASE0, value)?,
            msr::PAT => {
                let valid = value.to_le_bytes().iter().all(|&entry| is_memory_type(entry) || entry == 7);
                self.fault_if(!valid, Fault::GP0)?;
                self.cpu.msr.pat = value;
            }
            msr::MTRR_DEF_TYPE => {
                self.check_bits(value, MTRR_DEF_TYPE)?;
                self.fault_if(!is_memory_type(value as u8), Fault::GP0)?;
                self.cpu.msr.mtrr_def_type = value;
            }
            msr::EFER => self.write_efer(value)?,
            msr::STAR => self.cpu.msr.star = value,
            msr::LSTAR => self.cpu.msr.lstar = self.canonical(value)?,
            msr::CSTAR => self.cpu.msr.cstar = self.canonical(value)?,
            msr::SFMASK => {
                self.check_bits(value, 0xffff_ffff)?;
                self.cpu.msr.sfmask = value;
            }
            msr::FS_BASE => self.write_segment_base(segment::FS, value)?,
            msr::GS_BASE => self.write_segment_base(segment::GS, value)?,
            msr::KERNEL_GS_BASE => self.cpu.msr.kernel_gs_base = self.canonical(value)?,
            msr::TSC_AUX if self.cpu.model.has("rdtscp") => {
                self.check_bits(value, 0xffff_ffff)?;
                self.cpu.msr.tsc_aux = value;
            }
            _ => {
                let index = fixed_range(number).ok_or_else(|| self.raise(Fault::GP0))?;
                self.fault_if(!value.to_le_bytes().iter().all(|&entry| is_memory_type(entry)), Fault::GP0)?;
                self.cpu.msr.mtrr_fixed[index] = value;
            }
        }
        Ok(())
    }

    /// #GP(0) when a bit outside `allowed` is set.
    fn check_bits(&mut self, value: u64, allowed: u64) -> Exec {
        self.fault_if(value & !allowed != 0, Fault::GP0)
    }

    /// The value, if it is a canonical address.
    fn canonical(&mut self, value: u64) -> Exec<u64> {
        self.fault_if(!is_canonical(value), Fault::GP0)?;
        Ok(value)
    }

    fn write_apic_msr(&mut self, number: u32, value: u64) -> Exec {
        let now = self.now();
        self.lapic.write_msr(number, value, now).map_err(|_| self.raise(Fault::GP0))?;
        if number == msr::APIC_BASE {
            // Translations know which page is the APIC's.
            self.cpu.tlb.flush();
        }
        Ok(())
    }

    fn write_variable_range(&mut self, index: u32, value: u64) -> Exec {
        let is_mask = index & 1 != 0;
        self.check_bits(value, PHYS_MASK & if is_mask { !0x7ff } else { !0xf00 })?;
        self.fault_if(!is_mask && !is_memory_type(value as u8), Fault::GP0)?;
        self.cpu.msr.mtrr_phys[index as usize] = value;
        Ok(())
    }

    fn write_segment_base(&mut self, index: usize, value: u64) -> Exec {
        self.cpu.seg[index].base = self.canonical(value)?;
        if self.cpu.mode != Mode::Long64 {
            self.cpu.update_mode();
        }
        Ok(())
    }

    /// LMA only follows CR0.PG and is ignored here.
    fn write_efer(&mut self, value: u64) -> Exec {
        let mut allowed = efer::LMA;
        for (bit, feature) in [(efer::SCE, "syscall"), (efer::LME, "lm"), (efer::NXE, "nx")] {
            if self.cpu.model.has(feature) {
                allowed |= bit;
            }
        }
        let changed = value ^ self.cpu.efer;
        self.check_bits(value, allowed)?;
        self.fault_if(changed & efer::LME != 0 && self.cpu.cr0 & cr0::PG != 0, Fault::GP0)?;
        self.cpu.efer = value & !efer::LMA | self.cpu.efer & efer::LMA;
        if changed & efer::NXE != 0 {
            self.cpu.tlb.flush();
        }
        self.cpu.update_mode();
        Ok(())
    }
}
