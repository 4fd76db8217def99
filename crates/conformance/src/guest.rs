//! The interpreter: the arena mapped by 4-level paging at the same linear addresses, 64-bit or 32-bit code at CPL 3, and one
//! instruction run by its handler (a repeated one until it is done).

use std::rc::Rc;

use cpu::control::{cr0, cr4, efer};
use cpu::{Cpu, CpuModel, GuestClock, RIP, Segment, segment};
use decode::{BlockKey, form};
use guest_mem::{GuestMem, Kind, PAGE_SIZE};
use interp::{Core, Stop};
use lapic::{Config, LocalApic};

use crate::arena::{self, Access};
use crate::case::Case;
use crate::state::{End, Outcome, State, X87};

/// The model under test.
pub const MODEL: &str = "x86-64-v2@1";
/// Physical addresses: the arena from 0, then one paging structure of each level.
const TABLES: u64 = 0x1_0000;
const RAM: usize = 0x1_4000;
/// Iterations given to a repeated instruction at a time: few, so that it is interrupted now and then.
const REP_BUDGET: u32 = 5;

const _: () = assert!(arena::SIZE as u64 <= TABLES);

/// One processor of the model.
pub struct Guest {
    core: Core,
    mem: Rc<GuestMem>,
}

impl Guest {
    /// A processor in 64-bit user mode with the arena mapped.
    pub fn new() -> Self {
        let mem = Rc::new(GuestMem::new(RAM).expect("80 KiB of guest RAM can be reserved"));
        mem.set_mapping(0, RAM as u64, Kind::Ram, 0).expect("RAM is as large as its mapping");
        let model = CpuModel::new(MODEL, "GenuineIntel", &[]).expect("the model under test exists");
        let apic = LocalApic::new(Config { apic_id: 0, bootstrap: true, timer_hz: 25_000_000, physical_address_bits: 46 });
        let mut core = Core::new(Cpu::new(model), Rc::clone(&mem), apic, Rc::new(GuestClock::default()), 1);
        build_tables(&mem);
        let cpu = &mut core.cpu;
        cpu.cr0 = cr0::PE | cr0::PG | cr0::WP | cr0::NE | cr0::MP | cr0::ET | cr0::AM;
        cpu.cr4 = cr4::PAE | cr4::PGE | cr4::OSFXSR | cr4::OSXMMEXCPT | cr4::OSXSAVE | cr4::FSGSBASE | cr4::SMEP | cr4::SMAP | cr4::UMIP;
        cpu.cr3 = TABLES;
        cpu.efer = efer::LME | efer::LMA | efer::NXE | efer::SCE;
        cpu.xcr0 = 3;
        // A task state without an I/O permission bitmap.
        cpu.tr = Segment::new(0x40, 0, 0, 0x8b);
        Self { core, mem }
    }

    /// Runs one case on `memory`, the arena's contents before it.
    pub fn run(&mut self, case: &Case, memory: &[u8]) -> Outcome {
        assert!(self.mem.write_bytes(0, memory), "the arena is RAM");
        load_segments(&mut self.core.cpu, case.bits);
        load(&mut self.core.cpu, &case.state);
        let start = case.state.rip;
        let offset = arena::offset(start, 1).expect("code lies in the arena");
        let bytes = &memory[offset..(offset | (PAGE_SIZE - 1)) + 1];
        let block = form(BlockKey { ram_offset: offset, code_bits: case.bits as u8 }, bytes, None, interp::select)
            .expect("the instruction fits in its page");
        let op = &block.ops[0];
        let core = &mut self.core;
        let mut fault = None;
        loop {
            core.attention = Default::default();
            core.position = 0;
            core.rep_budget = REP_BUDGET;
            core.rep_retired = 0;
            core.cpu.regs[RIP as usize] = start.wrapping_add(u64::from(op.length));
            match (op.handler.0)(core, op) {
                Ok(()) if core.cpu.rip() == start => continue,
                Ok(()) => break,
                Err(Stop::Fault) => fault = Some(core.fault),
                Err(stop) => panic!("{} stopped with {stop:?}: the arena holds no device", case.text()),
            }
            core.cpu.regs[RIP as usize] = start;
            break;
        }
        let mut after = vec![0; arena::SIZE];
        assert!(self.mem.read_bytes(0, &mut after), "the arena is RAM");
        Outcome { end: fault.map_or(End::Completed, End::Fault), state: save(&self.core.cpu), memory: after }
    }
}

impl Default for Guest {
    fn default() -> Self {
        Self::new()
    }
}

/// Paging structures (SDM 3A, 4.5) for the arena; entries above the last level allow everything.
fn build_tables(mem: &GuestMem) {
    const PRESENT: u64 = 1;
    const WRITABLE: u64 = 2;
    const USER: u64 = 4;
    const NO_EXECUTE: u64 = 1 << 63;
    for (level, shift) in [39u32, 30, 21].into_iter().enumerate() {
        let table = TABLES + level as u64 * arena::PAGE;
        let index = arena::BASE >> shift & 511;
        mem.store::<u64>((table + index * 8) as usize, (table + arena::PAGE) | PRESENT | WRITABLE | USER);
    }
    let last = TABLES + 3 * arena::PAGE;
    for (number, access) in arena::PAGES.into_iter().enumerate() {
        let frame = number as u64 * arena::PAGE;
        let entry = match access {
            Access::None => continue,
            Access::ReadOnly => frame | PRESENT | USER | NO_EXECUTE,
            Access::ReadWrite => frame | PRESENT | USER | WRITABLE | NO_EXECUTE,
            Access::Execute => frame | PRESENT | USER | WRITABLE,
        };
        let index = (arena::page(number as u64) >> 12) & 511;
        mem.store::<u64>((last + index * 8) as usize, entry);
    }
}

/// Segments as Linux gives them: flat code and stack; data segments null in 64-bit code and flat in 32-bit code; FS and GS null.
fn load_segments(cpu: &mut Cpu, bits: u32) {
    let flat = Segment::new(0x2b, 0, u32::MAX, 0xc0f3);
    let (code, data) = if bits == 64 {
        (Segment::new(0x33, 0, u32::MAX, 0xa0fb), Segment::null(0))
    } else {
        (Segment::new(0x23, 0, u32::MAX, 0xc0fb), flat)
    };
    cpu.seg[segment::CS] = code;
    cpu.seg[segment::SS] = flat;
    (cpu.seg[segment::ES], cpu.seg[segment::DS]) = (data, data);
    (cpu.seg[segment::FS], cpu.seg[segment::GS]) = (Segment::null(0), Segment::null(0));
    cpu.update_mode();
}

fn load(cpu: &mut Cpu, state: &State) {
    cpu.regs[..16].copy_from_slice(&state.gpr);
    cpu.regs[RIP as usize] = state.rip;
    cpu.flags.set(state.rflags);
    cpu.seg[segment::FS].base = state.fs_base;
    cpu.seg[segment::GS].base = state.gs_base;
    cpu.xmm = state.xmm;
    cpu.mxcsr = state.mxcsr;
    let top = state.x87.top();
    cpu.x87.control = state.x87.control;
    cpu.x87.status = state.x87.status & !0x3800;
    cpu.x87.top = top as u8;
    cpu.x87.empty = !state.x87.valid;
    for (index, value) in state.x87.st.iter().enumerate() {
        cpu.x87.registers[(top + index) & 7] = *value;
    }
    cpu.update_view();
}

fn save(cpu: &Cpu) -> State {
    let mut state = State {
        rip: cpu.rip(),
        rflags: cpu.flags.get(),
        fs_base: cpu.seg[segment::FS].base,
        gs_base: cpu.seg[segment::GS].base,
        xmm: cpu.xmm,
        mxcsr: cpu.mxcsr,
        x87: X87 { control: cpu.x87.control, status: cpu.x87.status_word(), valid: !cpu.x87.empty, ..State::default().x87 },
        ..State::default()
    };
    state.gpr.copy_from_slice(&cpu.regs[..16]);
    for (index, value) in state.x87.st.iter_mut().enumerate() {
        *value = cpu.x87.registers[(usize::from(cpu.x87.top) + index) & 7];
    }
    state
}
