//! Alerts that go to another Alertmanager: here another collector, which speaks the same API.

use super::*;

async fn alerts_at(world: &World, collector: &Collector) -> Vec<String> {
    let (_, shown) = world.get(collector, "/api/v2/alerts").await;
    let labels = |alert: &Value| {
        let text = |name: &str| alert["labels"][name].as_str().unwrap_or_default().to_owned();
        format!("{} {} {}", text("alertname"), text("instance"), text("cluster"))
    };
    shown.as_array().unwrap().iter().map(labels).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_alertmanager_is_told_when_an_alert_fires_and_when_it_is_over() {
    let (there, world) = (World::new().await, World::new().await);
    let other = there.start().await;
    let address = service(&other, SERVICE_HTTP);
    let file = world.folder.path().join("collector.toml");
    let config = std::fs::read_to_string(&file).unwrap();
    let config = config.replace("interval = \"1s\"\n", "interval = \"1s\"\nexternal_labels = { cluster = \"eu\" }\n");
    write(&file, &format!("{config}[[alertmanager]]\nurl = \"http://u:p@{address}/\"\n"));
    let collector = world.start().await;
    let mut agent = Agent::connect(&collector).await;
    agent.report(7.0).await;
    let told = async || {
        let alerts = alerts_at(&there, &other).await;
        (alerts == ["Loaded web-1 eu"]).then_some(())
    };
    until("the other one knows of the alert", told).await;
    let (_, known) = world.get(&collector, "/api/v1/alertmanagers").await;
    let url = format!("http://{address}/api/v2/alerts");
    assert_eq!(known["data"]["activeAlertmanagers"][0]["url"], url.as_str(), "{known}");
    let (_, metrics) = world.get(&collector, "/metrics").await;
    let line = format!("watchfire_alertmanager_sent_alerts_total{{alertmanager=\"{address}\"}} ");
    assert!(metrics.as_str().unwrap().contains(&line), "{metrics}");
    agent.report(1.0).await;
    until("the other one knows that it is over", async || alerts_at(&there, &other).await.is_empty().then_some(()))
        .await;

    // Alerts that others posted here go no further.
    let posted = world.http.post(format!("http://{}/api/v2/alerts", service(&collector, SERVICE_HTTP)));
    let posted = posted.json(&serde_json::json!([{"labels": {"alertname": "FromOutside"}}])).send().await.unwrap();
    assert!(posted.status().is_success());
    agent.report(8.0).await;
    until("the next alert is told", told).await;
    collector.stop().await;
    other.stop().await;
}
