use watchfire_shared::time::Span;

use crate::Profile;
use crate::harness::Net;

#[test]
fn round_trip_times_are_measured_and_newcomers_estimate_them_at_once() {
    let mut net = Net::settled(1, Profile::Lan, 12);
    let index = net.nodes[3].gossip.as_ref().unwrap().index();
    net.run_for(Span::from_seconds(60));
    for member in net.members(3) {
        let own = member.name == "node-003";
        assert_eq!(member.rtt_ms.is_none(), own, "{member:?}");
        // The harness' datagrams take nothing or a millisecond each way.
        assert!(member.rtt_ms.unwrap_or(1.0) <= 2.0, "{member:?}");
    }
    assert_eq!(net.nodes[3].gossip.as_ref().unwrap().index(), index, "a time is no news");
    let newcomer = net.add("newcomer", &[0]);
    net.start(newcomer);
    net.run_for(Span::from_seconds(1));
    let estimated = net.members(newcomer).iter().filter(|member| member.rtt_ms.is_some()).count();
    assert!(estimated >= 11, "{estimated} of 12");
}
