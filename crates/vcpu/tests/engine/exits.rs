//! Device accesses: each exits exactly once, in order, and the instruction completes with the answers.

use cpu::flags::bit;
use iced_x86::IcedError;
use iced_x86::code_asm::*;
use interp::device::{Access, Space};
use vcpu::Exit;

use crate::machine::*;

fn port(write: bool, address: u64, size: u8, data: u64) -> Access {
    Access { space: Space::Port, write, address, size, data }
}

fn read(offset: u64, size: u8, data: u64) -> Access {
    Access { space: Space::Memory, write: false, address: DEVICE + offset, size, data }
}

fn write(offset: u64, size: u8, data: u64) -> Access {
    Access { space: Space::Memory, write: true, address: DEVICE + offset, size, data }
}

/// Runs a program with RBX at the device and RSI at RAM, in quanta of one instruction and in one go, answering reads
/// by `device`; both must agree. Returns the bench at the end and the accesses.
fn run(
    setup: impl Fn(&mut Bench),
    program: impl Fn(&mut CodeAssembler) -> Result<(), IcedError>,
    device: impl Fn(&Access) -> u64,
) -> (Bench, Vec<Access>) {
    let once = |quantum| {
        let mut bench = Bench::long();
        bench.quantum = quantum;
        bench.set_reg(RBX, DEVICE);
        bench.set_reg(RSI, DATA);
        setup(&mut bench);
        bench.program(CODE, |a| {
            program(a)?;
            a.out(i32::from(DONE), al)
        });
        let log = bench.finish_with(&device);
        (bench, log)
    };
    let (mut whole, log) = once(1 << 20);
    let (mut stepped, stepped_log) = once(1);
    assert_eq!(log, stepped_log);
    assert!(whole.everything() == stepped.everything());
    (whole, log)
}

#[test]
fn ports_of_every_size() {
    let (mut bench, log) = run(
        |bench| bench.set_reg(RAX, 0x1111_2222_3333_4444),
        |a| {
            a.in_(al, 0x60)?;
            a.mov(r8, rax)?;
            a.mov(edx, 0x1f0)?;
            a.in_(ax, dx)?;
            a.mov(r9, rax)?;
            a.in_(eax, dx)?;
            a.mov(r10, rax)?;
            a.out(0x64, al)?;
            a.out(dx, ax)?;
            a.out(dx, eax)
        },
        |access| match access.size {
            1 => 0xffff_ffff_ffff_ff5a,
            2 => 0xbeef,
            _ => 0xdead_beef,
        },
    );
    assert_eq!(
        log,
        [
            port(false, 0x60, 1, 0xffff_ffff_ffff_ff5a),
            port(false, 0x1f0, 2, 0xbeef),
            port(false, 0x1f0, 4, 0xdead_beef),
            port(true, 0x64, 1, 0xef),
            port(true, 0x1f0, 2, 0xbeef),
            port(true, 0x1f0, 4, 0xdead_beef),
        ]
    );
    assert_eq!(bench.reg(8), 0x1111_2222_3333_445a, "IN AL merges and takes one byte of the answer");
    assert_eq!(bench.reg(9), 0x1111_2222_3333_beef);
    assert_eq!(bench.reg(10), 0xdead_beef, "IN EAX clears the upper half");
    assert_eq!(bench.machine.stats().exits[Exit::Io(log[0]).kind()], 7);
}

#[test]
fn memory_of_every_size() {
    let (mut bench, log) = run(
        |bench| bench.set_reg(RAX, 0x1122_3344_5566_7788),
        |a| {
            a.mov(byte_ptr(rbx + 1), al)?;
            a.mov(word_ptr(rbx + 2), ax)?;
            a.mov(dword_ptr(rbx + 4), eax)?;
            a.mov(qword_ptr(rbx + 8), rax)?;
            a.movzx(r8d, byte_ptr(rbx + 0x11))?;
            a.movsx(r9, word_ptr(rbx + 0x12))?;
            a.mov(r10d, dword_ptr(rbx + 0x14))?;
            a.mov(r11, qword_ptr(rbx + 0x18))?;
            a.movdqu(xmm1, xmmword_ptr(rbx + 0x20))?;
            a.movdqu(xmmword_ptr(rbx + 0x40), xmm1)?;
            a.mov(dword_ptr(rbx + 0x50), 0x1234)
        },
        |access| 0x8182_8384_8586_8788 ^ access.address,
    );
    let answer = |offset: u64| 0x8182_8384_8586_8788 ^ (DEVICE + offset);
    assert_eq!(
        log,
        [
            write(1, 1, 0x88),
            write(2, 2, 0x7788),
            write(4, 4, 0x5566_7788),
            write(8, 8, 0x1122_3344_5566_7788),
            read(0x11, 1, answer(0x11)),
            read(0x12, 2, answer(0x12)),
            read(0x14, 4, answer(0x14)),
            read(0x18, 8, answer(0x18)),
            read(0x20, 8, answer(0x20)),
            read(0x28, 8, answer(0x28)),
            write(0x40, 8, answer(0x20)),
            write(0x48, 8, answer(0x28)),
            write(0x50, 4, 0x1234),
        ]
    );
    assert_eq!(bench.reg(8), answer(0x11) & 0xff);
    assert_eq!(bench.reg(9), answer(0x12) as i16 as u64);
    assert_eq!(bench.reg(10), answer(0x14) & 0xffff_ffff);
    assert_eq!(bench.reg(11), answer(0x18));
    assert_eq!(bench.machine.instructions(), 11);
}

#[test]
fn read_modify_write_uses_the_flags_from_before_the_instruction() {
    let (mut bench, log) = run(
        |bench| bench.set_reg(RAX, 0xffff_fff0),
        |a| {
            a.stc()?;
            a.adc(dword_ptr(rbx), eax)?;
            a.rcl(byte_ptr(rbx + 8), 1)?;
            a.setc(r8b)?;
            a.sbb(word_ptr(rbx + 10), 1)?;
            a.pushfq()?;
            a.pop(r9)?;
            a.inc(qword_ptr(rbx + 16))?;
            a.bts(dword_ptr(rbx + 24), 4)?;
            a.setc(r10b)?;
            // Zero only if the carry that was there at first is forgotten.
            a.stc()?;
            a.adc(byte_ptr(rbx + 32), 0)?;
            a.setz(r11b)
        },
        |access| match access.address - DEVICE {
            0 => 0x20,
            8 => 0x40,
            10 => 0,
            16 => u64::MAX,
            32 => 0,
            _ => 0x10,
        },
    );
    assert_eq!(
        log,
        [
            read(0, 4, 0x20),
            write(0, 4, 0x11),
            read(8, 1, 0x40),
            // The carry of the ADC comes in.
            write(8, 1, 0x81),
            read(10, 2, 0),
            write(10, 2, 0xffff),
            read(16, 8, u64::MAX),
            write(16, 8, 0),
            read(24, 4, 0x10),
            write(24, 4, 0x10),
            read(32, 1, 0),
            write(32, 1, 1),
        ]
    );
    assert_eq!(bench.reg(8) & 0xff, 0);
    assert_eq!(bench.reg(11) & 0xff, 0);
    assert_eq!(bench.reg(9) & (bit::CF | bit::SF | bit::ZF), bit::CF | bit::SF);
    assert_eq!(bench.reg(10) & 0xff, 1);
}

#[test]
fn exchanges_change_registers_only_at_the_end() {
    let (mut bench, log) = run(
        |bench| {
            bench.set_reg(RAX, 5);
            bench.set_reg(RCX, 7);
        },
        |a| {
            a.lock().cmpxchg(dword_ptr(rbx), ecx)?;
            a.sete(r8b)?;
            a.lock().cmpxchg(dword_ptr(rbx + 4), ecx)?;
            a.sete(r9b)?;
            a.mov(r10d, eax)?;
            a.lock().xadd(dword_ptr(rbx + 8), ecx)?;
            a.xchg(dword_ptr(rbx + 12), ecx)?;
            a.mov(edx, 2)?;
            a.lock().cmpxchg16b(xmmword_ptr(rbx + 16))
        },
        |access| match access.address - DEVICE {
            0 => 5,
            4 => 6,
            8 => 100,
            12 => 0xabcd,
            16 => 6,
            _ => 2,
        },
    );
    assert_eq!(
        log,
        [
            read(0, 4, 5),
            write(0, 4, 7),
            read(4, 4, 6),
            write(4, 4, 6),
            read(8, 4, 100),
            write(8, 4, 107),
            read(12, 4, 0xabcd),
            write(12, 4, 100),
            read(16, 8, 6),
            read(24, 8, 2),
            write(16, 8, DEVICE),
            write(24, 8, 0xabcd),
        ]
    );
    assert_eq!((bench.reg(8) & 0xff, bench.reg(9) & 0xff, bench.reg(10)), (1, 0, 6));
    assert_eq!(bench.reg(RCX), 0xabcd);
}

#[test]
fn strings_between_devices_and_ram() {
    let (mut bench, log) = run(
        |bench| bench.write(DATA, &[1, 2, 3, 4, 5, 6, 7, 8]),
        |a| {
            // Device to device.
            a.mov(rsi, rbx)?;
            a.lea(rdi, ptr(rbx + 0x100))?;
            a.movsd()?;
            // Device to RAM, twice, then RAM to device.
            a.mov(rdi, DATA + 0x100)?;
            a.mov(ecx, 2)?;
            a.rep().movsd()?;
            a.mov(rsi, DATA)?;
            a.lea(rdi, ptr(rbx + 0x200))?;
            a.mov(ecx, 3)?;
            a.rep().movsb()?;
            a.mov(eax, 0x5a)?;
            a.mov(ecx, 2)?;
            a.rep().stosw()?;
            a.mov(rsi, rbx)?;
            a.lodsb()?;
            a.mov(rdi, rbx)?;
            a.mov(ecx, 5)?;
            a.repne().scasb()
        },
        |access| access.address & 0xff | 0xa0,
    );
    assert_eq!(
        log,
        [
            read(0, 4, 0xa0),
            write(0x100, 4, 0xa0),
            read(4, 4, 0xa4),
            read(8, 4, 0xa8),
            write(0x200, 1, 1),
            write(0x201, 1, 2),
            write(0x202, 1, 3),
            write(0x203, 2, 0x5a),
            write(0x205, 2, 0x5a),
            read(0, 1, 0xa0),
            read(0, 1, 0xa0),
        ]
    );
    assert_eq!(bench.u64(DATA + 0x100), 0xa8_0000_00a4);
    assert_eq!(bench.reg(RCX), 4, "the first byte is the one looked for");
    assert_eq!(bench.reg(RDI), DEVICE + 1);
    assert_eq!(bench.machine.instructions(), 3 + 4 + 6 + 4 + 2 + 3);
}

#[test]
fn port_strings_move_one_element_an_exit() {
    let (mut bench, log) = run(
        |bench| bench.write(DATA, &[1, 0, 2, 0, 3, 0]),
        |a| {
            a.mov(edx, 0x1f0)?;
            a.mov(ecx, 3)?;
            a.rep().outsw()?;
            a.mov(rdi, DATA + 0x10)?;
            a.mov(ecx, 2)?;
            a.rep().insd()?;
            // Port to device.
            a.mov(rdi, rbx)?;
            a.insb()
        },
        |_| 0x77,
    );
    assert_eq!(
        log,
        [
            port(true, 0x1f0, 2, 1),
            port(true, 0x1f0, 2, 2),
            port(true, 0x1f0, 2, 3),
            port(false, 0x1f0, 4, 0x77),
            port(false, 0x1f0, 4, 0x77),
            port(false, 0x1f0, 1, 0x77),
            write(0, 1, 0x77),
        ]
    );
    assert_eq!(bench.reg(RSI), DATA + 6);
    assert_eq!(bench.u64(DATA + 0x10), 0x77_0000_0077);
    assert_eq!(bench.machine.instructions(), 2 + 3 + 2 + 2 + 1 + 1);
}

#[test]
fn stacks_in_device_space() {
    let (mut bench, log) = run(
        |bench| bench.set_reg(RSP, DEVICE + 0x80),
        |a| {
            let mut routine = a.create_label();
            a.push(7)?;
            a.push(qword_ptr(rbx + 0x200))?;
            a.pop(qword_ptr(rbx + 0x300))?;
            a.pop(rax)?;
            a.call(routine)?;
            a.set_label(&mut routine)?;
            a.mov(rcx, rsp)
        },
        |access| access.address & 0xffff,
    );
    let pushed = log.last().map_or(0, |access| access.data);
    assert_eq!(
        log,
        [
            write(0x78, 8, 7),
            read(0x200, 8, 0x200),
            write(0x70, 8, 0x200),
            read(0x70, 8, 0x70),
            write(0x300, 8, 0x70),
            read(0x78, 8, 0x78),
            write(0x78, 8, pushed),
        ]
    );
    assert!((CODE..CODE + 0x40).contains(&pushed), "the return address");
    assert_eq!(bench.reg(RAX), 0x78);
    assert_eq!(bench.reg(RCX), DEVICE + 0x78);
}

#[test]
fn an_access_across_ram_and_device_space_is_made_in_bytes() {
    // Linear page DATA + 0x1000 is the device; the one below it is RAM.
    let setup = |bench: &mut Bench| {
        bench.map_page(DATA + 0x1000, DEVICE, page::P | page::W);
        bench.write(DATA + 0xffe, &[0x34, 0x12]);
        bench.set_reg(RSI, DATA + 0xffe);
        bench.set_reg(RAX, 0x1111_2222);
    };
    let (mut bench, log) = run(setup, |a| a.mov(ecx, dword_ptr(rsi)), |access| 0x50 + access.address % 16);
    assert_eq!(log, [read(0, 1, 0x50), read(1, 1, 0x51)]);
    assert_eq!(bench.reg(RCX), 0x5150_1234);

    let (bench, log) = run(setup, |a| a.mov(dword_ptr(rsi), eax), |_| 0);
    assert_eq!(log, [write(0, 1, 0x11), write(1, 1, 0x11)]);
    assert_eq!(bench.bytes(DATA + 0xffe, 2), [0x22, 0x22]);

    // The RAM part must not be written before the device has all of its own.
    let (bench, log) = run(setup, |a| a.add(dword_ptr(rsi), eax), |access| 0x50 + access.address % 16);
    let sum = 0x5150_1234u64 + 0x1111_2222;
    assert_eq!(log, [read(0, 1, 0x50), read(1, 1, 0x51), write(0, 1, sum >> 16 & 0xff), write(1, 1, sum >> 24)]);
    assert_eq!(bench.bytes(DATA + 0xffe, 2), (sum as u16).to_le_bytes());
}
