//! `watchfire dev`: a whole fleet on one machine, to see what Watchfire does before anything is installed.
//!
//! A collector and three agents run as real processes on loopback, each a re-execution of this very binary, with the
//! default rules and a built-in webhook that prints each notification. The reader kills an agent and sees it suspected,
//! declared down, alerted; dev then starts it again and shows the recovery. Everything lives in one temporary folder,
//! and nothing survives the end: processes are stopped, and should dev itself be killed the kernel stops them.

mod layout;

pub(crate) mod process;

mod sink;

mod story;

use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context;
use clap::Args;
use tokio::signal::unix::{SignalKind, signal};

use crate::Failure;
use crate::output::Paint;
use layout::Layout;
use process::Processes;
use story::Story;

/// How often dev looks at the members to tell what changed.
const LOOK_EVERY: Duration = Duration::from_millis(200);

#[derive(Args)]
pub(crate) struct DevArguments {
    /// Keep the files of the run in this folder instead of a temporary one.
    #[arg(long, value_name = "FOLDER")]
    dir: Option<std::path::PathBuf>,
    /// Do not start an agent again after its alert was shown.
    #[arg(long)]
    no_restart: bool,
}

pub(crate) fn run(arguments: &DevArguments) -> Result<ExitCode, Failure> {
    // One thread, which lives as long as dev does: the kernel ends the children when the thread that made them ends.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(anyhow::Error::from)?;
    let code = runtime.block_on(play(arguments))?;
    runtime.shutdown_timeout(Duration::from_millis(200));
    Ok(code)
}

async fn play(arguments: &DevArguments) -> anyhow::Result<ExitCode> {
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    let mut notifications = sink::listen().await.context("cannot open the built-in webhook")?;
    let layout = Layout::create(arguments.dir.as_deref(), notifications.address)?;
    let mut processes = Processes::start(&layout)?;
    let mut story = Story::new(&layout, Paint::for_stdout(), !arguments.no_restart);
    story.begin(&processes);
    let mut look = tokio::time::interval(LOOK_EVERY);
    let outcome = loop {
        tokio::select! {
            _ = interrupt.recv() => break Ok(ExitCode::SUCCESS),
            _ = terminate.recv() => break Ok(ExitCode::SUCCESS),
            Some(body) = notifications.bodies.recv() => story.notification(&body),
            _ = look.tick() => {
                story.look(&processes).await;
            }
            ended = processes.next_end() => {
                if let Err(error) = story.ended(&ended, &processes) {
                    break Err(error);
                }
            }
        }
        for name in story.due_restarts() {
            processes.restart(&layout, &name)?;
            story.restarted(&name, &processes);
        }
    };
    story.farewell();
    processes.stop().await;
    layout.remove();
    outcome
}
