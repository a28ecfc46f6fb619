//! Writes a checkpoint of random weights: `write_random DIR [NAME [SEED]]`, `tiny` and 0 by default.

use std::error::Error;
use std::path::Path;

use resect_checkpoint::{NAMED_CONFIGS, SamConfig, parameter_counts, write_random};

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let dir = arguments.first().ok_or("usage: write_random DIR [NAME [SEED]]")?;
    let name = arguments.get(1).map_or("tiny", String::as_str);
    let seed = arguments.get(2).map_or(Ok(0), |seed| seed.parse())?;
    let config =
        SamConfig::named(name).ok_or_else(|| format!("`{name}` is none of {}", NAMED_CONFIGS.join(", ")))?;
    write_random(Path::new(dir), &config, seed)?;
    println!("{dir}: {name}, {} parameters", parameter_counts(&config).total());
    Ok(())
}
