//! Presets: configuration files that are part of the binary.
//! Their numbers stand in `configs/`, each with its launch line and its expected result in the header.

/// A configuration file that is part of the binary.
#[derive(Clone, Copy, Debug)]
pub struct Preset {
    /// As in `--preset NAME`.
    pub name: &'static str,
    /// TOML, with a header.
    pub text: &'static str,
}

macro_rules! preset {
    ($name:literal) => {
        Preset { name: $name, text: include_str!(concat!("../../../configs/", $name, ".toml")) }
    };
}

/// All presets.
pub const PRESETS: &[Preset] = &[
    preset!("default"),
    preset!("nanogpt-cpu"),
    preset!("nanogpt-cpu-grow"),
    preset!("nanogpt-cpu-lion"),
    preset!("nanogpt-cpu-muon"),
];

impl Preset {
    /// By name.
    pub fn named(name: &str) -> Option<&'static Preset> {
        PRESETS.iter().find(|preset| preset.name == name)
    }

    /// The first line of its header.
    pub fn summary(&self) -> &'static str {
        self.text.lines().next().unwrap_or_default().trim_start_matches('#').trim()
    }
}
