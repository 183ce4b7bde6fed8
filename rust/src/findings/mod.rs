//! The parts of findings that need every span or request: silences of processes and what waited in them, calls to etcd
//! that findings can come from, calls that waited behind others, a call's part of the critical path, and what clients do
//! over several requests.

pub mod clients;
pub mod critical;
pub mod held;
pub mod holding;
pub mod interference;
pub mod silences;
pub mod stalls;
pub mod steps;
pub mod telling;
