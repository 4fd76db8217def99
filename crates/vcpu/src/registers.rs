//! Architectural registers as a value, and as text for crash reports.

use std::fmt::Write;

use cpu::segment::{Segment, TableRegister};

use crate::machine::Machine;

/// One processor's registers: general ones in encoding order, segments as ES CS SS DS FS GS LDTR TR.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Registers {
    pub gpr: [u64; 16],
    pub rip: u64,
    pub rflags: u64,
    pub cr0: u64,
    pub cr2: u64,
    pub cr3: u64,
    pub cr4: u64,
    pub cr8: u64,
    pub efer: u64,
    pub apic_base: u64,
    pub segments: [Segment; 8],
    pub gdtr: TableRegister,
    pub idtr: TableRegister,
}

impl Machine {
    /// Registers of a processor.
    pub fn registers(&mut self, vcpu: usize) -> Registers {
        let core = &mut self.vcpus[vcpu].core;
        let now = core.now();
        let apic_base = core.lapic.read_msr(lapic::MSR_APIC_BASE, now).expect("IA32_APIC_BASE can always be read");
        let cpu = &core.cpu;
        let mut segments = [Segment::default(); 8];
        segments[..6].copy_from_slice(&cpu.seg[..6]);
        segments[6] = cpu.ldtr;
        segments[7] = cpu.tr;
        let mut gpr = [0; 16];
        gpr.copy_from_slice(&cpu.regs[..16]);
        Registers {
            gpr,
            rip: cpu.rip(),
            rflags: cpu.flags.get(),
            cr0: cpu.cr0,
            cr2: cpu.cr2,
            cr3: cpu.cr3,
            cr4: cpu.cr4,
            cr8: u64::from(core.lapic.cr8()),
            efer: cpu.efer,
            apic_base,
            segments,
            gdtr: cpu.gdtr,
            idtr: cpu.idtr,
        }
    }

    /// Sets registers. IA32_APIC_BASE is written as WRMSR does, and kept where that would fault.
    pub fn set_registers(&mut self, vcpu: usize, registers: &Registers) {
        let core = &mut self.vcpus[vcpu].core;
        let now = core.now();
        let cpu = &mut core.cpu;
        cpu.regs[..16].copy_from_slice(&registers.gpr);
        cpu.flags.set(registers.rflags);
        (cpu.cr0, cpu.cr2, cpu.cr3, cpu.cr4, cpu.efer) = (registers.cr0, registers.cr2, registers.cr3, registers.cr4, registers.efer);
        for (index, loaded) in registers.segments.iter().enumerate() {
            match index {
                6 => cpu.ldtr = *loaded,
                7 => cpu.tr = *loaded,
                _ => cpu.seg[index] = *loaded,
            }
        }
        (cpu.gdtr, cpu.idtr) = (registers.gdtr, registers.idtr);
        cpu.update_mode();
        cpu.set_rip(registers.rip);
        cpu.tlb.flush();
        (core.attention, core.device) = Default::default();
        // A refused value leaves the APIC as it was.
        let _ = core.lapic.write_msr(lapic::MSR_APIC_BASE, registers.apic_base, now);
        let _ = core.lapic.set_cr8(registers.cr8);
    }

    /// A register dump for people.
    pub fn dump(&mut self, vcpu: usize) -> String {
        const NAMES: [&str; 16] =
            ["rax", "rcx", "rdx", "rbx", "rsp", "rbp", "rsi", "rdi", "r8", "r9", "r10", "r11", "r12", "r13", "r14", "r15"];
        const SEGMENTS: [&str; 8] = ["es", "cs", "ss", "ds", "fs", "gs", "ldtr", "tr"];
        let registers = self.registers(vcpu);
        let core = &self.vcpus[vcpu].core;
        let mut text = String::new();
        let mut line = |args: std::fmt::Arguments| writeln!(text, "{args}").expect("writing to a String cannot fail");
        line(format_args!(
            "vcpu {vcpu} at instruction {}: {:?} mode, {}-bit code, CPL {}",
            core.retired, core.cpu.mode, core.cpu.code_bits, core.cpu.cpl
        ));
        line(format_args!("rip {:016x}  rflags {:016x}", registers.rip, registers.rflags));
        for row in 0..4 {
            let cells = (row * 4..row * 4 + 4).map(|n| format!("{:>3} {:016x}", NAMES[n], registers.gpr[n])).collect::<Vec<_>>();
            line(format_args!("{}", cells.join("  ")));
        }
        line(format_args!(
            "cr0 {:016x}  cr2 {:016x}  cr3 {:016x}  cr4 {:016x}  efer {:016x}",
            registers.cr0, registers.cr2, registers.cr3, registers.cr4, registers.efer
        ));
        for (name, segment) in SEGMENTS.iter().zip(&registers.segments) {
            line(format_args!(
                "{name:>4} {:04x} base {:016x} limit {:08x} access {:05x}",
                segment.selector, segment.base, segment.limit, segment.access.0
            ));
        }
        line(format_args!(
            "gdtr {:016x}/{:04x}  idtr {:016x}/{:04x}",
            registers.gdtr.base, registers.gdtr.limit, registers.idtr.base, registers.idtr.limit
        ));
        line(format_args!("last exception: vector {} error {:x?} address {:x}", core.fault.vector, core.fault.error, core.fault.address));
        text
    }
}
