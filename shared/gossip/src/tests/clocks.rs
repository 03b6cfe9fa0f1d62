use watchfire_shared::time::Span;

use crate::Profile;
use crate::harness::Net;

/// Clocks of members leap while all is well. The wall clock never reaches the machine; its own may leap forward where a
/// hypervisor counts the time for which it held a machine, and never goes back.
#[test]
fn clocks_that_leap_forward_by_hours_kill_nobody() {
    for (seed, profile) in [(61, Profile::Lan), (62, Profile::Fast), (63, Profile::Lan), (64, Profile::Fast)] {
        let mut net = Net::settled(seed, profile, 12);
        net.run_for(Span::from_seconds(10));
        let begin = net.now;
        for (round, hours) in [1, 3, 23, 30].into_iter().enumerate() {
            let leaping = if hours == 23 { 0..12 } else { round..round + 4 };
            for at in leaping {
                net.set_clock_forward(at, Span::from_seconds(3600 * hours));
                net.run_for(Span::from_millis(70));
            }
            net.run_for(Span::from_seconds(40));
            assert_eq!(net.downs(begin), [], "seed {seed}, {hours} h");
            assert!(net.is_complete(), "seed {seed}, {hours} h");
        }
    }
}
