//! Loads a program's configuration: defaults, files, environment and flags, merged by figment, checked before it merges.
//!
//! Every file is read by the one spanned parser of `watchfire_shared::document` and held against the program's keys; the
//! values that were read there are what figment merges, so that no second parser can see a different file. All mistakes
//! of all sources are reported together. Where a value came from does not matter to who uses it.

pub mod common;
mod layer;
pub mod node;

use std::path::{Path, PathBuf};

use figment::Figment;
use serde::de::{Deserialize, DeserializeOwned, Deserializer};
use watchfire_shared::config::ConfigKey;
use watchfire_shared::document::{Mistake, Node};

use crate::files;
use layer::Layer;

/// A program and the keys of its file.
#[derive(Clone, Copy, Debug)]
pub struct Program {
    /// `agent` or `collector`: the file is `NAME.toml`, the folder `NAME.d`, the variables `WATCHFIRE_NAME__SECTION__KEY`.
    pub name: &'static str,
    pub keys: &'static [ConfigKey],
    /// Whether an unknown key is a mistake; otherwise it is a warning. Wrong values always are mistakes.
    pub strict: bool,
}

/// Where a program's configuration comes from.
#[derive(Clone, Debug)]
pub struct Sources {
    /// A file that was named on the command line; it replaces the default one and must exist.
    pub config: Option<PathBuf>,
    /// Where the default file is looked for.
    pub folder: PathBuf,
    /// The environment.
    pub environment: Vec<(String, String)>,
    /// Values from flags: a key's path and its text.
    pub overrides: Vec<(String, String)>,
}

impl Sources {
    /// The sources of a program that runs: `/etc/watchfire`, this process's environment, and what the flags say.
    #[must_use]
    pub fn of_process(config: Option<&Path>, overrides: Vec<(String, String)>) -> Self {
        let text = |value: std::ffi::OsString| value.to_string_lossy().into_owned();
        let environment = std::env::vars_os().map(|(name, value)| (text(name), text(value))).collect();
        Self { config: config.map(Path::to_owned), folder: "/etc/watchfire".into(), environment, overrides }
    }
}

/// A configuration that was read.
#[derive(Clone, Debug)]
pub struct Loaded<T> {
    pub value: T,
    /// Unknown keys, for a program that starts in spite of them.
    pub warnings: Vec<Mistake>,
    /// The files that were read, in the order in which they were merged.
    pub files: Vec<PathBuf>,
    /// Tables of which there may be many, of all files one after the other.
    pub tables: Vec<ManyTable>,
}

/// One of the tables of a key such as `[[remote_write]]`; it was checked.
#[derive(Clone, PartialEq, Debug)]
pub struct ManyTable {
    pub key: String,
    /// The file that it stands in.
    pub file: String,
    pub node: Node,
}

/// A configuration cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// Every mistake of every source, one per line.
    #[error("{}", lines(.0))]
    Mistakes(Vec<Mistake>),
    #[error(transparent)]
    File(#[from] files::FileError),
    /// The values do not fit the program's structure: its keys and its structure disagree.
    #[error("{0}")]
    Structure(Box<figment::Error>),
}

fn lines(mistakes: &[Mistake]) -> String {
    mistakes.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")
}

impl ConfigError {
    /// The mistakes, one by one; empty for the other kinds.
    #[must_use]
    pub fn mistakes(&self) -> &[Mistake] {
        if let Self::Mistakes(mistakes) = self { mistakes } else { &[] }
    }
}

/// Loads the configuration of a running program. See [`load_from`].
///
/// # Errors
/// As [`load_from`].
pub fn load<T: DeserializeOwned>(
    program: &Program,
    config: Option<&Path>,
    overrides: Vec<(String, String)>,
) -> Result<Loaded<T>, ConfigError> {
    load_from(program, &Sources::of_process(config, overrides))
}

/// Loads a configuration: the keys' defaults, the file, `NAME.d/*.toml` beside it in the order of their names, the
/// environment, the overrides; the later wins, key by key.
///
/// Relative paths in a file begin in its folder. `T` is a structure of sections; keys that it does not name are ignored, the check has seen to those.
///
/// # Errors
/// [`ConfigError::Mistakes`] with everything that is wrong anywhere, or a file that cannot be read.
pub fn load_from<T: DeserializeOwned>(program: &Program, sources: &Sources) -> Result<Loaded<T>, ConfigError> {
    let files = find(program, sources)?;
    let mut layers = vec![Layer::defaults(program.keys)];
    for file in &files {
        layers.push(Layer::file(program.keys, file, &files::read_text(file)?));
    }
    let prefix = format!("WATCHFIRE_{}__", program.name.to_uppercase());
    for (variable, value) in sorted(&sources.environment) {
        if let Some(path) = variable.strip_prefix(&prefix) {
            let path = path.to_lowercase().replace("__", ".");
            layers.push(Layer::text(program.keys, &format!("environment variable {variable}"), &path, value));
        }
    }
    for (path, value) in &sources.overrides {
        layers.push(Layer::text(program.keys, &format!("flag for {path}"), path, value));
    }
    let (mistakes, warnings) = judge(program, &mut layers);
    if !mistakes.is_empty() {
        return Err(ConfigError::Mistakes(mistakes));
    }
    let tables = layers.iter_mut().flat_map(Layer::take_tables).collect();
    let figment = layers.into_iter().fold(Figment::new(), Figment::merge);
    let value = figment.extract().map_err(|error| ConfigError::Structure(Box::new(error)))?;
    Ok(Loaded { value, warnings, files, tables })
}

fn sorted(environment: &[(String, String)]) -> Vec<(&String, &String)> {
    let mut variables: Vec<_> = environment.iter().map(|(name, value)| (name, value)).collect();
    variables.sort();
    variables
}

fn find(program: &Program, sources: &Sources) -> Result<Vec<PathBuf>, ConfigError> {
    let file = match &sources.config {
        Some(file) => file.clone(),
        None => sources.folder.join(format!("{}.toml", program.name)),
    };
    // A named file that is missing fails when it is read; the default one need not exist.
    let mut files = match sources.config.is_some() || file.exists() {
        true => vec![file.clone()],
        false => Vec::new(),
    };
    let beside = file.parent().unwrap_or(Path::new("")).join(format!("{}.d", program.name)).join("*.toml");
    files.extend(files::expand(&beside.to_string_lossy())?);
    Ok(files)
}

fn judge(program: &Program, layers: &mut [Layer]) -> (Vec<Mistake>, Vec<Mistake>) {
    let (mut mistakes, mut warnings) = (Vec::new(), Vec::new());
    for layer in layers {
        if program.strict {
            layer.mistakes.append(&mut layer.unknown);
            layer.mistakes.sort();
        }
        mistakes.append(&mut layer.mistakes);
        warnings.append(&mut layer.unknown);
    }
    (mistakes, warnings)
}

/// Reads a field that is empty text or a value: `#[serde(deserialize_with = "watchfire_shell::config::optional")]`.
///
/// # Errors
/// If the text is neither empty nor a value.
pub fn optional<'de, D, T>(deserializer: D) -> Result<Option<T>, D::Error>
where
    D: Deserializer<'de>,
    T: std::str::FromStr<Err: std::fmt::Display>,
{
    let text = String::deserialize(deserializer)?;
    if text.is_empty() { Ok(None) } else { text.parse().map(Some).map_err(serde::de::Error::custom) }
}

#[cfg(test)]
mod tests;
