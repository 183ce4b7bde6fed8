//! The parts of findings that need every span: silences of processes and what waited in them, calls to etcd that
//! findings can come from, and calls that waited behind others.

pub mod held;
pub mod holding;
pub mod interference;
pub mod silences;
pub mod stalls;
pub mod steps;
pub mod telling;
