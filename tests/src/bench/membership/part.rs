//! How much of the membership's benchmark is run: what the command line said, or what the effort implies.

use anyhow::Context;

use super::super::Effort;

/// A part of the benchmark.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Part {
    /// Members of a fleet.
    pub sizes: Vec<usize>,
    pub profiles: Vec<&'static str>,
    /// Deaths of each kind, and leaves; 0 for none.
    pub trials: usize,
    /// Whether stopped processes, restarts, loss and broken networks are measured too; they take five minutes a fleet.
    pub faults: bool,
}

impl Part {
    /// Reads `--sizes 10,50`, `--profiles lan,fast`, `--trials 5`, `--faults` and `--no-faults`.
    ///
    /// # Errors
    /// What is not understood.
    pub fn read(arguments: &[String], effort: Effort) -> anyhow::Result<Self> {
        let full = effort == Effort::Full;
        let mut part = Self {
            sizes: if full { vec![10, 50, 100] } else { vec![10] },
            profiles: if full { vec!["lan", "fast"] } else { vec!["lan"] },
            trials: if full { 10 } else { 3 },
            faults: full,
        };
        let value = |name: &str| {
            let at = arguments.iter().position(|argument| argument == name);
            at.map(|at| arguments.get(at + 1).with_context(|| format!("{name} wants a value"))).transpose()
        };
        let number = |text: &str| text.parse::<usize>().with_context(|| format!("{text:?}: expected a number"));
        if let Some(sizes) = value("--sizes")? {
            part.sizes = sizes.split(',').map(number).collect::<Result<_, _>>()?;
            // Some trials take the fourth member, and judge by the others.
            anyhow::ensure!(part.sizes.iter().all(|size| (5..=200).contains(size)), "--sizes: expected 5 to 200");
        }
        if let Some(profiles) = value("--profiles")? {
            let known = |name: &str| {
                let found = ["local", "lan", "fast", "wan"].into_iter().find(|known| *known == name);
                found.with_context(|| format!("{name:?}: expected local, lan, fast or wan"))
            };
            part.profiles = profiles.split(',').map(known).collect::<Result<_, _>>()?;
        }
        if let Some(trials) = value("--trials")? {
            part.trials = number(trials)?;
        }
        let has = |name: &str| arguments.iter().any(|argument| argument == name);
        part.faults = (part.faults || has("--faults")) && !has("--no-faults");
        Ok(part)
    }

    /// The arguments that [`Part::read`] makes this of.
    pub(super) fn arguments(&self) -> Vec<String> {
        let sizes: Vec<String> = self.sizes.iter().map(usize::to_string).collect();
        let faults = if self.faults { "--faults" } else { "--no-faults" };
        [
            "--sizes",
            &sizes.join(","),
            "--profiles",
            &self.profiles.join(","),
            "--trials",
            &self.trials.to_string(),
            faults,
        ]
        .map(str::to_owned)
        .to_vec()
    }
}
