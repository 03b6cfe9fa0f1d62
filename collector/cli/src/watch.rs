//! `--watch`: waits for changes with blocking queries, and prints anew what changed.

use std::time::Duration;

use crate::Failure;
use crate::client::Client;
use crate::output::{Format, Page, Printer, text};

/// Where the collector's lists change: nodes, rules, alerts, silences.
pub(crate) const STATUS: &str = "/v1/status";
/// Where the membership changes.
pub(crate) const MEMBERS: &str = "/v1/members?limit=1";

/// How often an answer that has no index is asked for.
const POLL: Duration = Duration::from_secs(5);

/// The shortest time between two pictures; eyes and pipes follow no faster.
const PACE: Duration = Duration::from_millis(250);
/// How long to wait before somebody who is gone is asked again.
const RETRY: Duration = Duration::from_secs(2);

/// Prints what `fetch` gives: once, or with `watch` again whenever the index of the list `source` has moved. Gives the only
/// answer; while it watches, it ends with a failure or with the program.
pub(crate) async fn show(
    client: &Client,
    format: Format,
    watch: bool,
    source: &str,
    fetch: impl AsyncFn(&Client) -> Result<Page, Failure>,
) -> Result<Page, Failure> {
    let mut printer = Printer::new(format, watch);
    if !watch {
        let page = fetch(client).await?;
        printer.print(&page).map_err(Failure::from_output)?;
        return Ok(page);
    }
    // The place is noted before the list is read, so that a change between the two is seen.
    let mut index = Some(current(client, source).await?);
    let mut gone = false;
    loop {
        let step = async {
            let page = fetch(client).await?;
            printer.print(&page).map_err(Failure::from_output)?;
            gone = false;
            tokio::time::sleep(PACE).await;
            match &index {
                Some(index) => client.wait(source, index).await.map(|answer| text(&answer, "/index").to_owned()),
                None => current(client, source).await,
            }
        };
        match step.await {
            Ok(next) => index = Some(next),
            // Another life of the program; its indexes begin anew.
            Err(Failure::Gone(_)) => index = None,
            Err(Failure::Unreachable(message)) => {
                if !std::mem::replace(&mut gone, true) {
                    crate::tell(&format!("watchfire: {message}; trying again"));
                }
                index = None;
                tokio::time::sleep(RETRY).await;
            }
            Err(failure) => return Err(failure),
        }
    }
}

/// Prints what `fetch` gives now, and again whenever it gives something else; ends with a failure or with the program.
pub(crate) async fn poll(
    client: &Client,
    format: Format,
    fetch: impl AsyncFn(&Client) -> Result<Page, Failure>,
) -> Result<(), Failure> {
    let mut printer = Printer::new(format, true);
    // Who was never reached will not be.
    let (mut reached, mut gone) = (false, false);
    loop {
        match fetch(client).await {
            Ok(page) => {
                printer.print(&page).map_err(Failure::from_output)?;
                (reached, gone) = (true, false);
            }
            Err(Failure::Unreachable(message)) if reached => {
                if !std::mem::replace(&mut gone, true) {
                    crate::tell(&format!("watchfire: {message}; trying again"));
                }
            }
            Err(failure) => return Err(failure),
        }
        tokio::time::sleep(POLL).await;
    }
}

async fn current(client: &Client, source: &str) -> Result<String, Failure> {
    let answer = client.get(source).await?;
    Ok(text(&answer, "/index").to_owned())
}
