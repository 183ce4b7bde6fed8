//! What is wrong here, as far as it must be looked for in every span: silences of processes and who
//! waited in them, calls to etcd that tell something, and those that waited behind others.

pub mod held;
pub mod holding;
pub mod interference;
pub mod silences;
pub mod stalls;
pub mod steps;
pub mod telling;
