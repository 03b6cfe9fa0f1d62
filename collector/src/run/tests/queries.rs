//! What bounds a query: its time, its samples, its length and depth, and whoever waits for it.

use super::*;

/// Eleven thousand windows of eight million samples each, of one series: hours of work, if nobody stops it.
const ENDLESS: &str = "/api/v1/query_range?query=sum_over_time(vector(1)[8000000s:1s])&start=0&end=11000&step=1";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_limit_of_a_query_is_told() {
    let world = World::new().await;
    let collector = world.start().await;
    let (deep, long) = ("(".repeat(10_000), "1+".repeat(530_000));
    let cases = [
        (format!("{ENDLESS}&timeout=200ms"), 503, "timeout", "query timed out in query execution".to_owned()),
        (
            "/api/v1/query?query=sum_over_time(vector(1)[10y:1s])".to_owned(),
            422,
            "execution",
            "query processing would load too many samples into memory in query execution".to_owned(),
        ),
        (format!("/api/v1/query?query={deep}1"), 400, "bad_data", "nested more than".to_owned()),
    ];
    for (path, status, kind, message) in cases {
        let (found, answer) = world.get(&collector, &path).await;
        assert_eq!((found, &answer["errorType"]), (status, &kind.into()), "{answer}");
        let error = answer["error"].as_str().unwrap_or_default();
        assert!(error.contains(&message), "{error} instead of {message}");
    }
    let url = format!("http://{}/api/v1/query", service(&collector, SERVICE_HTTP));
    let form = world.http.post(url).header("content-type", "application/x-www-form-urlencoded");
    let refused = form.body(format!("query={long}1")).send().await.unwrap();
    assert_eq!(refused.status().as_u16(), 400);
    assert!(refused.text().await.unwrap().contains("longer than"));
    collector.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_query_ends_with_whoever_waits_for_it() {
    let world = World::new().await;
    let collector = world.start().await;
    // As many as there are places; each would hold its own for two minutes.
    let endless = (0..MAX_QUERIES).map(|_| world.get(&collector, ENDLESS));
    let asking = futures_util::future::join_all(endless);
    assert!(tokio::time::timeout(Duration::from_millis(500), asking).await.is_err(), "they are endless");
    let (status, answer) = world.get(&collector, "/api/v1/query?query=1&timeout=30s").await;
    assert_eq!(status, 200, "{answer}");
    collector.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_query_may_name_thousands_and_its_subqueries_step_as_rules_do() {
    let world = World::new().await;
    let config = std::fs::read_to_string(world.folder.path().join("collector.toml")).unwrap();
    write(&world.folder.path().join("collector.toml"), &format!("{config}[query]\nmax_samples = 10000\n"));
    let collector = world.start().await;
    let url = format!("http://{}/api/v1/query", service(&collector, SERVICE_HTTP));
    let hosts: Vec<String> = (0..20_000).map(|host| format!("host-{host:05}\\\\.example:9100")).collect();
    let query = format!("count(up{{instance=~\"{}\"}}) or vector(7)", hosts.join("|"));
    let answer = world.http.post(url).form(&[("query", query)]).send().await.unwrap();
    let answer: Value = answer.json().await.unwrap();
    assert_eq!(answer["data"]["result"][0]["value"][1], "7", "{answer}");
    // The default of rules.interval here is a second.
    assert_eq!(world.value(&collector, "count_over_time(vector(1)[10s:])").await.as_deref(), Some("10"));
    let (status, answer) = world.get(&collector, "/api/v1/query?query=count_over_time(vector(1)[3h:])").await;
    assert_eq!((status, &answer["errorType"]), (422, &"execution".into()), "{answer}");
    collector.stop().await;
}
