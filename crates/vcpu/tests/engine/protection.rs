//! Who may touch a page: user and supervisor, NX, SMEP, SMAP with AC; and the way between the levels.

use cpu::control::cr4;
use cpu::flags::bit;
use cpu::segment::{self, Segment};
use iced_x86::IcedError;
use iced_x86::code_asm::*;

use crate::machine::page::{NX, P, U, W};
use crate::machine::*;

type Program = fn(&mut CodeAssembler) -> Result<(), IcedError>;

const FREE: u64 = 0x5000_0000;

/// Runs `program` and expects a page fault with this error code at `FREE`.
fn expect_fault(bench: &mut Bench, error: u64, program: impl FnOnce(&mut CodeAssembler) -> Result<(), IcedError>) {
    bench.set_reg(RBX, FREE);
    bench.program(CODE, program);
    let trap = bench.trap();
    assert_eq!((trap.vector, trap.error, trap.cr2), (14, Some(error), FREE));
}

/// A bench with `flags` on the page at `FREE` (which holds a RET) and features `cr4`.
fn with_page(flags: u64, features: u64) -> Bench {
    let mut bench = Bench::long();
    bench.map_page(FREE, DATA, flags);
    bench.write(DATA, &[0xc3]);
    let cpu = &mut bench.core().cpu;
    cpu.cr4 |= features;
    cpu.update_mode();
    cpu.tlb.flush();
    bench
}

/// Puts the bench at CPL 3, with a stack and code of its own at `FREE + 0x10000`.
fn enter_user(bench: &mut Bench, program: impl FnOnce(&mut CodeAssembler) -> Result<(), IcedError>) {
    let (code, stack) = (FREE + 0x1_0000, FREE + 0x2_0000);
    bench.map_page(code, DATA + 0x1000, P | U);
    bench.map_page(stack, DATA + 0x2000, P | W | U);
    let bytes = assemble(64, code, program);
    bench.write(DATA + 0x1000, &bytes);
    let cpu = &mut bench.core().cpu;
    cpu.seg[segment::CS] = Segment::new(USER_CODE_SELECTOR, 0, u32::MAX, 0xa0fb);
    cpu.seg[segment::SS] = Segment::new(USER_DATA_SELECTOR, 0, u32::MAX, 0xc0f3);
    cpu.update_mode();
    cpu.tlb.flush();
    bench.set_rip(code);
    bench.set_reg(RSP, stack + 0x1000);
    bench.set_reg(RBX, FREE);
}

#[test]
fn supervisor_accesses() {
    let call = |a: &mut CodeAssembler| a.call(rbx);
    let load = |a: &mut CodeAssembler| a.mov(al, byte_ptr(rbx));
    let store = |a: &mut CodeAssembler| a.mov(byte_ptr(rbx), al);
    expect_fault(&mut with_page(P | W | NX, 0), 0x11, call);
    expect_fault(&mut with_page(P | W | U, cr4::SMEP), 0x11, call);
    expect_fault(&mut with_page(P | W | U, cr4::SMAP), 1, load);
    expect_fault(&mut with_page(P | W | U, cr4::SMAP), 3, store);
    expect_fault(&mut with_page(P | U, 0), 3, store);
    expect_fault(&mut with_page(0, 0), 0, load);

    // What is allowed.
    let mut bench = with_page(P | W | U, 0);
    bench.set_reg(RBX, FREE);
    bench.program(CODE, |a| {
        a.call(rbx)?;
        a.mov(al, byte_ptr(rbx))?;
        a.mov(byte_ptr(rbx), al)?;
        a.out(i32::from(DONE), al)
    });
    bench.finish();
}

#[test]
fn smap_yields_to_ac() {
    let mut bench = with_page(P | W | U, cr4::SMAP);
    bench.set_reg(RBX, FREE);
    bench.program(CODE, |a| {
        a.stac()?;
        a.mov(al, byte_ptr(rbx))?;
        a.mov(byte_ptr(rbx + 8), 9)?;
        a.clac()?;
        a.mov(al, byte_ptr(rbx))
    });
    let trap = bench.trap();
    assert_eq!((trap.vector, trap.error, trap.rflags & bit::AC), (14, Some(1), 0));
    assert_eq!(bench.bytes(DATA + 8, 1), [9]);
    assert_eq!(bench.reg(RAX) & 0xff, 0xc3);

    // POPF gives AC too.
    let mut bench = with_page(P | W | U, cr4::SMAP);
    bench.set_reg(RBX, FREE);
    bench.program(CODE, |a| {
        a.pushfq()?;
        a.or(dword_ptr(rsp), bit::AC as i32)?;
        a.popfq()?;
        a.mov(al, byte_ptr(rbx))?;
        a.out(i32::from(DONE), al)
    });
    bench.finish();
    assert_eq!(bench.reg(RAX) & 0xff, 0xc3);
}

#[test]
fn user_accesses() {
    let fault = |flags: u64, program: Program| {
        let mut bench = with_page(flags, cr4::SMEP | cr4::SMAP);
        enter_user(&mut bench, program);
        let trap = bench.trap();
        assert_eq!((trap.vector, trap.cr2, trap.cs), (14, FREE, u64::from(USER_CODE_SELECTOR)));
        assert_eq!(bench.reg(RSP), INNER_STACK - 0x30, "on the stack of level 0");
        trap.error.expect("page faults have one")
    };
    let load: Program = |a| a.mov(al, byte_ptr(rbx));
    let store: Program = |a| a.mov(byte_ptr(rbx), al);
    let jump: Program = |a| a.jmp(rbx);
    assert_eq!(fault(P | W, load), 5);
    assert_eq!(fault(P | W, store), 7);
    assert_eq!(fault(P | W, jump), 0x15);
    assert_eq!(fault(0, load), 4);
    assert_eq!(fault(0, jump), 0x14);
    assert_eq!(fault(P | U, store), 7);
    assert_eq!(fault(P | W | U | NX, jump), 0x15);
}

#[test]
fn the_same_page_seen_by_both_levels() {
    // A translation cached by the supervisor does not let the user in.
    let mut bench = with_page(P | W, 0);
    enter_user(&mut bench, |a| {
        a.mov(eax, 1)?;
        a.mov(al, byte_ptr(rbx))
    });
    // The supervisor touches the page first.
    let (user_rip, user_rsp) = (bench.rip(), bench.reg(RSP));
    bench.program(CODE, |a| {
        a.mov(al, byte_ptr(rbx))?;
        a.mov(byte_ptr(rbx), al)?;
        a.push(i32::from(USER_DATA_SELECTOR))?;
        a.push(rcx)?;
        a.push(2)?;
        a.push(i32::from(USER_CODE_SELECTOR))?;
        a.push(rdx)?;
        a.iretq()
    });
    bench.set_reg(RCX, user_rsp);
    bench.set_reg(RDX, user_rip);
    bench.set_reg(RSP, STACK);
    let cpu = &mut bench.core().cpu;
    cpu.seg[segment::CS] = Segment::new(CODE_SELECTOR, 0, u32::MAX, 0xa09b);
    cpu.seg[segment::SS] = Segment::new(DATA_SELECTOR, 0, u32::MAX, 0xc093);
    cpu.update_mode();
    let trap = bench.trap();
    assert_eq!((trap.vector, trap.error, trap.cs), (14, Some(5), u64::from(USER_CODE_SELECTOR)));
}

#[test]
fn privileged_instructions_fault_at_level_3() {
    let programs: [Program; 6] =
        [|a| a.hlt(), |a| a.cli(), |a| a.in_(al, 0x60), |a| a.mov(rax, cr0), |a| a.wrmsr(), |a| a.invlpg(ptr(rbx))];
    for program in programs {
        let mut bench = with_page(P, 0);
        enter_user(&mut bench, program);
        let trap = bench.trap();
        assert_eq!((trap.vector, trap.error, trap.rip), (13, Some(0), FREE + 0x1_0000));
        assert_eq!(bench.machine.instructions(), 0);
    }
}

#[test]
fn a_syscall_and_back() {
    let mut bench = with_page(P, 0);
    let kernel = CODE + 0x1000;
    bench.routine(kernel, |a| {
        a.mov(r8, rcx)?;
        a.mov(r9, r11)?;
        a.pushfq()?;
        a.pop(r10)?;
        a.sysretq()
    });
    enter_user(&mut bench, |a| {
        a.stc()?;
        a.syscall()?;
        a.mov(eax, 7)?;
        a.ud2()
    });
    let cpu = &mut bench.core().cpu;
    cpu.efer |= cpu::control::efer::SCE;
    cpu.msr.lstar = kernel;
    cpu.msr.star = u64::from(CODE_SELECTOR) << 32 | u64::from(USER_DATA_SELECTOR - 8) << 48;
    cpu.msr.sfmask = bit::DF;
    bench.set_reg(RSP, STACK);
    bench.map_page(STACK - 0x1000, STACK - 0x1000, P | W | U);
    let trap = bench.trap();
    assert_eq!((trap.vector, trap.cs), (6, u64::from(USER_CODE_SELECTOR)));
    assert_eq!(bench.reg(RAX), 7);
    assert_eq!(bench.reg(8), FREE + 0x1_0000 + 3, "RCX is the return address");
    assert_eq!(bench.reg(9) & bit::CF, 1);
}
