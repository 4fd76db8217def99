//! Every register of one processor, and what is derived from several of them.

use crate::control::{cr0, cr4, efer};
use crate::flags::{Flags, bit};
use crate::model::CpuModel;
use crate::segment::{self, Access, Segment, TableRegister};
use crate::tlb::{Tlb, View};
use crate::x87_state::X87State;

/// Index in [`Cpu::regs`] that always reads as zero: a missing base or index register.
pub const ZERO: u8 = 16;
/// Index of RIP in [`Cpu::regs`]. While an instruction executes it is the address of the next one.
pub const RIP: u8 = 17;

/// The operating mode of the code segment (SDM 3A, 2.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    Real,
    Virtual8086,
    /// Protected mode with 16- or 32-bit code, outside IA-32e mode.
    Protected,
    /// 16- or 32-bit code in IA-32e mode.
    Compatibility,
    Long64,
}

/// Model-specific registers that are plain storage.
#[derive(Clone, Copy, Debug)]
pub struct Msrs {
    pub star: u64,
    pub lstar: u64,
    pub cstar: u64,
    pub sfmask: u64,
    pub kernel_gs_base: u64,
    pub tsc_aux: u64,
    pub sysenter_cs: u64,
    pub sysenter_esp: u64,
    pub sysenter_eip: u64,
    pub pat: u64,
    pub misc_enable: u64,
    pub spec_ctrl: u64,
    /// Added to the clock's TSC; moves with writes of IA32_TSC and IA32_TSC_ADJUST alike.
    pub tsc_adjust: u64,
    pub mtrr_def_type: u64,
    pub mtrr_phys: [u64; 16],
    pub mtrr_fixed: [u64; 11],
}

impl Default for Msrs {
    fn default() -> Self {
        Self {
            star: 0,
            lstar: 0,
            cstar: 0,
            sfmask: 0,
            kernel_gs_base: 0,
            tsc_aux: 0,
            sysenter_cs: 0,
            sysenter_esp: 0,
            sysenter_eip: 0,
            pat: 0x0007_0406_0007_0406,
            misc_enable: 1,
            spec_ctrl: 0,
            tsc_adjust: 0,
            mtrr_def_type: 0,
            mtrr_phys: [0; 16],
            mtrr_fixed: [0; 11],
        }
    }
}

/// One processor's architectural state.
pub struct Cpu {
    /// RAX RCX RDX RBX RSP RBP RSI RDI R8..R15, then [`ZERO`], [`RIP`], and padding so that any 5-bit index is in range.
    pub regs: [u64; 32],
    pub flags: Flags,
    /// ES CS SS DS FS GS and the two flat pseudo-segments.
    pub seg: [Segment; 8],
    pub ldtr: Segment,
    pub tr: Segment,
    pub gdtr: TableRegister,
    pub idtr: TableRegister,
    pub cr0: u64,
    pub cr2: u64,
    pub cr3: u64,
    pub cr4: u64,
    pub efer: u64,
    pub xcr0: u64,
    pub dr: [u64; 8],
    pub xmm: [u128; 16],
    pub mxcsr: u32,
    pub x87: X87State,
    pub msr: Msrs,
    pub model: CpuModel,
    pub tlb: Tlb,

    /// Derived by [`Cpu::update_mode`].
    pub mode: Mode,
    /// Current privilege level.
    pub cpl: u8,
    /// Code size in bits: 16, 32 or 64.
    pub code_bits: u8,
    /// Whose permissions ordinary data accesses have.
    pub view: View,
    /// All ones while alignment is checked (CR0.AM, RFLAGS.AC, CPL 3), else zero.
    pub alignment: u64,
    /// Mask of linear addresses: 32 bits outside 64-bit mode.
    pub linear_mask: u64,
    /// Mask of RIP in the current code size.
    pub ip_mask: u64,
    /// Mask of the stack pointer.
    pub stack_mask: u64,
}

impl Cpu {
    /// A processor at power-on (SDM 3A, table 9-1).
    pub fn new(model: CpuModel) -> Self {
        let mut cpu = Self {
            regs: [0; 32],
            flags: Flags::default(),
            seg: [Segment::default(); 8],
            ldtr: Segment::default(),
            tr: Segment::default(),
            gdtr: TableRegister::default(),
            idtr: TableRegister::default(),
            cr0: 0,
            cr2: 0,
            cr3: 0,
            cr4: 0,
            efer: 0,
            xcr0: 1,
            dr: [0; 8],
            xmm: [0; 16],
            mxcsr: 0x1f80,
            x87: X87State::default(),
            msr: Msrs::default(),
            model,
            tlb: Tlb::default(),
            mode: Mode::Real,
            cpl: 0,
            code_bits: 16,
            view: View::SupervisorAc,
            alignment: 0,
            linear_mask: 0xffff_ffff,
            ip_mask: 0xffff,
            stack_mask: 0xffff,
        };
        cpu.reset();
        cpu
    }

    /// Power-on reset.
    pub fn reset(&mut self) {
        self.regs = [0; 32];
        self.regs[2] = u64::from(self.model.signature());
        self.regs[RIP as usize] = 0xfff0;
        self.flags = Flags::default();
        let data = Segment::new(0, 0, 0xffff, 0x93);
        self.seg = [data; 8];
        self.seg[segment::CS] = Segment::new(0xf000, 0xffff_0000, 0xffff, 0x9b);
        for flat in [segment::FLAT, segment::FLAT_STACK] {
            self.seg[flat] = Segment { unchecked: true, ..Segment::new(0, 0, u32::MAX, 0xc093) };
        }
        self.ldtr = Segment::new(0, 0, 0xffff, 0x82);
        self.tr = Segment::new(0, 0, 0xffff, 0x8b);
        self.gdtr = TableRegister { base: 0, limit: 0xffff };
        self.idtr = self.gdtr;
        self.cr0 = cr0::ET | cr0::CD | cr0::NW;
        (self.cr2, self.cr3, self.cr4, self.efer, self.xcr0) = (0, 0, 0, 0, 1);
        self.dr = [0, 0, 0, 0, 0, 0, 0xffff_0ff0, 0x400];
        self.xmm = [0; 16];
        self.mxcsr = 0x1f80;
        self.x87 = X87State::default();
        self.msr = Msrs::default();
        self.tlb.flush();
        self.update_mode();
    }

    /// RIP: while an instruction executes, the address of the next one.
    #[inline(always)]
    pub fn rip(&self) -> u64 {
        self.regs[RIP as usize]
    }

    /// Sets RIP, cut to the code size.
    #[inline(always)]
    pub fn set_rip(&mut self, rip: u64) {
        self.regs[RIP as usize] = rip & self.ip_mask;
    }

    /// True in IA-32e mode, 64-bit or compatibility.
    #[inline(always)]
    pub fn long_mode(&self) -> bool {
        self.efer & efer::LMA != 0
    }

    /// True in real or virtual-8086 mode.
    pub fn real_or_v86(&self) -> bool {
        matches!(self.mode, Mode::Real | Mode::Virtual8086)
    }

    /// Recomputes everything derived: call after a change of CR0, CR4, EFER, RFLAGS.VM or AC, CS, SS, or any segment.
    /// TLB contents are the caller's concern.
    pub fn update_mode(&mut self) {
        let code = self.seg[segment::CS].access;
        self.mode = if self.cr0 & cr0::PE == 0 {
            Mode::Real
        } else if self.efer & efer::LMA != 0 {
            if code.long() { Mode::Long64 } else { Mode::Compatibility }
        } else if self.flags.has(bit::VM) {
            Mode::Virtual8086
        } else {
            Mode::Protected
        };
        let long64 = self.mode == Mode::Long64;
        self.cpl = match self.mode {
            Mode::Real => 0,
            Mode::Virtual8086 => 3,
            _ => self.seg[segment::SS].access.dpl(),
        };
        self.code_bits = if long64 {
            64
        } else if code.big() {
            32
        } else {
            16
        };
        self.linear_mask = if long64 { u64::MAX } else { 0xffff_ffff };
        self.ip_mask = match self.code_bits {
            64 => u64::MAX,
            32 => 0xffff_ffff,
            // A 16-bit code segment's EIP may exceed 16 bits only until the next branch; decoding wraps at 64 KiB.
            _ => 0xffff,
        };
        self.stack_mask = if long64 {
            u64::MAX
        } else if self.seg[segment::SS].access.big() {
            0xffff_ffff
        } else {
            0xffff
        };
        for (index, segment) in self.seg.iter_mut().enumerate().take(6) {
            let flat_data =
                segment.base == 0 && segment.limit == u32::MAX && segment.access.is_writable() && !segment.access.is_expand_down();
            segment.unchecked = if long64 { true } else { flat_data && !segment.access.is_unusable() && index != segment::CS };
        }
        self.update_view();
    }

    /// Recomputes whose permissions data accesses have and whether they must be aligned: call after a change of
    /// RFLAGS.AC alone.
    #[inline]
    pub fn update_view(&mut self) {
        let aligned = self.cpl == 3 && self.cr0 & cr0::AM != 0 && self.flags.has(bit::AC);
        self.alignment = if aligned { u64::MAX } else { 0 };
        self.view = if self.cpl == 3 {
            View::User
        } else if self.cr4 & cr4::SMAP == 0 || self.flags.has(bit::AC) {
            View::SupervisorAc
        } else {
            View::Supervisor
        };
    }

    /// The view of implicit supervisor accesses (descriptor tables, TSS), whatever the CPL: SMAP always applies.
    pub fn system_view(&self) -> View {
        if self.cr4 & cr4::SMAP == 0 { View::SupervisorAc } else { View::Supervisor }
    }

    /// Loads a segment register as real mode and virtual-8086 mode do: base is the selector times 16.
    pub fn load_real_segment(&mut self, index: usize, selector: u16) {
        let segment = &mut self.seg[index];
        segment.selector = selector;
        segment.base = u64::from(selector) << 4;
        if self.mode == Mode::Virtual8086 {
            segment.limit = 0xffff;
            segment.access = Access(0xf3);
        } else if index == segment::CS {
            segment.access = Access(segment.access.0 & !0x6000 | 0x9b);
        }
    }
}
