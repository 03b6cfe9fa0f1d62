//! Detection times, which a change must not make worse; printed with `--nocapture`.

use watchfire_shared::member::MemberState;
use watchfire_shared::time::Span;

use crate::Profile;
use crate::harness::Net;

const KILLS: usize = 9;

/// Seconds from kill to the first and to every observer's down, and to the first suspicion: medians and the longest.
fn detection(profile: Profile, count: usize) -> [f64; 4] {
    let mut net = Net::settled(11, profile, count);
    let (mut suspected, mut first, mut all) = (Vec::new(), Vec::new(), Vec::new());
    for kill in 0..KILLS {
        net.run_for(Span::from_millis(7_000 + 370 * kill as i64));
        let victim = 1 + kill % (count - 1);
        let name = net.nodes[victim].name.clone();
        let killed = net.now;
        net.kill_host(victim);
        let took = net.run_until(Span::from_seconds(60), |net| net.all_see(&name, MemberState::Down));
        all.push(took.expect("the death was found").as_seconds());
        let seen = |state: MemberState| {
            let changes = net.nodes.iter().flat_map(|node| &node.changes);
            let about = changes.filter(|change| change.at >= killed && change.member.name == name);
            about.filter(|change| change.member.state == state).map(|change| change.at.since(killed)).min()
        };
        suspected.extend(seen(MemberState::Suspect).map(Span::as_seconds));
        first.extend(seen(MemberState::Down).map(Span::as_seconds));
        net.start(victim);
        assert!(net.run_until(Span::from_seconds(40), Net::is_complete).is_some());
    }
    let median = |times: &mut Vec<f64>| {
        times.sort_by(f64::total_cmp);
        times[times.len() / 2]
    };
    [median(&mut suspected), median(&mut first), median(&mut all), all[all.len() - 1]]
}

#[test]
fn detection_times_stay_within_their_budget() {
    let cases = [
        (Profile::Local, 3, 4.0),
        (Profile::Local, 10, 4.0),
        (Profile::Local, 50, 6.0),
        (Profile::Lan, 3, 8.0),
        (Profile::Lan, 10, 8.0),
        (Profile::Lan, 50, 11.0),
        (Profile::Fast, 10, 3.5),
    ];
    for (profile, count, budget) in cases {
        let [suspected, first, all, longest] = detection(profile, count);
        let name = profile.as_str();
        println!(
            "{name:5} N={count:3}: suspect {suspected:.2} s, first {first:.2} s, all {all:.2} s (max {longest:.2})"
        );
        assert!(all <= budget, "{name} N={count}: {all:.2} s");
    }
}
