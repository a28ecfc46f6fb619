//! The stage, from small datasets made on the spot to the real one.

mod formats;
mod hostile;
mod masks;
mod readers;
mod real;
mod reference;
mod rejects;
mod splits;
mod support;
mod threads;
