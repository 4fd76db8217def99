//! x87 state in memory: the environments of FNSTENV and FNSAVE in their four layouts (SDM 1, figures 8-9 to 8-12), and the x87 part of
//! the FXSAVE area (SDM 1, table 10-2). The SSE family fills in the rest of that area.

use cpu::X87State;
use softfloat::{Class, F80};

use super::unit::Stack;

/// Operand size of an environment.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Width {
    Bits16,
    Bits32,
}

/// Which of the four layouts.
#[derive(Clone, Copy)]
pub(crate) struct Layout {
    pub width: Width,
    /// Real and virtual-8086 mode: pointers are linear and lie beside the opcode; else selector and offset.
    pub linear_pointers: bool,
}

/// Number of seven 16- or 32-bit fields.
const FIELDS: usize = 7;

/// The environment; only the first 14 bytes count in the 16-bit layouts.
pub(crate) fn save_environment(x87: &X87State, layout: Layout) -> [u8; 28] {
    let control = u32::from(x87.control);
    let status = u32::from(x87.status_word());
    let tags = u32::from(full_tags(x87));
    let (ip, cs) = (x87.instruction_pointer as u32, u32::from(x87.instruction_selector));
    let (dp, ds) = (x87.data_pointer as u32, u32::from(x87.data_selector));
    let opcode = u32::from(x87.opcode);
    let linear_ip = (cs << 4).wrapping_add(ip);
    let linear_dp = (ds << 4).wrapping_add(dp);
    // What the manual draws as reserved reads as ones above 16-bit fields.
    const HIGH: u32 = 0xffff_0000;
    let mut image = [0; 28];
    let fields: [u32; FIELDS] = match (layout.width, layout.linear_pointers) {
        (Width::Bits16, false) => [control, status, tags, ip, cs, dp, ds],
        (Width::Bits16, true) => [control, status, tags, linear_ip, linear_ip >> 4 & 0xf000 | opcode, linear_dp, linear_dp >> 4 & 0xf000],
        (Width::Bits32, false) => [control | HIGH, status | HIGH, tags | HIGH, ip, cs | opcode << 16, dp, ds | HIGH],
        (Width::Bits32, true) => [
            control | HIGH,
            status | HIGH,
            tags | HIGH,
            linear_ip | HIGH,
            linear_ip >> 4 & 0x0fff_f000 | opcode,
            linear_dp | HIGH,
            linear_dp >> 4 & 0x0fff_f000,
        ],
    };
    let size = if layout.width == Width::Bits16 { 2 } else { 4 };
    for (field, target) in fields.iter().zip(image.chunks_exact_mut(size)) {
        target.copy_from_slice(&field.to_le_bytes()[..size]);
    }
    image
}

/// Loads an environment of 14 or 28 bytes.
pub(crate) fn load_environment(x87: &mut X87State, layout: Layout, image: &[u8]) {
    let size = if layout.width == Width::Bits16 { 2 } else { 4 };
    let mut fields = [0u32; FIELDS];
    for (field, source) in fields.iter_mut().zip(image.chunks_exact(size)) {
        let mut bytes = [0; 4];
        bytes[..size].copy_from_slice(source);
        *field = u32::from_le_bytes(bytes);
    }
    let [control, status, tags, ip, cs, dp, ds] = fields;
    if layout.linear_pointers {
        let high = if layout.width == Width::Bits16 { 0xf000 } else { 0x0fff_f000 };
        x87.instruction_pointer = u64::from(ip & 0xffff | (cs & high) << 4);
        x87.data_pointer = u64::from(dp & 0xffff | (ds & high) << 4);
        (x87.instruction_selector, x87.data_selector) = (0, 0);
        x87.opcode = (cs & 0x7ff) as u16;
    } else {
        (x87.instruction_pointer, x87.data_pointer) = (ip.into(), dp.into());
        (x87.instruction_selector, x87.data_selector) = (cs as u16, ds as u16);
        // The 16-bit protected layout has no room for the opcode.
        x87.opcode = if layout.width == Width::Bits16 { 0 } else { (cs >> 16 & 0x7ff) as u16 };
    }
    x87.control = control as u16;
    x87.set_status_word(status as u16);
    x87.set_control(control as u16);
    x87.empty = (0..8).filter(|i| tags >> (2 * i) & 3 == 3).fold(0, |empty, i| empty | 1 << i);
}

/// Two bits for each physical register: valid, zero, special, empty (SDM 1, 8.1.7).
fn full_tags(x87: &X87State) -> u16 {
    (0..8).fold(0, |tags, physical| {
        let tag = match x87.registers[physical].classify() {
            _ if x87.empty >> physical & 1 != 0 => 3,
            Class::Normal => 0,
            Class::Zero => 1,
            _ => 2,
        };
        tags | tag << (2 * physical)
    })
}

/// ST(0) to ST(7), ten bytes each, every `stride` bytes.
pub(crate) fn save_registers(x87: &X87State, image: &mut [u8], stride: usize) {
    for (slot, i) in image.chunks_mut(stride).zip(0..8) {
        slot[..10].copy_from_slice(&x87.st(i).to_bytes());
    }
}

/// The reverse of [`save_registers`], by the TOP already loaded; which registers are empty does not change.
pub(crate) fn load_registers(x87: &mut X87State, image: &[u8], stride: usize) {
    for (slot, i) in image.chunks(stride).zip(0..8) {
        let mut bytes = [0; 10];
        bytes.copy_from_slice(&slot[..10]);
        x87.registers[usize::from(x87.top.wrapping_add(i) & 7)] = F80::from_bytes(bytes);
    }
}

/// Bytes of the FXSAVE area that hold x87 state: a header of 32 and eight registers of 16.
pub(crate) const FXSAVE_BYTES: usize = 160;

/// The x87 part of an FXSAVE or XSAVE area. `wide` is the REX.W form with 64-bit pointers. Bytes 24 to 31 (MXCSR and its mask) are left zero.
pub(crate) fn save_fxsave(x87: &X87State, wide: bool) -> [u8; FXSAVE_BYTES] {
    let mut image = [0; FXSAVE_BYTES];
    image[0..2].copy_from_slice(&x87.control.to_le_bytes());
    image[2..4].copy_from_slice(&x87.status_word().to_le_bytes());
    image[4] = !x87.empty;
    image[6..8].copy_from_slice(&x87.opcode.to_le_bytes());
    for (at, pointer, selector) in [(8, x87.instruction_pointer, x87.instruction_selector), (16, x87.data_pointer, x87.data_selector)] {
        let field = if wide { pointer } else { pointer & 0xffff_ffff | u64::from(selector) << 32 };
        image[at..at + 8].copy_from_slice(&field.to_le_bytes());
    }
    save_registers(x87, &mut image[32..], 16);
    image
}

/// Loads what [`save_fxsave`] saves. Reserved control bits are dropped, ES and B follow from flags and masks: nothing here faults.
pub(crate) fn load_fxsave(x87: &mut X87State, image: &[u8; FXSAVE_BYTES], wide: bool) {
    let word = |at: usize| u16::from_le_bytes([image[at], image[at + 1]]);
    let pointer = |at: usize| {
        let low = u64::from(word(at)) | u64::from(word(at + 2)) << 16;
        let high = u64::from(word(at + 4)) | u64::from(word(at + 6)) << 16;
        if wide { (low | high << 32, 0) } else { (low, high as u16) }
    };
    x87.control = word(0);
    x87.set_status_word(word(2));
    x87.set_control(word(0));
    x87.empty = !image[4];
    x87.opcode = word(6) & 0x7ff;
    (x87.instruction_pointer, x87.instruction_selector) = pointer(8);
    (x87.data_pointer, x87.data_selector) = pointer(16);
    load_registers(x87, &image[32..], 16);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_fxsave_part_round_trips() {
        let mut x87 = X87State::initialized();
        x87.push(F80::ONE);
        x87.push(F80::INDEFINITE);
        (x87.instruction_pointer, x87.instruction_selector) = (0x1234_5678, 0x10);
        (x87.data_pointer, x87.data_selector) = (0x9abc_def0, 0x2b);
        x87.opcode = 0x1f7;
        let image = save_fxsave(&x87, false);
        assert_eq!((image[4], image[3] >> 3 & 7), (0b1100_0000, 6));
        assert_eq!(image[32..42], F80::INDEFINITE.to_bytes());
        let mut loaded = X87State::default();
        load_fxsave(&mut loaded, &image, false);
        assert_eq!(save_fxsave(&loaded, false), image);
        assert_eq!(loaded.data_selector, 0x2b);
    }

    #[test]
    fn the_wide_form_has_whole_pointers() {
        let x87 = X87State { instruction_pointer: 0xffff_8000_1234_5678, data_pointer: 0x7fff_0000_1111, ..X87State::initialized() };
        let image = save_fxsave(&x87, true);
        let mut loaded = X87State::default();
        load_fxsave(&mut loaded, &image, true);
        assert_eq!((loaded.instruction_pointer, loaded.data_pointer), (x87.instruction_pointer, x87.data_pointer));
    }

    #[test]
    fn loading_derives_the_error_summary() {
        let mut image = save_fxsave(&X87State::initialized(), true);
        (image[0], image[2]) = (0x7e, 0x01);
        let mut loaded = X87State::default();
        load_fxsave(&mut loaded, &image, true);
        assert_eq!(loaded.status, 0x8081);
    }
}
