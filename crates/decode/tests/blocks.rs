//! Where blocks begin and end, and what a record says of its instruction.

use cpu::{RIP, ZERO, segment};
use decode::op::{HIGH_BYTE, prefix};
use decode::{Block, BlockKey, Op, Selected, form};
use iced_x86::{Instruction, Mnemonic};

/// Stands for handlers: the mnemonic. HLT ends its block, CPUID is alone in its own.
fn select(instruction: &Instruction) -> Selected<Mnemonic> {
    let mnemonic = instruction.mnemonic();
    Selected { handler: mnemonic, ends_block: mnemonic == Mnemonic::Hlt, alone: mnemonic == Mnemonic::Cpuid }
}

fn block(code_bits: u8, bytes: &[u8]) -> Block<Mnemonic> {
    form(BlockKey { ram_offset: 0x1000, code_bits }, bytes, None, select).expect("the first instruction fits")
}

fn op(code_bits: u8, bytes: &[u8]) -> Op<Mnemonic> {
    block(code_bits, bytes).ops[0]
}

fn mnemonics(block: &Block<Mnemonic>) -> Vec<Mnemonic> {
    block.ops.iter().map(|op| op.handler).collect()
}

const NOP: u8 = 0x90;
const HLT: u8 = 0xf4;
const CPUID: [u8; 2] = [0x0f, 0xa2];

#[test]
fn a_block_ends_with_a_branch() {
    let block = block(64, &[NOP, 0x48, 0xff, 0xc0, 0xeb, 0x10, NOP, NOP]);
    assert_eq!(mnemonics(&block), [Mnemonic::Nop, Mnemonic::Inc, Mnemonic::Jmp]);
    assert_eq!(block.ops.iter().map(|op| (op.position, op.end, op.length)).collect::<Vec<_>>(), [(0, 1, 1), (1, 4, 3), (2, 6, 2)]);
    assert_eq!((block.length, block.second_page, block.ends_stretch, block.valid.get()), (6, None, false, true));
}

#[test]
fn a_block_ends_where_the_engine_says() {
    let ended = block(64, &[NOP, HLT, NOP]);
    assert_eq!(mnemonics(&ended), [Mnemonic::Nop, Mnemonic::Hlt]);
    assert!(ended.ends_stretch);
    // An instruction of its own block neither follows others nor is followed.
    let before = block(64, &[NOP, CPUID[0], CPUID[1], NOP]);
    assert_eq!((mnemonics(&before), before.length), (vec![Mnemonic::Nop], 1));
    assert_eq!(mnemonics(&block(64, &[CPUID[0], CPUID[1], NOP])), [Mnemonic::Cpuid]);
}

#[test]
fn a_block_has_at_most_48_instructions() {
    let block = block(64, &[NOP; 100]);
    assert_eq!((block.ops.len(), block.length), (48, 48));
}

#[test]
fn an_instruction_that_does_not_fit_is_left_out() {
    // NOP; MOV EAX, imm32 cut off after three bytes.
    let block = block(64, &[NOP, 0xb8, 1, 2]);
    assert_eq!((mnemonics(&block), block.length), (vec![Mnemonic::Nop], 1));
    let key = BlockKey { ram_offset: 0x1ffd, code_bits: 64 };
    assert!(form(key, &[0xb8, 1, 2], None, select).is_none());
    let crossing = form(key, &[0xb8, 1, 2, 3, 4, NOP, NOP, NOP], Some(3), select).expect("all of it is there");
    assert_eq!((mnemonics(&crossing), crossing.length), (vec![Mnemonic::Mov], 5));
    assert!(crossing.second_page.is_some());
    assert_eq!(crossing.ops[0].imm, 0x0403_0201);
}

#[test]
fn undecodable_bytes_are_one_record() {
    let invalid = block(64, &[0x0f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff]);
    assert_eq!(invalid.ops.len(), 1);
    // LOCK on an instruction that takes none.
    assert_eq!(op(64, &[0xf0, NOP, NOP, NOP]).handler, Mnemonic::INVALID);
    // Prefixes without end.
    let endless = block(64, &[0x66; 40]);
    assert_eq!((mnemonics(&endless), endless.length), (vec![Mnemonic::INVALID], 15));
    // What the mode does not have.
    assert_eq!(op(64, &[0x06, NOP]).handler, Mnemonic::INVALID);
    assert_eq!(op(32, &[0x06, NOP]).handler, Mnemonic::Push);
}

#[test]
fn registers_are_numbered_by_encoding() {
    // MOV AH, BL; MOV R9B, SIL; SHLD with three registers' worth of operands.
    let high = op(64, &[0x88, 0xdc]);
    assert_eq!((high.dst, high.src), (HIGH_BYTE, 3));
    let low = op(64, &[0x41, 0x88, 0xf1]);
    assert_eq!((low.dst, low.src), (9, 6));
    let sil = op(64, &[0x40, 0x88, 0xf1]);
    assert_eq!((sil.dst, sil.src), (1, 6), "REX turns DH into SIL");
    let shld = op(64, &[0x0f, 0xa5, 0xd8]);
    assert_eq!((shld.dst, shld.src, shld.third), (0, 3, 1));
}

#[test]
fn memory_operands() {
    // MOV EAX, [RBX + RSI*4 - 8].
    let scaled = op(64, &[0x8b, 0x44, 0xb3, 0xf8]);
    assert_eq!((scaled.base, scaled.index, scaled.scale, scaled.disp), (3, 6, 2, -8));
    assert_eq!((scaled.seg as usize, scaled.address_size), (segment::FLAT, 2));
    assert!(scaled.has(prefix::MEMORY));
    // A stack-based address has the stack's segment; FS overrides.
    assert_eq!(op(64, &[0x8b, 0x45, 0x00]).seg as usize, segment::FLAT_STACK);
    assert_eq!(op(64, &[0x64, 0x8b, 0x45, 0x00]).seg as usize, segment::FS);
    assert_eq!(op(64, &[0x2e, 0x8b, 0x03]).seg as usize, segment::FLAT, "CS does not count in 64-bit code");
    assert_eq!(op(32, &[0x8b, 0x45, 0x00]).seg as usize, segment::SS);
    assert_eq!(op(32, &[0x2e, 0x8b, 0x03]).seg as usize, segment::CS);
    // 16-bit: [BX + DI + 0x1234], and [0x8000] whose offset is positive.
    let sixteen = op(16, &[0x8b, 0x81, 0x34, 0x12]);
    assert_eq!((sixteen.base, sixteen.index, sixteen.disp as u16, sixteen.address_mask()), (3, 7, 0x1234, 0xffff));
    let absolute = op(16, &[0xa1, 0x00, 0x80]);
    assert_eq!((absolute.base, absolute.index, absolute.disp as u64 & absolute.address_mask()), (ZERO, ZERO, 0x8000));
    // An address-size prefix.
    assert_eq!(op(64, &[0x67, 0x8b, 0x03]).address_mask(), 0xffff_ffff);
    assert_eq!(op(32, &[0x67, 0x8b, 0x07]).address_mask(), 0xffff);
    // A 64-bit offset does not fit the displacement.
    assert_eq!(op(64, &[0xa0, 1, 2, 3, 4, 5, 6, 7, 8]).imm, 0x0807_0605_0403_0201);
}

#[test]
fn records_do_not_depend_on_where_they_are() {
    // NOP; LEA RAX, [RIP + 0x10]; NOP; JMP -4: both displacements count from the next instruction.
    let block = block(64, &[NOP, 0x48, 0x8d, 0x05, 0x10, 0, 0, 0, NOP, 0xeb, 0xfc]);
    assert_eq!((block.ops[1].base, block.ops[1].disp), (RIP, 0x10));
    assert_eq!(block.ops[3].imm as i64, -4);
    // Without RIP-relative addressing the same holds for branches of every size.
    assert_eq!(op(16, &[0xe9, 0xfe, 0xff]).imm as i64, -2);
    assert_eq!(op(32, &[0xe8, 0, 0, 0, 0x80]).imm as i64, i64::from(i32::MIN));
}

#[test]
fn immediates_are_sign_extended() {
    assert_eq!(op(64, &[0x48, 0x83, 0xc0, 0xff]).imm, u64::MAX);
    assert_eq!(op(64, &[0x48, 0xc7, 0xc0, 0, 0, 0, 0x80]).imm, 0xffff_ffff_8000_0000);
    assert_eq!(op(64, &[0x48, 0xb8, 1, 0, 0, 0, 0, 0, 0, 0x80]).imm, 0x8000_0000_0000_0001);
    let enter = op(64, &[0xc8, 0x34, 0x12, 0x05]);
    assert_eq!((enter.imm & 0xffff, enter.third), (0x1234, 5));
    assert_eq!(op(32, &[0xea, 0x78, 0x56, 0x34, 0x12, 0xcd, 0xab]).imm, 0xabcd_1234_5678);
}

#[test]
fn string_operands_and_prefixes() {
    let movs = op(64, &[0xf3, 0x64, 0xa4]);
    assert_eq!((movs.seg as usize, movs.address_size), (segment::FS, 2));
    assert!(movs.has(prefix::REP) && !movs.has(prefix::REPNE));
    let scas = op(32, &[0xf2, 0x67, 0xae]);
    assert!(scas.has(prefix::REPNE));
    assert_eq!(scas.address_mask(), 0xffff);
    assert!(op(64, &[0xf0, 0x01, 0x03]).has(prefix::LOCK));
}
