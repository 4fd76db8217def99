//! From guest bytes to runnable records.
//!
//! - [`op`]: the 40-byte record of one decoded instruction, and how iced-x86's instruction is packed into it.
//! - [`block`]: a run of instructions within one page, and forming it.
//! - [`cache`]: blocks by the physical place of their bytes; invalidation by written granules.
//!
//! The crate does not know what executes a record: it is generic over the handler `H` that the engine selects.
#![forbid(unsafe_code)]

pub mod block;
pub mod cache;
pub mod op;

pub use block::{Block, BlockKey, Selected, form};
pub use cache::BlockCache;
pub use op::{HIGH_BYTE, Op};
