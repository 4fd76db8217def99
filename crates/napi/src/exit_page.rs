//! The page of 32-bit words through which an exit crosses to TypeScript, and its answer and the next request come back.

use napi::bindgen_prelude::Uint32Array;
use vcpu::Exit;

/// Words of the page; `src/native/addon-engine.ts` has the same list.
mod word {
    pub const KIND: usize = 0;
    pub const VCPU: usize = 1;
    pub const IS_WRITE: usize = 2;
    pub const SIZE: usize = 3;
    pub const ADDRESS: usize = 4;
    pub const DATA: usize = 6;
    pub const DETAIL: usize = 8;
    pub const INSTRUCTIONS: usize = 9;
    pub const GUEST_NS: usize = 11;
    pub const WAKE_NS: usize = 13;
    pub const QUANTUM: usize = 16;
    pub const DEADLINE_NS: usize = 17;
    pub const COUNT: usize = 24;
}

/// What TypeScript asks of the next run: all ones for no deadline.
pub struct Request {
    pub vcpu: usize,
    pub quantum: u32,
    pub deadline_ns: u64,
}

/// The page, kept alive by its reference to the typed array.
pub struct ExitPage {
    words: Uint32Array,
}

impl ExitPage {
    /// Takes a typed array of exactly as many words as the page has.
    pub fn new(words: Uint32Array) -> Result<Self, String> {
        if words.len() == word::COUNT {
            Ok(Self { words })
        } else {
            Err(format!("the exit page has {} words, not {}", words.len(), word::COUNT))
        }
    }

    fn words(&mut self) -> &mut [u32] {
        // SAFETY: the array's memory lives as long as our reference to it, and JavaScript, which runs on this same
        // thread, cannot touch it while a call into the addon is on the stack.
        #[expect(unsafe_code, reason = "napi hands out typed arrays as raw memory")]
        unsafe {
            self.words.as_mut()
        }
    }

    fn put(&mut self, at: usize, value: u64) {
        let words = self.words();
        words[at] = value as u32;
        words[at + 1] = (value >> 32) as u32;
    }

    fn get(&mut self, at: usize) -> u64 {
        let words = self.words();
        u64::from(words[at + 1]) << 32 | u64::from(words[at])
    }

    /// The data that TypeScript stored as its answer.
    pub fn answer(&mut self) -> u64 {
        self.get(word::DATA)
    }

    /// What TypeScript asks for.
    pub fn request(&mut self) -> Request {
        let deadline_ns = self.get(word::DEADLINE_NS);
        let words = self.words();
        Request { vcpu: words[word::VCPU] as usize, quantum: words[word::QUANTUM], deadline_ns }
    }

    /// Writes an exit, the position it happened at, and the guest time there.
    pub fn write(&mut self, exit: &Exit, instructions: u64, guest_ns: u64) {
        let words = self.words();
        words[word::KIND] = exit.kind() as u32;
        self.put(word::INSTRUCTIONS, instructions);
        self.put(word::GUEST_NS, guest_ns);
        match exit {
            Exit::Io(access) | Exit::Mmio(access) => {
                let words = self.words();
                words[word::IS_WRITE] = u32::from(access.write);
                words[word::SIZE] = u32::from(access.size);
                self.put(word::ADDRESS, access.address);
                self.put(word::DATA, access.data);
            }
            Exit::Hlt { wake_ns } => self.put(word::WAKE_NS, wake_ns.unwrap_or(u64::MAX)),
            Exit::Eoi(vector) => self.words()[word::DETAIL] = u32::from(*vector),
            Exit::IntAck | Exit::Kick | Exit::Budget | Exit::Debug | Exit::Shutdown | Exit::Error => {}
        }
    }
}
