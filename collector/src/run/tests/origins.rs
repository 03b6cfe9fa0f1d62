//! What browsers may do with a page of another origin.

use super::*;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pages_of_other_origins_may_read_and_change_nothing() {
    let world = World::new().await;
    let collector = world.start().await;
    let address = service(&collector, SERVICE_HTTP);
    let ask = async |method: &str, path: &str, origin: Option<&str>| {
        let method = reqwest::Method::from_bytes(method.as_bytes()).unwrap();
        let mut request = world.http.request(method, format!("http://{address}{path}"));
        if let Some(origin) = origin {
            request = request.header("origin", origin);
        }
        let response = request.send().await.unwrap();
        let allowed =
            response.headers().get("access-control-allow-origin").map(|value| value.to_str().unwrap().to_owned());
        (response.status().as_u16(), allowed)
    };
    let all = Some("*".to_owned());
    assert_eq!(ask("OPTIONS", "/api/v1/query", Some("http://grafana")).await, (204, all.clone()));
    assert_eq!(ask("OPTIONS", "/api/v1/rules", None).await, (204, None));
    assert_eq!(ask("GET", "/api/v1/query?query=1", Some("http://grafana")).await, (200, all.clone()));
    assert_eq!(ask("GET", "/api/v1/query?query=1", None).await, (200, None));
    assert_eq!(ask("GET", "/api/v1/rules?type=ALERT", None).await, (200, None));
    for path in ["/api/v1/write", "/api/v1/admin/tsdb/delete_series", "/api/v2/silences", "/-/reload"] {
        let (status, allowed) = ask("OPTIONS", path, Some("http://grafana")).await;
        assert!(status >= 400 && allowed.is_none(), "{path}: {status} {allowed:?}");
    }
    collector.stop().await;
}
