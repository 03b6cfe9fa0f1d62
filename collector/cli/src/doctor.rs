//! `watchfire doctor`: looks at everything that can be seen over HTTP and tells what is wrong, a line for each finding.
//!
//! It asks the collector, the agent on this machine, and every other collector that they know of. It changes nothing.
//! What the answers mean is decided in [`checks`].

mod checks;

use std::process::ExitCode;

use clap::Args;
use serde_json::{Value, json};
use watchfire_shared::time::{Span, Timestamp};
use watchfire_shell::lifecycle::exit;

use crate::client::{Client, ClientArguments};
use crate::output::{Cell, OutputArguments, Page, Table, Tone, items, text};
use crate::{Failure, block_on, status, watch, when};

#[derive(Args)]
pub(crate) struct DoctorArguments {
    #[command(flatten)]
    client: ClientArguments,
    #[command(flatten)]
    output: OutputArguments,
    /// Address of the agent on this machine, which has to answer if it is named [default: 127.0.0.1:7951, if one is there]
    #[arg(long)]
    agent: Option<String>,
}

/// What was found at one place.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Finding {
    level: Level,
    /// The part that it concerns: `collector`, `clock`, `disk`.
    part: &'static str,
    /// The node, the rule, the address.
    subject: String,
    text: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Level {
    Ok,
    Warning,
    Problem,
}

impl Level {
    fn word(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Warning => "warning",
            Self::Problem => "problem",
        }
    }

    fn tone(self) -> Tone {
        match self {
            Self::Ok => Tone::Good,
            Self::Warning => Tone::Warning,
            Self::Problem => Tone::Bad,
        }
    }
}

fn finding(level: Level, part: &'static str, subject: &str, text: impl Into<String>) -> Finding {
    Finding { level, part, subject: subject.to_owned(), text: text.into() }
}

pub(crate) fn run(arguments: &DoctorArguments) -> Result<ExitCode, Failure> {
    let (findings, reached) = block_on(examine(arguments))?;
    let worst = findings.iter().map(|finding| finding.level).max().unwrap_or(Level::Ok);
    let mut printer = crate::output::Printer::new(arguments.output.output, false);
    printer.print(&page(&findings)).map_err(Failure::from_output)?;
    Ok(ExitCode::from(match (reached, worst) {
        (false, _) => exit::UNREACHABLE,
        (true, Level::Ok) => exit::OK,
        (true, _) => exit::CONDITION_NOT_MET,
    }))
}

fn page(findings: &[Finding]) -> Page {
    let row = |found: &Finding| -> [Cell; 4] {
        let level = Cell::new(found.level.word(), found.level.tone());
        [level, found.part.into(), found.subject.as_str().into(), found.text.as_str().into()]
    };
    let count = |level| findings.iter().filter(|finding| finding.level == level).count();
    let (problems, warnings) = (count(Level::Problem), count(Level::Warning));
    let note = match problems + warnings {
        0 => "nothing is wrong that can be seen from here".to_owned(),
        _ => format!("{problems} problems, {warnings} warnings"),
    };
    let item = |found: &Finding| json!({"level": found.level.word(), "part": found.part, "subject": found.subject, "text": found.text});
    let value = json!({
        "items": findings.iter().map(item).collect::<Vec<_>>(), "problems": problems, "warnings": warnings,
    });
    Page {
        table: Table::new(["LEVEL", "PART", "SUBJECT", "FINDING"], findings.iter().map(row)),
        notes: vec![note],
        value,
    }
}

/// Everything that was found, and whether those who were to be asked answered.
async fn examine(arguments: &DoctorArguments) -> Result<(Vec<Finding>, bool), Failure> {
    let client = Client::new(&arguments.client)?;
    let named = arguments.client.is_given();
    let [asked, usual_agent] = client.first_and_local();
    let mut findings = Vec::new();
    let who = look_at_asked(&asked, &mut findings).await?;
    let must_answer = arguments.agent.is_some() || who == Asked::Agent;
    let agent = match &arguments.agent {
        Some(addr) => Client::new(&ClientArguments::of(addr))?,
        None if who == Asked::Agent => asked.at(asked.address().to_owned()),
        None => usual_agent,
    };
    let known = look_at_agent(&agent, must_answer, &mut findings).await?;
    let collector = match (&who, &known) {
        (Asked::Collector, _) => Some(asked),
        (_, Some(members)) => collector_of(&client, members, &mut findings).await,
        (_, None) => None,
    };
    if who == Asked::Nobody && !named && collector.is_some() {
        findings[0] = finding(Level::Ok, "address", client.address(), NONE_HERE);
    }
    let reached = (collector.is_some() || known.is_some()) && !(named && who == Asked::Nobody);
    if let Some(collector) = collector {
        look_at_cluster(&collector, &mut findings).await?;
    }
    findings.sort_by_key(|finding| std::cmp::Reverse(finding.level));
    Ok((findings, reached))
}

const NONE_HERE: &str = "nobody answers here, which is right where none is installed";

/// Who answered at the address that was asked first.
#[derive(PartialEq, Eq)]
enum Asked {
    Collector,
    Agent,
    Nobody,
}

async fn look_at_asked(asked: &Client, findings: &mut Vec<Finding>) -> Result<Asked, Failure> {
    let before = when::now();
    match asked.get(watch::STATUS).await {
        Ok(status) => {
            let (node, after) = (text(&status, "/node"), when::now());
            findings.push(finding(Level::Ok, "collector", node, format!("answers at {}", asked.address())));
            if let Some(told) = Timestamp::parse_rfc3339(text(&status, "/generated_at")) {
                findings.push(checks::clock(node, told, before, after));
            }
            findings.extend(look_at_readiness(asked, node).await);
            Ok(Asked::Collector)
        }
        Err(Failure::Unreachable(message)) => {
            findings.push(finding(Level::Problem, "address", asked.address(), message));
            Ok(Asked::Nobody)
        }
        // An agent knows members and nothing more; whatever else answers is no agent either, as will show.
        Err(Failure::Refused(_)) => Ok(Asked::Agent),
        Err(other) => Err(other),
    }
}

async fn look_at_readiness(client: &Client, node: &str) -> Option<Finding> {
    match client.get_text("/readyz").await {
        Ok(_) => None,
        Err(failure) => Some(finding(Level::Problem, "readiness", node, failure.to_string())),
    }
}

/// The members that the agent knows, if one is there.
async fn look_at_agent(agent: &Client, named: bool, findings: &mut Vec<Finding>) -> Result<Option<Value>, Failure> {
    let members = match agent.get_list("/v1/members").await {
        Ok(members) => members,
        Err(Failure::Unreachable(message)) => {
            let (level, told) = if named { (Level::Problem, message) } else { (Level::Ok, NONE_HERE.to_owned()) };
            findings.push(finding(level, "agent", agent.address(), told));
            return Ok(None);
        }
        Err(other) => return Err(other),
    };
    let node = text(&members, "/view/node");
    findings.push(finding(Level::Ok, "agent", node, format!("answers at {}", agent.address())));
    findings.extend(look_at_readiness(agent, node).await);
    match agent.get_text("/metrics").await {
        Ok(metrics) => findings.extend(checks::agent_metrics(node, &metrics)),
        Err(failure) => findings.push(finding(Level::Warning, "agent", node, failure.to_string())),
    }
    Ok(Some(members))
}

/// The first collector among members that answers.
async fn collector_of(client: &Client, members: &Value, findings: &mut Vec<Finding>) -> Option<Client> {
    let collectors = items(members, "/items").iter().filter(|member| text(member, "/role") == "collector");
    let mut known = 0;
    for member in collectors {
        known += 1;
        let (name, address) = (text(member, "/name"), text(member, "/services/http"));
        let other = client.at(format!("http://{address}"));
        match other.get(watch::STATUS).await {
            Ok(status) if text(&status, "/node") == name => {
                findings.push(finding(Level::Ok, "collector", name, format!("answers at {}", other.address())));
                return Some(other);
            }
            Ok(_) => findings.push(finding(Level::Warning, "collector", name, "its address leads elsewhere from here")),
            Err(failure) => findings.push(finding(Level::Problem, "collector", name, failure.to_string())),
        }
    }
    if known == 0 {
        findings.push(finding(Level::Problem, "collector", text(members, "/view/node"), "it knows of no collector"));
    }
    None
}

async fn look_at_cluster(client: &Client, findings: &mut Vec<Finding>) -> Result<(), Failure> {
    for status in status::every(client).await? {
        findings.extend(checks::status(&status));
    }
    findings.extend(checks::members(&client.get_list("/v1/members").await?));
    findings.extend(checks::nodes(&client.get_list("/v1/nodes").await?));
    for (query, tell) in checks::QUERIES {
        let answer = client.post_form("/api/v1/query", &[("query", (*query).to_owned())]).await?;
        findings.extend(items(&answer, "/data/result").iter().map(tell));
    }
    Ok(())
}

/// How far two clocks may be apart. The default rules take the same.
const MAX_OFFSET: Span = Span::from_seconds(1);
