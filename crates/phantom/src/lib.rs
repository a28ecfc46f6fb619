//! Endoscopy-like images with exact masks, made from a seed, so that a fresh machine has data.
//!
//! A scene is a lit tube of mucosa with folds and vessels, one to three growths on it, and what
//! a camera adds: highlights, bubbles, vignette, noise, a colour cast and sometimes a black border. The growths
//! differ from the mucosa by texture, dome shading and rim. Their mean colour hardly differs, with a random sign,
//! and their outlines are oblique, bent or lobed, so neither a threshold nor a shape fitted to the box finds them.
//!
//! The same parameters give the same bytes on every machine and with any number of threads: each scene has a random
//! stream of its own, and the arithmetic uses only operations that IEEE 754 rounds exactly (no `sin` or `exp` from
//! the platform's library). The images are for trying the pipeline out; they say nothing about patients.

mod camera;
mod dataset;
mod draw;
mod finish;
mod grid;
mod growth;
mod maths;
mod mucosa;
mod noise;
mod params;
mod scene;
mod shape;
mod texture;
mod vessels;

pub use dataset::{PhantomError, sample_id, write_dataset};
pub use params::{InvalidParam, PhantomParams, Split};
pub use scene::{Scene, scene};
