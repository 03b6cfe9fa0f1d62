//! Writes what packages hold beside programs: manual pages, completions, and the reference of each configuration file.
//!
//! All of it comes from the tables that the programs themselves use (their command lines and their `KEYS`), so it cannot
//! describe another program. It lives here because only this crate sees every program, and so that none of them carries
//! the generators. `packaging/build` runs it.
//!
//! ```text
//! FOLDER/PACKAGE/man1|man8/...      one page per command and subcommand
//! FOLDER/PACKAGE/man5/PACKAGE.toml.5
//! FOLDER/PACKAGE/agent.toml.example
//! FOLDER/PACKAGE/completions/...    bash, zsh, fish
//! ```

use std::fs;
use std::io;
use std::path::Path;

use clap::Command;
use clap_complete::Shell;
use clap_mangen::Man;
use clap_mangen::roff::{Roff, bold, italic, roman};
use watchfire_shared::config::{self, ConfigKey, ConfigKind};

/// A program as its package sees it.
pub struct Program {
    /// The name of the program and of its package.
    pub name: &'static str,
    /// The section of its manual pages: 1 for people, 8 for daemons.
    pub section: &'static str,
    pub command: fn() -> Command,
    pub file: Option<ConfigFile>,
}

/// A program's configuration file.
pub struct ConfigFile {
    pub name: &'static str,
    /// The folder beside it whose files are read after it.
    pub folder: &'static str,
    pub keys: &'static [ConfigKey],
}

/// Every program that is packaged.
pub const PROGRAMS: &[Program] = &[
    Program {
        name: "watchfire-agent",
        section: "8",
        command: watchfire_agent::command,
        file: Some(ConfigFile { name: "agent.toml", folder: "agent.d", keys: watchfire_agent::config::KEYS }),
    },
    Program {
        name: "watchfire-collector",
        section: "8",
        command: watchfire_collector::command,
        file: Some(ConfigFile {
            name: "collector.toml",
            folder: "collector.d",
            keys: watchfire_collector::config::KEYS,
        }),
    },
    Program { name: "watchfire", section: "1", command: watchfire::command, file: None },
];

/// Writes the documents of every program below a folder.
///
/// # Errors
/// If a file cannot be written.
pub fn write(folder: &Path) -> io::Result<()> {
    for program in PROGRAMS {
        let folder = folder.join(program.name);
        let pages = folder.join(format!("man{}", program.section));
        fs::create_dir_all(&pages)?;
        let mut command = (program.command)().disable_help_subcommand(true);
        command.build();
        write_pages(&command, program.section, &pages)?;
        write_completions(program, &folder.join("completions"))?;
        if let Some(file) = &program.file {
            fs::create_dir_all(folder.join("man5"))?;
            fs::write(folder.join("man5").join(format!("{}.toml.5", program.name)), file_page(program, file))?;
            fs::write(folder.join(format!("{}.example", file.name)), example(file))?;
        }
    }
    Ok(())
}

/// The page of a command and, each on its own, of its subcommands.
fn write_pages(command: &Command, section: &str, folder: &Path) -> io::Result<()> {
    for subcommand in command.get_subcommands().filter(|subcommand| !subcommand.is_hide_set()) {
        write_pages(subcommand, section, folder)?;
    }
    let source = format!("Watchfire {}", env!("CARGO_PKG_VERSION"));
    let page = Man::new(command.clone()).section(section).source(source).manual("Watchfire");
    page.generate_to(folder).map(drop)
}

fn write_completions(program: &Program, folder: &Path) -> io::Result<()> {
    fs::create_dir_all(folder)?;
    let shells = [
        (Shell::Bash, program.name.to_owned()),
        (Shell::Zsh, format!("_{}", program.name)),
        (Shell::Fish, format!("{}.fish", program.name)),
    ];
    for (shell, file) in shells {
        let mut text = Vec::new();
        clap_complete::generate(shell, &mut (program.command)(), program.name, &mut text);
        fs::write(folder.join(file), text)?;
    }
    Ok(())
}

/// Every key and its default, commented out: a file to copy from.
fn example(file: &ConfigFile) -> String {
    format!(
        "# Every key of {0} with its default. Copy what you change to /etc/watchfire/{1}/*.toml or /etc/watchfire/{0}.\n\n{2}",
        file.name,
        file.folder,
        config::reference(file.keys)
    )
}

/// The manual page of a configuration file, section 5.
fn file_page(program: &Program, file: &ConfigFile) -> String {
    let (name, title) = (program.name, format!("{}.toml", program.name));
    let variable = format!("WATCHFIRE_{}__SECTION__KEY", file.name.trim_end_matches(".toml").to_uppercase());
    let mut page = Roff::new();
    page.control("TH", [title.as_str(), "5", "", concat!("Watchfire ", env!("CARGO_PKG_VERSION")), "Watchfire"]);
    page.control("SH", ["NAME"]);
    page.text([roman(format!("{title} - configuration of {name}"))]);
    page.control("SH", ["SYNOPSIS"]);
    page.text([roman(format!("/etc/watchfire/{}", file.name))]);
    page.control("br", []);
    page.text([roman(format!("/etc/watchfire/{}/*.toml", file.folder))]);
    page.control("SH", ["DESCRIPTION"]);
    page.text([roman(
        "The files are TOML. The later wins, key by key: built-in defaults, the file, the files of the folder beside it in \
         the order of their names, environment variables such as ",
    )]);
    page.text([italic(variable), roman(", and the flag "), bold("--set"), roman(".")]);
    page.control("PP", []);
    page.text([bold(format!("{name} check-config")), roman(" names every mistake with its place. "), bold("SIGHUP")]);
    page.text([roman("reloads; a bad file leaves the old configuration in force and says so.")]);
    let mut section = "";
    for key in file.keys {
        if let ConfigKind::Tables(_) = key.kind {
            page.control("SH", [format!("[[{}]]", key.path).as_str()]);
            page.text([roman(key.help)]);
            page.control("PP", []);
            page.control("nf", []);
            for line in key.default.lines() {
                page.text([italic(line)]);
            }
            page.control("fi", []);
            continue;
        }
        let (own, key_name) = key.path.rsplit_once('.').unwrap_or(("", key.path));
        if own != section {
            page.control("SH", [format!("[{own}]").as_str()]);
            section = own;
        }
        page.control("TP", []);
        page.text([bold(key_name), roman(" = "), italic(key.default)]);
        page.text([roman(key.help)]);
    }
    page.control("SH", ["SEE ALSO"]);
    page.text([bold(name), roman(format!("({})", program.section))]);
    page.render()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_program_gets_its_pages_completions_and_reference() {
        let folder = tempfile::tempdir().unwrap();
        write(folder.path()).unwrap();
        for program in PROGRAMS {
            let own = folder.path().join(program.name);
            let page = own.join(format!("man{0}/{1}.{0}", program.section, program.name));
            assert!(fs::read_to_string(page).unwrap().contains(".SH SYNOPSIS"));
            for completion in ["", "_", ".fish"] {
                let file = if completion == "_" { format!("_{}", program.name) } else { program.name.to_owned() };
                let file = if completion == ".fish" { format!("{file}.fish") } else { file };
                assert!(fs::read_to_string(own.join("completions").join(file)).unwrap().contains(program.name));
            }
            let Some(file) = &program.file else { continue };
            let page = fs::read_to_string(own.join(format!("man5/{}.toml.5", program.name))).unwrap();
            let example = fs::read_to_string(own.join(format!("{}.example", file.name))).unwrap();
            for key in file.keys {
                assert!(example.contains(key.help), "{} is not in the example", key.path);
                let name = key.path.rsplit_once('.').map_or(key.path, |(_, name)| name).replace('-', "\\-");
                let shown = [format!("\\fB{name}\\fR"), format!("[[{}]]", key.path)];
                assert!(shown.iter().any(|shown| page.contains(shown)), "{} is not in the page", key.path);
            }
        }
    }

    #[test]
    fn hidden_commands_have_no_page() {
        let folder = tempfile::tempdir().unwrap();
        write(folder.path()).unwrap();
        let pages = fs::read_dir(folder.path().join("watchfire/man1")).unwrap().flatten();
        let names: Vec<String> = pages.map(|page| page.file_name().to_string_lossy().into_owned()).collect();
        assert!(names.contains(&"watchfire-dev.1".to_owned()), "{names:?}");
        assert!(!names.contains(&"watchfire-dev-process.1".to_owned()), "{names:?}");
    }
}
