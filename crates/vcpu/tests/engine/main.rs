//! The engine's promises, each as a test: programs run in a whole machine, from reset state to exit.

mod code_pages;
mod counts;
mod exceptions;
mod exits;
mod interrupts;
mod machine;
mod paging;
mod protection;
mod random;
mod restarts;
mod self_modifying;
mod stepping;
mod timers;
