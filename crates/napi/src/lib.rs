//! The Node-API addon: a thin, typed shell around [`vcpu::Machine`].
//!
//! Every method takes `&self`; a call while `run` is on the stack (which only a bug in our own TypeScript could make)
//! is an error. Panics are caught here and become errors, so that a bug of ours never takes Node down silently.
//!
//! - [`exit_page`]: the page of 32-bit words that exits are written into.
//! - [`file`]: locks and holes for the files that hold disks.
//! - [`json`]: options, registers and statistics as JSON.
//! - [`runner`]: `run`, the one call on the exit path, as a bare function.

mod exit_page;
pub mod file;
mod json;
mod runner;

use std::cell::RefCell;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use guest_mem::Kind;
use lapic::{Delivery, Destination, DestinationMode, DestinationWidth, Message, Trigger};
use napi::bindgen_prelude::{Uint8Array, Uint32Array};
use napi::{Env, Error, Result, Status, Unknown};
use napi_derive::napi;
use vcpu::Machine;

use exit_page::ExitPage;

/// One machine. See `src/native/engine.ts` for the contract of every method.
#[napi]
pub struct NativeMachine {
    shared: Rc<Shared>,
    kick: Arc<AtomicBool>,
}

/// What the object and its runner share: the machine, until it is closed.
struct Shared(RefCell<Option<State>>);

struct State {
    machine: Machine,
    page: ExitPage,
}

impl Shared {
    /// Runs `f` on the machine; errors when it is closed, re-entered, or when `f` panics.
    fn with<T>(&self, f: impl FnOnce(&mut State) -> Result<T>) -> Result<T> {
        let mut state = self.0.try_borrow_mut().map_err(|_| error("VM_INTERNAL", "the engine was called while it runs"))?;
        let state = state.as_mut().ok_or_else(|| error("VM_WRONG_STATE", "the engine is closed"))?;
        catch_unwind(AssertUnwindSafe(|| f(state))).unwrap_or_else(|panic| {
            let text = panic.downcast_ref::<String>().cloned();
            let text = text.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned())).unwrap_or_default();
            Err(error("VM_INTERNAL", format!("the engine failed: {text}")))
        })
    }

    /// Answers the exit before, runs as the page asks, and writes the next exit into it.
    fn run(&self) -> Result<()> {
        self.with(|State { machine, page }| {
            let request = page.request();
            if machine.is_waiting(request.vcpu) {
                machine.answer(request.vcpu, page.answer());
            }
            let exit = machine.run(request.vcpu, request.quantum, request.deadline_ns);
            page.write(&exit, machine.instructions(), machine.guest_ns());
            Ok(())
        })
    }
}

fn error(code: &str, reason: impl std::fmt::Display) -> Error {
    Error::new(Status::GenericFailure, format!("{code}: {reason}"))
}

/// Guest-physical addresses and sizes cross as numbers: whole, not negative, below 2^53.
fn whole(what: &str, value: f64) -> Result<u64> {
    if (0.0..9_007_199_254_740_992.0).contains(&value) && value.fract() == 0.0 {
        Ok(value as u64)
    } else {
        Err(error("VM_INTERNAL", format!("{what} {value} is not a whole number below 2^53")))
    }
}

#[napi]
impl NativeMachine {
    /// `options_json`: see [`json::Options`]. `exit_page`: the words shared with TypeScript.
    #[napi(constructor)]
    pub fn new(options_json: String, exit_page: Uint32Array) -> Result<Self> {
        let config = json::parse_options(&options_json).map_err(|reason| error("VM_CONFIG_INVALID", reason))?;
        let page = ExitPage::new(exit_page).map_err(|reason| error("VM_INTERNAL", reason))?;
        let machine = Machine::new(&config).map_err(|reason| error(json::code_of(&reason), reason))?;
        let kick = machine.kick_word();
        Ok(Self { shared: Rc::new(Shared(RefCell::new(Some(State { machine, page })))), kick })
    }

    fn with<T>(&self, f: impl FnOnce(&mut State) -> Result<T>) -> Result<T> {
        self.shared.with(f)
    }

    /// A function without arguments that runs a processor to its next exit, as the page's request words say.
    #[napi(ts_return_type = "() => void")]
    pub fn runner<'env>(&self, env: &'env Env) -> Result<Unknown<'env>> {
        runner::create(env, Rc::clone(&self.shared))
    }

    #[napi]
    pub fn kick(&self) {
        self.kick.store(true, Ordering::Release);
    }

    #[napi]
    pub fn last_error(&self) -> Result<String> {
        self.with(|state| Ok(state.machine.last_error().to_owned()))
    }

    fn map(&self, kind: Kind, address: f64, length: f64, ram_offset: f64) -> Result<()> {
        let (address, length, ram_offset) = (whole("address", address)?, whole("length", length)?, whole("RAM offset", ram_offset)?);
        self.with(|state| state.machine.map(address, length, kind, ram_offset).map_err(|reason| error("VM_INTERNAL", reason)))
    }

    #[napi]
    pub fn map_ram(&self, address: f64, length: f64, ram_offset: f64) -> Result<()> {
        self.map(Kind::Ram, address, length, ram_offset)
    }

    #[napi]
    pub fn map_rom(&self, address: f64, length: f64, ram_offset: f64) -> Result<()> {
        self.map(Kind::Rom, address, length, ram_offset)
    }

    #[napi]
    pub fn map_read_direct(&self, address: f64, length: f64, ram_offset: f64) -> Result<()> {
        self.map(Kind::ReadDirect, address, length, ram_offset)
    }

    #[napi]
    pub fn map_mmio(&self, address: f64, length: f64) -> Result<()> {
        self.map(Kind::Mmio, address, length, 0.0)
    }

    #[napi]
    pub fn read_memory(&self, address: f64, mut target: Uint8Array) -> Result<bool> {
        let Ok(address) = whole("address", address) else { return Ok(false) };
        // SAFETY: Node calls this on its own thread and no JavaScript runs before it returns, so nothing else touches the array.
        #[expect(unsafe_code, reason = "napi hands out typed arrays as raw memory")]
        let bytes = unsafe { target.as_mut() };
        self.with(|state| Ok(state.machine.memory().read_bytes(address, bytes)))
    }

    #[napi]
    pub fn write_memory(&self, address: f64, source: Uint8Array) -> Result<bool> {
        let Ok(address) = whole("address", address) else { return Ok(false) };
        self.with(|state| Ok(state.machine.memory().write_bytes(address, &source)))
    }

    #[napi]
    pub fn guest_ns(&self) -> Result<f64> {
        self.with(|state| Ok(state.machine.guest_ns() as f64))
    }

    #[napi]
    pub fn instructions(&self) -> Result<f64> {
        self.with(|state| Ok(state.machine.instructions() as f64))
    }

    #[napi]
    pub fn anchor_clock(&self, ns: f64, picoseconds_per_instruction: u32) -> Result<()> {
        let ns = whole("time", ns.floor())?;
        self.with(|state| {
            state.machine.anchor_clock(ns, picoseconds_per_instruction);
            Ok(())
        })
    }

    #[napi]
    pub fn set_intr(&self, vcpu: u32, high: bool) -> Result<()> {
        self.with(|state| {
            state.machine.set_intr(vcpu as usize, high);
            Ok(())
        })
    }

    /// Delivers a message on the APIC bus; delivery modes as in the I/O APIC's redirection entries.
    #[napi]
    pub fn deliver(&self, destination: u32, logical: bool, delivery_mode: u32, vector: u32, level: bool) -> Result<bool> {
        let vector = vector as u8;
        let delivery = match delivery_mode {
            0 => Delivery::Fixed(vector),
            1 => Delivery::LowestPriority(vector),
            2 => Delivery::Smi,
            4 => Delivery::Nmi,
            5 => Delivery::Init,
            6 => Delivery::Startup(vector),
            7 => Delivery::ExtInt,
            _ => return Ok(false),
        };
        let mode = if logical { DestinationMode::Logical } else { DestinationMode::Physical };
        let destination = Destination { id: destination & 0xff, mode, width: DestinationWidth::Bits8 };
        let trigger = if level { Trigger::Level } else { Trigger::Edge };
        self.with(|state| Ok(state.machine.deliver(Message { destination, delivery, trigger })))
    }

    #[napi]
    pub fn nmi(&self, vcpu: u32) -> Result<()> {
        self.with(|state| {
            state.machine.nmi(vcpu as usize);
            Ok(())
        })
    }

    #[napi]
    pub fn registers_json(&self, vcpu: u32) -> Result<String> {
        self.with(|state| Ok(json::registers(&state.machine.registers(vcpu as usize))))
    }

    #[napi]
    pub fn set_registers_json(&self, vcpu: u32, text: String) -> Result<()> {
        let registers = json::parse_registers(&text).map_err(|reason| error("VM_INTERNAL", reason))?;
        self.with(|state| {
            state.machine.set_registers(vcpu as usize, &registers);
            Ok(())
        })
    }

    #[napi]
    pub fn reset(&self) -> Result<()> {
        self.with(|state| {
            state.machine.reset();
            Ok(())
        })
    }

    /// Leaves the Local APICs as firmware does (virtual wire), for machines that enter a kernel without firmware.
    #[napi]
    pub fn enter_virtual_wire(&self) -> Result<()> {
        self.with(|state| {
            state.machine.enter_virtual_wire();
            Ok(())
        })
    }

    #[napi]
    pub fn stats_json(&self) -> Result<String> {
        self.with(|state| Ok(json::stats(&state.machine.stats())))
    }

    #[napi]
    pub fn dump(&self, vcpu: u32) -> Result<String> {
        self.with(|state| Ok(state.machine.dump(vcpu as usize)))
    }

    #[napi]
    pub fn close(&self) -> Result<()> {
        let mut state = self.shared.0.try_borrow_mut().map_err(|_| error("VM_INTERNAL", "the engine was closed while it runs"))?;
        *state = None;
        Ok(())
    }
}

/// What this addon is, as JSON: version, host architecture and system, CPU models.
#[napi]
pub fn engine_info() -> String {
    json::engine_info()
}
