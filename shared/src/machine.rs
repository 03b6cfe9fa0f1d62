//! The one shape of every core: a state machine without input or output of its own.

use crate::time::Timestamp;

/// A core: it decides, and a driver does.
///
/// There are two drivers: tokio in `watchfire-shell` and the simulator's virtual world in `watchfire-tests`. A machine
/// never reads a clock (`now` is an argument), never performs an effect (it pushes a value that describes it) and never
/// draws randomness that was not handed to it, so equal inputs give equal effects.
pub trait Machine {
    /// What the outside tells the machine, the results of earlier effects included.
    type Input;
    /// What the machine asks the outside to do.
    type Effect;

    /// The input that a driver delivers once [`Machine::deadline`] has been reached.
    fn wake() -> Self::Input;

    /// Takes one input at `now` and appends what has to be done, in the order in which it has to be done.
    ///
    /// `now` never decreases from call to call.
    fn handle(&mut self, now: Timestamp, input: Self::Input, effects: &mut Vec<Self::Effect>);

    /// When the machine wants to be woken next; `None` while it waits for input only.
    fn deadline(&self) -> Option<Timestamp>;
}
