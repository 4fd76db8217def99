//! CRC32 and POPCNT, the two SSE4.2-age instructions on general registers (SDM 1, 12.12, 12.13).

use cpu::flags::bit;
use decode::Selected;
use iced_x86::{Instruction, Mnemonic};

use crate::core::{Core, Exec};
use crate::operand::{Gpr, by_size, source};
use crate::{Handler, Op, plain};

pub(super) fn select(instruction: &Instruction) -> Option<Selected<Handler>> {
    let source_size = match instruction.op1_register().size() {
        0 => instruction.memory_size().size(),
        size => size,
    };
    Some(plain(match instruction.mnemonic() {
        Mnemonic::Crc32 => by_size!(source_size, crc32),
        Mnemonic::Popcnt => by_size!(source_size, popcnt),
        _ => return None,
    }))
}

/// The CRC of each byte value under the polynomial 0x11EDC6F41, bits reflected.
const CRC: [u32; 256] = {
    let mut table = [0; 256];
    let mut byte = 0;
    while byte < 256 {
        let mut crc = byte as u32;
        let mut bit = 0;
        while bit < 8 {
            crc = crc >> 1 ^ if crc & 1 != 0 { 0x82f6_3b78 } else { 0 };
            bit += 1;
        }
        table[byte] = crc;
        byte += 1;
    }
    table
};

/// Accumulates the source's bytes, lowest first, into the destination's low 32 bits and clears the rest.
fn crc32<T: Gpr>(core: &mut Core, op: &Op) -> Exec {
    let bytes = source::<T>(core, op, op.src)?.to_le();
    let start = u32::get(&core.cpu, op.dst);
    let crc = bytes[..T::SIZE].iter().fold(start, |crc, byte| crc >> 8 ^ CRC[usize::from(crc as u8 ^ byte)]);
    u32::set(&mut core.cpu, op.dst, crc);
    Ok(())
}

/// Sets ZF for a zero source and clears the other arithmetic flags.
fn popcnt<T: Gpr>(core: &mut Core, op: &Op) -> Exec {
    let value = source::<T>(core, op, op.src)?.u64();
    T::set(&mut core.cpu, op.dst, T::of(u64::from(value.count_ones())));
    core.cpu.flags.set_arith(if value == 0 { bit::ZF } else { 0 });
    Ok(())
}
