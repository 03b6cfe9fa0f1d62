//! Secrets as they are needed: out of the configuration, or out of a file that is read now.

use std::path::{Path, PathBuf};

use watchfire_collector_core::alertmanager::SecretSource;
use watchfire_shell::files;

/// Reads a secret. White space around the content of a file is not part of it.
///
/// # Errors
/// If the file cannot be read; names the file, which is no secret.
pub(in crate::sender) async fn read(source: &SecretSource, folder: &Path) -> Result<String, String> {
    match source {
        SecretSource::Inline(secret) => Ok(secret.expose().to_owned()),
        SecretSource::File(path) => {
            let path: PathBuf = folder.join(path);
            let read = tokio::task::spawn_blocking(move || files::read_text(&path)).await;
            let text = read.map_err(|error| error.to_string())?.map_err(|error| error.to_string())?;
            Ok(text.trim().to_owned())
        }
    }
}

/// As [`read`], for a secret that may not be there.
pub(in crate::sender) async fn read_optional(
    source: Option<&SecretSource>,
    folder: &Path,
) -> Result<Option<String>, String> {
    match source {
        Some(source) => read(source, folder).await.map(Some),
        None => Ok(None),
    }
}

/// Takes secrets out of a text from outside, such as the answer of a receiver that repeats what it was sent.
pub(in crate::sender) fn redact(text: &str, secrets: &[String]) -> String {
    // Shorter ones would turn every text into stars and are no secrets.
    const SHORTEST: usize = 4;
    let mut text = text.to_owned();
    for secret in secrets.iter().filter(|secret| secret.len() >= SHORTEST) {
        text = text.replace(secret.as_str(), "***");
    }
    text
}
