//! Detection times, wrong deaths and bytes, which a change must not make worse; printed with `--nocapture`. The bench's
//! sweep measures the same at full size.

use watchfire_shared::member::MemberState;
use watchfire_shared::time::Span;

use crate::Profile;
use crate::harness::Net;

const KILLS: usize = 9;

/// Seconds from kill to the first and to every observer's down, and to the first suspicion: medians and the longest.
fn detection(profile: Profile, count: usize, silent: bool) -> [f64; 4] {
    let mut net = Net::settled(11, profile, count);
    let (mut suspected, mut first, mut all) = (Vec::new(), Vec::new(), Vec::new());
    for kill in 0..KILLS {
        net.run_for(Span::from_millis(7_000 + 370 * kill as i64));
        let victim = 1 + kill % (count - 1);
        let name = net.nodes[victim].name.clone();
        let killed = net.now;
        if silent {
            net.kill_host(victim);
        } else {
            net.kill(victim);
        }
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
fn a_silent_host_is_found_within_its_budget() {
    // The budgets are the goals of the profiles (TUNING.md); nine deaths are few, so the smallest fleet has some air.
    let cases = [
        (Profile::Local, 3, 4.0),
        (Profile::Local, 10, 4.0),
        (Profile::Local, 50, 6.0),
        (Profile::Lan, 3, 6.0),
        (Profile::Lan, 10, 5.5),
        (Profile::Lan, 50, 7.5),
        (Profile::Fast, 10, 4.0),
        (Profile::Fast, 50, 5.5),
    ];
    for (profile, count, budget) in cases {
        let [suspected, first, all, longest] = detection(profile, count, true);
        let name = profile.as_str();
        println!(
            "{name:5} N={count:3}: suspect {suspected:.2} s, first {first:.2} s, all {all:.2} s (max {longest:.2})"
        );
        assert!(all <= budget, "{name} N={count}: {all:.2} s");
    }
}

#[test]
fn a_killed_agent_whose_host_answers_is_found_within_its_budget() {
    for (profile, count, budget) in [(Profile::Lan, 10, 2.0), (Profile::Lan, 50, 2.5), (Profile::Fast, 50, 2.0)] {
        let [_, first, all, longest] = detection(profile, count, false);
        let name = profile.as_str();
        println!("{name:5} N={count:3}: first {first:.2} s, all {all:.2} s (max {longest:.2})");
        assert!(all <= budget, "{name} N={count}: {all:.2} s");
    }
}

#[test]
fn members_whose_traffic_is_held_up_cost_no_healthy_member_its_life() {
    for (profile, held_up, seconds) in [(Profile::Lan, 4, 8), (Profile::Lan, 8, 32), (Profile::Fast, 8, 16)] {
        let mut net = Net::settled(21, profile, 32);
        net.run_for(Span::from_seconds(5));
        let begin = net.now;
        for _ in 0..120 / (seconds + 1) {
            (0..held_up).for_each(|at| net.hold_up(at, Span::from_seconds(seconds)));
            net.run_for(Span::from_seconds(seconds + 1));
        }
        net.run_for(Span::from_seconds(30));
        let healthy: Vec<&str> = net.nodes[held_up..].iter().map(|node| node.name.as_str()).collect();
        let wrong = net.downs(begin).into_iter().filter(|(_, about)| healthy.contains(&about.as_str())).count();
        let suspected = net.nodes.iter().flat_map(|node| &node.changes).filter(|change| change.at >= begin);
        let suspected = suspected.filter(|change| change.member.state == MemberState::Suspect).count();
        assert!(suspected > 0, "nobody was even suspected, so nothing was tried");
        assert_eq!(wrong, 0, "{held_up} of 32 held up for {seconds} s, {}", profile.as_str());
    }
}

#[test]
fn an_idle_member_sends_no_more_than_its_budget_encrypted() {
    for (profile, budget) in [(Profile::Lan, 320), (Profile::Fast, 450)] {
        let mut net = Net::new(8, profile);
        net.keys = vec![crate::GossipKey::new([7; 32])];
        net.add_all(50);
        (0..50).for_each(|at| net.start(at));
        assert!(net.run_until(Span::from_seconds(60), Net::is_complete).is_some());
        net.run_for(Span::from_seconds(60));
        // What IPv4 and UDP add to each datagram counts.
        let sent = |net: &Net| net.running().map(|(_, gossip)| gossip.stats().sent_bytes).sum::<u64>() + 28 * net.sent;
        let before = sent(&net);
        net.run_for(Span::from_seconds(120));
        let per_second = (sent(&net) - before) / 120 / 50;
        println!("{:5} N= 50: {per_second} B/s", profile.as_str());
        assert!(per_second <= budget, "{}: {per_second} B/s", profile.as_str());
    }
}
