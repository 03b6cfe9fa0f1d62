//! Drives a [`Machine`] in real time.
//!
//! One task owns the machine. Inputs come through one bounded inbox; between them the driver sleeps until the machine's
//! deadline. Effects are handed over in batches, in the order in which the machine gave them, before the next input is
//! taken.
//!
//! Wake-ups are what an idle program costs, so the driver arms its one timer only when a deadline moves to an earlier time,
//! and lets what falls due within [`SLACK`] of it happen in the same turn.

use std::future::{Future, poll_fn};
use std::ops::ControlFlow;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::{Instant, Sleep};
use watchfire_shared::machine::Machine;
use watchfire_shared::time::{Span, Timestamp};

/// Inputs taken from the inbox before their effects are performed: a burst costs one round of effects, and an effect
/// never waits for longer than this many inputs.
const MAX_INPUTS_PER_TURN: usize = 64;
/// Room for effects that stays while there are none; a start or a healed network makes thousands at once.
const EFFECTS_KEPT: usize = 256;
/// The longest sleep. A wall clock that steps forward while the driver sleeps is noticed after at most this time.
const MAX_SLEEP: Span = Span::from_seconds(5);
/// How much later than its deadline a machine may be woken, so that deadlines close to each other share one wake-up.
const SLACK: Span = Span::from_millis(8);

/// Where a machine's inputs come from.
pub trait Inbox<I> {
    /// The next input; `None` once there will be no more. Must be safe to give up and call again.
    fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Option<I>>;

    /// The next input if it is there already.
    fn try_next(&mut self) -> Option<I>;
}

impl<I> Inbox<I> for mpsc::Receiver<I> {
    fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Option<I>> {
        self.poll_recv(cx)
    }

    fn try_next(&mut self) -> Option<I> {
        self.try_recv().ok()
    }
}

/// Drives `machine` until its inbox is closed and empty, or until `perform` breaks; returns it.
///
/// `now` must never decrease. `perform` must not block: what takes time is begun there, and its result comes back
/// through the inbox. It takes the effects out of the vector.
pub async fn drive<M: Machine>(
    mut machine: M,
    mut inbox: impl Inbox<M::Input>,
    now: impl Fn() -> Timestamp,
    mut perform: impl FnMut(Timestamp, &mut Vec<M::Effect>, &M) -> ControlFlow<()>,
) -> M {
    let mut alarm = Alarm::new();
    let mut effects = Vec::new();
    loop {
        let input = match next(&mut inbox, machine.deadline(), &mut alarm, &now).await {
            Next::Input(input) => Some(input),
            Next::Due => Some(M::wake()),
            Next::Early => None,
            Next::Closed => return machine,
        };
        if let Some(input) = input {
            machine.handle(now(), input, &mut effects);
            for _ in 1..MAX_INPUTS_PER_TURN {
                let Some(input) = inbox.try_next() else { break };
                machine.handle(now(), input, &mut effects);
            }
        }
        if perform(now(), &mut effects, &machine).is_break() {
            return machine;
        }
        effects.clear();
        effects.shrink_to(EFFECTS_KEPT);
    }
}

/// Drives a machine on a thread of its own, for a machine whose `handle` or whose effects block on a disk.
///
/// # Errors
/// If the system gives no thread.
pub fn drive_on_thread<M>(
    name: &str,
    machine: M,
    inbox: mpsc::Receiver<M::Input>,
    now: impl Fn() -> Timestamp + Send + 'static,
    perform: impl FnMut(Timestamp, &mut Vec<M::Effect>, &M) -> ControlFlow<()> + Send + 'static,
) -> std::io::Result<std::thread::JoinHandle<M>>
where
    M: Machine + Send + 'static,
    M::Input: Send,
{
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build()?;
    std::thread::Builder::new()
        .name(name.to_owned())
        .spawn(move || runtime.block_on(drive(machine, inbox, now, perform)))
}

enum Next<I> {
    Input(I),
    Due,
    /// The sleep was cut short by [`MAX_SLEEP`].
    Early,
    Closed,
}

/// The one timer of a driver. Moving it to a later time costs nothing: it rings early once and is set again then.
struct Alarm {
    sleep: Pin<Box<Sleep>>,
    rang: bool,
}

impl Alarm {
    fn new() -> Self {
        Self { sleep: Box::pin(tokio::time::sleep(Duration::ZERO)), rang: true }
    }

    fn ring_by(&mut self, wait: Span) {
        let at = Instant::now() + wait.to_std();
        if self.rang || at < self.sleep.deadline() {
            self.sleep.as_mut().reset(at);
            self.rang = false;
        }
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let rang = self.sleep.as_mut().poll(cx);
        self.rang = rang.is_ready();
        rang
    }
}

async fn next<I>(
    inbox: &mut impl Inbox<I>,
    deadline: Option<Timestamp>,
    alarm: &mut Alarm,
    now: &impl Fn() -> Timestamp,
) -> Next<I> {
    let wait = deadline.map_or(MAX_SLEEP, |deadline| deadline.since(now()).min(MAX_SLEEP));
    if deadline.is_some() && !wait.is_positive() {
        return Next::Due;
    }
    alarm.ring_by(wait + SLACK);
    poll_fn(|cx| {
        if let Poll::Ready(input) = inbox.poll_next(cx) {
            return Poll::Ready(input.map_or(Next::Closed, Next::Input));
        }
        let is_due = || deadline.is_some_and(|deadline| deadline <= now());
        alarm.poll(cx).map(|()| if is_due() { Next::Due } else { Next::Early })
    })
    .await
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use super::*;

    /// Echoes its inputs and wakes three times, 20 ms apart.
    struct Echo {
        next: Option<Timestamp>,
        wakes: u32,
    }

    impl Machine for Echo {
        type Input = Option<u32>;
        type Effect = String;

        fn wake() -> Self::Input {
            None
        }

        fn handle(&mut self, now: Timestamp, input: Self::Input, effects: &mut Vec<String>) {
            match input {
                Some(number) => effects.push(format!("input {number}")),
                None => {
                    assert!(self.next.is_some_and(|next| next <= now), "woken before its deadline");
                    self.wakes += 1;
                    self.next = (self.wakes < 3).then_some(now + Span::from_millis(20));
                    effects.push(format!("wake {}", self.wakes));
                }
            }
        }

        fn deadline(&self) -> Option<Timestamp> {
            self.next
        }
    }

    #[test]
    fn inputs_and_deadlines_reach_the_machine_and_effects_come_in_order() {
        let clock = crate::clock::Clock::start();
        let (inputs, inbox) = mpsc::channel(8);
        for number in 0..3 {
            inputs.try_send(Some(number)).unwrap();
        }
        let seen = Arc::new(Mutex::new(Vec::new()));
        let performed = seen.clone();
        let start = Some(clock.monotonic() + Span::from_millis(200));
        let driver = drive_on_thread(
            "echo",
            Echo { next: start, wakes: 0 },
            inbox,
            move || clock.monotonic(),
            move |_, effects, machine| {
                performed.lock().unwrap().append(effects);
                if machine.wakes == 3 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
            },
        );
        let machine = driver.unwrap().join().unwrap();
        assert_eq!(machine.wakes, 3);
        assert_eq!(*seen.lock().unwrap(), ["input 0", "input 1", "input 2", "wake 1", "wake 2", "wake 3"]);
    }

    #[tokio::test]
    async fn a_closed_inbox_ends_the_driver_after_its_last_input() {
        let clock = crate::clock::Clock::start();
        let (inputs, inbox) = mpsc::channel(8);
        inputs.try_send(Some(7)).unwrap();
        drop(inputs);
        let mut seen = Vec::new();
        let perform = |_, effects: &mut Vec<String>, _: &Echo| {
            seen.append(effects);
            ControlFlow::Continue(())
        };
        drive(Echo { next: None, wakes: 0 }, inbox, || clock.monotonic(), perform).await;
        assert_eq!(seen, ["input 7"]);
    }
}
