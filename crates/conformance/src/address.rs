//! Where memory operands lie, and the addressing forms that reach them: registers get the values that make the address come out.

use iced_x86::{OpCodeOperandKind as Kind, OpKind, Register};

use crate::arena::{self, DATA, HOLE, MIXED, PAGE, STACK};
use crate::generate::{Draft, gpr};
use crate::rng::Rng;
use crate::values;

/// The base of FS or GS: zero, small, or far away, always canonical.
pub fn segment_base(rng: &mut Rng) -> u64 {
    match rng.below(4) {
        0 => 0,
        1 => rng.below(1 << 20),
        2 => rng.below(1 << 47),
        _ => (rng.next_u64() as i64 >> 17) as u64,
    }
}

/// A place for `size` bytes: mostly in writable memory, else on the edges that fault or nearly do. `aligned` asks for natural
/// alignment always (locked accesses: a split one may be trapped by the host's kernel).
pub fn place(rng: &mut Rng, size: usize, aligned: bool) -> u64 {
    let size = size as u64;
    let part = |rng: &mut Rng| rng.below(size.max(2) - 1) + 1;
    let place = match rng.below(100) {
        0..70 => DATA.start + rng.below(DATA.end - DATA.start - size + 1),
        70..76 => DATA.end - size,
        76..80 => DATA.end - part(rng),
        80..84 => DATA.start - part(rng),
        84..87 => MIXED.start + rng.below(PAGE - size + 1),
        87..94 => MIXED.start + PAGE * rng.below(4) - rng.below(size + 1),
        94..97 => HOLE + rng.below(PAGE - size + 1),
        _ => return rng.next_u64() >> 1 | 1 << 62,
    };
    let natural = size.next_power_of_two().min(64);
    let align = match size {
        _ if aligned => natural,
        // Most SSE operands fault unless they are aligned; XSAVE wants 64.
        8 | 16 | 512 | 576 if rng.chance(75) => natural,
        _ if rng.chance(30) => natural,
        _ => 1,
    };
    place & !(align - 1)
}

/// A stack pointer with room for `size` bytes on either side, or at the stack's edges.
pub fn stack_pointer(rng: &mut Rng, size: u64) -> u64 {
    match rng.below(20) {
        0 => STACK.start + rng.below(size + 1),
        1 => STACK.end - rng.below(size + 1),
        2 => STACK.start + PAGE + rng.below(2 * size) - size,
        3 => HOLE + rng.below(PAGE),
        4 => rng.next_u64() >> 1 | 1 << 62,
        _ => (STACK.start + 256 + rng.below(2 * PAGE - 512)) & if rng.chance(70) { !7 } else { !0 },
    }
}

/// An operand that ModRM addresses.
pub fn general(draft: &mut Draft, index: u32) -> Option<()> {
    draft.instruction.set_op_kind(index, OpKind::Memory);
    if draft.address_bits == 16 {
        return sixteen_bit(draft);
    }
    let target = target(draft);
    let mask = draft.address_mask();
    let wanted = target.wrapping_sub(draft.segment_base()) & mask;
    match draft.rng.below(20) {
        0..2 if draft.form.bits == 64 => rip_relative(draft, wanted),
        2 => no_register(draft, wanted),
        3..5 => indexed(draft, None, wanted, mask),
        5..12 => {
            let base = draft.any_register() as usize;
            indexed(draft, Some(base), wanted, mask)
        }
        _ => based(draft, wanted, mask),
    }
}

/// The target that a family has settled, or a new one.
fn target(draft: &mut Draft) -> u64 {
    if let Some(target) = draft.target {
        return target;
    }
    let locks = draft.form.prefix == crate::form::Prefix::Lock || draft.form.code.mnemonic() == iced_x86::Mnemonic::Xchg;
    // CMPXCHG16B faults before it locks when it is misaligned.
    let aligned = locks && !(draft.size == 16 && draft.rng.chance(10));
    let mut place = place(draft.rng, draft.size, aligned);
    if draft.address_bits == 32 && draft.segment.is_none() {
        place &= 0xffff_ffff;
    }
    if draft.address_bits == 32 && draft.segment.is_some() {
        // A 32-bit offset reaches only so far from the base.
        let base = place.wrapping_sub(draft.rng.next_u64() & 0xffff_ffff);
        let base = if (base as i64) << 16 >> 16 == base as i64 { base } else { place & 0x7fff_ffff_f000 };
        match draft.segment {
            Some(Register::FS) => draft.state.fs_base = base,
            _ => draft.state.gs_base = base,
        }
        place = base.wrapping_add(place.wrapping_sub(base) & 0xffff_ffff);
    }
    draft.target = Some(place);
    place
}

fn address_register(draft: &Draft, number: usize) -> Register {
    let first = match draft.address_bits {
        64 => Register::RAX,
        32 => Register::EAX,
        _ => Register::AX,
    };
    first + number as u32
}

/// Sets a register so that its low part under `mask` is `value`.
fn settle(draft: &mut Draft, number: usize, value: u64, mask: u64) {
    let garbage = draft.rng.next_u64() & !mask;
    draft.state.gpr[number] = value & mask | garbage;
    draft.in_address |= 1 << number;
}

fn set_displacement(draft: &mut Draft, displacement: i64, size: u32) {
    draft.instruction.set_memory_displacement64(displacement as u64);
    draft.instruction.set_memory_displ_size(size.min(draft.address_bits / 8));
}

/// A displacement and the size it asks for: none, 8 bits, 32 bits.
fn displacement(rng: &mut Rng) -> (i64, u32) {
    match rng.below(3) {
        0 => (0, 0),
        1 => (rng.between(-128, 127), 1),
        _ => (i64::from(values::integer(rng, 32) as u32 as i32), 8),
    }
}

fn rip_relative(draft: &mut Draft, wanted: u64) -> Option<()> {
    if draft.segment.is_none() && (wanted as i64).checked_sub(arena::CODE as i64).is_none_or(|distance| i32::try_from(distance).is_err()) {
        return None;
    }
    draft.instruction.set_memory_base(if draft.narrow() { Register::EIP } else { Register::RIP });
    set_displacement(draft, wanted as i64, 8);
    Some(())
}

fn no_register(draft: &mut Draft, wanted: u64) -> Option<()> {
    let reachable = if draft.address_bits == 32 { wanted <= u64::from(u32::MAX) } else { i32::try_from(wanted as i64).is_ok() };
    set_displacement(draft, wanted as i64, 8);
    reachable.then_some(())
}

/// The forms of 16-bit addressing (SDM 2A, table 2-1). They reach only the first 64 KiB, where nothing is: the address shows
/// in the fault, or in what LEA loads.
fn sixteen_bit(draft: &mut Draft) -> Option<()> {
    use Register as R;
    let (base, index) = draft.rng.pick(&[
        (R::BX, R::SI),
        (R::BX, R::DI),
        (R::BP, R::SI),
        (R::BP, R::DI),
        (R::SI, R::None),
        (R::DI, R::None),
        (R::BP, R::None),
        (R::BX, R::None),
        (R::None, R::None),
    ]);
    let displacement = match draft.rng.below(3) {
        0 => 0,
        1 => draft.rng.between(-128, 127),
        _ => draft.rng.between(-0x8000, 0x7fff),
    };
    let mut address = displacement as u64;
    for register in [base, index].into_iter().filter(|register| *register != R::None) {
        address = address.wrapping_add(draft.state.gpr[register.number()]);
        draft.in_address |= 1 << register.number();
    }
    draft.target = Some(address & 0xffff);
    draft.instruction.set_memory_base(base);
    draft.instruction.set_memory_index(index);
    let size = match displacement {
        0 if base != R::None => 0,
        -128..=127 if base != R::None => 1,
        _ => 2,
    };
    set_displacement(draft, displacement & 0xffff, size);
    Some(())
}

/// `[base + displacement]`.
fn based(draft: &mut Draft, wanted: u64, mask: u64) -> Option<()> {
    let base = draft.any_register() as usize;
    let (mut displacement, mut size) = displacement(draft.rng);
    if draft.pinned >> base & 1 != 0 {
        displacement = fitting(wanted.wrapping_sub(draft.state.gpr[base]), mask)?;
        size = 8;
    } else {
        settle(draft, base, wanted.wrapping_sub(displacement as u64), mask);
    }
    draft.in_address |= 1 << base;
    let register = address_register(draft, base);
    draft.instruction.set_memory_base(register);
    set_displacement(draft, displacement, size);
    Some(())
}

/// `[base + index * scale + displacement]`, or without the base.
fn indexed(draft: &mut Draft, base: Option<usize>, wanted: u64, mask: u64) -> Option<()> {
    let index = draft.any_register() as usize;
    if index == gpr::RSP {
        // Its number means no index.
        return None;
    }
    let scale = 1u64 << draft.rng.below(4);
    let (mut displacement, size) = displacement(draft.rng);
    let is_pinned = |draft: &Draft, number: usize| draft.pinned >> number & 1 != 0;
    let value = |draft: &Draft, number: usize| draft.state.gpr[number] & mask;
    match base {
        Some(base) if base == index && !is_pinned(draft, base) => {
            let left = wanted.wrapping_sub(displacement as u64) & mask;
            displacement = displacement.wrapping_add((left % (scale + 1)) as i64);
            settle(draft, base, left / (scale + 1), mask);
        }
        Some(base) if base != index && !is_pinned(draft, base) => {
            let rest = value(draft, index).wrapping_mul(scale).wrapping_add(displacement as u64);
            settle(draft, base, wanted.wrapping_sub(rest), mask);
        }
        _ if !is_pinned(draft, index) => {
            let rest = base.map_or(0, |base| value(draft, base)).wrapping_add(displacement as u64);
            let left = wanted.wrapping_sub(rest) & mask;
            displacement = displacement.wrapping_add((left % scale) as i64);
            settle(draft, index, left / scale, mask);
        }
        _ => {
            let rest = base.map_or(0, |base| value(draft, base)).wrapping_add(value(draft, index).wrapping_mul(scale));
            displacement = fitting(wanted.wrapping_sub(rest), mask)?;
        }
    }
    i32::try_from(displacement).ok()?;
    let fits_size = size == 8 || i8::try_from(displacement).is_ok() && (size == 1 || displacement == 0);
    for number in base.into_iter().chain([index]) {
        draft.in_address |= 1 << number;
    }
    if let Some(base) = base {
        let register = address_register(draft, base);
        draft.instruction.set_memory_base(register);
    }
    let register = address_register(draft, index);
    draft.instruction.set_memory_index(register);
    draft.instruction.set_memory_index_scale(scale as u32);
    let size = if fits_size && base.is_some() { size } else { 8 };
    set_displacement(draft, displacement, size);
    Some(())
}

/// A displacement that is sign-extended from 32 bits to give `distance` under `mask`.
fn fitting(distance: u64, mask: u64) -> Option<i64> {
    let displacement = i64::from(distance as u32 as i32);
    (displacement as u64 & mask == distance & mask).then_some(displacement)
}

/// MOV's absolute address without ModRM.
pub fn absolute(draft: &mut Draft, index: u32) -> Option<()> {
    let target = target(draft);
    let wanted = target.wrapping_sub(draft.segment_base()) & draft.address_mask();
    draft.target = Some(wanted.wrapping_add(draft.segment_base()));
    draft.instruction.set_op_kind(index, OpKind::Memory);
    set_displacement(draft, wanted as i64, 8);
    Some(())
}

/// An operand at RSI or RDI, which the family has pinned.
pub fn string(draft: &mut Draft, index: u32, kind: Kind) -> Option<()> {
    let kind = match (kind, draft.address_bits) {
        (Kind::seg_rSI, 64) => OpKind::MemorySegRSI,
        (Kind::seg_rSI, 32) => OpKind::MemorySegESI,
        (Kind::seg_rSI, _) => OpKind::MemorySegSI,
        (Kind::es_rDI, 64) => OpKind::MemoryESRDI,
        (Kind::es_rDI, 32) => OpKind::MemoryESEDI,
        (Kind::es_rDI, _) => OpKind::MemoryESDI,
        (_, 64) => OpKind::MemorySegRDI,
        (_, 32) => OpKind::MemorySegEDI,
        (_, _) => OpKind::MemorySegDI,
    };
    draft.instruction.set_op_kind(index, kind);
    Some(())
}

/// XLAT's `[rBX + AL]`.
pub fn table(draft: &mut Draft, index: u32) -> Option<()> {
    let target = target(draft);
    let mask = draft.address_mask();
    let al = draft.state.gpr[gpr::RAX] & 0xff;
    let wanted = target.wrapping_sub(draft.segment_base()).wrapping_sub(al);
    settle(draft, gpr::RBX, wanted, mask);
    draft.instruction.set_op_kind(index, OpKind::Memory);
    let base = address_register(draft, gpr::RBX);
    draft.instruction.set_memory_base(base);
    draft.instruction.set_memory_index(Register::AL);
    Some(())
}
