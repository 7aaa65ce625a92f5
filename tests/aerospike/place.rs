//! Where the records of a test live: on a server in this process, or on the one that `REKEEP_TEST_AEROSPIKE=HOST:PORT`
//! names. Of that one the namespaces of `REKEEP_TEST_AEROSPIKE_NAMESPACES` (`test` if it is not set; more by commas) are
//! emptied before each test: the first stands for `test`, the next for `bar` and `empty`.
//!
//! [`HERE_ONLY`] lists the tests that run in this process all the same, and what they need that no other server has. They
//! say so when another one is named.

use crate::outside::Outside;
use rekeep::record::Timestamp;
use rekeep_aerospike_server::{Config, Control, Digest, Dumped, Handle, Seed, Server};
use std::{io::Write as _, time::Duration};

/// Milliseconds of Unix time at which the server's own time begins.
pub const SERVER_EPOCH_MILLIS: i64 = 1_262_304_000_000;

/// Tests that need the test server, by what they need of it.
pub const HERE_ONLY: &[(&str, &[&str])] = &[
    (
        "a clock that is moved by hand",
        &[
            "full::records_that_expire_are_counted_as_expired_and_never_as_deleted",
            "full::records_that_expire_during_the_backup_do_not_contradict_its_counts",
            "incremental::only_what_changed_is_read_whole",
            "incremental::a_read_that_moves_an_expiry_stores_a_row_without_a_value",
            "incremental::what_the_filter_for_changes_does_not_see_the_sweep_does",
            "incremental::after_the_clock_was_set_back_times_of_last_updates_are_not_believed",
            "command::what_expired_since_the_parent_is_told_in_the_summary",
            "verifying::what_has_expired_since_is_not_missed",
            "verifying::what_expires_while_it_is_compared_is_not_missed",
            "verifying::what_is_in_the_last_second_of_its_life_is_kept_and_compared",
        ],
    ),
    (
        "records with generations, expiries and particles that no server takes from a client",
        &["full::particles_of_every_kind_and_extreme_records_are_kept_byte_for_byte"],
    ),
    ("clocks that differ", &["incremental::a_node_whose_clock_is_behind_loses_no_change"]),
    (
        "a hook in every query, and nodes that come and go",
        &["incremental::after_random_histories_every_snapshot_gives_back_what_the_cluster_held"],
    ),
    (
        "faults, or nodes that come and go",
        &[
            "command::partial_backups_exit_with_3_and_say_what_is_missing",
            "faults::a_connection_cut_anywhere_is_continued",
            "faults::a_silent_node_is_asked_again",
            "faults::overload_and_too_many_queries_are_waited_out",
            "faults::an_answer_that_is_none_fails_the_backup_and_commits_nothing",
            "faults::partitions_that_become_available_in_time_are_read",
            "faults::missing_partitions_are_named_and_keep_the_parents_records",
            "faults::a_partition_missing_from_the_first_backup_makes_it_partial",
            "faults::a_node_that_dies_during_the_backup_costs_nothing_where_others_have_its_records",
            "faults::records_lost_with_a_node_are_not_believed_deleted",
            "faults::an_unreadable_record_is_told_and_not_taken_for_deleted",
            "faults::a_record_whose_key_cannot_be_read_is_skipped_by_the_sweep_and_not_taken_for_deleted",
            "faults::without_counts_absences_are_not_believed",
            "faults::partitions_on_the_move_are_read_once_each",
            "faults::partitions_too_large_for_a_window_are_streamed_and_continued",
            "faults::another_cluster_without_a_name_is_not_taken_for_the_same",
            "faults::a_backup_that_waits_for_a_dead_cluster_can_be_cancelled",
            "faults::no_node_some_nodes_and_a_node_that_is_not_ready",
            "options::commands_are_tried_again_as_often_as_asked_for",
            "options::a_query_that_takes_too_long_is_left_and_continued",
            "options::what_is_asked_for_by_key_hears_that_it_is_to_stop",
            "strange::answers_by_key_that_are_none_are_no_proof",
            "strange::a_renamed_cluster_is_another_one_unless_a_person_says_that_it_is_not",
            "strange::a_cluster_that_grew_or_shrank_without_loss_is_the_same",
            "strange::a_replaced_cluster_of_the_same_name_proves_no_deletion",
            "strange::a_node_that_others_know_and_that_does_not_answer_is_named_with_what_it_has",
            "verifying::partitions_that_cannot_be_read_are_not_missing_but_not_compared",
            "verifying::a_comparison_that_waits_can_be_cancelled",
        ],
    ),
    (
        "nodes that come and go, or servers of other builds",
        &[
            "membership::a_full_backup_that_loses_a_node_midway_says_so",
            "membership::a_full_backup_whose_only_node_starts_anew_without_its_records_says_so",
            "membership::nodes_that_all_started_anew_without_their_records_delete_nothing",
            "membership::a_small_share_that_is_gone_is_doubted_after_restarts_until_it_is_proved",
            "membership::a_namespace_that_is_suddenly_empty_is_not_believed_though_no_node_restarted",
            "membership::what_was_read_while_a_node_was_away_is_read_again_once_it_is_back",
            "membership::a_dead_cluster_is_waited_for_once_and_not_by_each_window",
            "membership::a_node_that_is_not_read_does_not_keep_the_others_from_being_read",
            "membership::who_waits_says_for_what",
            "membership::with_two_copies_one_node_that_is_gone_hides_no_deletion",
            "membership::a_split_cluster_proves_no_deletion_and_gives_no_complete_snapshot",
            "membership::records_that_come_back_with_old_times_are_read_together",
            "membership::a_node_that_falls_silent_is_told_of_before_the_first_try_is_over",
            "membership::a_cluster_that_is_silent_before_anything_is_read_is_told_of",
            "membership::a_node_that_falls_silent_is_waited_for_once_and_asked_no_more",
            "membership::partitions_of_a_silent_node_that_another_one_masters_by_now_are_read_there_though_its_time_is_up",
            "membership::nodes_that_do_not_tell_whether_the_cluster_stood_still_make_the_snapshot_incomplete",
            "builds::full_and_incremental_backups_and_comparisons_work_with_servers_of_every_build",
            "builds::each_namespace_has_its_own_indexes_and_no_others_whatever_the_build",
            "builds::an_index_of_an_unknown_kind_is_kept_as_it_is_told_and_named",
            "builds::a_node_that_lists_neither_indexes_nor_modules_makes_a_snapshot_incomplete_and_no_failure",
        ],
    ),
    (
        "racks, alternate addresses, logins of every kind, or TLS",
        &[
            "reaching::chosen_nodes_are_read_and_stay_the_same_part_while_they_master_the_same",
            "reaching::chosen_racks_are_what_their_nodes_master",
            "reaching::copies_in_a_preferred_rack_are_read_and_masters_where_they_do_not_do",
            "reaching::nodes_are_found_by_their_alternate_addresses",
            "reaching::a_directory_is_given_the_password_itself_and_only_under_tls",
            "reaching::a_certificate_says_who_logs_in_and_its_key_may_be_encrypted",
            "reaching::authorities_may_lie_in_a_folder_and_versions_and_suites_be_chosen",
            "reaching::a_host_may_be_typed_with_the_name_of_its_certificate",
            "second::a_second_opinion_agrees_and_says_what_it_left_to_us",
            "second::what_the_client_cannot_read_is_not_compared_and_said",
            "second::a_snapshot_keeps_what_every_node_runs_with_and_who_may_do_what",
        ],
    ),
    (
        "info commands with other answers",
        &[
            "options::alternate_addresses_are_used_when_asked_for",
            "strange::a_server_too_old_for_what_is_asked_is_named",
            "strange::counts_that_do_not_fit_what_came_make_partitions_doubtful",
            "strange::totals_that_make_no_sense_spoil_nothing",
            "command::a_backup_that_was_killed_or_interrupted_is_carried_on_and_says_so",
        ],
    ),
    (
        "totals with other answers, faults, or a clock that is moved by hand",
        &[
            "resuming::finished_partitions_are_not_scanned_again",
            "resuming::what_changed_in_finished_partitions_is_caught_by_the_next_incremental_backup",
            "resuming::an_incremental_backup_is_carried_on",
            "resuming::records_that_expire_between_the_runs_are_gone_from_the_snapshot",
            "resuming::another_cluster_without_a_name_is_not_mixed_in",
            "resuming::a_node_that_is_gone_since_the_first_run_counts_as_gone",
            "resuming::another_selection_reads_everything_and_a_limited_run_hands_nothing_over",
            "resuming::runs_that_break_off_again_and_again_come_to_an_end",
            "resuming::neighbouring_ranges_of_a_huge_namespace_are_carried_on_together",
            "resuming::ranges_are_groups_of_partitions",
            "resuming::ranges_from_before_a_node_started_without_its_records_are_read_again",
            "resuming::ranges_are_taken_over_from_before_one_node_of_two_started_anew_where_there_are_two_copies",
        ],
    ),
    (
        "a namespace for sets that nobody removes",
        &["strange::every_set_that_a_namespace_may_have_is_kept_with_the_longest_names"],
    ),
    (
        "a hook in every query",
        &[
            "options::records_per_second_are_shared_by_all_queries_that_run",
            "strange::records_that_change_or_go_while_the_scan_is_at_them_are_kept_in_a_state_they_had",
        ],
    ),
    (
        "shipping by XDR, which only the Enterprise Edition has",
        &[
            "streams::everything_that_is_there_comes_once_and_transactions_are_held_up_for_the_end",
            "streams::what_is_shipped_twice_is_kept_once",
            "streams::an_empty_namespace_is_captured_as_one",
            "streams::changes_and_deletions_come_as_they_are_made",
            "streams::a_node_that_comes_gets_the_data_center_too",
            "streams::a_name_that_another_data_center_bears_is_refused_and_that_one_stays",
            "streams::nodes_that_never_ship_are_an_error_and_transactions_go_on",
            "streams::a_node_that_has_counted_nothing_yet_has_not_shipped_everything",
            "streams::records_by_far_more_than_were_shipped_are_named",
            "streams::another_cluster_without_a_name_does_not_go_on_with_the_snapshots_of_one",
            "streams::a_community_edition_says_that_it_cannot",
            "streams::names_that_no_server_takes_are_refused",
            "streams::what_cannot_be_kept_is_shipped_again_and_nothing_is_lost",
            "streams::a_node_that_restarts_gets_the_data_center_again",
            "streams::a_node_that_restarts_while_it_is_told_is_told_again",
            "streams::a_step_that_is_refused_ends_the_capture_and_leaves_nothing_half_made",
            "streams::a_data_center_that_was_left_half_made_is_made_whole",
            "streams::what_a_killed_capture_left_on_the_nodes_is_taken_away_by_name",
            "streams::whatever_a_connection_ships_it_harms_no_other",
            "streams::what_a_first_run_did_not_ship_comes_although_its_data_center_was_taken_away",
            "streams::a_data_center_that_shipped_to_another_repository_is_made_anew",
            "streams::a_node_that_forgot_its_data_center_ships_what_it_had_not_and_not_everything",
            "streams::nodes_ship_since_a_backup_by_the_clock_that_stamped_it",
            "streams::a_stream_that_begins_behind_what_was_there_is_not_complete",
            "command::a_capture_that_is_killed_again_and_again_keeps_all_that_it_acknowledged",
        ],
    ),
    (
        "logins, or TLS",
        &[
            "command::a_user_logs_in_by_password_file_command_or_variable",
            "options::sessions_that_end_are_begun_anew",
            "command::nodes_are_reached_by_tls_and_must_bear_the_name",
            "command::peers_must_bear_the_name_that_the_cluster_gives_them",
        ],
    ),
];

/// The server named, if one is.
pub fn named() -> Option<String> {
    std::env::var("REKEEP_TEST_AEROSPIKE").ok().filter(|address| !address.is_empty())
}

/// The namespaces of the server named.
pub fn namespaces() -> Vec<String> {
    let text = std::env::var("REKEEP_TEST_AEROSPIKE_NAMESPACES").unwrap_or_default();
    let names: Vec<String> = text.split(',').filter(|name| !name.is_empty()).map(str::to_owned).collect();
    if names.is_empty() { vec!["test".to_owned()] } else { names }
}

/// What the tests call the namespaces.
const CALLED: [&str; 3] = ["test", "bar", "empty"];

/// The namespace that stands for the one of a test.
pub fn real(called: &str) -> String {
    if named().is_none() {
        return called.to_owned();
    }
    let at = CALLED.iter().position(|name| *name == called).unwrap_or(usize::MAX);
    namespaces().get(at).cloned().unwrap_or_else(|| called.to_owned())
}

/// What a test calls a namespace.
pub fn called(real: &str) -> String {
    let at = named().and_then(|_| namespaces().iter().position(|name| name == real));
    at.and_then(|at| CALLED.get(at)).map_or_else(|| real.to_owned(), |name| (*name).to_owned())
}

/// Says something that is seen although the test passes.
pub fn say(text: &str) {
    let thread = std::thread::current();
    let who = thread.name().unwrap_or("a test");
    // What goes by `eprintln!` is kept back.
    let _ = writeln!(std::io::stderr(), "REKEEP_TEST_AEROSPIKE: {who}: {text}");
}

/// A server in this process, for a test of [`HERE_ONLY`].
#[track_caller]
pub fn here(config: Config) -> Handle {
    let thread = std::thread::current();
    // Tests that run one at a time have no thread of their own.
    let test = thread.name().unwrap_or("main");
    let need = HERE_ONLY.iter().find(|(_, tests)| tests.contains(&test)).map(|(need, _)| *need);
    assert!(need.is_some() || test == "main", "{test} belongs into the list of tests that need the test server");
    if named().is_some() {
        say(&format!("runs against the test server, since it needs {}", need.unwrap_or("it")));
    }
    Server::start(config).unwrap()
}

/// Where the records of a test live.
pub enum Place {
    /// In this process.
    Here(Handle),
    /// On a server that was named, and is this test's alone for now.
    There(Box<Outside>),
}

impl Place {
    /// Empty namespaces.
    pub fn new(config: Config) -> Self {
        match named() {
            None => Self::Here(Server::start(config).unwrap()),
            Some(address) => Self::There(Box::new(Outside::empty(&address, &namespaces()))),
        }
    }

    /// Whether it is in this process.
    pub fn is_here(&self) -> bool {
        matches!(self, Self::Here(_))
    }
}

/// What a test does to records, wherever they live.
pub trait Living {
    /// The URL that a backup is given.
    fn url(&self) -> String;
    fn put(&self, namespace: &str, seed: Seed) -> Digest;
    /// Writes it as a client does; gives the result code.
    fn try_put(&self, namespace: &str, seed: &Seed) -> u8;
    fn put_all(&self, namespace: &str, seeds: impl IntoIterator<Item = Seed>);
    fn get(&self, namespace: &str, digest: &Digest) -> Option<Dumped>;
    fn delete(&self, namespace: &str, digest: &Digest) -> bool;
    fn touch(&self, namespace: &str, digest: &Digest) -> bool;
    fn truncate(&self, namespace: &str, set: Option<&str>);
    /// Every record, in scan order.
    fn dump(&self, namespace: &str) -> Vec<Dumped>;
    /// Asks the first node an info command.
    fn info(&self, command: &str) -> String;
    /// Lets time pass; a clock that cannot be moved gets a second at most.
    fn advance(&self, by: Duration);
    fn now(&self) -> Timestamp;
}

macro_rules! in_process {
    ($server:ty) => {
        impl Living for $server {
            fn url(&self) -> String {
                format!("aerospike://{}", self.addresses()[0])
            }

            fn put(&self, namespace: &str, seed: Seed) -> Digest {
                Control::put(self, namespace, seed)
            }

            fn try_put(&self, namespace: &str, seed: &Seed) -> u8 {
                crate::raw::Client::connect(self.addresses()[0]).ask(&Outside::write(namespace, seed)).result
            }

            fn put_all(&self, namespace: &str, seeds: impl IntoIterator<Item = Seed>) {
                Control::put_all(self, namespace, seeds);
            }

            fn get(&self, namespace: &str, digest: &Digest) -> Option<Dumped> {
                Control::get(self, namespace, digest)
            }

            fn delete(&self, namespace: &str, digest: &Digest) -> bool {
                Control::delete(self, namespace, digest)
            }

            fn touch(&self, namespace: &str, digest: &Digest) -> bool {
                Control::touch(self, namespace, digest)
            }

            fn truncate(&self, namespace: &str, set: Option<&str>) {
                Control::truncate(self, namespace, set);
            }

            fn dump(&self, namespace: &str) -> Vec<Dumped> {
                Control::dump(self, namespace)
            }

            fn info(&self, command: &str) -> String {
                crate::raw::Client::connect(self.addresses()[0]).info(command)
            }

            fn advance(&self, by: Duration) {
                Control::advance(self, by);
            }

            fn now(&self) -> Timestamp {
                Timestamp::from_millis(self.now_ms() + SERVER_EPOCH_MILLIS)
            }
        }
    };
}

in_process!(Handle);
in_process!(Control);

macro_rules! either {
    ($self:ident, $place:ident => $does:expr) => {
        match $self {
            Self::Here($place) => $does,
            Self::There($place) => {
                let $place: &Outside = $place;
                $does
            }
        }
    };
}

impl Living for Place {
    fn url(&self) -> String {
        either!(self, place => Living::url(place))
    }

    fn put(&self, namespace: &str, seed: Seed) -> Digest {
        either!(self, place => Living::put(place, namespace, seed))
    }

    fn try_put(&self, namespace: &str, seed: &Seed) -> u8 {
        either!(self, place => Living::try_put(place, namespace, seed))
    }

    fn put_all(&self, namespace: &str, seeds: impl IntoIterator<Item = Seed>) {
        either!(self, place => Living::put_all(place, namespace, seeds));
    }

    fn get(&self, namespace: &str, digest: &Digest) -> Option<Dumped> {
        either!(self, place => Living::get(place, namespace, digest))
    }

    fn delete(&self, namespace: &str, digest: &Digest) -> bool {
        either!(self, place => Living::delete(place, namespace, digest))
    }

    fn touch(&self, namespace: &str, digest: &Digest) -> bool {
        either!(self, place => Living::touch(place, namespace, digest))
    }

    fn truncate(&self, namespace: &str, set: Option<&str>) {
        either!(self, place => Living::truncate(place, namespace, set));
    }

    fn dump(&self, namespace: &str) -> Vec<Dumped> {
        either!(self, place => Living::dump(place, namespace))
    }

    fn info(&self, command: &str) -> String {
        either!(self, place => Living::info(place, command))
    }

    fn advance(&self, by: Duration) {
        either!(self, place => Living::advance(place, by));
    }

    fn now(&self) -> Timestamp {
        either!(self, place => Living::now(place))
    }
}

#[test]
fn the_list_of_tests_that_need_the_test_server_names_tests_that_there_are() {
    let sources = [
        ("builds", include_str!("builds.rs")),
        ("command", include_str!("command.rs")),
        ("faults", include_str!("faults.rs")),
        ("full", include_str!("full.rs")),
        ("incremental", include_str!("incremental.rs")),
        ("membership", include_str!("membership.rs")),
        ("options", include_str!("options.rs")),
        ("reaching", include_str!("reaching.rs")),
        ("resuming", include_str!("resuming.rs")),
        ("second", include_str!("second.rs")),
        ("strange", include_str!("strange.rs")),
        ("streams", include_str!("streams.rs")),
        ("verifying", include_str!("verifying.rs")),
    ];
    for (need, tests) in HERE_ONLY {
        for test in *tests {
            let (module, name) = test.split_once("::").unwrap();
            let (_, source) = sources.iter().find(|(known, _)| *known == module).unwrap();
            assert!(source.contains(&format!("fn {name}(")), "{test} ({need})");
        }
    }
}

#[test]
fn a_namespace_of_a_server_in_this_process_has_its_own_name() {
    if named().is_none() {
        assert_eq!((real("bar"), called("bar")), ("bar".to_owned(), "bar".to_owned()));
    } else {
        assert_eq!(called(&real("test")), "test");
    }
}
