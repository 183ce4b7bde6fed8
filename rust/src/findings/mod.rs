//! What is wrong here, as far as it must be looked for in every span: silences of processes, and who waited in them.

pub mod held;
pub mod silences;
pub mod stalls;
pub mod steps;
