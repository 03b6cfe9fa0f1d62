//! `watchfire members`.

use std::process::ExitCode;

use clap::Args;
use watchfire_shared::member::{Member, MemberList};

use crate::Failure;
use crate::client::{Client, ClientArguments};
use crate::output::{self, Format};

#[derive(Args)]
pub(crate) struct MembersArguments {
    #[command(flatten)]
    client: ClientArguments,
    /// How to print them.
    #[arg(short, long, value_enum, default_value = "table")]
    output: Format,
    /// End with code 3 if a member is suspect or down.
    #[arg(long)]
    fail_unhealthy: bool,
}

pub(crate) fn run(arguments: &MembersArguments) -> Result<ExitCode, Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(anyhow::Error::from)?;
    let client = Client::new(&arguments.client)?;
    let list = runtime.block_on(all(&client))?;
    match arguments.output {
        Format::Json => output::print_json(&list).map_err(anyhow::Error::from)?,
        Format::Table => print(&list).map_err(anyhow::Error::from)?,
    }
    let unhealthy = list.view.suspect + list.view.down > 0;
    Ok(ExitCode::from(if arguments.fail_unhealthy && unhealthy { 3 } else { 0 }))
}

/// The whole list, page by page.
async fn all(client: &Client) -> Result<MemberList, Failure> {
    let mut list: MemberList = client.get("/v1/members").await?;
    while let Some(cursor) = list.next_cursor.take() {
        let page: MemberList = client.get(&format!("/v1/members?cursor={cursor}")).await?;
        list.items.extend(page.items);
        list.next_cursor = page.next_cursor;
    }
    Ok(list)
}

fn print(list: &MemberList) -> std::io::Result<()> {
    let rows: Vec<Vec<String>> = list.items.iter().map(row).collect();
    output::print_table(&["NAME", "STATE", "ROLE", "ADDRESS", "SINCE", "VERSION", "LABELS"], &rows)?;
    let view = &list.view;
    eprintln!(
        "{} alive, {} suspect, {} down, {} left, as {} sees it",
        view.alive,
        view.suspect,
        view.down,
        view.left,
        output::plain(&view.node)
    );
    Ok(())
}

fn row(member: &Member) -> Vec<String> {
    let labels: Vec<String> = member.labels.iter().map(|(name, value)| format!("{name}={value}")).collect();
    let state = match member.cause {
        Some(cause) => format!("{} ({})", member.state.as_str(), cause.as_str()),
        None => member.state.as_str().to_owned(),
    };
    let role = format!("{:?}", member.role).to_lowercase();
    let cells = [
        &member.name,
        &state,
        &role,
        &member.addr.to_string(),
        &member.since.to_string(),
        &member.version,
        &labels.join(","),
    ];
    cells.iter().map(|cell| output::plain(cell)).collect()
}
