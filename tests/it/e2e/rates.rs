//! A request rate is one for all processes.

use anyhow::{Context as _, Result};
use reqwest::Method;
use serde_json::{Value, json};

use super::access::{Holder, OPERATOR, keyed};
use super::api::Store;

/// 64 requests in an hour: what comes back during the test is next to nothing.
const LIMIT: u64 = 64;

#[tokio::test]
async fn three_processes_let_through_what_one_would() -> Result<()> {
    let store = Store::postgres().await?;
    let first = keyed(store.launch("api")).start().await?;
    let operator = Holder::new(&first.url, OPERATOR)?;
    let rate = json!({"limit": LIMIT, "period_ms": 3_600_000});
    operator.tenant("noisy", json!({ "request_rate": rate })).await?;
    operator.tenant("quiet", json!({ "request_rate": rate })).await?;
    let (_, noisy) = operator.give("noisy", &["jobs:read"]).await?;
    let (_, quiet) = operator.give("quiet", &["jobs:read"]).await?;
    let (second, third) =
        (keyed(store.launch("api")).start().await?, keyed(store.launch("api")).start().await?);
    let urls = [&first.url, &second.url, &third.url];
    let begun = tokio::time::Instant::now();
    let (mut served, mut refused) = (0, 0);
    for turn in 0..150 {
        let holder = noisy.at(urls[turn % 3]);
        let answer = holder.send(Method::GET, "/v1/jobs", None).await?;
        let header =
            |name: &str| answer.headers().get(name).and_then(|value| value.to_str().ok()).map(str::to_owned);
        match answer.status().as_u16() {
            200 => served += 1,
            429 => {
                refused += 1;
                assert!(header("retry-after").context("a time")?.parse::<u64>()? >= 1);
                assert!(header("ratelimit").context("what is left")?.starts_with("\"tenant\";r=0;"));
                assert_eq!(answer.json::<Value>().await?["code"], "rate_limited");
            }
            other => anyhow::bail!("{other}"),
        }
    }
    // Each hour brings 64, so each minute one.
    let most = LIMIT + 1 + begun.elapsed().as_secs() / 56;
    assert!((LIMIT..=most).contains(&served) && served + refused == 150, "{served} of at most {most}");
    for url in urls {
        let holder = quiet.at(url);
        assert_eq!(
            holder.status(Method::GET, "/v1/jobs", None).await?,
            200,
            "another's 429 is nobody else's"
        );
    }
    Ok(())
}
