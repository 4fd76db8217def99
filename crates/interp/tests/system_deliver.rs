//! Delivery of events in every mode: frames, flags, privilege, error codes, nested faults.

mod machine;

use cpu::flags::bit;
use cpu::{Fault, Mode, segment};
use interp::Stop;
use interp::deliver::{deliver_fault, deliver_interrupt, deliver_nmi, deliver_single_step};
use machine::*;

const INTERRUPT: u64 = 0xe;
const TRAP: u64 = 0xf;
const FLAGS: u64 = bit::IF | bit::TF | bit::CF | bit::FIXED;

#[test]
fn real_mode_interrupts_go_through_the_vector_table() {
    let mut m = Machine::real();
    m.put(0x21 * 4, 0x1234_5678u32);
    m.core.cpu.flags.set(FLAGS);
    m.step(&[0xcd, 0x21]).expect("INT 21h");
    assert_eq!((m.selector(segment::CS), m.core.cpu.rip(), m.core.cpu.seg[segment::CS].base), (0x1234, 0x5678, 0x1_2340));
    assert_eq!(m.stack::<u16>(3), [CODE + 2, 0, FLAGS]);
    assert_eq!(m.core.cpu.flags.get() & (bit::IF | bit::TF), 0);
    m.step(&[0xcf]).expect("IRET");
    assert_eq!((m.selector(segment::CS), m.core.cpu.rip(), m.rsp()), (0, CODE + 2, STACK));
    assert_eq!(m.core.cpu.flags.get(), FLAGS);
}

#[test]
fn a_short_vector_table_is_shutdown_in_the_end() {
    let mut m = Machine::real();
    m.core.cpu.idtr.limit = 0x1f;
    assert_eq!(m.fault(&[0xcd, 0x21]), Fault::GP0);
    assert_eq!(deliver_fault(&mut m.core, Fault::UD), Ok(()), "vector 6 is inside");
    assert_eq!(deliver_fault(&mut m.core, Fault::GP0), Err(Stop::Shutdown), "neither 13 nor 8 is");
}

#[test]
fn same_level_delivery_keeps_the_stack_and_pushes_the_error_code() {
    let mut m = Machine::protected(0);
    m.gate(13, KCODE32, HANDLER, INTERRUPT, 0);
    m.core.cpu.flags.set(FLAGS | bit::NT);
    deliver_fault(&mut m.core, Fault::gp(0x1234)).expect("delivered");
    assert_eq!(m.stack::<u32>(4), [0x1234, CODE, u64::from(KCODE32), FLAGS | bit::NT | bit::RF]);
    assert_eq!((m.core.cpu.rip(), m.rsp()), (HANDLER, STACK - 16));
    assert_eq!(m.core.cpu.flags.get() & (bit::IF | bit::TF | bit::NT | bit::RF), 0);
}

#[test]
fn inner_delivery_takes_the_stack_of_the_tss() {
    let mut m = Machine::protected(3);
    m.gate(0x80, KCODE32, HANDLER, TRAP, 3);
    m.core.cpu.flags.set(FLAGS);
    m.step(&[0xcd, 0x80]).expect("DPL 3 gate");
    assert_eq!(m.stack::<u32>(5), [CODE + 2, u64::from(UCODE32), FLAGS, STACK, u64::from(UDATA)]);
    assert_eq!((m.core.cpu.cpl, m.selector(segment::CS), m.selector(segment::SS)), (0, KCODE32, KDATA));
    assert_eq!(m.rsp(), INNER_STACK - 20);
    assert!(m.core.cpu.flags.has(bit::IF), "a trap gate leaves IF");
    m.step(&[0xcf]).expect("IRETD");
    assert_eq!((m.core.cpu.cpl, m.core.cpu.rip(), m.rsp()), (3, CODE + 2, STACK));
    assert_eq!(m.core.cpu.flags.get(), FLAGS);
    assert_eq!(m.core.cpu.seg[segment::DS].selector, UDATA);
}

#[test]
fn sixteen_bit_gates_push_words() {
    let mut m = Machine::protected(0);
    m.gate(0x30, KCODE16, HANDLER, 0x6, 0);
    m.core.cpu.flags.set(FLAGS);
    deliver_interrupt(&mut m.core, 0x30).expect("delivered");
    assert_eq!(m.stack::<u16>(3), [CODE, u64::from(KCODE32), FLAGS]);
    assert_eq!((m.core.cpu.code_bits, m.core.cpu.rip()), (16, HANDLER));
}

#[test]
fn virtual_8086_code_is_left_with_all_segments_and_returned_to() {
    let mut m = Machine::protected(0);
    m.gate(0x20, KCODE32, HANDLER, INTERRUPT, 0);
    m.set_rsp(STACK);
    let v86 = bit::VM | bit::IF | bit::FIXED;
    m.put_stack::<u32>(&[0x1000, 0x111, v86, 0x2000, 0x222, 0x333, 0x444, 0x555, 0x666]);
    m.step(&[0xcf]).expect("IRETD to virtual-8086 mode");
    assert_eq!((m.core.cpu.mode, m.core.cpu.cpl, m.core.cpu.rip(), m.rsp()), (Mode::Virtual8086, 3, 0x1000, 0x2000));
    assert_eq!(m.core.cpu.seg[segment::CS].base, 0x1110);
    assert_eq!([segment::ES, segment::DS, segment::FS, segment::GS].map(|seg| m.selector(seg)), [0x333, 0x444, 0x555, 0x666]);
    assert_eq!(m.fault(&[0xcd, 0x20]), Fault::GP0, "INT n needs IOPL 3");
    assert_eq!(m.fault(&[0xfa]), Fault::GP0, "and so does CLI");
    deliver_interrupt(&mut m.core, 0x20).expect("delivered");
    assert_eq!(m.stack::<u32>(9), [0x1000, 0x111, v86, 0x2000, 0x222, 0x333, 0x444, 0x555, 0x666]);
    assert_eq!((m.core.cpu.mode, m.core.cpu.cpl, m.selector(segment::DS)), (Mode::Protected, 0, 0));
    assert!(m.core.cpu.seg[segment::DS].access.is_unusable());
}

#[test]
fn long_mode_aligns_the_stack_and_leaves_ss_null() {
    let mut m = Machine::long(3);
    m.gate(14, KCODE64, HIGH + HANDLER, INTERRUPT, 0);
    m.put(TSS + 4, HIGH + INNER_STACK + 9);
    m.core.cpu.flags.set(bit::IF | bit::FIXED);
    deliver_fault(&mut m.core, Fault::page(0xdead_b000, 7)).expect("delivered");
    let flags = bit::IF | bit::FIXED | bit::RF;
    assert_eq!(m.stack::<u64>(6), [7, CODE, u64::from(UCODE64), flags, STACK, u64::from(UDATA)]);
    assert_eq!((m.rsp(), m.core.cpu.rip(), m.core.cpu.cr2), (HIGH + INNER_STACK - 48, HIGH + HANDLER, 0xdead_b000));
    assert_eq!((m.core.cpu.cpl, m.selector(segment::SS), m.selector(segment::CS)), (0, 0, KCODE64));
    m.core.cpu.regs[4] += 8;
    m.step(&[0x48, 0xcf]).expect("IRETQ");
    assert_eq!((m.core.cpu.cpl, m.selector(segment::SS), m.rsp()), (3, UDATA, STACK));
    assert_eq!(m.core.cpu.flags.get(), bit::IF | bit::FIXED);
}

#[test]
fn the_interrupt_stack_table_is_used_at_any_level() {
    let mut m = Machine::long(0);
    m.gate(2, KCODE64, HANDLER, INTERRUPT, 0);
    m.put(IDT + 2 * 16 + 4, 3u8);
    m.put(TSS + 0x24 + 8 * 2, 0xc000u64);
    m.core.attention.nmi_pending = true;
    deliver_nmi(&mut m.core).expect("delivered");
    assert_eq!((m.rsp(), m.selector(segment::SS)), (0xc000 - 40, KDATA));
    assert!(m.core.attention.nmi_blocked && !m.core.attention.nmi_pending);
    m.step(&[0x48, 0xcf]).expect("IRETQ");
    assert!(!m.core.attention.nmi_blocked);
    assert_eq!(m.rsp(), STACK);
}

#[test]
fn compatibility_code_is_interrupted_into_64_bit_code() {
    let mut m = Machine::long(3);
    m.set_level(3, 0xc09b, UCODE32);
    m.put(TSS + 4, HIGH + INNER_STACK);
    m.gate(0x20, KCODE64, HIGH + HANDLER, INTERRUPT, 0);
    deliver_interrupt(&mut m.core, 0x20).expect("delivered");
    assert_eq!((m.core.cpu.mode, m.core.cpu.rip(), m.rsp()), (Mode::Long64, HIGH + HANDLER, HIGH + INNER_STACK - 40));
    m.step(&[0x48, 0xcf]).expect("IRETQ");
    assert_eq!((m.core.cpu.mode, m.core.cpu.cpl, m.rsp()), (Mode::Compatibility, 3, STACK));
}

#[test]
fn gate_faults_name_the_vector() {
    let mut m = Machine::protected(3);
    assert_eq!(m.fault(&[0xcd, 0x40]), Fault::gp(0x40 * 8 + 2), "an empty gate has a bad type");
    m.gate(0x40, KCODE32, HANDLER, INTERRUPT, 0);
    assert_eq!(m.fault(&[0xcd, 0x40]), Fault::gp(0x40 * 8 + 2), "DPL 0 from level 3");
    assert_eq!(m.fault(&[0xcc]), Fault::gp(3 * 8 + 2));
    m.put(IDT + 0x40 * 8 + 5, 0x6eu8);
    assert_eq!(m.fault(&[0xcd, 0x40]), Fault::np(0x40 * 8 + 2));
    m.gate(0x41, 0, HANDLER, INTERRUPT, 3);
    assert_eq!(m.fault(&[0xcd, 0x41]), Fault::GP0, "null selector");
    m.gate(0x41, KDATA, HANDLER, INTERRUPT, 3);
    assert_eq!(m.fault(&[0xcd, 0x41]), Fault::gp(u32::from(KDATA)));
    m.gate(0x41, 0x200, HANDLER, INTERRUPT, 3);
    assert_eq!(m.fault(&[0xcd, 0x41]), Fault::gp(0x200));
    m.core.cpu.idtr.limit = 0x41 * 8 + 6;
    assert_eq!(m.fault(&[0xcd, 0x41]), Fault::gp(0x41 * 8 + 2), "the gate ends past the limit");
    m.gate(0x30, KCODE32, HANDLER, INTERRUPT, 3);
    m.put::<u16>(TSS + 8, UDATA);
    assert_eq!(m.fault(&[0xcd, 0x30]), Fault::ts(u32::from(UDATA & !3)), "stack of the wrong level");
    m.put::<u16>(TSS + 8, ABSENT);
    assert_eq!(m.fault(&[0xcd, 0x30]), Fault::ss(u32::from(ABSENT)));
    m.put::<u16>(TSS + 8, 0);
    assert_eq!(m.fault(&[0xcd, 0x30]), Fault::ts(0));
    m.core.cpu.tr.limit = 8;
    assert_eq!(m.fault(&[0xcd, 0x30]), Fault::ts(u32::from(TASK)));
    assert_eq!((m.core.cpu.rip(), m.rsp(), m.core.cpu.cpl), (CODE, STACK, 3));
}

#[test]
fn long_mode_wants_64_bit_handlers_and_canonical_stacks() {
    let mut m = Machine::long(3);
    m.gate(0x40, KCODE32, HANDLER, INTERRUPT, 3);
    assert_eq!(m.fault(&[0xcd, 0x40]), Fault::gp(u32::from(KCODE32)));
    m.gate(0x40, KCODE64, HANDLER, 0x6, 3);
    assert_eq!(m.fault(&[0xcd, 0x40]), Fault::gp(0x40 * 8 + 2), "no 16-bit gates");
    m.gate(0x40, KCODE64, 0x8000_0000_0000, INTERRUPT, 3);
    assert_eq!(m.fault(&[0xcd, 0x40]), Fault::GP0);
    m.gate(0x40, KCODE64, HANDLER, INTERRUPT, 3);
    m.put(TSS + 4, 0x8000_0000_0000u64);
    assert_eq!(m.fault(&[0xcd, 0x40]), Fault::SS0);
}

#[test]
fn a_fault_during_delivery_is_delivered_itself() {
    let mut m = Machine::protected(0);
    m.gate(6, ABSENT, HANDLER, INTERRUPT, 0);
    m.put(IDT + 6 * 8 + 5, 0x0eu8);
    m.gate(11, KCODE32, HANDLER, INTERRUPT, 0);
    deliver_fault(&mut m.core, Fault::UD).expect("#NP is delivered instead");
    assert_eq!(m.stack::<u32>(2), [6 * 8 + 2 + 1, CODE], "IDT and EXT bits");
    assert_eq!(m.core.exceptions_delivered, 1);
}

#[test]
fn contributory_faults_double() {
    let mut m = Machine::protected(0);
    m.gate(8, KCODE32, HANDLER, INTERRUPT, 0);
    deliver_fault(&mut m.core, Fault::GP0).expect("#DF is delivered");
    assert_eq!(m.core.cpu.rip(), HANDLER);
    assert_eq!(m.stack::<u32>(4), [0, CODE, u64::from(KCODE32), bit::FIXED], "no RF for an abort");
}

#[test]
fn a_triple_fault_shuts_down_with_the_state_intact() {
    let mut m = Machine::long(3);
    m.core.cpu.flags.set(FLAGS);
    assert_eq!(deliver_fault(&mut m.core, Fault::page(0x1234, 4)), Err(Stop::Shutdown));
    assert_eq!((m.core.cpu.rip(), m.rsp(), m.core.cpu.cpl, m.core.cpu.flags.get()), (CODE, STACK, 3, FLAGS));
}

#[test]
fn a_page_fault_on_the_handler_stack_doubles_and_changes_nothing_before() {
    let mut m = Machine::long(3);
    // The stack's last words are unmapped: 2 GiB up there is nothing.
    m.put(TSS + 4, 0x8000_0000u64 + 16);
    m.gate(14, KCODE64, HANDLER, INTERRUPT, 0);
    m.gate(8, KCODE64, HANDLER + 0x100, INTERRUPT, 0);
    m.put(IDT + 8 * 16 + 4, 1u8);
    m.put(TSS + 0x24, 0xc000u64);
    deliver_fault(&mut m.core, Fault::page(0x1234, 4)).expect("#DF on its own stack");
    assert_eq!(m.core.cpu.rip(), HANDLER + 0x100);
    assert_eq!(m.core.cpu.cr2, 0x8000_0008, "the first word that cannot be pushed");
    assert_eq!(m.stack::<u64>(6), [0, CODE, u64::from(UCODE64), bit::FIXED, STACK, u64::from(UDATA)]);
}

#[test]
fn a_single_step_reports_itself_in_dr6() {
    let mut m = Machine::protected(0);
    m.gate(1, KCODE32, HANDLER, INTERRUPT, 0);
    m.core.cpu.flags.assign(bit::TF, true);
    deliver_single_step(&mut m.core).expect("delivered");
    assert_ne!(m.core.cpu.dr[6] & 1 << 14, 0);
    assert_eq!(m.stack::<u32>(3)[2], bit::TF | bit::FIXED, "a trap pushes RF as it was");
}

#[test]
fn a_task_gate_switches_tasks_and_iret_switches_back() {
    let mut m = Machine::protected(0);
    const NEW: u64 = 0x3400;
    m.gate(8, TASK2, 0, 0x5, 0);
    let fields: [(u64, u32); 8] = [
        (0x20, HANDLER as u32),
        (0x24, 2),
        (0x28, 0xaaaa),
        (0x38, 0xd000),
        (0x48, KDATA.into()),
        (0x4c, KCODE32.into()),
        (0x50, KDATA.into()),
        (0x54, KDATA.into()),
    ];
    for (offset, value) in fields {
        m.put(NEW + offset, value);
    }
    m.core.cpu.regs[0] = 0x1111;
    deliver_fault(&mut m.core, Fault::DOUBLE).expect("through the task gate");
    assert_eq!((m.core.cpu.rip(), m.rsp(), m.core.cpu.regs[0], m.core.cpu.tr.selector), (HANDLER, 0xd000 - 4, 0xaaaa, TASK2));
    assert!(m.core.cpu.flags.has(bit::NT));
    assert_eq!(m.get::<u16>(NEW), TASK, "the link");
    assert_eq!((m.get::<u32>(TSS + 0x20), m.get::<u32>(TSS + 0x28)), (CODE as u32, 0x1111));
    assert_eq!(m.get::<u8>(GDT + u64::from(TASK2) + 5), 0x8b, "busy");
    m.put(GDT + u64::from(TASK) + 5, 0x8bu8);
    m.step(&[0xcf]).expect("IRETD with NT set");
    assert_eq!((m.core.cpu.rip(), m.rsp(), m.core.cpu.regs[0], m.core.cpu.tr.selector), (CODE, STACK, 0x1111, TASK));
    assert_eq!(m.get::<u8>(GDT + u64::from(TASK2) + 5), 0x89, "available again");
    assert!(!m.core.cpu.flags.has(bit::NT));
}
