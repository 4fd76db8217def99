//! Translation: large pages, invalidation, accessed and dirty bits, pages that are missing in the middle of something.

use cpu::control::{cr0, cr4};
use iced_x86::code_asm::*;

use crate::machine::page::{A, D, G, LARGE, P, U, W};
use crate::machine::*;

/// Linear addresses that the bench leaves unmapped.
const FREE: u64 = 0x5000_0000;

fn set_cr4(bench: &mut Bench, bits: u64) {
    let cpu = &mut bench.core().cpu;
    cpu.cr4 |= bits;
    cpu.update_mode();
    cpu.tlb.flush();
}

#[test]
fn an_instruction_whose_second_page_is_missing() {
    let mut bench = Bench::long();
    bench.map_page(FREE, DATA, P | W);
    let at = FREE + 0x1000 - 3;
    let bytes = assemble(64, at, |a| a.mov(eax, 0x1234_5678));
    bench.write(DATA + 0x1000 - 3, &bytes[..3]);
    bench.write(DATA + 0x1000, &bytes[3..]);
    bench.routine(DATA + 0x1002, |a| a.out(i32::from(DONE), al));
    bench.program(CODE, |a| {
        a.mov(rbx, at)?;
        a.jmp(rbx)
    });
    let trap = bench.trap();
    assert_eq!((trap.vector, trap.error, trap.rip, trap.cr2), (14, Some(0x10), at, FREE + 0x1000));
    assert_eq!(bench.machine.instructions(), 2, "the two before it");
    // The handler maps it; the instruction runs again.
    bench.map_page(FREE + 0x1000, DATA + 0x1000, P | W);
    bench.finish();
    assert_eq!(bench.reg(RAX), 0x1234_5678);
}

#[test]
fn code_before_a_missing_page_runs() {
    let mut bench = Bench::long();
    bench.map_page(FREE, DATA, P | W);
    bench.write(DATA + 0xff8, &[0x48, 0xff, 0xc0, 0x48, 0xff, 0xc0, 0x90, 0x90]);
    bench.set_rip(FREE + 0xff8);
    let trap = bench.trap();
    assert_eq!((trap.vector, trap.rip, trap.cr2), (14, FREE + 0x1000, FREE + 0x1000));
    assert_eq!(bench.reg(RAX), 2);
}

/// A program that calls a routine at `FREE`, makes its page another one by `remap`, and calls it again.
fn remapped(prepare: impl FnOnce(&mut Bench), remap: impl FnOnce(&mut CodeAssembler) -> Result<(), iced_x86::IcedError>) -> (u64, u64) {
    let mut bench = Bench::long();
    for (at, value) in [(DATA, 1), (DATA + 0x1000, 2)] {
        let bytes = assemble(64, FREE, |a| {
            a.mov(eax, value)?;
            a.ret()
        });
        bench.write(at, &bytes);
    }
    bench.map_page(FREE, DATA, P | W);
    prepare(&mut bench);
    // R14 points at the entry of FREE.
    let entry = bench.entry_address(FREE, 12);
    bench.set_reg(14, entry);
    bench.program(CODE, |a| {
        a.mov(rbx, FREE)?;
        a.call(rbx)?;
        a.mov(r8, rax)?;
        a.mov(qword_ptr(r14), ((DATA + 0x1000) | P | W) as i32)?;
        remap(a)?;
        a.call(rbx)?;
        a.out(i32::from(DONE), al)
    });
    bench.finish();
    (bench.reg(8), bench.reg(RAX))
}

#[test]
fn code_is_new_after_invlpg_or_a_cr3_load() {
    assert_eq!(remapped(|_| {}, |a| a.invlpg(ptr(rbx))), (1, 2));
    assert_eq!(
        remapped(
            |_| {},
            |a| {
                a.mov(rcx, cr3)?;
                a.mov(cr3, rcx)
            }
        ),
        (1, 2)
    );
    // Global pages survive a CR3 load on real processors but need not; INVLPG and a change of CR4.PGE drop them.
    assert_eq!(remapped(|bench| set_cr4(bench, cr4::PGE), |a| a.invlpg(ptr(rbx))), (1, 2));
    assert_eq!(
        remapped(
            |bench| {
                set_cr4(bench, cr4::PGE);
                bench.map_page(FREE, DATA, P | W | G);
            },
            |a| {
                a.mov(rcx, cr4)?;
                a.xor(rcx, cr4::PGE as i32)?;
                a.mov(cr4, rcx)
            }
        ),
        (1, 2)
    );
}

#[test]
fn invlpg_of_a_large_page_drops_all_of_it() {
    let mut bench = Bench::long();
    let entry = bench.entry_address(FREE, 21);
    bench.write_u64(entry, P | W | LARGE);
    bench.write_u64(0x1000 + 0x18_0000, 11);
    bench.write_u64(0x20_0000 + 0x18_1000, 22);
    bench.set_reg(RBX, FREE);
    bench.set_reg(14, entry);
    bench.program(CODE, |a| {
        a.mov(eax, dword_ptr(rbx + 0x18_1000))?;
        a.mov(qword_ptr(r14), (0x20_0000 | P | W | LARGE) as i32)?;
        // Any address in the page will do.
        a.invlpg(ptr(rbx + 0x777))?;
        a.mov(ecx, dword_ptr(rbx + 0x18_1000))?;
        a.out(i32::from(DONE), al)
    });
    bench.finish();
    assert_eq!((bench.reg(RAX), bench.reg(RCX)), (11, 22));
    assert_eq!(bench.u64(entry) & (A | D), A);
}

#[test]
fn a_page_of_1_gib() {
    let mut bench = Bench::long();
    let entry = bench.entry_address(FREE << 8, 30);
    bench.write_u64(entry, P | W | LARGE);
    bench.write_u64(DATA, 77);
    bench.set_reg(RBX, FREE << 8);
    bench.program(CODE, |a| {
        a.add(dword_ptr(rbx + DATA), 1)?;
        a.out(i32::from(DONE), al)
    });
    bench.finish();
    assert_eq!(bench.u64(DATA), 78);
    assert_eq!(bench.u64(entry) & (A | D), A | D);
}

#[test]
fn accessed_and_dirty_bits_are_set_exactly_when_they_should() {
    let mut bench = Bench::long();
    for index in 0..4 {
        bench.map_page(FREE + index * 0x1000, DATA + index * 0x1000, P | W);
    }
    bench.map_page(FREE + 0x4000, DATA, P);
    bench.set_reg(RBX, FREE);
    bench.program(CODE, |a| {
        a.mov(eax, dword_ptr(rbx))?;
        a.mov(dword_ptr(rbx + 0x1000), eax)?;
        a.cmp(byte_ptr(rbx + 0x2000), 1)?;
        a.out(0x50, al)?;
        // Read first, then written: the dirty bit comes with the write.
        a.mov(byte_ptr(rbx), al)?;
        a.out(0x50, al)?;
        a.mov(byte_ptr(rbx + 0x4000), al)
    });
    let bits = |bench: &mut Bench, index: u64| bench.entry(FREE + index * 0x1000) & (A | D);
    bench.access();
    bench.answer(0);
    assert_eq!([0, 1, 2, 3].map(|index| bits(&mut bench, index)), [A, A | D, A, 0]);
    bench.access();
    bench.answer(0);
    assert_eq!(bits(&mut bench, 0), A | D);
    let trap = bench.trap();
    assert_eq!((trap.vector, trap.error), (14, Some(3)));
    assert_eq!(bits(&mut bench, 4), 0, "a denied access marks nothing");
}

#[test]
fn every_level_of_the_walk_is_marked() {
    let mut bench = Bench::long();
    let entries = [39, 30, 21].map(|shift| bench.entry_address(FREE << 9, shift));
    bench.map_page(FREE << 9, DATA, P | W);
    bench.set_reg(RBX, FREE << 9);
    assert_eq!(entries.map(|at| bench.u64(at) & A), [0, 0, 0]);
    bench.program(CODE, |a| {
        a.mov(byte_ptr(rbx), al)?;
        a.out(i32::from(DONE), al)
    });
    bench.finish();
    assert_eq!(entries.map(|at| bench.u64(at) & (A | D)), [A, A, A]);
}

#[test]
fn reserved_bits_fault() {
    let mut bench = Bench::long();
    bench.map_page(FREE, DATA | 1 << 51, P | W);
    bench.set_reg(RBX, FREE);
    bench.program(CODE, |a| a.mov(al, byte_ptr(rbx)));
    let trap = bench.trap();
    assert_eq!((trap.vector, trap.error), (14, Some(1 | 8)));
}

#[test]
fn an_address_space_switch_with_bit_63_still_switches() {
    let mut bench = Bench::long();
    set_cr4(&mut bench, cr4::PCIDE);
    let first = bench.core().cpu.cr3;
    // A second set of tables: a copy of the top one with another PDPT for FREE << 9.
    bench.map_page(FREE << 9, DATA, P | W);
    bench.write_u64(DATA, 1);
    bench.write_u64(DATA + 0x1000, 2);
    let second = 0x5_0000;
    let top = bench.bytes(first, 0x1000);
    bench.write(second, &top);
    let slot = (FREE << 9) >> 39 & 511;
    bench.write_u64(second + 8 * slot, 0);
    bench.core().cpu.cr3 = second;
    bench.map_page(FREE << 9, DATA + 0x1000, P | W);
    bench.core().cpu.cr3 = first;
    bench.set_reg(RBX, FREE << 9);
    bench.set_reg(14, second | 1 | 1 << 63);
    bench.set_reg(15, first | 1 << 63);
    bench.program(CODE, |a| {
        a.mov(r8d, dword_ptr(rbx))?;
        a.mov(cr3, r14)?;
        a.mov(r9d, dword_ptr(rbx))?;
        a.mov(r10, cr3)?;
        a.mov(cr3, r15)?;
        a.mov(r11d, dword_ptr(rbx))?;
        a.out(i32::from(DONE), al)
    });
    bench.finish();
    assert_eq!((bench.reg(8), bench.reg(9), bench.reg(11)), (1, 2, 1));
    assert_eq!(bench.reg(10), second | 1, "bit 63 is not kept");
}

#[test]
fn a_store_across_pages_that_faults_writes_nothing() {
    for (present, error) in [(false, 2), (true, 3)] {
        let mut bench = Bench::long();
        bench.map_page(FREE, DATA, P | W);
        if present {
            bench.map_page(FREE + 0x1000, DATA + 0x1000, P);
        }
        bench.set_reg(RBX, FREE + 0xffc);
        bench.set_reg(RAX, u64::MAX);
        bench.program(CODE, |a| a.mov(qword_ptr(rbx), rax));
        let trap = bench.trap();
        assert_eq!((trap.error, trap.cr2, trap.rip), (Some(error), FREE + 0x1000, CODE));
        assert_eq!(bench.bytes(DATA + 0xff0, 16), [0; 16]);

        bench.program(CODE + 0x100, |a| a.add(qword_ptr(rbx), rax));
        let before = bench.core().cpu.flags.get();
        let trap = bench.trap();
        assert_eq!((trap.error, trap.cr2), (Some(error), FREE + 0x1000));
        assert_eq!(bench.bytes(DATA + 0xff0, 16), [0; 16]);
        assert_eq!(trap.rflags & cpu::flags::bit::ARITH, before & cpu::flags::bit::ARITH);

        // A frame that would cross.
        bench.set_reg(RSP, FREE + 0x1004);
        bench.program(CODE + 0x200, |a| a.push(rax));
        bench.gate(14, 0xb000 + 14 * 16, 1);
        bench.trap();
        assert_eq!(bench.bytes(DATA + 0xff0, 16), [0; 16]);
    }
}

#[test]
fn a_write_protected_page_and_cr0_wp() {
    let mut bench = Bench::long();
    bench.map_page(FREE, DATA, P);
    bench.set_reg(RBX, FREE);
    bench.program(CODE, |a| {
        a.mov(rax, cr0)?;
        a.and(eax, !(cr0::WP as u32) as i32)?;
        a.mov(cr0, rax)?;
        a.mov(byte_ptr(rbx), 1)?;
        a.or(rax, cr0::WP as i32)?;
        a.mov(cr0, rax)?;
        a.mov(byte_ptr(rbx), 2)
    });
    let trap = bench.trap();
    assert_eq!((trap.vector, trap.error, trap.cr2), (14, Some(3), FREE));
    assert_eq!(bench.bytes(DATA, 1), [1]);
}

#[test]
fn two_level_paging_of_32_bit_mode() {
    let mut bench = Bench::protected();
    // One 4 MiB page for everything low, one table for FREE.
    bench.write(0x3_0000, &(P | W | U | LARGE).to_le_bytes()[..4]);
    bench.write(0x3_0000 + 4 * (FREE >> 22), &(0x3_1000 | P | W).to_le_bytes()[..4]);
    bench.write(0x3_1000, &(DATA | P | W).to_le_bytes()[..4]);
    bench.program(CODE, |a| {
        a.mov(eax, 0x3_0000)?;
        a.mov(cr3, eax)?;
        a.mov(eax, cr4)?;
        a.or(eax, cr4::PSE as i32)?;
        a.mov(cr4, eax)?;
        a.mov(eax, cr0)?;
        a.or(eax, (cr0::PG as u32) as i32)?;
        a.mov(cr0, eax)?;
        a.mov(ebx, FREE as u32)?;
        a.mov(dword_ptr(ebx), 0x1234)?;
        a.mov(ecx, dword_ptr(ebx))?;
        a.mov(edx, dword_ptr(ebx + 0x1000))
    });
    let trap = bench.trap();
    assert_eq!((trap.vector, trap.error, trap.cr2), (14, Some(0), FREE + 0x1000));
    assert_eq!(bench.reg(RCX), 0x1234);
    assert_eq!(bench.u64(0x3_1000) & 0xfff, P | W | A | D);
}
