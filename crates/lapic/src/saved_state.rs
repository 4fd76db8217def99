//! The APIC's state as plain data, and its bytes in a snapshot: a version, the total length, then every member in the
//! order of its declaration, little endian.
//!
//! Times are in the timer's own ticks and in TSC values, so a restored machine's guest clock must go on from where the saved
//! one stood. A state is checked whole before any of it is taken over: a snapshot may come from anywhere.

use thiserror::Error;

use crate::apic::LocalApic;
use crate::apic_base::{ApicBase, Mode};
use crate::error_status::ErrorStatus;
use crate::ipi::InterruptCommand;
use crate::lvt::{LvtEntry, LvtValue};
use crate::registers::{DFR_WRITABLE, DIVIDE_WRITABLE, LDR_WRITABLE, SVR_WRITABLE, SpuriousVector};
use crate::timer::{DivideConfiguration, TimerMode};
use crate::vector_set::VectorSet;

const VERSION: u32 = 1;
/// Version and length (4 bytes each), 43 words, 5 double words.
const LENGTH: usize = 8 + 43 * 4 + 5 * 8;

/// Why bytes or a state were refused.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum SavedStateError {
    /// The bytes were written in a format that this version does not know.
    #[error("local APIC state has format version {found}, expected {VERSION}")]
    Version { found: u32 },
    /// The bytes are cut short, or more than one state.
    #[error("local APIC state has {found} bytes, expected {LENGTH}")]
    Length { found: usize },
    /// A member has a value that no APIC of this configuration can hold.
    #[error("local APIC state is invalid: {member}")]
    Invalid { member: &'static str },
}

/// All that [`LocalApic::load`] needs to continue where [`LocalApic::save`] left off. Members named like registers hold what
/// the register does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SavedState {
    /// Of the configuration; must be equal where the state is loaded.
    pub apic_id: u32,
    /// Of the configuration; must be equal where the state is loaded.
    pub timer_hz: u64,
    pub apic_base: u64,
    pub icr: u64,
    pub tpr: u32,
    pub ldr: u32,
    pub dfr: u32,
    pub svr: u32,
    pub isr: [u32; 8],
    pub tmr: [u32; 8],
    pub irr: [u32; 8],
    pub esr: u32,
    /// Errors since the last write to the ESR.
    pub gathered_errors: u32,
    /// Whether the next error may interrupt: 0 or 1.
    pub error_armed: u32,
    /// Timer, thermal, performance, LINT0, LINT1, error, CMCI.
    pub lvt: [u32; 7],
    pub initial_count: u32,
    pub divide: u32,
    /// Whether the timer counts: 0 or 1.
    pub counting: u32,
    /// Bit 0: LINT0 is asserted. Bit 1: LINT1 is.
    pub lint_asserted: u32,
    /// The tick of the timer's clock, counted from power-on, at which the count is zero; 0 unless counting.
    pub expiry_tick: u64,
    pub tsc_deadline: u64,
}

impl SavedState {
    /// The state as bytes; equal states give equal bytes.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut state = self.clone();
        let mut bytes = Vec::with_capacity(LENGTH);
        bytes.extend(VERSION.to_le_bytes());
        bytes.extend((LENGTH as u32).to_le_bytes());
        state.visit(|member| match member {
            Member::Word(word) => bytes.extend(word.to_le_bytes()),
            Member::Double(double) => bytes.extend(double.to_le_bytes()),
        });
        assert_eq!(bytes.len(), LENGTH, "LENGTH counts what visit visits");
        bytes
    }

    /// The state that `bytes` hold; whether it is a possible one is checked by [`LocalApic::load`].
    ///
    /// # Errors
    ///
    /// [`SavedStateError::Version`] and [`SavedStateError::Length`].
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, SavedStateError> {
        let length = SavedStateError::Length { found: bytes.len() };
        let (&version, rest) = bytes.split_first_chunk::<4>().ok_or(length.clone())?;
        let found = u32::from_le_bytes(version);
        if found != VERSION {
            return Err(SavedStateError::Version { found });
        }
        let (&declared, mut rest) = rest.split_first_chunk::<4>().ok_or(length.clone())?;
        if bytes.len() != LENGTH || u32::from_le_bytes(declared) as usize != LENGTH {
            return Err(length);
        }
        let mut state = Self::ZERO;
        state.visit(|member| match member {
            Member::Word(word) => *word = u32::from_le_bytes(take(&mut rest)),
            Member::Double(double) => *double = u64::from_le_bytes(take(&mut rest)),
        });
        Ok(state)
    }

    const ZERO: Self = Self {
        apic_id: 0,
        timer_hz: 0,
        apic_base: 0,
        icr: 0,
        tpr: 0,
        ldr: 0,
        dfr: 0,
        svr: 0,
        isr: [0; 8],
        tmr: [0; 8],
        irr: [0; 8],
        esr: 0,
        gathered_errors: 0,
        error_armed: 0,
        lvt: [0; 7],
        initial_count: 0,
        divide: 0,
        counting: 0,
        lint_asserted: 0,
        expiry_tick: 0,
        tsc_deadline: 0,
    };

    /// Visits every member in the order of the format.
    fn visit(&mut self, mut visitor: impl FnMut(Member<'_>)) {
        visitor(Member::Word(&mut self.apic_id));
        visitor(Member::Double(&mut self.timer_hz));
        visitor(Member::Double(&mut self.apic_base));
        visitor(Member::Double(&mut self.icr));
        for word in [&mut self.tpr, &mut self.ldr, &mut self.dfr, &mut self.svr] {
            visitor(Member::Word(word));
        }
        for word in self.isr.iter_mut().chain(&mut self.tmr).chain(&mut self.irr) {
            visitor(Member::Word(word));
        }
        for word in [&mut self.esr, &mut self.gathered_errors, &mut self.error_armed] {
            visitor(Member::Word(word));
        }
        for word in &mut self.lvt {
            visitor(Member::Word(word));
        }
        for word in [&mut self.initial_count, &mut self.divide, &mut self.counting, &mut self.lint_asserted] {
            visitor(Member::Word(word));
        }
        visitor(Member::Double(&mut self.expiry_tick));
        visitor(Member::Double(&mut self.tsc_deadline));
    }
}

/// One number of the format.
enum Member<'a> {
    Word(&'a mut u32),
    Double(&'a mut u64),
}

fn take<const N: usize>(bytes: &mut &[u8]) -> [u8; N] {
    let (&head, rest) = bytes.split_first_chunk().expect("the length was checked against what visit visits");
    *bytes = rest;
    head
}

impl LocalApic {
    /// The state as it is now.
    ///
    /// # Panics
    ///
    /// When messages wait in the outgoing queue: they have left the APIC and would be lost.
    pub fn save(&self) -> SavedState {
        assert!(self.outgoing.is_empty(), "outgoing messages are routed before the state is saved");
        SavedState {
            apic_id: self.config.apic_id,
            timer_hz: self.config.timer_hz,
            apic_base: self.base.0,
            icr: self.icr.0,
            tpr: self.tpr.into(),
            ldr: self.ldr,
            dfr: self.dfr,
            svr: self.svr.0,
            isr: self.isr.words(),
            tmr: self.tmr.words(),
            irr: self.irr.words(),
            esr: self.errors.visible,
            gathered_errors: self.errors.gathered,
            error_armed: self.errors.armed.into(),
            lvt: self.lvt.map(|lvt| lvt.0),
            initial_count: self.timer.initial_count,
            divide: self.timer.divide.0,
            counting: self.timer.expiry_tick.is_some().into(),
            lint_asserted: u32::from(self.pins[0]) | u32::from(self.pins[1]) << 1,
            expiry_tick: self.timer.expiry_tick.unwrap_or(0),
            tsc_deadline: self.timer.deadline,
        }
    }

    /// Replaces the whole state, queue included.
    ///
    /// # Errors
    ///
    /// [`SavedStateError::Invalid`] when the state is of another APIC or impossible; this APIC is then unchanged.
    pub fn load(&mut self, state: &SavedState) -> Result<(), SavedStateError> {
        self.check(state)?;
        let mut loaded = Self::new(self.config);
        loaded.base = ApicBase(state.apic_base);
        loaded.icr = InterruptCommand(state.icr);
        loaded.tpr = state.tpr as u8;
        loaded.ldr = state.ldr;
        loaded.dfr = state.dfr;
        loaded.svr = SpuriousVector(state.svr);
        loaded.isr = VectorSet::from_words(state.isr);
        loaded.tmr = VectorSet::from_words(state.tmr);
        loaded.irr = VectorSet::from_words(state.irr);
        loaded.errors = ErrorStatus { visible: state.esr, gathered: state.gathered_errors, armed: state.error_armed != 0 };
        loaded.lvt = state.lvt.map(LvtValue);
        loaded.timer.initial_count = state.initial_count;
        loaded.timer.divide = DivideConfiguration(state.divide);
        loaded.timer.expiry_tick = (state.counting != 0).then_some(state.expiry_tick);
        loaded.timer.deadline = state.tsc_deadline;
        loaded.pins = [state.lint_asserted & 1 != 0, state.lint_asserted & 2 != 0];
        *self = loaded;
        Ok(())
    }

    fn check(&self, state: &SavedState) -> Result<(), SavedStateError> {
        let disabled = !SpuriousVector(state.svr).software_enabled();
        let lvt_legal = LvtEntry::ALL.iter().zip(state.lvt.map(LvtValue)).all(|(&entry, lvt)| {
            let remote_irr = if entry == LvtEntry::Lint0 { LvtValue::REMOTE_IRR } else { 0 };
            lvt.0 & !(entry.writable_bits() | remote_irr) == 0 && (lvt.masked() || !disabled)
        });
        let mode = LvtValue(state.lvt[LvtEntry::Timer as usize]).timer_mode();
        let icr = InterruptCommand(state.icr);
        let apic_mode = ApicBase(state.apic_base).mode();
        let x2apic = apic_mode == Some(Mode::X2Apic);
        let holds_interrupts = state.isr.iter().chain(&state.irr).any(|&word| word != 0);
        // Disabling clears all registers, and nothing reaches them then.
        let base_legal = ApicBase(state.apic_base).is_legal(self.config.physical_address_bits)
            && (apic_mode != Some(Mode::Disabled) || disabled && !holds_interrupts);
        let icr_legal =
            icr.low() & !InterruptCommand::LOW_WRITABLE == 0 && (x2apic || icr.high() & !InterruptCommand::XAPIC_HIGH_WRITABLE == 0);
        let conditions = [
            ("apic_id", state.apic_id == self.config.apic_id),
            ("timer_hz", state.timer_hz == self.config.timer_hz),
            ("apic_base", base_legal),
            ("icr", icr_legal),
            ("tpr", state.tpr <= 0xFF),
            ("ldr", state.ldr & !LDR_WRITABLE == 0),
            ("dfr", state.dfr | DFR_WRITABLE == u32::MAX),
            ("svr", state.svr & !SVR_WRITABLE == 0),
            ("isr", VectorSet::from_words(state.isr).is_legal()),
            ("tmr", VectorSet::from_words(state.tmr).is_legal()),
            ("irr", VectorSet::from_words(state.irr).is_legal()),
            ("esr", state.esr & !ErrorStatus::VALID == 0),
            ("gathered_errors", state.gathered_errors & !ErrorStatus::VALID == 0),
            ("error_armed", state.error_armed <= 1),
            ("lvt", lvt_legal),
            ("initial_count", state.initial_count == 0 || mode.counts()),
            ("divide", state.divide & !DIVIDE_WRITABLE == 0),
            ("counting", state.counting == 0 || state.counting == 1 && state.initial_count != 0),
            ("lint_asserted", state.lint_asserted <= 0b11),
            ("expiry_tick", state.expiry_tick == 0 || state.counting != 0),
            ("tsc_deadline", state.tsc_deadline == 0 || mode == TimerMode::TscDeadline),
        ];
        match conditions.into_iter().find(|&(_, holds)| !holds) {
            Some((member, _)) => Err(SavedStateError::Invalid { member }),
            None => Ok(()),
        }
    }
}
