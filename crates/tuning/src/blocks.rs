use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// Which blocks of the image encoder are tuned.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Blocks {
    /// All of them.
    #[default]
    All,
    /// The second half: the last `n / 2` of `n`, rounded up.
    Late,
    /// This one, counted from 0, and all after it.
    From(usize),
    /// These, counted from 0, in ascending order.
    List(Vec<usize>),
}

impl Blocks {
    /// The chosen ones of `count` blocks, in ascending order.
    ///
    /// # Errors
    /// A block that the model does not have, a list that is empty or not in ascending order.
    pub fn of(&self, count: usize) -> Result<Vec<usize>, String> {
        let chosen: Vec<usize> = match self {
            Self::All => (0..count).collect(),
            Self::Late => (count / 2..count).collect(),
            Self::From(first) => (*first..count).collect(),
            Self::List(blocks) => blocks.clone(),
        };
        if !chosen.windows(2).all(|pair| pair[0] < pair[1]) {
            return Err(format!("must be in ascending order, each once, is {self}"));
        }
        match chosen.last() {
            None => {
                Err(format!("chooses no block: the model has the blocks 0 to {}, it is {self}", count - 1))
            }
            Some(last) if *last >= count => {
                Err(format!("must be of the model's blocks 0 to {}, is {self}", count - 1))
            }
            Some(_) => Ok(chosen),
        }
    }
}

impl std::fmt::Display for Blocks {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::All => f.write_str("\"all\""),
            Self::Late => f.write_str("\"late\""),
            Self::From(first) => write!(f, "\"{first}..\""),
            Self::List(blocks) => write!(f, "{blocks:?}"),
        }
    }
}

#[derive(Serialize, Deserialize)]
#[serde(untagged)]
enum Written {
    Name(String),
    List(Vec<usize>),
}

impl Serialize for Blocks {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let written = match self {
            Self::All => Written::Name("all".into()),
            Self::Late => Written::Name("late".into()),
            Self::From(first) => Written::Name(format!("{first}..")),
            Self::List(blocks) => Written::List(blocks.clone()),
        };
        written.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Blocks {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        const EXPECTED: &str = "expected \"all\", \"late\", \"6..\" or a list such as [0, 1, 10, 11]";
        match Written::deserialize(deserializer).map_err(|_| de::Error::custom(EXPECTED))? {
            Written::List(blocks) => Ok(Self::List(blocks)),
            Written::Name(name) => match name.as_str() {
                "all" => Ok(Self::All),
                "late" => Ok(Self::Late),
                name => {
                    let first = name.strip_suffix("..").and_then(|first| first.trim().parse().ok());
                    first.map(Self::From).ok_or_else(|| de::Error::custom(EXPECTED))
                }
            },
        }
    }
}

#[cfg(test)]
mod tests;
