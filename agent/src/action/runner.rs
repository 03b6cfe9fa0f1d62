//! Runs jobs: a supervisor around each command, the check of the program's file before it, the verification after it.

use std::ffi::OsString;
use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::process::Command;
use watchfire_agent_core::order::{Ended, Job, VerifyJob};
use watchfire_shared::limits::MAX_ACTION_OUTPUT_BYTES;
use watchfire_shared::order::OrderState;

use super::files::{Trust, sha256};
use super::redact;
use super::supervise::{Outcome, Task};

/// What a supervisor may need beyond the task's own time: TERM, KILL and its own start.
const MAX_OVERTIME: Duration = Duration::from_secs(30);
/// An outcome as text: JSON writes a byte of output with up to six.
const MAX_OUTCOME_BYTES: u64 = 8 * MAX_ACTION_OUTPUT_BYTES as u64;

/// How this program starts itself as a supervisor.
#[derive(Clone, Debug)]
pub(super) struct Runner {
    /// The words that stand before `supervise`; several programs may share one file.
    before: Vec<OsString>,
    trust: Trust,
}

impl Runner {
    /// A runner of a program that was started with `arguments`, its own name first.
    pub(super) fn new(arguments: impl Iterator<Item = OsString>, trust: Trust) -> Self {
        Self { before: arguments.skip(1).take_while(|word| word != "run").collect(), trust }
    }

    /// Runs a job to its end. `verifying` is called between the command and its verification.
    pub(super) async fn run(&self, job: &Job, verifying: impl AsyncFnOnce()) -> Ended {
        if let Err(reason) = self.check(job) {
            return Ended::without_process(OrderState::Failed, reason);
        }
        let timeout = job.timeout.to_std();
        let outcome = self.supervise(&job.argv, &job.env, timeout).await;
        let ended = ended(outcome, timeout);
        match &job.verify {
            Some(verify) if ended.state == OrderState::Succeeded => {
                verifying().await;
                self.verify(ended, &job.env, verify).await
            }
            _ => ended,
        }
    }

    /// What was true when the files were read has to be true when they are used.
    fn check(&self, job: &Job) -> Result<(), String> {
        let program = Path::new(job.argv.first().map_or("", String::as_str));
        self.trust.program(program)?;
        let Some(expected) = &job.sha256 else { return Ok(()) };
        let found = sha256(program)?;
        if found == *expected { Ok(()) } else { Err(format!("{} hashes to {found}", program.display())) }
    }

    async fn verify(&self, mut ended: Ended, env: &[(String, String)], verify: &VerifyJob) -> Ended {
        let deadline = Instant::now() + verify.deadline.to_std();
        let mut last = "there was no time for it".to_owned();
        for attempt in 0..verify.retries {
            if attempt > 0 {
                tokio::time::sleep(verify.interval.to_std()).await;
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                break;
            }
            let outcome = self.supervise(&verify.argv, env, left).await;
            let try_ended = self::ended(outcome, left);
            if try_ended.state == OrderState::Succeeded {
                return Ended { verified: Some(true), ..ended };
            }
            ended.output_truncated |= try_ended.output_truncated;
            last = match try_ended.output.trim() {
                "" => try_ended.detail,
                output => format!("{}: {}", try_ended.detail, output.lines().last().unwrap_or_default()),
            };
        }
        Ended {
            state: OrderState::Failed,
            detail: format!("it ran, and its verification failed: {last}"),
            verified: Some(false),
            ..ended
        }
    }

    async fn supervise(&self, argv: &[String], env: &[(String, String)], timeout: Duration) -> Result<Outcome, String> {
        let timeout_ms = u64::try_from(timeout.as_millis()).unwrap_or(u64::MAX);
        let task = Task { argv: argv.to_vec(), env: env.to_vec(), timeout_ms, cgroup: true };
        let mut line = serde_json::to_string(&task).map_err(|error| error.to_string())?;
        line.push('\n');
        // The file that runs now, also after an upgrade has replaced it.
        let mut supervisor = Command::new("/proc/self/exe")
            .args(&self.before)
            .arg("supervise")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .map_err(|error| format!("cannot start a supervisor: {error}"))?;
        let (Some(mut stdin), Some(stdout)) = (supervisor.stdin.take(), supervisor.stdout.take()) else {
            return Err("the supervisor has no pipes".to_owned());
        };
        let answer = async {
            stdin.write_all(line.as_bytes()).await?;
            let mut text = String::new();
            stdout.take(MAX_OUTCOME_BYTES).read_to_string(&mut text).await?;
            Ok::<_, std::io::Error>(text)
        };
        // The supervisor keeps the time itself; this is for one that cannot.
        let answer = tokio::time::timeout(timeout + MAX_OVERTIME, answer).await;
        drop(stdin);
        let text = match answer {
            Ok(text) => text.map_err(|error| format!("the supervisor was lost: {error}"))?,
            Err(_) => {
                let _ = supervisor.kill().await;
                return Err("the supervisor did not answer and was killed".to_owned());
            }
        };
        let _ = supervisor.wait().await;
        serde_json::from_str(&text)
            .map_err(|_| "the supervisor was killed; what the action did is not known".to_owned())
    }
}

fn ended(outcome: Result<Outcome, String>, timeout: Duration) -> Ended {
    let outcome = match outcome {
        Ok(outcome) => outcome,
        Err(reason) => return Ended::without_process(OrderState::Failed, reason),
    };
    let (state, mut detail) = match &outcome {
        Outcome { error, .. } if !error.is_empty() => (OrderState::Failed, error.clone()),
        Outcome { timed_out: true, .. } => {
            (OrderState::TimedOut, format!("it was not done after {timeout:?} and was killed"))
        }
        Outcome { too_many: true, .. } => {
            (OrderState::Failed, "it started more processes than an action may and was killed".to_owned())
        }
        Outcome { abandoned: true, .. } => (OrderState::Interrupted, "the agent stopped".to_owned()),
        Outcome { exit_code: Some(0), .. } => (OrderState::Succeeded, String::new()),
        Outcome { exit_code: Some(code), .. } => (OrderState::Failed, format!("it ended with code {code}")),
        Outcome { signal: Some(signal), .. } => (OrderState::Failed, format!("signal {signal} ended it")),
        _ => (OrderState::Failed, "it is not known how it ended".to_owned()),
    };
    if outcome.left > 0 {
        detail += &format!("; {} of its processes could not be killed", outcome.left);
    }
    Ended {
        state,
        detail,
        exit_code: outcome.exit_code,
        output: redact::secrets(&outcome.output),
        output_truncated: outcome.truncated,
        verified: None,
    }
}
