//! Segment registers: loads and their faults, hidden parts, and the instructions that inspect descriptors.

mod machine;

use cpu::flags::bit;
use cpu::{Fault, segment};
use machine::*;

/// MOV DS, AX and MOV SS, AX.
const MOV_DS: &[u8] = &[0x8e, 0xd8];
const MOV_SS: &[u8] = &[0x8e, 0xd0];

fn load(m: &mut Machine, bytes: &[u8], selector: u16) -> Result<(), Fault> {
    m.core.cpu.regs[0] = u64::from(selector);
    m.step(bytes).map_err(|_| m.core.fault)
}

#[test]
fn real_mode_loads_keep_limit_and_rights() {
    let mut m = Machine::real();
    m.core.cpu.seg[segment::DS].limit = u32::MAX;
    assert_eq!(load(&mut m, MOV_DS, 0x1234), Ok(()));
    let ds = m.core.cpu.seg[segment::DS];
    assert_eq!((ds.base, ds.limit, ds.selector), (0x1_2340, u32::MAX, 0x1234));
    assert!(!ds.unchecked);
    assert_eq!(m.fault(&[0x8e, 0xc8]), Fault::UD, "MOV CS");
}

#[test]
fn data_segments_are_checked() {
    let mut m = Machine::protected(3);
    let error = |selector: u16| u32::from(selector & !3);
    let cases = [
        (0, Ok(())),
        (3, Ok(())),
        (UDATA, Ok(())),
        (UCODE32, Ok(())),
        (CONFORMING | 3, Ok(())),
        (KDATA, Err(Fault::gp(error(KDATA)))),
        (KCODE32, Err(Fault::gp(error(KCODE32)))),
        (EXECUTE_ONLY, Err(Fault::gp(error(EXECUTE_ONLY)))),
        (TASK, Err(Fault::gp(error(TASK)))),
        (GDT_LIMIT - 6, Err(Fault::gp(error(GDT_LIMIT - 6)))),
        (GDT_LIMIT + 1, Err(Fault::gp(error(GDT_LIMIT + 1)))),
        (7, Err(Fault::gp(4))),
    ];
    for (selector, want) in cases {
        let before = m.core.cpu.seg[segment::DS];
        assert_eq!(load(&mut m, MOV_DS, selector), want, "{selector:#x}");
        let after = m.core.cpu.seg[segment::DS];
        if want.is_ok() { assert_eq!(after.selector, selector) } else { assert_eq!(after, before) }
    }
    let mut m = Machine::protected(0);
    assert_eq!(load(&mut m, MOV_DS, ABSENT), Err(Fault::np(error(ABSENT))));
    assert_eq!(load(&mut m, MOV_DS, KDATA | 3), Err(Fault::gp(error(KDATA))), "RPL 3 is less than DPL 0");
    assert_eq!(load(&mut m, MOV_DS, 0), Ok(()));
    assert_eq!(m.fault(&[0xa0, 0, 0, 0, 0]), Fault::GP0, "a read through a null DS");
}

#[test]
fn the_stack_segment_must_match_the_level() {
    let mut m = Machine::protected(0);
    let error = |selector: u16| u32::from(selector & !3);
    for (selector, want) in [
        (0, Err(Fault::GP0)),
        (UDATA, Err(Fault::gp(error(UDATA)))),
        (KDATA | 3, Err(Fault::gp(error(KDATA)))),
        (KCODE32, Err(Fault::gp(error(KCODE32)))),
        (READ_ONLY, Err(Fault::gp(error(READ_ONLY)))),
        (ABSENT, Err(Fault::ss(error(ABSENT)))),
        (KDATA, Ok(())),
    ] {
        assert_eq!(load(&mut m, MOV_SS, selector), want, "{selector:#x}");
    }
    assert!(m.core.attention.interrupt_shadow);
    let mut m = Machine::long(0);
    assert_eq!(load(&mut m, MOV_SS, 0), Ok(()), "64-bit code above level 3 may have none");
    assert_eq!((m.core.cpu.cpl, m.core.cpu.stack_mask), (0, u64::MAX));
    let mut m = Machine::long(3);
    assert_eq!(load(&mut m, MOV_SS, 3), Err(Fault::GP0));
}

#[test]
fn a_load_sets_the_accessed_bit_in_memory() {
    let mut m = Machine::protected(0);
    let at = GDT + u64::from(KDATA) + 5;
    m.put(at, 0x92u8);
    assert_eq!(load(&mut m, MOV_DS, KDATA), Ok(()));
    assert_eq!(m.get::<u8>(at), 0x93);
}

#[test]
fn a_faulting_pop_leaves_the_stack_pointer() {
    let mut m = Machine::protected(0);
    m.put_stack::<u32>(&[u64::from(ABSENT)]);
    assert_eq!(m.fault(&[0x1f]), Fault::np(u32::from(ABSENT)), "POP DS");
    assert_eq!(m.rsp(), STACK);
    m.put_stack::<u32>(&[u64::from(KDATA)]);
    m.step(&[0x17]).expect("POP SS");
    assert_eq!(m.rsp(), STACK + 4);
    assert!(m.core.attention.interrupt_shadow);
    m.step(&[0x0e]).expect("PUSH CS");
    assert_eq!(m.stack::<u32>(1), [u64::from(KCODE32)]);
}

#[test]
fn selectors_are_stored_in_the_operand_size() {
    let mut m = Machine::long(0);
    m.core.cpu.regs[0] = u64::MAX;
    m.step(&[0x66, 0x8c, 0xd8]).expect("MOV AX, DS");
    assert_eq!(m.core.cpu.regs[0], !0xffff | u64::from(KDATA));
    m.step(&[0x8c, 0xd8]).expect("MOV EAX, DS");
    assert_eq!(m.core.cpu.regs[0], u64::from(KDATA));
    m.put(0x9000, u64::MAX);
    m.step(&[0x8c, 0x1c, 0x25, 0, 0x90, 0, 0]).expect("MOV m16, DS");
    assert_eq!(m.get::<u64>(0x9000), !0xffff | u64::from(KDATA));
}

#[test]
fn far_pointers_load_a_segment_and_a_register() {
    let mut m = Machine::protected(0);
    m.put(0x9000, 0x1234_5678u32);
    m.put(0x9004, KCODE32);
    m.step(&[0xc4, 0x1d, 0, 0x90, 0, 0]).expect("LES EBX, m16:32");
    assert_eq!((m.core.cpu.regs[3], m.selector(segment::ES)), (0x1234_5678, KCODE32));
    m.put(0x9004, ABSENT);
    m.put(0x9000, 0u32);
    assert_eq!(m.fault(&[0xc4, 0x1d, 0, 0x90, 0, 0]), Fault::np(u32::from(ABSENT)));
    assert_eq!(m.core.cpu.regs[3], 0x1234_5678);
}

#[test]
fn ltr_and_lldt() {
    let mut m = Machine::long(0);
    // 16-byte descriptors with the base in the high half.
    m.put(GDT + u64::from(TASK) + 8, HIGH >> 32);
    m.put(GDT + u64::from(LOCAL) + 8, HIGH >> 32);
    let with = |m: &mut Machine, bytes: &[u8], selector: u16| load(m, bytes, selector);
    const LTR: &[u8] = &[0x0f, 0x00, 0xd8];
    const LLDT: &[u8] = &[0x0f, 0x00, 0xd0];
    assert_eq!(with(&mut m, LTR, 0), Err(Fault::GP0));
    assert_eq!(with(&mut m, LTR, LOCAL), Err(Fault::gp(u32::from(LOCAL))));
    assert_eq!(with(&mut m, LTR, TASK), Ok(()));
    assert_eq!((m.core.cpu.tr.base, m.core.cpu.tr.limit, m.get::<u8>(GDT + u64::from(TASK) + 5)), (HIGH + TSS, 0x67, 0x8b));
    assert_eq!(with(&mut m, LTR, TASK), Err(Fault::gp(u32::from(TASK))), "busy");
    assert_eq!(with(&mut m, LLDT, LOCAL), Ok(()));
    assert_eq!(m.core.cpu.ldtr.base, HIGH + LDT);
    m.put(LDT + 0x10, 0x00cf_9300_0000_ffffu64);
    assert_eq!(with(&mut m, MOV_DS, 0x14), Ok(()), "out of the LDT");
    assert_eq!(with(&mut m, MOV_DS, 0x1c), Err(Fault::gp(0x1c)), "past the LDT");
    assert_eq!(with(&mut m, LLDT, 0), Ok(()));
    assert_eq!(with(&mut m, MOV_DS, 0x14), Err(Fault::gp(0x14)), "no LDT");
    m.put(GDT + u64::from(LOCAL) + 8, 0x8000u64);
    assert_eq!(with(&mut m, LLDT, LOCAL), Err(Fault::gp(u32::from(LOCAL))), "base not canonical");
    let mut m = Machine::protected(3);
    assert_eq!(with(&mut m, LTR, TASK), Err(Fault::GP0));
    let mut m = Machine::real();
    assert_eq!(with(&mut m, LTR, TASK), Err(Fault::UD));
}

#[test]
fn lar_lsl_verr_verw() {
    let mut m = Machine::protected(3);
    let zf = |m: &Machine| m.core.cpu.flags.zf();
    // ECX from AX.
    const LAR: &[u8] = &[0x0f, 0x02, 0xc8];
    const LSL: &[u8] = &[0x0f, 0x03, 0xc8];
    const VERR: &[u8] = &[0x0f, 0x00, 0xe0];
    const VERW: &[u8] = &[0x0f, 0x00, 0xe8];
    assert_eq!(load(&mut m, LAR, UDATA), Ok(()));
    assert_eq!((zf(&m), m.core.cpu.regs[1]), (true, 0x00c0_f300));
    assert_eq!(load(&mut m, LSL, UDATA), Ok(()));
    assert_eq!((zf(&m), m.core.cpu.regs[1]), (true, 0xffff_ffff));
    for (bytes, selector, want) in [
        (LAR, KDATA, false),
        (LAR, CONFORMING, true),
        (LAR, 0, false),
        (LAR, 0x400, false),
        (LSL, TASK, false),
        (VERR, UDATA, true),
        (VERR, KDATA, false),
        (VERR, CONFORMING, true),
        (VERW, UDATA, true),
        (VERW, UCODE32, false),
        (VERR, TASK, false),
    ] {
        assert_eq!(load(&mut m, bytes, selector), Ok(()));
        assert_eq!(zf(&m), want, "{bytes:x?} {selector:#x}");
    }
    let mut m = Machine::protected(0);
    assert_eq!(load(&mut m, LSL, TASK), Ok(()));
    assert_eq!((zf(&m), m.core.cpu.regs[1]), (true, 0x67));
    m.core.cpu.regs[1] = 3;
    assert_eq!(load(&mut m, &[0x63, 0xc8], 0x10), Ok(()), "ARPL AX, CX");
    assert_eq!((zf(&m), m.core.cpu.regs[0]), (true, 0x13));
}

#[test]
fn interrupt_flag_instructions_follow_iopl() {
    let mut m = Machine::protected(3);
    m.core.cpu.flags.set(bit::FIXED);
    assert_eq!(m.fault(&[0xfb]), Fault::GP0, "STI");
    m.put_stack::<u32>(&[bit::IF | bit::IOPL | bit::CF | bit::ID]);
    m.step(&[0x9d]).expect("POPFD");
    assert_eq!(m.core.cpu.flags.get(), bit::CF | bit::ID | bit::FIXED);
    m.core.cpu.flags.set(bit::IOPL);
    m.step(&[0xfb]).expect("STI at IOPL 3");
    assert!(m.core.cpu.flags.has(bit::IF) && m.core.attention.interrupt_shadow);
    m.core.attention.interrupt_shadow = false;
    m.step(&[0xfb]).expect("STI again");
    assert!(!m.core.attention.interrupt_shadow, "IF was set already");
    m.step(&[0x9c]).expect("PUSHFD");
    assert_eq!(m.stack::<u32>(1), [bit::IOPL | bit::IF | bit::FIXED]);
    let mut m = Machine::protected(0);
    m.put_stack::<u32>(&[bit::IF | bit::IOPL | bit::VM | bit::VIP | bit::RF]);
    m.step(&[0x9d]).expect("POPFD");
    assert_eq!(m.core.cpu.flags.get(), bit::IF | bit::IOPL | bit::FIXED);
}
