//! What a new connection reads of certificate files: a renewed certificate is shown from the next connection on.

use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::watch;
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::ClientConfig;
use watchfire_shell::tls::ClientFiles;

/// Whether and how connections are encrypted. Clones share what was read last.
#[derive(Clone, Debug)]
pub(crate) struct Secrecy {
    files: watch::Receiver<Option<ClientFiles>>,
    /// What the files held when they could last be used.
    last: Arc<Mutex<Option<Arc<ClientConfig>>>>,
}

impl Secrecy {
    pub(crate) fn new(files: watch::Receiver<Option<ClientFiles>>) -> Self {
        Self { files, last: Arc::default() }
    }

    /// What the next connection is to use; `None` is plaintext. Files that cannot be used at the moment, such as those
    /// that are being renewed, are replaced by what they last held.
    ///
    /// # Errors
    /// If they never could be used: which file, and why.
    pub(super) async fn connector(&self) -> Result<Option<(TlsConnector, ClientFiles)>, String> {
        let Some(files) = self.files.borrow().clone() else { return Ok(None) };
        let own = files.clone();
        let read = tokio::task::spawn_blocking(move || own.read()).await.map_err(|error| error.to_string())?;
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        let config = match (read, &*last) {
            (Ok(config), _) => last.insert(config),
            (Err(error), Some(config)) => {
                tracing::warn!(%error, "the uplink's certificate files cannot be used; what they last held is");
                config
            }
            (Err(error), None) => return Err(format!("uplink.tls: {error}")),
        };
        Ok(Some((TlsConnector::from(Arc::clone(config)), files)))
    }
}
