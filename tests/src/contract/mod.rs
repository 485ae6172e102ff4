//! The contract suite: what the documentation of the store ports promises, case
//! by case. Every adapter runs all of it, each case on a store of its own.
//!
//! A behaviour of the stores exists when it is written here.

/// Makes one test of each case.
///
/// `contract_suite!(super::make)` stands in a module of a test binary, whose
/// `make` (or any other path, as seen from inside a child of that module) is an `async fn() -> anyhow::Result<(Stores, K)>` that makes an empty
/// store. `K` is whatever must live as long as the store: a temporary folder,
/// a database that is dropped.
#[macro_export]
macro_rules! contract_suite {
    ($make:path) => {
        $crate::contract_cases! { ($make)
            insert: a_job_comes_back_as_it_was_sent a_job_may_begin_waiting_scheduled_or_pending
                many_jobs_go_in_at_once no_jobs_are_no_fault a_repeated_request_finds_its_job
                a_key_of_another_request_is_refused a_key_outlives_the_end_of_its_job
                a_key_may_occur_twice_in_one_call keys_belong_to_their_tenant
                an_atomic_insert_takes_known_keys an_atomic_insert_is_all_or_nothing
                jobs_stand_for_themselves_where_not_atomic a_backlog_has_an_end
                a_started_job_makes_room_in_the_backlog a_full_backlog_knows_its_keys
                queues_come_into_being times_are_kept_to_the_microsecond;
            claim: a_claimed_job_is_complete a_claimed_job_runs a_job_is_claimed_once
                a_late_claim_begins_no_earlier_than_due
                jobs_come_by_priority_then_due_then_id waiting_makes_urgent a_claim_knows_its_measure
                a_large_claim_is_filled routes_do_not_meet a_claim_may_be_bound_to_a_tenant
                a_claim_may_be_bound_to_queues no_queue_is_forgotten each_claim_is_a_new_attempt
                a_lease_may_have_its_own_end an_unknown_worker_becomes_known
                pulled_kinds_come_in_one_order experience_sets_the_charge small_differences_are_let_go;
            fairness: a_long_backlog_starves_nobody equals_share_equally weights_set_the_shares
                a_new_weight_counts_at_once long_jobs_cost_more_than_short_ones
                idleness_saves_nothing_up a_pause_saves_nothing_up a_limit_saves_nothing_up
                pulled_kinds_are_shared_too the_lag_is_what_lanes_are_apart
                the_lag_keeps_to_its_bound;
            limits: a_tenants_limit_holds_over_all_queues a_queues_limit_holds_over_all_tenants
                a_limit_for_each_tenant_counts_each limits_hold_together
                a_lowered_limit_counts_what_runs a_new_limit_counts_what_runs
                a_raised_limit_gives_room_at_once a_limit_of_zero_stops_all a_rate_is_kept
                a_paused_queue_starts_nothing a_paused_queue_lets_running_jobs_end a_pause_may_expire
                a_paused_tenant_starts_nothing;
            commit: a_success_ends_the_job a_failure_is_tried_again a_failure_may_ask_for_a_time
                a_permanent_failure_ends_the_job a_timeout_is_tried_again
                an_interrupted_job_is_due_at_once a_snoozed_job_waits a_lost_job_is_due_at_once
                a_stopped_job_is_cancelled a_spent_budget_ends_the_job a_false_token_is_refused
                a_stale_token_is_refused an_absent_job_is_refused a_batch_is_answered_in_order
                the_second_change_of_one_job_is_refused a_late_report_hinders_no_other
                the_first_of_two_with_one_fence_counts a_long_life_is_told_whole;
            control: a_standing_job_is_cancelled_at_once a_running_job_is_asked_to_stop
                a_request_to_stop_prevents_a_retry a_success_is_stronger_than_a_request_to_stop
                a_job_is_asked_to_stop_once a_paused_job_is_held a_resumed_job_may_be_due
                a_redriven_job_begins_anew each_unsuccessful_end_can_be_redriven
                a_change_of_a_job_that_moved_on_is_refused two_redrives_make_one
                retries_keep_to_the_backlog retries_at_once_keep_to_the_backlog
                a_due_job_changes_whether_promoted_or_not the_history_names_who_did_what;
            edit: a_standing_job_is_edited an_edit_changes_the_order
                a_running_job_keeps_running_when_edited an_edit_of_a_lost_lease_is_refused;
            leases: leases_are_as_they_were_claimed a_lease_expires_unless_extended
                a_lease_ends_with_its_timeout
                an_expired_lease_can_be_settled lost_again_they_come_back_apart an_extended_lease_is_not_taken_back
                only_a_held_lease_is_extended
                a_lease_ends_with_its_workers progress_is_kept progress_needs_the_lease
                progress_may_come_in_bundles;
            promote: due_jobs_become_claimable promoting_knows_its_measure promoting_leaves_no_trace
                only_scheduled_jobs_are_promoted;
            prune: old_jobs_of_one_state_go nothing_remains_of_a_pruned_job a_young_key_keeps_its_job
                young_keys_do_not_stop_a_prune pruned_jobs_are_not_counted;
            sweep: a_fresh_store_is_healthy a_busy_store_is_healthy a_proof_tells_what_stays_undone;
            reader_list: no_filter_finds_all pages_are_stable many_jobs_in_the_order_of_the_ids
                states_filter a_due_job_shows_as_pending each_filter_filters filters_combine;
            reader_history: an_absent_job_has_no_past a_fresh_job_has_no_attempts
                the_history_is_the_domains the_past_comes_in_pages a_job_tells_when_it_changed
                a_running_job_tells_when_it_changed the_last_error_outlasts_the_next_start;
            queues: settings_come_back settings_that_moved_on_are_not_changed queues_are_listed_by_name depths_follow_the_jobs
                an_empty_queue_has_no_depth a_purge_deletes_one_state_of_a_queue
                draining_queues_are_listed;
            explain: an_absent_job_is_not_explained the_next_job_is_runnable a_job_may_hold_itself_back
                a_queue_may_hold_its_jobs_back a_draining_queue_lets_its_jobs_start
                a_tenant_may_hold_its_jobs_back somebody_must_be_there a_worker_without_room_starts_nothing the_fair_order_is_told
                what_has_ended_is_past_all_gates a_queue_counts_its_gates
                explain_and_claim_agree_whatever_is_set;
            explain_since: a_lowered_limit_closed_the_gate a_tenant_is_held_since_it_was;
            stats: figures_add_up a_batch_may_hold_several_minutes
                figures_are_told_apart the_latest_minutes_are_told old_figures_go
                runners_tell_of_their_loops;
            tenants: the_default_tenant_is_there a_tenant_is_made_once settings_come_back
                tenants_are_listed_in_pages a_suspended_tenant_submits_nothing a_stranger_sees_nothing ids_belong_to_their_tenant;
            workers: a_worker_comes_back a_beat_tells_what_is_held a_pulling_worker_is_heard_of
                a_leaving_worker_frees_what_it_holds a_worker_may_leave_and_come_back
                silent_workers_are_forgotten busy_workers_are_counted names_are_each_tenants_own
                who_only_waited_leaves_nothing_behind;
            rules: a_rule_comes_back a_change_names_its_revision rules_are_listed_in_pages rules_of_all_tenants_are_listed a_webhook_key_has_one_rule secrets_are_kept_apart rules_become_due only_watched_ends_are_told;
            firing: an_occurrence_is_fired_once a_claim_that_does_not_hold_changes_nothing a_key_counts_once_for_each_tenant jobs_that_cannot_be_made_change_the_outcome a_delivery_counts_once a_fan_out_goes_on occurrences_come_one_after_the_other what_waits_is_released unfinished_jobs_are_those_of_the_last_firing;
            events: an_id_counts_once_for_its_source an_event_leaves_the_outbox_with_its_firings the_past_is_read
                tenants_take_turns_at_the_outbox a_flood_delays_others_by_a_turn
                an_event_is_found_by_its_name;
            automation: occurrences_are_fired two_days_are_missed a_missing_field_is_told an_event_reaches_every_rule_once a_chain_is_cut a_delivery_repeats billing_is_recalculated a_rehearsal_makes_nothing
                a_rehearsal_shows_each_outcome;
            overlap: instances_overlap each_tenant_waits_for_its_own;
            keys: a_key_comes_back a_revoked_key_keeps_its_end an_end_comes_nearer
                two_keys_of_a_family_are_good rotations_take_turns
                the_last_use_is_the_latest keys_are_listed_in_pages;
            allowance: draws_are_the_domains nothing_is_drawn_twice;
            audit: the_chain_holds an_entry_is_bounded nobody_branches_off the_list_is_filtered a_change_and_its_note_are_one;
        }
    };
}

/// The cases of [`contract_suite`], one module for each verb.
#[doc(hidden)]
#[macro_export]
macro_rules! contract_cases {
    ($make:tt $($verb:ident: $($case:ident)+;)+) => {$(
        $crate::contract_verb! { $make $verb $($case)+ }
    )+};
}

/// The cases of one verb.
#[doc(hidden)]
#[macro_export]
macro_rules! contract_verb {
    (($make:path) $verb:ident $($case:ident)+) => {
        mod $verb {
            $(
                #[tokio::test]
                async fn $case() -> anyhow::Result<()> {
                    let (stores, _keep) = $make().await?;
                    $crate::contract::$verb::$case(&stores).await
                }
            )+
        }
    };
}

pub mod allowance;
pub mod audit;
pub mod automation;
pub mod claim;
pub mod commit;
pub mod control;
pub mod edit;
pub mod events;
pub mod explain;
pub mod explain_since;
pub mod fairness;
pub mod firing;
pub mod insert;
pub mod keys;
pub mod leases;
pub mod limits;
pub mod overlap;
pub mod promote;
pub mod prune;
pub mod queues;
pub mod reader_history;
pub mod reader_list;
pub mod rules;
pub mod stats;
pub mod sweep;
pub mod tenants;
pub mod workers;
