//! Single step (SDM 3B, 17.3.1.4): one trap after each instruction, none lost and none too many.

use cpu::flags::bit;
use cpu::segment::{self, Segment};
use iced_x86::code_asm::*;

use crate::machine::*;

const DB: u8 = 1;
const DR6_BS: u64 = 1 << 14;

/// RIPs of `count` traps in a row, each checked to be a single step.
fn steps(bench: &mut Bench, count: usize) -> Vec<u64> {
    (0..count)
        .map(|_| {
            let trap = bench.trap();
            assert_eq!((trap.vector, trap.error), (DB, None));
            assert_ne!(bench.core().cpu.dr[6] & DR6_BS, 0);
            trap.rip
        })
        .collect()
}

#[test]
fn every_instruction_traps_once() {
    for quantum in [1, 2, 1 << 20] {
        let mut bench = Bench::long();
        bench.quantum = quantum;
        bench.program(CODE, |a| {
            a.nop()?;
            a.push(rax)?;
            a.jmp(CODE + 0x20)
        });
        bench.routine(CODE + 0x20, |a| {
            a.pop(rax)?;
            a.pushfq()?;
            a.and(dword_ptr(rsp), !(bit::TF as i32))?;
            a.popfq()?;
            a.nop()?;
            a.out(i32::from(DONE), al)
        });
        bench.set_flags(bit::TF);
        let rips = steps(&mut bench, 7);
        let (second, last) = (CODE + 0x20, CODE + 0x2a);
        assert_eq!(rips[..4], [CODE + 1, CODE + 2, second, second + 1]);
        assert_eq!(rips[6], last, "POPF that clears TF still traps");
        bench.finish();
    }
}

#[test]
fn the_trap_comes_after_the_instruction_that_follows_popf() {
    let mut bench = Bench::long();
    let end = bench.program(CODE, |a| {
        a.pushfq()?;
        a.or(dword_ptr(rsp), bit::TF as i32)?;
        a.popfq()?;
        a.inc(rax)?;
        a.nop()
    });
    let trap = bench.trap();
    assert_eq!((trap.vector, trap.rip), (DB, end - 1));
    assert_ne!(trap.rflags & bit::TF, 0);
    assert_eq!(bench.core().cpu.flags.get() & bit::TF, 0, "the handler is not stepped");
}

#[test]
fn a_repeated_string_traps_after_each_iteration() {
    let mut bench = Bench::long();
    bench.program(CODE, |a| {
        a.rep().stosb()?;
        a.nop()
    });
    bench.set_reg(RCX, 3);
    bench.set_reg(RDI, DATA);
    bench.set_flags(bit::TF);
    assert_eq!(steps(&mut bench, 4), [CODE, CODE, CODE + 2, CODE + 3]);
    assert_eq!(bench.reg(RDI), DATA + 3);
}

#[test]
fn a_device_access_traps_when_it_is_complete() {
    let mut bench = Bench::long();
    bench.set_reg(RBX, DEVICE);
    bench.program(CODE, |a| a.inc(dword_ptr(rbx)));
    bench.set_flags(bit::TF);
    for write in [false, true] {
        assert_eq!(bench.access().write, write);
        bench.answer(0);
    }
    assert_eq!(steps(&mut bench, 1), [CODE + 2]);
}

#[test]
fn a_faulting_instruction_traps_only_for_the_fault() {
    let mut bench = Bench::long();
    bench.program(CODE, |a| a.ud2());
    bench.set_flags(bit::TF);
    let trap = bench.trap();
    assert_eq!((trap.vector, trap.rip, trap.rflags & bit::TF), (6, CODE, bit::TF));
}

#[test]
fn loading_ss_holds_the_trap_off() {
    let mut bench = Bench::long();
    bench.program(CODE, |a| {
        a.mov(eax, ss)?;
        a.mov(ss, eax)?;
        a.nop()?;
        a.nop()
    });
    bench.set_flags(bit::TF);
    assert_eq!(steps(&mut bench, 3), [CODE + 2, CODE + 5, CODE + 6]);
}

#[test]
fn a_software_interrupt_is_not_followed_by_a_trap() {
    let mut bench = Bench::long();
    bench.program(CODE, |a| {
        a.int3()?;
        a.nop()
    });
    bench.set_flags(bit::TF);
    let trap = bench.trap();
    assert_eq!((trap.vector, trap.rip), (3, CODE + 1));
    assert_eq!(steps(&mut bench, 1), [CODE + 2], "stepping goes on behind the handler's IRET");
}

#[test]
fn a_syscall_that_masks_tf_is_not_followed_by_a_trap_but_sysret_is() {
    let mut bench = Bench::long();
    let kernel = CODE + 0x1000;
    bench.routine(kernel, |a| {
        a.nop()?;
        a.sysretq()
    });
    let user = DATA;
    bench.map_page(user, user, page::P | page::W | page::U);
    bench.routine(user, |a| {
        a.nop()?;
        a.syscall()?;
        a.nop()
    });
    let cpu = &mut bench.core().cpu;
    cpu.seg[segment::CS] = Segment::new(USER_CODE_SELECTOR, 0, u32::MAX, 0xa0fb);
    cpu.seg[segment::SS] = Segment::new(USER_DATA_SELECTOR, 0, u32::MAX, 0xc0f3);
    cpu.efer |= cpu::control::efer::SCE;
    cpu.msr.lstar = kernel;
    cpu.msr.star = u64::from(CODE_SELECTOR) << 32 | u64::from(USER_DATA_SELECTOR - 8) << 48;
    cpu.msr.sfmask = bit::TF;
    cpu.update_mode();
    bench.set_rip(user);
    bench.set_flags(bit::TF);
    assert_eq!(steps(&mut bench, 3), [user + 1, user + 3, user + 4]);
}

#[test]
fn a_step_over_hlt_wakes_the_processor() {
    let mut bench = Bench::long();
    bench.program(CODE, |a| {
        a.hlt()?;
        a.nop()
    });
    bench.set_flags(bit::TF);
    assert_eq!(steps(&mut bench, 2), [CODE + 1, CODE + 2]);
}

#[test]
fn stepping_in_real_and_protected_mode() {
    let mut bench = Bench::protected();
    bench.program(CODE, |a| {
        a.inc(eax)?;
        a.inc(eax)
    });
    bench.set_flags(bit::TF);
    assert_eq!(steps(&mut bench, 2), [CODE + 1, CODE + 2]);
    let mut bench = Bench::real();
    bench.program(0x1000, |a| {
        a.inc(ax)?;
        a.inc(ax)
    });
    bench.set_flags(bit::TF);
    assert_eq!(steps(&mut bench, 2), [0x1001, 0x1002]);
}

#[test]
fn an_interrupt_handler_is_not_stepped() {
    const NMI: u8 = 2;
    let handler = 0xc000;
    let mut bench = Bench::long();
    bench.routine(handler, |a| {
        a.nop()?;
        a.iretq()
    });
    bench.gate(NMI, handler, 0);
    bench.program(CODE, |a| {
        a.nop()?;
        a.nop()
    });
    bench.set_flags(bit::TF);
    bench.machine.nmi(0);
    assert_eq!(steps(&mut bench, 2), [CODE + 1, CODE + 2], "stepping goes on behind the handler's IRET");
}
