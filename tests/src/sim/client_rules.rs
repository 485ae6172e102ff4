//! Clients of automation: they make rules, call their addresses and tell events,
//! ask again where that is safe, and write down what they were told.

use std::sync::Arc;
use std::time::Duration;

use serde_json::json;
use taskflow_application::automation::{AutomationError, Delivered, Delivery, NewEvent, RuleWish as Wanted};
use taskflow_application::ports::StoreError;
use taskflow_checker::history::{Known, Op};
use taskflow_domain::rule::Mode;
use taskflow_domain::{Json, RuleDocument};
use tokio::time::sleep;

use super::api::{Lost, ask};
use super::client::{OUTSIDE, queue_name};
use super::log::{caller, tenant_name};
use super::plan::TENANTS;
use super::plan_rules::{Receiver, RuleWish, Starts, Tiding};
use super::tools::{GOOD, ID, MEANT, NO_RULES_JOB};
use super::world::Sim;

/// What the payloads of rules' jobs begin to count at.
pub(super) const RULES_JOBS: u32 = 1_000_000;
/// The source of events.
pub(super) const SHOP: &str = "/shop";
/// The type of events.
pub(super) const ORDER: &str = "order";

fn known<T>(answer: &Result<Result<T, AutomationError>, Lost>) -> Known {
    match answer {
        Ok(Ok(_)) => Known::Ok,
        Ok(Err(AutomationError::Store(StoreError::Unavailable(_)))) | Err(Lost) => Known::Unknown,
        Ok(Err(_)) => Known::Fail,
    }
}

/// The end of the address of rule number `number`.
pub(super) fn webhook_key(number: u32) -> String {
    format!("address-of-rule-{number}")
}

/// What the rule says.
fn document(wish: &RuleWish) -> Option<RuleDocument> {
    let trigger = match wish.starts {
        Starts::Clock { every_s, overlap, misfire, max_late_ms } => {
            let mut misfire = json!({ "policy": misfire });
            if let Some(max_late_ms) = max_late_ms {
                misfire["max_lateness_ms"] = json!(max_late_ms);
            }
            json!({ "type": "cron", "expression": format!("*/{every_s} * * * * *"), "overlap": overlap,
                    "misfire": misfire })
        }
        Starts::Delivery => json!({ "type": "webhook", "key": webhook_key(wish.number) }),
        Starts::Event => json!({ "type": "event", "event": ORDER }),
        Starts::End { any, .. } => {
            json!({ "type": "event", "event": if any { "job.*" } else { "job.succeeded" } })
        }
    };
    let unchained = matches!(wish.starts, Starts::End { chained: false, .. });
    let mut document = json!({
        "name": format!("rule-{}", wish.number),
        "trigger": trigger,
        "condition": if unchained { NO_RULES_JOB } else { "true" },
        "actions": [{
            "kind": super::own_kind().as_str(),
            "queue": queue_name(wish.queue).as_str(),
            "payload": { "number": RULES_JOBS + wish.number },
            "target": { "type": "builtin", "name": "noop" },
        }],
    });
    if wish.for_each {
        document["for_each_tenant"] = json!(MEANT);
    }
    serde_json::from_value(document).ok()
}

/// Makes a rule; asks until somebody says that it is there. Asking again may make
/// a second one, which is a rule of its own.
pub(super) async fn put_rule(sim: &Arc<Sim>, wish: &RuleWish) {
    // A rule that acts for many is made when all of them are there.
    for _ in 0..60 {
        if !wish.for_each || sim.log().tenants.len() == TENANTS {
            break;
        }
        sleep(Duration::from_millis(500)).await;
    }
    let Some(document) = document(wish) else { return };
    for _ in 0..20 {
        let document = document.clone();
        let caller = caller(wish.tenant);
        let answer = ask(sim, OUTSIDE, move |node| async move {
            let wanted = Wanted { document, enabled: true, mode: Mode::Live, secret: None, revision: None };
            node.rules.create(&caller, wanted).await
        })
        .await;
        let now = sim.now_us();
        match answer {
            Ok(Ok(rule)) => {
                sim.log().rules.insert(rule.id, now);
                sim.log().count("rules");
                return;
            }
            // It was made although nobody said so.
            Ok(Err(AutomationError::KeyTaken)) => return,
            Ok(Err(AutomationError::Invalid(faults))) => {
                sim.log().count("rules refused");
                sim.trace(&format!("rule {} is refused: {faults:?}", wish.number));
                return;
            }
            _ => sleep(Duration::from_secs(1)).await,
        }
    }
}

/// Sends something until it is answered.
pub(super) async fn tell(sim: &Arc<Sim>, tiding: Tiding) {
    let mut answered = false;
    for _ in 0..6 {
        let known = match tiding.to {
            Receiver::Rule(rule, genuine) => deliver(sim, rule, tiding.id, genuine).await,
            Receiver::Tenant(tenant) => ingest(sim, tenant, tiding.id).await,
        };
        let enough = match known {
            Known::Ok => answered || !tiding.doubled,
            Known::Fail => true,
            Known::Unknown => false,
        };
        if enough {
            return;
        }
        answered |= known == Known::Ok;
        sleep(Duration::from_millis(700)).await;
    }
}

async fn deliver(sim: &Arc<Sim>, rule: u32, id: u32, genuine: bool) -> Known {
    let (invoked_at, id, key) = (sim.now_us(), format!("d-{id}"), webhook_key(rule));
    let source = format!("webhook:{key}");
    let mut headers = vec![(ID.to_owned(), id.clone())];
    if genuine {
        headers.push((GOOD.to_owned(), "yes".to_owned()));
    }
    let delivery = Delivery { headers, body: b"{}".to_vec(), traceparent: None };
    let answer =
        ask(sim, OUTSIDE, move |node| async move { node.rules.deliver(&node.access, &key, delivery).await })
            .await;
    let known = known(&answer);
    let firings = match answer {
        Ok(Ok(Delivered::Accepted { firings, .. })) => firings,
        _ => Vec::new(),
    };
    let firings = firings.iter().map(|firing| firing.id.to_string()).collect();
    sim.log().count("deliveries");
    sim.log().call(invoked_at, sim.now_us(), known, Op::Deliver { source, id, genuine, firings });
    known
}

async fn ingest(sim: &Arc<Sim>, tenant: usize, id: u32) -> Known {
    let (invoked_at, id, caller) = (sim.now_us(), format!("o-{id}"), caller(tenant));
    let event = NewEvent {
        id: id.clone(),
        source: SHOP.to_owned(),
        kind: ORDER.to_owned(),
        subject: None,
        time: None,
        headers: Json::object(),
        data: Json::object(),
        traceparent: None,
    };
    let answer =
        ask(sim, OUTSIDE, move |node| async move { node.rules.ingest(&caller, vec![event]).await }).await;
    let known = known(&answer);
    let op = Op::Ingest { tenant: tenant_name(tenant).as_str().into(), source: SHOP.into(), id };
    sim.log().count("events told");
    sim.log().call(invoked_at, sim.now_us(), known, op);
    known
}
