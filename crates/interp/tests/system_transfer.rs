//! Far transfers and returns, SYSCALL and SYSENTER: where they lead and what they refuse.

mod machine;

use cpu::flags::bit;
use cpu::{Fault, Mode, segment};
use machine::*;

/// JMP and CALL ptr16:32.
fn far_direct(opcode: u8, selector: u16, offset: u32) -> Vec<u8> {
    let mut bytes = vec![opcode];
    bytes.extend(offset.to_le_bytes());
    bytes.extend(selector.to_le_bytes());
    bytes
}
const JMP: u8 = 0xea;
const CALL: u8 = 0x9a;
const IRET: &[u8] = &[0xcf];
const IRETQ: &[u8] = &[0x48, 0xcf];
const SYSCALL: &[u8] = &[0x0f, 0x05];
const SYSRETQ: &[u8] = &[0x48, 0x0f, 0x07];
const SYSRETL: &[u8] = &[0x0f, 0x07];

#[test]
fn real_mode_far_call_and_return() {
    let mut m = Machine::real();
    m.step(&[0x9a, 0x78, 0x56, 0x34, 0x12]).expect("CALL 1234h:5678h");
    assert_eq!((m.selector(segment::CS), m.core.cpu.rip()), (0x1234, 0x5678));
    assert_eq!(m.stack::<u16>(2), [CODE + 5, 0]);
    m.step(&[0xca, 4, 0]).expect("RETF 4");
    assert_eq!((m.selector(segment::CS), m.core.cpu.rip(), m.rsp()), (0, CODE + 5, STACK + 4));
}

#[test]
fn the_jump_into_protected_mode() {
    let mut m = Machine::protected(0);
    // As after MOV CR0 in real mode: 16-bit code with a real-mode selector.
    m.core.cpu.seg[segment::CS] = cpu::Segment::new(0, 0, 0xffff, 0x9b);
    m.core.cpu.update_mode();
    assert_eq!(m.core.cpu.code_bits, 16);
    let mut bytes = vec![0x66];
    bytes.extend(far_direct(JMP, KCODE32, 0x9_0000));
    m.step(&bytes).expect("JMP ptr16:32");
    assert_eq!((m.core.cpu.code_bits, m.core.cpu.rip(), m.selector(segment::CS)), (32, 0x9_0000, KCODE32));
}

#[test]
fn the_jump_into_64_bit_mode() {
    let mut m = Machine::long(0);
    m.set_level(0, 0xc09b, KCODE32);
    m.step(&far_direct(JMP, KCODE64, 0x7000)).expect("JMP ptr16:32");
    assert_eq!((m.core.cpu.mode, m.core.cpu.rip()), (Mode::Long64, 0x7000));
    m.put(0x9000, HIGH + 0x1234);
    m.put(0x9008, KCODE64);
    m.step(&[0x48, 0xff, 0x2c, 0x25, 0x00, 0x90, 0, 0]).expect("JMP m16:64");
    assert_eq!(m.core.cpu.rip(), HIGH + 0x1234);
    m.put(0x9000, 0x8000_0000_0000u64);
    assert_eq!(m.fault(&[0x48, 0xff, 0x2c, 0x25, 0x00, 0x90, 0, 0]), Fault::GP0, "not canonical");
}

#[test]
fn far_jumps_check_the_code_segment() {
    let mut m = Machine::protected(3);
    let cases = [
        (0, Fault::GP0),
        (GDT_LIMIT + 1, Fault::gp(u32::from(GDT_LIMIT) + 1)),
        (KCODE32 | 3, Fault::gp(u32::from(KCODE32))),
        (UDATA, Fault::gp(u32::from(UDATA & !3))),
        (ABSENT | 3, Fault::gp(u32::from(ABSENT))),
        (TASK | 3, Fault::gp(u32::from(TASK))),
    ];
    for (selector, fault) in cases {
        assert_eq!(m.fault(&far_direct(JMP, selector, 0x7000)), fault, "{selector:#x}");
    }
    m.step(&far_direct(JMP, CONFORMING, 0x7000)).expect("conforming code of level 0");
    assert_eq!((m.core.cpu.cpl, m.selector(segment::CS)), (3, CONFORMING | 3));
    m.put(GDT + u64::from(UCODE32 & !3) + 5, 0x7bu8);
    assert_eq!(m.fault(&far_direct(JMP, UCODE32, 0)), Fault::np(u32::from(UCODE32 & !3)));
    m.put(GDT + u64::from(UCODE32 & !3), 0x0040_fb00_0000_ffffu64);
    assert_eq!(m.fault(&far_direct(JMP, UCODE32, 0x1_0000)), Fault::GP0, "past the limit");
}

#[test]
fn loading_code_sets_the_accessed_bit() {
    let mut m = Machine::protected(0);
    m.put(GDT + u64::from(KCODE32) + 5, 0x9au8);
    m.step(&far_direct(JMP, KCODE32, 0x7000)).expect("JMP");
    assert_eq!(m.get::<u8>(GDT + u64::from(KCODE32) + 5), 0x9b);
    assert_eq!(m.core.cpu.seg[segment::CS].access.0 & 0xff, 0x9b);
}

fn call_gate(m: &mut Machine, selector: u16, offset: u64, kind_and_dpl: u64, parameters: u64) {
    let low = offset & 0xffff | u64::from(selector) << 16 | parameters << 32 | (0x80 | kind_and_dpl) << 40 | (offset >> 16 & 0xffff) << 48;
    m.put(GDT + u64::from(GATE), low);
    m.put(GDT + u64::from(GATE) + 8, offset >> 32);
}

#[test]
fn a_call_gate_copies_parameters_to_the_inner_stack_and_retf_comes_back() {
    let mut m = Machine::protected(3);
    call_gate(&mut m, KCODE32, 0x7000, 0x6c, 2);
    m.put_stack::<u32>(&[0xaaaa, 0xbbbb]);
    m.step(&far_direct(CALL, GATE | 3, 0xdead)).expect("call gate");
    let (ss, cs) = (u64::from(UDATA), u64::from(UCODE32));
    assert_eq!(m.stack::<u32>(6), [CODE + 7, cs, 0xaaaa, 0xbbbb, STACK, ss]);
    assert_eq!((m.core.cpu.cpl, m.core.cpu.rip(), m.rsp()), (0, 0x7000, INNER_STACK - 24));
    m.core.cpu.seg[segment::DS] = cpu::Segment::new(KDATA, 0, u32::MAX, 0xc093);
    m.step(&[0xca, 8, 0]).expect("RETF 8");
    assert_eq!((m.core.cpu.cpl, m.core.cpu.rip(), m.rsp()), (3, CODE + 7, STACK + 8));
    assert_eq!((m.selector(segment::DS), m.selector(segment::ES)), (0, UDATA), "level 0 data is taken away");
    call_gate(&mut m, KCODE32, 0x7000, 0x0c, 0);
    assert_eq!(m.fault(&far_direct(CALL, GATE | 3, 0)), Fault::gp(u32::from(GATE)), "gate of DPL 0");
    call_gate(&mut m, KCODE32, 0x7000, 0x6c, 0);
    assert_eq!(m.fault(&far_direct(JMP, GATE | 3, 0)), Fault::gp(u32::from(KCODE32)), "a jump cannot go inward");
}

#[test]
fn a_64_bit_call_gate_switches_to_rsp0() {
    let mut m = Machine::long(3);
    m.set_level(3, 0xc09b, UCODE32);
    call_gate(&mut m, KCODE64, HIGH + 0x7000, 0x6c, 0);
    m.step(&far_direct(CALL, GATE | 3, 0)).expect("call gate");
    assert_eq!(m.stack::<u64>(4), [CODE + 7, u64::from(UCODE32), STACK, u64::from(UDATA)]);
    assert_eq!((m.core.cpu.mode, m.core.cpu.rip(), m.selector(segment::SS)), (Mode::Long64, HIGH + 0x7000, 0));
    m.step(&[0x48, 0xcb]).expect("RETFQ");
    assert_eq!((m.core.cpu.mode, m.core.cpu.cpl, m.core.cpu.rip(), m.rsp()), (Mode::Compatibility, 3, CODE + 7, STACK));
}

#[test]
fn iret_refuses_what_it_may_not_return_to() {
    let mut m = Machine::long(0);
    let frame = |cs: u16, ss: u16, rip: u64| [rip, u64::from(cs), bit::FIXED, STACK, u64::from(ss)];
    let cases = [
        (frame(0, UDATA, 0), Fault::GP0, "null CS"),
        (frame(UCODE64, 0, 0), Fault::GP0, "null SS at level 3"),
        (frame(UCODE64, KDATA, 0), Fault::gp(u32::from(KDATA)), "SS of another level"),
        (frame(UCODE64 & !3, UDATA, 0), Fault::gp(u32::from(UCODE64 & !3)), "RPL 0, DPL 3"),
        (frame(UCODE64, UDATA, 0x8000_0000_0000), Fault::GP0, "RIP not canonical"),
        (frame(KDATA, KDATA, 0), Fault::gp(u32::from(KDATA)), "data"),
        (frame(KCODE32, 0, 0), Fault::GP0, "null SS for 32-bit code"),
    ];
    for (words, fault, why) in cases {
        m.put_stack::<u64>(&words);
        assert_eq!(m.fault(IRETQ), fault, "{why}");
        assert_eq!((m.rsp(), m.core.cpu.rip(), m.core.cpu.cpl), (STACK, CODE, 0), "{why}");
    }
    m.put_stack::<u64>(&frame(KCODE64, 0, 0x7000));
    m.step(IRETQ).expect("null SS is fine at level 0");
    assert_eq!((m.core.cpu.rip(), m.core.cpu.cpl), (0x7000, 0));
    m.core.cpu.flags.assign(bit::NT, true);
    assert_eq!(m.fault(IRETQ), Fault::GP0, "no tasks in IA-32e mode");
}

#[test]
fn iret_guards_iopl_and_if() {
    let mut m = Machine::protected(3);
    m.core.cpu.flags.set(bit::FIXED);
    m.put_stack::<u32>(&[0x7000, u64::from(UCODE32), bit::IF | bit::IOPL | bit::CF | bit::AC | bit::FIXED]);
    m.step(IRET).expect("same level");
    assert_eq!((m.core.cpu.flags.get(), m.rsp()), (bit::CF | bit::AC | bit::FIXED, STACK + 12));
    let mut m = Machine::protected(0);
    m.put_stack::<u32>(&[0x7000, u64::from(KCODE32), bit::IF | bit::IOPL | bit::FIXED]);
    m.step(IRET).expect("same level");
    assert_eq!(m.core.cpu.flags.get(), bit::IF | bit::IOPL | bit::FIXED);
}

#[test]
fn a_16_bit_stack_keeps_the_upper_half_of_esp() {
    let mut m = Machine::protected(0);
    m.put(GDT + u64::from(UDATA & !3), 0x0000_f300_0000_ffffu64);
    m.put_stack::<u32>(&[0x7000, u64::from(UCODE32), 2, 0xdead_1234, u64::from(UDATA)]);
    m.set_rsp(STACK);
    m.step(IRET).expect("to level 3");
    assert_eq!(m.rsp(), 0x1234);
    assert_eq!(m.core.cpu.stack_mask, 0xffff);
}

#[test]
fn syscall_and_sysret() {
    let mut m = Machine::long(3);
    let msr = &mut m.core.cpu.msr;
    msr.star = 0x23 << 48 | u64::from(KCODE64) << 32;
    msr.lstar = HIGH + 0x7000;
    msr.sfmask = bit::IF | bit::DF;
    let flags = bit::IF | bit::DF | bit::CF | bit::FIXED;
    m.core.cpu.flags.set(flags);
    m.step(SYSCALL).expect("SYSCALL");
    let cpu = &m.core.cpu;
    assert_eq!((cpu.regs[1], cpu.regs[11], cpu.rip(), cpu.cpl), (CODE + 2, flags, HIGH + 0x7000, 0));
    assert_eq!((cpu.flags.get(), m.selector(segment::CS), m.selector(segment::SS)), (bit::CF | bit::FIXED, KCODE64, KDATA));
    m.step(SYSRETQ).expect("SYSRET");
    assert_eq!((m.core.cpu.rip(), m.core.cpu.cpl, m.core.cpu.flags.get()), (CODE + 2, 3, flags));
    assert_eq!((m.selector(segment::CS), m.selector(segment::SS), m.rsp()), (UCODE64, UDATA, STACK));
    assert_eq!(m.fault(SYSRETQ), Fault::GP0, "level 3");
    m.step(SYSCALL).expect("SYSCALL");
    m.step(SYSRETL).expect("SYSRET to compatibility mode");
    assert_eq!((m.core.cpu.mode, m.selector(segment::CS), m.core.cpu.code_bits), (Mode::Compatibility, UCODE32, 32));
    assert_eq!(m.fault(SYSCALL), Fault::UD, "an Intel model has none in compatibility mode");
    let mut m = Machine::long(0);
    m.core.cpu.regs[1] = 0x8000_0000_0000;
    assert_eq!(m.fault(SYSRETQ), Fault::GP0, "RCX not canonical");
    m.core.cpu.efer &= !1;
    assert_eq!(m.fault(SYSRETQ), Fault::UD);
    assert_eq!(m.fault(SYSCALL), Fault::UD);
}

#[test]
fn sysenter_and_sysexit() {
    let mut m = Machine::protected(3);
    assert_eq!(m.fault(&[0x0f, 0x34]), Fault::GP0, "SYSENTER_CS is null");
    m.core.cpu.msr.sysenter_cs = 0x50;
    m.core.cpu.msr.sysenter_eip = 0x7000;
    m.core.cpu.msr.sysenter_esp = INNER_STACK;
    m.core.cpu.flags.set(bit::IF | bit::FIXED);
    m.step(&[0x0f, 0x34]).expect("SYSENTER");
    assert_eq!((m.core.cpu.cpl, m.core.cpu.rip(), m.rsp(), m.core.cpu.flags.get()), (0, 0x7000, INNER_STACK, bit::FIXED));
    assert_eq!((m.selector(segment::CS), m.selector(segment::SS)), (0x50, 0x58));
    m.core.cpu.regs[1] = STACK;
    m.core.cpu.regs[2] = CODE;
    m.step(&[0x0f, 0x35]).expect("SYSEXIT");
    assert_eq!((m.core.cpu.cpl, m.core.cpu.rip(), m.rsp()), (3, CODE, STACK));
    assert_eq!((m.selector(segment::CS), m.selector(segment::SS)), (0x63, 0x6b));
    assert_eq!(m.fault(&[0x0f, 0x35]), Fault::GP0, "level 3");
}

#[test]
fn a_jump_to_a_tss_switches_tasks() {
    let mut m = Machine::protected(0);
    const NEW: u64 = 0x3400;
    for (offset, value) in [(0x20, 0x7000u32), (0x24, 2), (0x48, 0), (0x4c, KCODE32.into()), (0x50, KDATA.into())] {
        m.put(NEW + offset, value);
    }
    m.step(&far_direct(JMP, TASK2, 0)).expect("task switch");
    assert_eq!((m.core.cpu.rip(), m.core.cpu.tr.selector), (0x7000, TASK2));
    assert_eq!(m.get::<u8>(GDT + u64::from(TASK) + 5), 0x89, "the old task is no longer busy");
    assert_eq!(m.get::<u32>(TSS + 0x20), CODE as u32 + 7);
    assert_eq!(m.fault(&far_direct(JMP, TASK2, 0)), Fault::gp(u32::from(TASK2)), "busy");
}

#[test]
fn bound_and_into() {
    let mut m = Machine::protected(0);
    m.put(0x9000, -5i32 as u32);
    m.put(0x9004, 7u32);
    for (index, inside) in [(-6i32, false), (-5, true), (7, true), (8, false)] {
        m.core.cpu.regs[0] = u64::from(index as u32);
        let bytes = [0x62, 0x05, 0x00, 0x90, 0, 0];
        if inside { m.step(&bytes).expect("in bounds") } else { assert_eq!(m.fault(&bytes), Fault::BR) }
    }
    m.core.cpu.flags.set(0);
    m.step(&[0xce]).expect("INTO without OF does nothing");
    m.core.cpu.flags.set(bit::OF);
    assert_eq!(m.fault(&[0xce]), Fault::gp(4 * 8 + 2));
}
