//! The thread that samples the host: a slow kernel file or a dead mount must not hold up gossip and uplink.

use tokio::sync::{mpsc, oneshot};
use watchfire_agent_core::agent::Input;
use watchfire_agent_core::exposition;
use watchfire_agent_core::sampler::{OwnFigures, Rounds};
use watchfire_shared::time::Timestamp;

use crate::host::RealHost;

/// Questions that wait for the thread. The core asks for one round at a time; the rest are scrapes.
const MAX_REQUESTS: usize = 16;

/// What the thread is asked for.
#[derive(Debug)]
pub(crate) enum Request {
    /// A round; it comes back as an input of the core.
    Collect { tick: Timestamp, own: Box<OwnFigures> },
    /// A round as text, for `/metrics`.
    Scrape { own: Box<OwnFigures>, answer: oneshot::Sender<String> },
}

/// Starts the thread. It ends when the sender of requests is dropped; a call that hangs holds up nobody else.
///
/// # Errors
/// If the system gives no thread.
pub(crate) fn start(inputs: mpsc::Sender<Input>) -> std::io::Result<mpsc::Sender<Request>> {
    let (requests, mut inbox) = mpsc::channel(MAX_REQUESTS);
    let work = move || {
        let mut host = RealHost::new();
        let mut rounds = Rounds::default();
        // Scrapes have series of their own: they come when they like, and must not change what is sent.
        let mut scrapes = Rounds::default();
        while let Some(request) = inbox.blocking_recv() {
            host.begin();
            match request {
                Request::Collect { tick, own } => {
                    let round = rounds.sample(&mut host, tick, &own);
                    if inputs.blocking_send(Input::Collected(round)).is_err() {
                        return;
                    }
                }
                Request::Scrape { own, answer } => {
                    scrapes.sample(&mut host, Timestamp::EPOCH, &own);
                    let _ = answer.send(exposition::render(scrapes.sink()));
                }
            }
        }
    };
    std::thread::Builder::new().name("sampler".to_owned()).stack_size(256 << 10).spawn(work)?;
    Ok(requests)
}

/// One round of this host as Prometheus text.
pub(crate) fn once() -> String {
    let mut rounds = Rounds::default();
    rounds.sample(&mut RealHost::new(), Timestamp::EPOCH, &OwnFigures::default());
    exposition::render(rounds.sink())
}
