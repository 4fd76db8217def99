//! System instructions (SDM 2A and 2B): LGDT LIDT SGDT SIDT, INVLPG INVD WBINVD, HLT, CPUID, RDTSC RDTSCP RDPMC,
//! RDMSR WRMSR, SWAPGS, RDFSBASE and its kin, XGETBV XSETBV. Control and debug registers are in `control_register`, the
//! model-specific registers themselves in `msr`.

use cpu::control::cr4;
use cpu::model::CpuidState;
use cpu::{Fault, Mode, TableRegister, segment};
use decode::Selected;
use iced_x86::{Code, Instruction, Mnemonic};

use crate::core::{Core, Exec};
use crate::operand::Gpr;
use crate::tables::is_canonical;
use crate::{Handler, Op, ends, plain};

const RAX: usize = 0;
const RCX: usize = 1;
const RDX: usize = 2;
const RBX: usize = 3;

pub(crate) fn select(instruction: &Instruction) -> Option<Selected<Handler>> {
    Some(match instruction.mnemonic() {
        Mnemonic::Lgdt => plain(match instruction.code() {
            Code::Lgdt_m1632_16 => lgdt::<Base24>,
            Code::Lgdt_m1632 => lgdt::<Base32>,
            _ => lgdt::<Base64>,
        }),
        Mnemonic::Lidt => plain(match instruction.code() {
            Code::Lidt_m1632_16 => lidt::<Base24>,
            Code::Lidt_m1632 => lidt::<Base32>,
            _ => lidt::<Base64>,
        }),
        Mnemonic::Sgdt if instruction.code() == Code::Sgdt_m1664 => plain(sgdt::<u64>),
        Mnemonic::Sgdt => plain(sgdt::<u32>),
        Mnemonic::Sidt if instruction.code() == Code::Sidt_m1664 => plain(sidt::<u64>),
        Mnemonic::Sidt => plain(sidt::<u32>),
        Mnemonic::Invlpg => ends(invlpg),
        Mnemonic::Invd | Mnemonic::Wbinvd | Mnemonic::Wbnoinvd => plain(wbinvd),
        Mnemonic::Hlt => ends(hlt),
        Mnemonic::Cpuid => plain(cpuid),
        Mnemonic::Rdtsc => plain(rdtsc),
        Mnemonic::Rdtscp => plain(rdtscp),
        Mnemonic::Rdpmc => plain(rdpmc),
        Mnemonic::Rdmsr => plain(rdmsr),
        Mnemonic::Wrmsr => ends(wrmsr),
        Mnemonic::Swapgs => plain(swapgs),
        Mnemonic::Rdfsbase if instruction.code() == Code::Rdfsbase_r64 => plain(rdfsbase::<u64>),
        Mnemonic::Rdfsbase => plain(rdfsbase::<u32>),
        Mnemonic::Rdgsbase if instruction.code() == Code::Rdgsbase_r64 => plain(rdgsbase::<u64>),
        Mnemonic::Rdgsbase => plain(rdgsbase::<u32>),
        Mnemonic::Wrfsbase if instruction.code() == Code::Wrfsbase_r64 => plain(wrfsbase::<u64>),
        Mnemonic::Wrfsbase => plain(wrfsbase::<u32>),
        Mnemonic::Wrgsbase if instruction.code() == Code::Wrgsbase_r64 => plain(wrgsbase::<u64>),
        Mnemonic::Wrgsbase => plain(wrgsbase::<u32>),
        Mnemonic::Xgetbv => plain(xgetbv),
        Mnemonic::Xsetbv => ends(xsetbv),
        _ => return None,
    })
}

/// Writes EDX:EAX as 32-bit registers.
fn set_edx_eax(core: &mut Core, value: u64) {
    core.cpu.regs[RAX] = value & 0xffff_ffff;
    core.cpu.regs[RDX] = value >> 32;
}

fn edx_eax(core: &Core) -> u64 {
    core.cpu.regs[RDX] << 32 | core.cpu.regs[RAX] & 0xffff_ffff
}

/// How much of the base LGDT and LIDT load.
trait Base {
    fn read(core: &mut Core, seg: u8, offset: u64) -> Exec<u64>;
}
struct Base24;
impl Base for Base24 {
    fn read(core: &mut Core, seg: u8, offset: u64) -> Exec<u64> {
        Ok(u64::from(core.read::<u32>(seg, offset)?) & 0x00ff_ffff)
    }
}
struct Base32;
impl Base for Base32 {
    fn read(core: &mut Core, seg: u8, offset: u64) -> Exec<u64> {
        Ok(u64::from(core.read::<u32>(seg, offset)?))
    }
}
struct Base64;
impl Base for Base64 {
    fn read(core: &mut Core, seg: u8, offset: u64) -> Exec<u64> {
        core.read(seg, offset)
    }
}

fn read_table<B: Base>(core: &mut Core, op: &Op) -> Exec<TableRegister> {
    core.require_cpl0()?;
    let at = core.effective_address(op);
    let limit = core.read::<u16>(op.seg, at)?;
    let base = B::read(core, op.seg, at.wrapping_add(2) & op.address_mask())?;
    core.fault_if(core.in_64_bit_mode() && !is_canonical(base), Fault::GP0)?;
    Ok(TableRegister { base, limit })
}

fn lgdt<B: Base>(core: &mut Core, op: &Op) -> Exec {
    core.cpu.gdtr = read_table::<B>(core, op)?;
    Ok(())
}

fn lidt<B: Base>(core: &mut Core, op: &Op) -> Exec {
    core.cpu.idtr = read_table::<B>(core, op)?;
    Ok(())
}

fn sgdt<T: Gpr>(core: &mut Core, op: &Op) -> Exec {
    store_table::<T>(core, op, core.cpu.gdtr)
}

fn sidt<T: Gpr>(core: &mut Core, op: &Op) -> Exec {
    store_table::<T>(core, op, core.cpu.idtr)
}

/// Both parts are probed before the first is written. With a 16-bit operand, too, all 32 bits of the base are stored.
fn store_table<T: Gpr>(core: &mut Core, op: &Op, table: TableRegister) -> Exec {
    core.check_umip()?;
    let at = core.effective_address(op);
    let base_at = at.wrapping_add(2) & op.address_mask();
    core.probe(op.seg, base_at, T::SIZE)?;
    core.write(op.seg, at, table.limit)?;
    core.write(op.seg, base_at, T::of(table.base))
}

/// The operand's segment limit is not checked; an address that is not canonical is ignored.
fn invlpg(core: &mut Core, op: &Op) -> Exec {
    core.require_cpl0()?;
    let base = core.cpu.seg[op.seg as usize & 7].base;
    let linear = base.wrapping_add(core.effective_address(op)) & core.cpu.linear_mask;
    core.cpu.tlb.flush_page(linear);
    Ok(())
}

/// INVD, WBINVD: there is no cache to empty.
fn wbinvd(core: &mut Core, _: &Op) -> Exec {
    core.require_cpl0()
}

fn hlt(core: &mut Core, _: &Op) -> Exec {
    core.require_cpl0()?;
    core.attention.halted = true;
    core.leave_block();
    Ok(())
}

fn cpuid(core: &mut Core, _: &Op) -> Exec {
    let state = CpuidState { apic_id: core.lapic.config().apic_id, logical_cpus: core.cpus, osxsave: core.cpu.cr4 & cr4::OSXSAVE != 0 };
    let result = core.cpu.model.cpuid(core.cpu.regs[RAX] as u32, core.cpu.regs[RCX] as u32, state);
    core.cpu.regs[RAX] = u64::from(result.eax);
    core.cpu.regs[RBX] = u64::from(result.ebx);
    core.cpu.regs[RCX] = u64::from(result.ecx);
    core.cpu.regs[RDX] = u64::from(result.edx);
    Ok(())
}

fn rdtsc(core: &mut Core, _: &Op) -> Exec {
    core.fault_if(core.cpu.cr4 & cr4::TSD != 0 && core.cpu.cpl != 0, Fault::GP0)?;
    let tsc = core.now().tsc;
    set_edx_eax(core, tsc);
    Ok(())
}

fn rdtscp(core: &mut Core, op: &Op) -> Exec {
    core.fault_if(!core.cpu.model.has("rdtscp"), Fault::UD)?;
    rdtsc(core, op)?;
    core.cpu.regs[RCX] = core.cpu.msr.tsc_aux & 0xffff_ffff;
    Ok(())
}

/// No model has performance counters.
fn rdpmc(core: &mut Core, _: &Op) -> Exec {
    Err(core.raise(Fault::GP0))
}

fn rdmsr(core: &mut Core, _: &Op) -> Exec {
    core.require_cpl0()?;
    let value = core.read_msr(core.cpu.regs[RCX] as u32)?;
    set_edx_eax(core, value);
    Ok(())
}

fn wrmsr(core: &mut Core, _: &Op) -> Exec {
    core.require_cpl0()?;
    let value = edx_eax(core);
    core.write_msr(core.cpu.regs[RCX] as u32, value)?;
    core.leave_block();
    Ok(())
}

fn swapgs(core: &mut Core, _: &Op) -> Exec {
    core.fault_if(!core.in_64_bit_mode(), Fault::UD)?;
    core.require_cpl0()?;
    std::mem::swap(&mut core.cpu.seg[segment::GS].base, &mut core.cpu.msr.kernel_gs_base);
    Ok(())
}

fn check_fsgsbase(core: &mut Core) -> Exec {
    core.fault_if(!core.in_64_bit_mode() || core.cpu.cr4 & cr4::FSGSBASE == 0, Fault::UD)
}

fn read_base<T: Gpr>(core: &mut Core, op: &Op, index: usize) -> Exec {
    check_fsgsbase(core)?;
    let base = core.cpu.seg[index].base;
    T::set(&mut core.cpu, op.dst, T::of(base));
    Ok(())
}

fn write_base<T: Gpr>(core: &mut Core, op: &Op, index: usize) -> Exec {
    check_fsgsbase(core)?;
    let base = T::get(&core.cpu, op.dst).u64();
    core.fault_if(!is_canonical(base), Fault::GP0)?;
    core.cpu.seg[index].base = base;
    Ok(())
}

fn rdfsbase<T: Gpr>(core: &mut Core, op: &Op) -> Exec {
    read_base::<T>(core, op, segment::FS)
}

fn rdgsbase<T: Gpr>(core: &mut Core, op: &Op) -> Exec {
    read_base::<T>(core, op, segment::GS)
}

fn wrfsbase<T: Gpr>(core: &mut Core, op: &Op) -> Exec {
    write_base::<T>(core, op, segment::FS)
}

fn wrgsbase<T: Gpr>(core: &mut Core, op: &Op) -> Exec {
    write_base::<T>(core, op, segment::GS)
}

/// Only XCR0 exists.
fn xgetbv(core: &mut Core, _: &Op) -> Exec {
    core.fault_if(core.cpu.cr4 & cr4::OSXSAVE == 0, Fault::UD)?;
    core.fault_if(core.cpu.regs[RCX] as u32 != 0, Fault::GP0)?;
    let value = core.cpu.xcr0;
    set_edx_eax(core, value);
    Ok(())
}

/// x87 state cannot be left out, and AVX state needs SSE state.
fn xsetbv(core: &mut Core, _: &Op) -> Exec {
    core.fault_if(core.cpu.cr4 & cr4::OSXSAVE == 0, Fault::UD)?;
    let value = edx_eax(core);
    let leaf = core.cpu.model.cpuid(0xd, 0, CpuidState::default());
    let supported = u64::from(leaf.edx) << 32 | u64::from(leaf.eax);
    let valid = value & !supported == 0 && value & 1 != 0 && value & 6 != 4;
    let privileged = core.cpu.cpl == 0 && core.cpu.mode != Mode::Virtual8086;
    core.fault_if(!privileged || core.cpu.regs[RCX] as u32 != 0 || !valid, Fault::GP0)?;
    core.cpu.xcr0 = value;
    Ok(())
}
