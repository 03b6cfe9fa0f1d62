//! Where the links of notifications lead: a web interface has its own pages for them, here they lead to the answers.
//!
//! Rules link to `/graph?g0.expr=…` as Prometheus' do, default templates of receivers to `/#/alerts` as Alertmanager's. The
//! redirects are relative, so that they hold behind a proxy that adds a path.

use axum::response::Redirect;

use crate::prometheus::parameters::Parameters;
use crate::sender::client::escaped;

/// `/graph` and `/query`: the value of the first expression now.
pub(super) async fn graph(parameters: Parameters) -> Redirect {
    let expression = parameters.get("g0.expr").unwrap_or_default();
    Redirect::temporary(&format!("api/v1/query?query={}", escaped(expression)))
}

/// `/`: the alerts that fire.
pub(super) async fn alerts() -> Redirect {
    Redirect::temporary("api/v2/alerts")
}
