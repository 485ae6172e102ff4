//! Claiming jobs: which, in which order, and what a lease says.

use anyhow::Result;
use taskflow_application::ports::{ClaimRequest, Route, Stores};
use taskflow_domain::{
    Counters, JobState, LeaseToken, Priority, Standing, Timestamp, Verdict, change::settle, event,
};

use crate::builders::{Draft, Scene, at, failure, job_id, kind, policy, queue, report, success, worker};

/// A claimed job carries everything that running and settling it needs.
pub async fn a_claimed_job_is_complete(stores: &Stores) -> Result<()> {
    let scene = Scene::new(stores).await?;
    let draft = scene.job(1)?.due(at(-50)).policy(policy(4, 10)).label("a", "b");
    let spec = draft.0.spec.clone();
    scene.put_one(draft).await?;
    let claim = stores.jobs.claim(&scene.request(5, at(10))).await?;
    assert_eq!(claim.jobs.len(), 1);
    let job = &claim.jobs[0];
    assert_eq!((&job.spec, &job.slug), (&spec, &scene.tenant.slug));
    assert_eq!(job.expires_at, at(3_600_000), "the end of the worker's own lease");
    let lease = &job.lease;
    assert_eq!((lease.tenant, lease.job), (scene.tenant.id, job_id(1)));
    assert_eq!(lease.token, LeaseToken::new(1, 0x00ab_cdef));
    assert_eq!(lease.worker, scene.worker);
    assert_eq!(lease.counters, Counters { attempt: 1, spent: 1, ..Counters::default() });
    assert_eq!(lease.retry_policy, spec.retry_policy);
    assert_eq!((lease.due, lease.started_at), (at(-50), at(10)));
    assert_eq!(lease.charged_us, taskflow_domain::fair::UNKNOWN_COST_US);
    assert_eq!(lease.cancel, None);
    Ok(())
}

/// A claimed job is RUNNING, with a `started` entry and an attempt without an end.
pub async fn a_claimed_job_runs(stores: &Stores) -> Result<()> {
    let scene = Scene::new(stores).await?;
    let id = scene.put_one(scene.job(1)?).await?;
    let claimed = scene.claim_one(at(10)).await?;
    let job = scene.consistent(id, at(11)).await?;
    let standing = Standing::Running {
        worker: scene.worker.clone(),
        token: claimed.lease.token,
        started_at: at(10),
        cancel: None,
    };
    assert_eq!((job.standing, job.counters, job.seq), (standing, claimed.lease.counters, 2));
    let attempt = job.last_attempt.ok_or_else(|| anyhow::anyhow!("an attempt"))?;
    assert_eq!((attempt.number, &attempt.end, attempt.started_at), (1, &None, at(10)));
    assert_eq!(scene.history(id).await?[1], event::started(2, &attempt));
    Ok(())
}

/// A claim that was long on its way meets jobs that became due after it was sent.
/// No attempt begins before its job was due, nor before the attempt before ended.
pub async fn a_late_claim_begins_no_earlier_than_due(stores: &Stores) -> Result<()> {
    let scene = Scene::new(stores).await?;
    let id = scene.put_one(scene.job(1)?.due(at(10))).await?;
    let first = scene.claim_one(at(4)).await?;
    assert_eq!(first.lease.started_at, at(10));
    scene.settle(&first, Verdict::Interrupted, at(20)).await?;
    assert_eq!(scene.claim_one(at(15)).await?.lease.started_at, at(20));
    let job = scene.consistent(id, at(30)).await?;
    let attempt = job.last_attempt.ok_or_else(|| anyhow::anyhow!("an attempt"))?;
    assert_eq!((attempt.number, attempt.started_at), (2, at(20)));
    Ok(())
}

/// A job is claimed once, whoever asks.
pub async fn a_job_is_claimed_once(stores: &Stores) -> Result<()> {
    let scene = Scene::new(stores).await?;
    scene.put([scene.job(1)?, scene.job(2)?, scene.job(3)?]).await?;
    assert_eq!(scene.claim_ids(2, at(0)).await?, [job_id(1), job_id(2)]);
    let other = Scene { worker: worker("w-2")?, ..scene.clone() };
    other.beat(&other.worker, at(0), at(1_000)).await?;
    assert_eq!(other.claim_ids(2, at(0)).await?, [job_id(3)]);
    assert!(scene.claim(2, at(0)).await?.is_empty() && other.claim(2, at(0)).await?.is_empty());
    Ok(())
}

/// Of the jobs of a lane the most urgent come first, then the longest due, then
/// the oldest.
pub async fn jobs_come_by_priority_then_due_then_id(stores: &Stores) -> Result<()> {
    let scene = Scene::new(stores).await?;
    scene
        .put([
            scene.job(1)?.priority(Priority::Background),
            scene.job(2)?.priority(Priority::Low),
            scene.job(3)?.due(at(-10)),
            scene.job(4)?.due(at(-20)),
            scene.job(6)?.due(at(-10)),
            scene.job(5)?.due(at(-10)),
            scene.job(7)?.priority(Priority::Critical),
            scene.job(8)?.priority(Priority::High),
        ])
        .await?;
    let expected = [7, 8, 4, 3, 5, 6, 2, 1].map(job_id);
    assert_eq!(scene.claim_ids(3, at(0)).await?, expected[..3]);
    assert_eq!(scene.claim_ids(10, at(0)).await?, expected[3..]);
    Ok(())
}

/// A job that has been due for long enough stands before more urgent ones.
pub async fn waiting_makes_urgent(stores: &Stores) -> Result<()> {
    let scene = Scene::new(stores).await?;
    let hour = 3_600_000;
    scene
        .put([
            scene.job(1)?.priority(Priority::Critical),
            scene.job(2)?.priority(Priority::Background).due(at(-hour - 1)),
            scene.job(3)?.priority(Priority::Background).due(at(-hour + 1)),
            scene.job(4)?.priority(Priority::Medium).due(at(-5 * 60_000 - 2)),
        ])
        .await?;
    assert_eq!(scene.claim_ids(10, at(0)).await?, [4, 2, 1, 3].map(job_id));
    Ok(())
}

/// No more jobs than were asked for, and a hint that there are more.
pub async fn a_claim_knows_its_measure(stores: &Stores) -> Result<()> {
    let scene = Scene::new(stores).await?;
    let none = stores.jobs.claim(&scene.request(5, at(0))).await?;
    assert!(none.jobs.is_empty() && !none.more);
    for n in 0..30 {
        scene.put_one(scene.job(n)?).await?;
    }
    let some = stores.jobs.claim(&scene.request(7, at(0))).await?;
    assert_eq!((some.jobs.len(), some.more), (7, true));
    let mut rest = 0;
    for _ in 0..10 {
        let claim = stores.jobs.claim(&scene.request(20, at(0))).await?;
        rest += claim.jobs.len();
        assert!(claim.jobs.len() <= 20);
    }
    assert_eq!(rest, 23);
    let none = stores.jobs.claim(&scene.request(20, at(0))).await?;
    assert!(none.jobs.is_empty() && !none.more);
    assert!(scene.claim(0, at(0)).await?.is_empty());
    scene.healthy(at(0)).await
}

/// A large claim is filled from a few long lanes as well as from many short ones.
pub async fn a_large_claim_is_filled(stores: &Stores) -> Result<()> {
    let scene = Scene::new(stores).await?;
    let mut drafts = Vec::new();
    for n in 0..400 {
        drafts.push(scene.job(n)?);
    }
    let mut n = 1_000;
    for tenant in 0..40 {
        let tenant = scene.tenant(&format!("t-{tenant}")).await?;
        for _ in 0..2 {
            drafts.push(Draft::new(tenant.id, n)?);
            n += 1;
        }
    }
    scene.put(drafts).await?;
    let mut claimed = 0;
    let mut calls = 0;
    while claimed < 480 && calls < 6 {
        claimed += scene.claim(200, at(0)).await?.len();
        calls += 1;
    }
    assert_eq!(claimed, 480, "after {calls} claims of 200");
    scene.healthy(at(0)).await
}

/// Jobs with a target are the engine's, jobs without one belong to who claims
/// their kind.
pub async fn routes_do_not_meet(stores: &Stores) -> Result<()> {
    let scene = Scene::new(stores).await?;
    scene
        .put([
            scene.job(1)?.kind("mail")?,
            scene.job(2)?.kind("mail")?.pulled(),
            scene.job(3)?.kind("scan")?.pulled(),
            scene.job(4)?.kind("copy")?.pulled(),
        ])
        .await?;
    let pull = |kinds: &[&str]| -> Result<ClaimRequest> {
        let kinds = kinds.iter().map(|name| kind(name)).collect::<Result<Vec<_>>>()?;
        Ok(ClaimRequest { route: Route::Kinds(kinds), ..scene.request(10, at(0)) })
    };
    assert_eq!(ids(stores, &pull(&["unknown"])?).await?, []);
    assert_eq!(ids(stores, &pull(&[])?).await?, []);
    assert_eq!(ids(stores, &pull(&["scan"])?).await?, [job_id(3)]);
    assert_eq!(scene.claim_ids(10, at(0)).await?, [job_id(1)]);
    let mut rest = ids(stores, &pull(&["copy", "mail", "unknown"])?).await?;
    rest.sort();
    assert_eq!(rest, [job_id(2), job_id(4)]);
    scene.healthy(at(0)).await
}

async fn ids(stores: &Stores, request: &ClaimRequest) -> Result<Vec<taskflow_domain::JobId>> {
    Ok(stores.jobs.claim(request).await?.jobs.into_iter().map(|job| job.spec.id).collect())
}

/// A claim for one tenant finds only that tenant's jobs.
pub async fn a_claim_may_be_bound_to_a_tenant(stores: &Stores) -> Result<()> {
    let scene = Scene::new(stores).await?;
    let other = scene.tenant("other").await?;
    let nobody = scene.tenant("nobody").await?;
    scene.put([scene.job(1)?, Draft::new(other.id, 2)?, Draft::new(other.id, 3)?.pulled()]).await?;
    let bound = |tenant, route| ClaimRequest { tenant: Some(tenant), route, ..scene.request(10, at(0)) };
    assert_eq!(ids(stores, &bound(nobody.id, Route::Engine)).await?, []);
    assert_eq!(ids(stores, &bound(other.id, Route::Engine)).await?, [job_id(2)]);
    assert_eq!(ids(stores, &bound(other.id, Route::Kinds(vec![kind("work")?]))).await?, [job_id(3)]);
    assert_eq!(ids(stores, &bound(scene.tenant.id, Route::Engine)).await?, [job_id(1)]);
    Ok(())
}

/// A claim for some queues finds only jobs of those queues.
pub async fn a_claim_may_be_bound_to_queues(stores: &Stores) -> Result<()> {
    let scene = Scene::new(stores).await?;
    scene.put([scene.job(1)?.queue("a")?, scene.job(2)?.queue("b")?, scene.job(3)?.queue("c")?]).await?;
    let of = |queues| ClaimRequest { queues, ..scene.request(10, at(0)) };
    assert_eq!(ids(stores, &of(vec![queue("none")?])).await?, []);
    assert_eq!(ids(stores, &of(vec![queue("b")?])).await?, [job_id(2)]);
    let mut rest = ids(stores, &of(vec![queue("c")?, queue("a")?, queue("none")?])).await?;
    rest.sort();
    assert_eq!(rest, [job_id(1), job_id(3)]);
    Ok(())
}

/// A claim over many queues reaches each of them before long.
pub async fn no_queue_is_forgotten(stores: &Stores) -> Result<()> {
    let scene = Scene::new(stores).await?;
    let mut drafts = Vec::new();
    for n in 0..20 {
        drafts.push(scene.job(n)?.queue("aaa")?);
    }
    for n in 20..40 {
        drafts.push(scene.job(n)?.queue(&format!("q-{n}"))?);
    }
    scene.put(drafts).await?;
    let mut others = 0;
    for _ in 0..30 {
        let job = scene.claim_one(at(0)).await?;
        others += u32::from(job.spec.queue.as_str() != "aaa");
    }
    assert!(others >= 10, "only {others} of 30 claims of one job went to the twenty other queues");
    assert_eq!(scene.claim(20, at(0)).await?.len(), 10);
    Ok(())
}

/// A later attempt has the next number and a greater token.
pub async fn each_claim_is_a_new_attempt(stores: &Stores) -> Result<()> {
    let scene = Scene::new(stores).await?;
    let id = scene.put_one(scene.job(1)?.policy(policy(3, 0))).await?;
    let mut last = None;
    for number in 1..=3u16 {
        let now = at(i64::from(number) * 10);
        let job = scene.claim_one(now).await?;
        let counters = Counters { attempt: number, spent: number, ..Counters::default() };
        assert_eq!(job.lease.counters, counters);
        assert_eq!(job.lease.token.attempt(), number);
        assert!(Some(job.lease.token) > last);
        last = Some(job.lease.token);
        assert_eq!(scene.consistent(id, now).await?.seq, u32::from(number) * 2);
        scene.settle(&job, failure(), now).await?;
    }
    let job = scene.consistent(id, at(40)).await?;
    assert_eq!((job.standing.state(), job.seq), (JobState::Dead, 7));
    scene.healthy(at(40)).await
}

/// A lease may have an end of its own.
pub async fn a_lease_may_have_its_own_end(stores: &Stores) -> Result<()> {
    let scene = Scene::new(stores).await?;
    scene.put_one(scene.job(1)?).await?;
    let request = ClaimRequest { lease_until: Some(at(30_000)), ..scene.request(1, at(0)) };
    let claim = stores.jobs.claim(&request).await?;
    assert_eq!(claim.jobs[0].expires_at, at(30_000));
    Ok(())
}

/// A worker that was never heard of may claim; its lease ends at once.
pub async fn an_unknown_worker_becomes_known(stores: &Stores) -> Result<()> {
    let scene = Scene::new(stores).await?;
    scene.put_one(scene.job(1)?).await?;
    let request = ClaimRequest { worker: worker("stranger")?, ..scene.request(1, at(5)) };
    let claim = stores.jobs.claim(&request).await?;
    assert_eq!(claim.jobs[0].lease.worker, worker("stranger")?);
    assert_eq!(claim.jobs[0].expires_at, at(5));
    assert_eq!(stores.jobs.expired(at(6), 10).await?.len(), 1);
    Ok(())
}

/// What a kind has cost so far is what its next job is charged.
pub async fn experience_sets_the_charge(stores: &Stores) -> Result<()> {
    let scene = Scene::new(stores).await?;
    let other = scene.tenant("other").await?;
    scene.put([scene.job(1)?, scene.job(2)?, scene.job(3)?.kind("else")?]).await?;
    let job = scene.claim_one(at(0)).await?;
    let charged = job.lease.charged_us;
    let took = 1_000_000;
    let report =
        taskflow_domain::Report { verdict: success(), at: at(1_000), took_us: took, random: 0.5, place: 0 };
    scene.done(&settle(&job.lease, report)).await?;
    let job = scene.claim_one(at(1_000)).await?;
    assert_eq!(job.lease.charged_us, taskflow_domain::fair::average_us(charged, took));
    let job = scene.claim_one(at(1_000)).await?;
    assert_eq!(job.lease.charged_us, charged, "another kind has its own experience");
    scene.put_one(Draft::new(other.id, 4)?).await?;
    let job = scene.claim_one(at(1_000)).await?;
    assert_eq!(job.lease.charged_us, charged, "another tenant has its own experience");
    Ok(())
}

/// Small differences are let go and teach nothing.
pub async fn small_differences_are_let_go(stores: &Stores) -> Result<()> {
    let scene = Scene::new(stores).await?;
    scene.put([scene.job(1)?, scene.job(2)?]).await?;
    let job = scene.claim_one(at(0)).await?;
    scene.done(&report(&job.lease, success(), at(1))).await?;
    let next = scene.claim_one(at(1)).await?;
    assert_eq!(next.lease.charged_us, job.lease.charged_us);
    Ok(())
}

/// A worker that pulls several kinds of a tenant is given the jobs of all of them in one
/// order: what is more urgent comes first, whichever kind took more time before.
pub async fn pulled_kinds_come_in_one_order(stores: &Stores) -> Result<()> {
    let scene = Scene::new(stores).await?;
    let kinds = ["ka", "kb", "kc"].map(kind).into_iter().collect::<Result<Vec<_>>>()?;
    let claim = async |max, now: Timestamp| {
        let request = ClaimRequest {
            tenant: Some(scene.tenant.id),
            route: Route::Kinds(kinds.clone()),
            ..scene.request(max, now)
        };
        let jobs = stores.jobs.claim(&request).await?.jobs;
        anyhow::Ok(jobs.iter().map(|job| job.spec.id).collect::<Vec<_>>())
    };
    let of =
        |n, kind, priority| Ok::<_, anyhow::Error>(scene.job(n)?.kind(kind)?.pulled().priority(priority));
    // The kind `ka` has used time before.
    scene.put([of(1, "ka", Priority::Medium)?, of(2, "ka", Priority::Medium)?]).await?;
    assert_eq!(claim(2, at(0)).await?, [job_id(1), job_id(2)]);
    scene
        .put([
            of(10, "kb", Priority::Medium)?,
            of(11, "ka", Priority::Critical)?,
            of(12, "kc", Priority::Low)?,
            of(13, "ka", Priority::High)?,
            of(14, "kb", Priority::Critical)?,
            of(15, "kc", Priority::High)?,
        ])
        .await?;
    for expected in [11, 14, 13] {
        assert_eq!(claim(1, at(1)).await?, [job_id(expected)]);
    }
    let mut rest = claim(2, at(2)).await?;
    rest.sort();
    assert_eq!(rest, [job_id(10), job_id(15)]);
    assert_eq!(claim(9, at(3)).await?, [job_id(12)]);
    assert_eq!(claim(9, at(4)).await?, []);
    scene.healthy(at(4)).await
}
