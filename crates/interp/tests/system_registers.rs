//! Control, debug and model-specific registers, descriptor-table registers, CPUID, ports.

mod machine;

use cpu::control::{cr0, cr4, efer, msr};
use cpu::flags::bit;
use cpu::tlb::{AccessKind, View};
use cpu::{Fault, Mode, TableRegister, segment};
use interp::Stop;
use interp::device::{Access, Space};
use interp::io::check_io;
use machine::*;

/// MOV CRn, EAX (RAX in 64-bit mode).
fn to_cr(n: u8) -> [u8; 3] {
    [0x0f, 0x22, 0xc0 | n << 3]
}

fn write_cr(m: &mut Machine, n: u8, value: u64) -> Result<(), Fault> {
    m.core.cpu.regs[0] = value;
    m.step(&to_cr(n)).map_err(|_| m.core.fault)
}

fn wrmsr(m: &mut Machine, number: u32, value: u64) -> Result<(), Fault> {
    m.core.cpu.regs[1] = number.into();
    m.core.cpu.regs[0] = value & 0xffff_ffff;
    m.core.cpu.regs[2] = value >> 32;
    m.step(&[0x0f, 0x30]).map_err(|_| m.core.fault)
}

fn rdmsr(m: &mut Machine, number: u32) -> Result<u64, Fault> {
    m.core.cpu.regs[1] = number.into();
    m.step(&[0x0f, 0x32]).map_err(|_| m.core.fault)?;
    Ok(m.core.cpu.regs[2] << 32 | m.core.cpu.regs[0])
}

#[test]
fn the_road_to_ia32e_mode_and_back() {
    let mut m = Machine::protected(0);
    m.put(PML4, 0x1_1007u64);
    m.put(0x1_1000, 0x87u64);
    assert_eq!(wrmsr(&mut m, msr::EFER, efer::LME | efer::NXE | efer::SCE), Ok(()));
    assert_eq!(write_cr(&mut m, 3, PML4), Ok(()));
    let on = cr0::PE | cr0::PG | cr0::WP;
    assert_eq!(write_cr(&mut m, 0, on), Err(Fault::GP0), "PAE is off");
    assert_eq!(write_cr(&mut m, 4, cr4::PAE), Ok(()));
    assert_eq!(write_cr(&mut m, 0, on), Ok(()));
    assert_eq!((m.core.cpu.mode, rdmsr(&mut m, msr::EFER)), (Mode::Compatibility, Ok(efer::LME | efer::LMA | efer::NXE | efer::SCE)));
    assert_eq!(wrmsr(&mut m, msr::EFER, efer::SCE), Err(Fault::GP0), "LME is fixed while paging is on");
    assert_eq!(write_cr(&mut m, 4, 0), Err(Fault::GP0), "and so is PAE");
    assert_eq!(write_cr(&mut m, 4, cr4::PAE | cr4::PCIDE), Ok(()));
    assert_eq!(write_cr(&mut m, 0, cr0::PE), Err(Fault::GP0), "PCIDE needs paging");
    assert_eq!(write_cr(&mut m, 4, cr4::PAE), Ok(()));
    assert_eq!(write_cr(&mut m, 0, cr0::PE), Ok(()));
    assert_eq!((m.core.cpu.mode, m.core.cpu.efer & efer::LMA), (Mode::Protected, 0));
    m.set_level(0, 0xa09b, KCODE64);
    assert_eq!(write_cr(&mut m, 0, on), Err(Fault::GP0), "CS.L is set");
}

#[test]
fn control_registers_refuse_bad_values() {
    let mut m = Machine::long(0);
    assert_eq!(write_cr(&mut m, 0, cr0::PG), Err(Fault::GP0));
    assert_eq!(write_cr(&mut m, 0, cr0::PE | cr0::PG | cr0::NW), Err(Fault::GP0));
    assert_eq!(write_cr(&mut m, 0, 1 << 32 | cr0::PE | cr0::PG), Err(Fault::GP0));
    assert_eq!(write_cr(&mut m, 0, cr0::PE), Err(Fault::GP0), "64-bit code needs paging");
    assert_eq!(write_cr(&mut m, 3, 1 << 46), Err(Fault::GP0));
    assert_eq!(write_cr(&mut m, 3, PML4 | 1 << 63), Err(Fault::GP0), "no PCIDs");
    for reserved in [cr4::VME, cr4::PVI, cr4::MCE, 1 << 12, 1 << 13, 1 << 22, 1 << 63] {
        assert_eq!(write_cr(&mut m, 4, cr4::PAE | reserved), Err(Fault::GP0), "{reserved:#x}");
    }
    m.core.cpu.cr3 = PML4 | 5;
    assert_eq!(write_cr(&mut m, 4, cr4::PAE | cr4::PCIDE), Err(Fault::GP0), "CR3 has a PCID already");
    m.core.cpu.cr3 = PML4;
    assert_eq!(write_cr(&mut m, 4, cr4::PAE | cr4::PCIDE), Ok(()));
    assert_eq!(write_cr(&mut m, 3, PML4 | 5 | 1 << 63), Ok(()));
    assert_eq!(m.core.cpu.cr3, PML4 | 5);
    assert_eq!(m.fault(&to_cr(1)), Fault::UD);
    let mut m = Machine::long(3);
    assert_eq!(write_cr(&mut m, 0, cr0::PE), Err(Fault::GP0));
    assert_eq!(m.fault(&[0x0f, 0x06]), Fault::GP0, "CLTS");
    assert_eq!(m.fault(&[0xf4]), Fault::GP0, "HLT");
}

#[test]
fn pae_entries_are_checked_when_cr3_is_loaded() {
    let mut m = Machine::protected(0);
    m.put(0x1_1000, 0x1_2001u64);
    assert_eq!(write_cr(&mut m, 4, cr4::PAE), Ok(()));
    assert_eq!(write_cr(&mut m, 3, 0x1_1000), Ok(()));
    m.put(0x1_1008, 0x1_2003u64);
    assert_eq!(write_cr(&mut m, 0, cr0::PE | cr0::PG), Err(Fault::GP0), "R/W is reserved in a PDPTE");
    m.put(0x1_1008, 0x1_2000u64);
    assert_eq!(write_cr(&mut m, 0, cr0::PE | cr0::PG), Ok(()));
}

#[test]
fn translations_go_when_they_must() {
    let mut m = Machine::long(0);
    let cached = |m: &Machine| m.core.cpu.tlb.lookup(AccessKind::Read, View::SupervisorAc, 0x9000).is_some();
    let touch = |m: &mut Machine| m.step(&[0x8a, 0x04, 0x25, 0, 0x90, 0, 0]).expect("MOV AL, [9000h]");
    touch(&mut m);
    assert!(cached(&m));
    assert_eq!(write_cr(&mut m, 3, PML4), Ok(()));
    assert!(!cached(&m));
    touch(&mut m);
    m.step(&[0x0f, 0x01, 0x3c, 0x25, 0, 0x90, 0, 0]).expect("INVLPG [9000h]");
    assert!(!cached(&m));
    touch(&mut m);
    assert_eq!(write_cr(&mut m, 4, cr4::PAE | cr4::PGE), Ok(()));
    assert!(!cached(&m));
    assert_eq!(write_cr(&mut m, 4, cr4::PAE | cr4::PGE | cr4::PCIDE), Ok(()));
    touch(&mut m);
    assert_eq!(write_cr(&mut m, 3, PML4 | 1 << 63), Ok(()));
    assert!(cached(&m), "the same address space, kept on request");
    assert_eq!(write_cr(&mut m, 0, cr0::PE | cr0::PG), Ok(()));
    assert!(!cached(&m), "WP changed");
}

#[test]
fn machine_status_word() {
    let mut m = Machine::protected(0);
    m.core.cpu.regs[0] = 0x8;
    m.step(&[0x0f, 0x01, 0xf0]).expect("LMSW AX");
    assert_eq!(m.core.cpu.cr0, cr0::PE | cr0::ET | cr0::TS, "PE stays");
    m.step(&[0x0f, 0x06]).expect("CLTS");
    m.step(&[0x0f, 0x01, 0xe1]).expect("SMSW ECX");
    assert_eq!(m.core.cpu.regs[1], cr0::PE | cr0::ET);
}

#[test]
fn debug_registers() {
    let mut m = Machine::long(0);
    let to_dr = |n: u8| [0x0f, 0x23, 0xc0 | n << 3];
    m.core.cpu.regs[0] = 0xffff_ffff;
    m.step(&to_dr(7)).expect("MOV DR7");
    assert_eq!(m.core.cpu.dr[7], 0xffff_27ff);
    assert_eq!(m.fault(&to_dr(0)), Fault::DB, "general detect");
    assert_eq!((m.core.cpu.dr[6] & 1 << 13, m.core.cpu.dr[7] & 1 << 13), (1 << 13, 0));
    m.core.cpu.regs[0] = 0;
    m.step(&to_dr(4)).expect("an alias of DR6");
    assert_eq!(m.core.cpu.dr[6], 0xffff_0ff0);
    m.core.cpu.cr4 |= cr4::DE;
    assert_eq!(m.fault(&to_dr(4)), Fault::UD);
    m.core.cpu.regs[0] = 1 << 32;
    assert_eq!(m.fault(&to_dr(6)), Fault::GP0);
    let mut m = Machine::long(3);
    assert_eq!(m.fault(&to_dr(0)), Fault::GP0);
}

#[test]
fn model_specific_registers() {
    let mut m = Machine::long(0);
    for number in [0x2, 0x11e, 0x210, 0x26e + 2, 0x6df, 0x83f, 0xc000_0104, 0xffff_ffff] {
        assert_eq!(rdmsr(&mut m, number), Err(Fault::GP0), "{number:#x}");
        assert_eq!(wrmsr(&mut m, number, 0), Err(Fault::GP0), "{number:#x}");
    }
    const BAD: u64 = 0x8000_0000_0000;
    for number in [msr::LSTAR, msr::CSTAR, msr::FS_BASE, msr::GS_BASE, msr::KERNEL_GS_BASE, msr::SYSENTER_EIP, msr::SYSENTER_ESP] {
        assert_eq!(wrmsr(&mut m, number, BAD), Err(Fault::GP0), "{number:#x}");
        assert_eq!(wrmsr(&mut m, number, HIGH), Ok(()));
        assert_eq!(rdmsr(&mut m, number), Ok(HIGH));
    }
    assert_eq!(m.core.cpu.seg[segment::GS].base, HIGH);
    m.core.cpu.msr.kernel_gs_base = 5;
    m.step(&[0x0f, 0x01, 0xf8]).expect("SWAPGS");
    assert_eq!((m.core.cpu.seg[segment::GS].base, m.core.cpu.msr.kernel_gs_base), (5, HIGH));
    assert_eq!(wrmsr(&mut m, msr::PAT, 0x0007_0406_0007_0402), Err(Fault::GP0));
    assert_eq!(wrmsr(&mut m, msr::PAT, 0x0007_0406_0007_0405), Ok(()));
    assert_eq!(wrmsr(&mut m, msr::MTRR_DEF_TYPE, 0xc06), Ok(()));
    assert_eq!(wrmsr(&mut m, msr::MTRR_DEF_TYPE, 0xc02), Err(Fault::GP0));
    assert_eq!(wrmsr(&mut m, msr::MTRR_PHYS_BASE0 + 1, 1 << 46), Err(Fault::GP0));
    assert_eq!(wrmsr(&mut m, msr::MTRR_FIX4K_LAST, 0x0606_0606_0606_0606), Ok(()));
    assert_eq!(rdmsr(&mut m, msr::MTRR_FIX4K_LAST), Ok(0x0606_0606_0606_0606));
    assert_eq!(wrmsr(&mut m, msr::EFER, 1 << 14), Err(Fault::GP0));
    assert_eq!(wrmsr(&mut m, msr::SPEC_CTRL, 8), Err(Fault::GP0));
    assert_eq!((rdmsr(&mut m, msr::PRED_CMD), wrmsr(&mut m, msr::PRED_CMD, 1)), (Err(Fault::GP0), Ok(())), "write only");
    assert_eq!(rdmsr(&mut m, msr::APIC_BASE), Ok(0xfee0_0900));
    assert_eq!(wrmsr(&mut m, msr::APIC_BASE, 0xfee0_0d00), Ok(()), "x2APIC");
    assert_eq!(rdmsr(&mut m, 0x802), Ok(0));
    let mut m = Machine::long(3);
    assert_eq!(rdmsr(&mut m, msr::TSC), Err(Fault::GP0));
    assert_eq!(m.fault(&[0x0f, 0x01, 0xf8]), Fault::GP0, "SWAPGS");
}

#[test]
fn the_tsc_moves_with_its_adjustment() {
    let mut m = Machine::long(0);
    m.core.retired = 1_000_000;
    assert_eq!(wrmsr(&mut m, msr::TSC, 5000), Ok(()));
    assert_eq!(rdmsr(&mut m, msr::TSC), Ok(5000));
    let adjust = rdmsr(&mut m, msr::TSC_ADJUST).expect("exists");
    assert_eq!(adjust, 5000u64.wrapping_sub(20_000_000), "10 ns an instruction, 2 ticks a ns");
    assert_eq!(wrmsr(&mut m, msr::TSC_ADJUST, 0), Ok(()));
    m.step(&[0x0f, 0x31]).expect("RDTSC");
    assert_eq!((m.core.cpu.regs[0], m.core.cpu.regs[2]), (20_000_000, 0));
    m.core.cpu.msr.tsc_aux = 7;
    m.step(&[0x0f, 0x01, 0xf9]).expect("RDTSCP");
    assert_eq!(m.core.cpu.regs[1], 7);
    m.set_level(3, 0xa09b, UCODE64);
    m.core.cpu.cr4 |= cr4::TSD;
    assert_eq!(m.fault(&[0x0f, 0x31]), Fault::GP0);
}

#[test]
fn descriptor_table_registers() {
    let mut m = Machine::long(0);
    m.put(0x9000, 0x1234u16);
    m.put(0x9002, HIGH + 0x5678);
    m.step(&[0x0f, 0x01, 0x14, 0x25, 0, 0x90, 0, 0]).expect("LGDT");
    assert_eq!(m.core.cpu.gdtr, TableRegister { base: HIGH + 0x5678, limit: 0x1234 });
    m.step(&[0x0f, 0x01, 0x04, 0x25, 0, 0x98, 0, 0]).expect("SGDT");
    assert_eq!((m.get::<u16>(0x9800), m.get::<u64>(0x9802)), (0x1234, HIGH + 0x5678));
    m.put(0x9002, 0x8000_0000_0000u64);
    assert_eq!(m.fault(&[0x0f, 0x01, 0x1c, 0x25, 0, 0x90, 0, 0]), Fault::GP0, "LIDT with a base that is not canonical");
    let mut m = Machine::real();
    m.put(0x9000, 0xffffu16);
    m.put(0x9002, 0x1234_5678u32);
    m.step(&[0x0f, 0x01, 0x1e, 0x00, 0x90]).expect("LIDT");
    assert_eq!(m.core.cpu.idtr, TableRegister { base: 0x34_5678, limit: 0xffff }, "24 bits of base");
    m.step(&[0x66, 0x0f, 0x01, 0x1e, 0x00, 0x90]).expect("LIDT with a 32-bit operand");
    assert_eq!(m.core.cpu.idtr.base, 0x1234_5678);
    let mut m = Machine::long(3);
    m.step(&[0x0f, 0x01, 0x04, 0x25, 0, 0x98, 0, 0]).expect("SGDT without UMIP");
    m.core.cpu.cr4 |= cr4::UMIP;
    for bytes in [&[0x0f, 0x01, 0x04, 0x25, 0, 0x98, 0, 0][..], &[0x0f, 0x00, 0xc0], &[0x0f, 0x00, 0xc8], &[0x0f, 0x01, 0xe0]] {
        assert_eq!(m.fault(bytes), Fault::GP0, "{bytes:x?}");
    }
}

#[test]
fn segment_bases_and_extended_state() {
    let mut m = Machine::long(3);
    const WRFSBASE: &[u8] = &[0xf3, 0x48, 0x0f, 0xae, 0xd0];
    assert_eq!(m.fault(WRFSBASE), Fault::UD, "CR4.FSGSBASE is clear");
    assert_eq!(m.fault(&[0x0f, 0x01, 0xd0]), Fault::UD, "XGETBV, CR4.OSXSAVE is clear");
    m.core.cpu.cr4 |= cr4::FSGSBASE | cr4::OSXSAVE;
    m.core.cpu.regs[0] = 0x7fff_1234_5678;
    m.step(WRFSBASE).expect("WRFSBASE");
    m.step(&[0xf3, 0x0f, 0xae, 0xc3]).expect("RDFSBASE EBX");
    assert_eq!((m.core.cpu.seg[segment::FS].base, m.core.cpu.regs[3]), (0x7fff_1234_5678, 0x1234_5678));
    m.core.cpu.regs[0] = 0x8000_0000_0000;
    assert_eq!(m.fault(WRFSBASE), Fault::GP0);
    m.core.cpu.regs[1] = 0;
    m.step(&[0x0f, 0x01, 0xd0]).expect("XGETBV");
    assert_eq!(m.core.cpu.regs[0], 1);
    assert_eq!(m.fault(&[0x0f, 0x01, 0xd1]), Fault::GP0, "XSETBV at level 3");
    let mut m = Machine::long(0);
    m.core.cpu.cr4 |= cr4::OSXSAVE;
    for (value, valid) in [(3, true), (1, true), (2, false), (0x8000_0001, false)] {
        (m.core.cpu.regs[0], m.core.cpu.regs[1], m.core.cpu.regs[2]) = (value, 0, 0);
        if valid { m.step(&[0x0f, 0x01, 0xd1]).expect("XSETBV") } else { assert_eq!(m.fault(&[0x0f, 0x01, 0xd1]), Fault::GP0) }
    }
}

#[test]
fn access_control_and_task_priority() {
    let mut m = Machine::long(0);
    m.core.cpu.cr4 |= cr4::SMAP;
    m.core.cpu.update_view();
    const READ: &[u8] = &[0x8a, 0x04, 0x25, 0, 0x90, 0, 0];
    assert_eq!(m.fault(READ).vector, 14, "a user page");
    m.step(&[0x0f, 0x01, 0xcb]).expect("STAC");
    m.step(READ).expect("allowed by AC");
    m.step(&[0x0f, 0x01, 0xca]).expect("CLAC");
    assert_eq!(m.fault(READ).vector, 14);
    m.core.cpu.regs[0] = 5;
    m.step(&[0x44, 0x0f, 0x22, 0xc0]).expect("MOV CR8, RAX");
    m.step(&[0x44, 0x0f, 0x20, 0xc3]).expect("MOV RBX, CR8");
    assert_eq!(m.core.cpu.regs[3], 5);
    m.core.cpu.regs[0] = 16;
    assert_eq!(m.fault(&[0x44, 0x0f, 0x22, 0xc0]), Fault::GP0);
    m.step(&[0xf4]).expect("HLT");
    assert!(m.core.attention.halted);
    m.core.cpu.regs[0] = 0;
    m.step(&[0x0f, 0xa2]).expect("CPUID");
    assert_eq!(m.core.cpu.regs[3], u64::from(u32::from_le_bytes(*b"Genu")));
    for bytes in [&[0x0f, 0xaa][..], &[0x0f, 0x0b], &[0x0f, 0x01, 0xc8], &[0x0f, 0x01, 0xc9]] {
        assert_eq!(m.fault(bytes), Fault::UD, "RSM UD2 MONITOR MWAIT: {bytes:x?}");
    }
    assert_eq!(m.fault(&[0x0f, 0x33]), Fault::GP0, "RDPMC");
}

#[test]
fn ports_are_guarded_by_iopl_and_the_bitmap() {
    let mut m = Machine::protected(3);
    m.core.cpu.tr.limit = 0x67 + 0x21;
    m.put(TSS + 102, 0x68u16);
    m.put(TSS + 0x68 + 0x10, 0b0000_1000u16);
    let check = |m: &mut Machine, port, size| check_io(&mut m.core, port, size).map_err(|_| m.core.fault);
    assert_eq!(check(&mut m, 0x80, 1), Ok(()));
    assert_eq!(check(&mut m, 0x83, 1), Err(Fault::GP0));
    assert_eq!(check(&mut m, 0x80, 4), Err(Fault::GP0));
    assert_eq!(check(&mut m, 0x84, 4), Ok(()));
    assert_eq!(check(&mut m, 0xff, 1), Ok(()), "bytes 1Fh and 20h of the map");
    assert_eq!(check(&mut m, 0x108, 1), Err(Fault::GP0), "past the limit");
    m.core.cpu.flags.set(bit::IOPL);
    assert_eq!(check(&mut m, 0x83, 1), Ok(()));
}

#[test]
fn in_and_out_exit_to_their_device() {
    let mut m = Machine::long(0);
    m.core.cpu.regs[0] = 0xffff_ffff_ffff_ff42;
    m.core.cpu.regs[2] = 0x3f8;
    assert_eq!(m.step(&[0xee]), Err(Stop::Exit));
    let access = Access { space: Space::Port, write: true, address: 0x3f8, size: 1, data: 0x42 };
    assert_eq!(m.core.device.wanted, Some(access));
    m.core.device.answer(0);
    m.step(&[0xee]).expect("OUT DX, AL");
    assert_eq!(m.step(&[0xe5, 0x71]), Err(Stop::Exit));
    assert_eq!(m.core.device.wanted, Some(Access { write: false, address: 0x71, size: 4, data: 0, ..access }));
    m.core.device.answer(0x1234_5678);
    m.step(&[0xe5, 0x71]).expect("IN EAX, 71h");
    assert_eq!(m.core.cpu.regs[0], 0x1234_5678);
}

#[test]
fn repeated_port_strings_commit_each_iteration() {
    let mut m = Machine::long(0);
    (m.core.cpu.regs[1], m.core.cpu.regs[2], m.core.cpu.regs[7]) = (3, 0x1f0, 0x9000);
    m.core.rep_budget = 2;
    const REP_INSW: &[u8] = &[0xf3, 0x66, 0x6d];
    let mut value = 0x1111;
    let mut exits = 0;
    let mut counted = 0;
    while m.core.cpu.regs[1] != 0 {
        m.core.rep_retired = 0;
        match m.step(REP_INSW) {
            Err(Stop::Exit) => {
                exits += 1;
                counted += m.core.rep_retired;
                m.core.device.answer(value);
                value += 0x1111;
            }
            result => {
                result.expect("no fault");
                counted += m.core.rep_retired + 1;
            }
        }
    }
    assert_eq!((exits, counted), (3, 3));
    assert_eq!([m.get::<u16>(0x9000), m.get(0x9002), m.get(0x9004)], [0x1111, 0x2222, 0x3333]);
    assert_eq!((m.core.cpu.regs[7], m.core.cpu.rip()), (0x9006, CODE + 3));
}

#[test]
fn alignment_is_checked_at_level_3_only() {
    // MOV EAX, [0x9001]; MOV AL, [0x9001]; MOVUPS XMM0, [0x9001]; PUSH RAX
    const DWORD: &[u8] = &[0x8b, 0x04, 0x25, 1, 0x90, 0, 0];
    const BYTE: &[u8] = &[0x8a, 0x04, 0x25, 1, 0x90, 0, 0];
    const UNALIGNED: &[u8] = &[0x0f, 0x10, 0x04, 0x25, 1, 0x90, 0, 0];
    for (cpl, am, ac) in [(3, true, true), (3, true, false), (3, false, true), (0, true, true)] {
        let mut m = Machine::long(cpl);
        m.core.cpu.cr4 |= cr4::OSFXSR;
        m.core.cpu.cr0 |= if am { cr0::AM } else { 0 };
        m.core.cpu.flags.assign(bit::AC, ac);
        m.core.cpu.update_mode();
        if cpl == 3 && am && ac {
            assert_eq!(m.fault(DWORD), Fault::AC0);
            m.core.cpu.regs[4] -= 4;
            assert_eq!(m.fault(&[0x50]), Fault::AC0, "PUSH");
        } else {
            m.step(DWORD).expect("not checked");
        }
        m.step(BYTE).expect("bytes are always aligned");
        m.step(UNALIGNED).expect("an unaligned move");
    }
}
