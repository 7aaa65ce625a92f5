//! Metrics under the names that others have given them: those of the backup service, of its first version, and of the disaster
//! recovery guide. All of them are told from what the state adds up, so that they are the same after a restart.

use super::{
    Service, ServiceError,
    certificates::End,
    config::Config,
    job::Work,
    keys::Caller,
    places::StreamEnd,
    standing::{RunningJob, all_running},
    state::{BUCKETS, Proof, Tally},
};
use crate::record::Timestamp;
use prometheus_client::{
    collector::Collector,
    encoding::{
        DescriptorEncoder, EncodeMetric as _, NoLabelSet,
        text::{encode_eof, encode_registry},
    },
    metrics::{MetricType, counter::ConstCounter, gauge::ConstGauge},
    registry::Registry,
};
use std::{
    collections::BTreeMap,
    fmt,
    sync::{Arc, Mutex, PoisonError},
};

/// What the backup service's names begin with.
const ABS: &str = "aerospike_backup_service_";

type Labels = Vec<(&'static str, String)>;

/// What runs that are over added up to.
#[derive(Debug)]
struct Settled {
    tallies: Vec<Tally>,
    routines: Vec<String>,
    proofs: BTreeMap<String, Proof>,
}

/// What is so at this moment.
#[derive(Debug)]
struct Moment {
    running: Vec<(Work, RunningJob)>,
    streams: Vec<StreamEnd>,
    certificates: Vec<End>,
    began: Timestamp,
    now: Timestamp,
}

/// What is settled, as it was written last for whoever may see all of it: of which changes, and of which configuration.
#[derive(Default)]
pub(super) struct Written(Mutex<Option<Last>>);

/// How often something was counted and reported by then, the configuration, the text.
type Last = ((u64, u64), Arc<Config>, Arc<str>);

/// The text that is scraped, of what a caller may see.
///
/// # Errors
/// [`ServiceError::State`].
pub(super) fn text(service: &Arc<Service>, caller: &Caller) -> Result<String, ServiceError> {
    service.look_for_reports();
    let config = service.config();
    // Of others' routines a key that is bound tells nothing, neither by name nor in a sum.
    let is_own = |routine: &str| {
        let tenant = config.routines.get(routine).and_then(|routine| routine.tenant.as_deref());
        caller.may_routine(routine, tenant)
    };
    let all = caller.may_all_routines();
    let is_work_of_own = |work: &Work| work.routine().map_or(all, is_own);
    let settled = || -> Result<Arc<str>, ServiceError> {
        let mut settled = Settled {
            tallies: service.state.tallies()?,
            routines: config.routines.keys().filter(|name| is_own(name)).cloned().collect(),
            proofs: BTreeMap::new(),
        };
        for routine in &settled.routines {
            settled.proofs.extend(service.proved(&config, routine)?.map(|proof| (routine.clone(), proof)));
        }
        settled.tallies.retain(|tally| all || is_own(&tally.routine));
        Ok(written(settled)?.into())
    };
    let settled = if all { service.written.or_write(service, &config, settled)? } else { settled()? };
    let mut moment = Moment {
        running: all_running(service),
        streams: if all { service.places.streams() } else { Vec::new() },
        certificates: if all { service.certificates.ends() } else { Vec::new() },
        began: service.began,
        now: service.now(),
    };
    moment.running.retain(|(work, _)| is_work_of_own(work));
    let mut text = settled.to_string();
    text.push_str(&written(moment)?);
    encode_eof(&mut text).map_err(|error| ServiceError::Invalid(error.to_string()))?;
    Ok(text)
}

fn written(collector: impl Collector) -> Result<String, ServiceError> {
    let mut registry = Registry::default();
    registry.register_collector(Box::new(collector));
    let mut text = String::new();
    encode_registry(&mut text, &registry).map_err(|error| ServiceError::Invalid(error.to_string()))?;
    Ok(text)
}

impl Written {
    /// What was written last, if it still is so.
    fn or_write(
        &self,
        service: &Service,
        config: &Arc<Config>,
        write: impl Fn() -> Result<Arc<str>, ServiceError>,
    ) -> Result<Arc<str>, ServiceError> {
        let mut last = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        // Before they are read: what is counted meanwhile is written next time.
        let changes = (service.state.tally_changes(), service.reported.changes());
        if let Some((known, of, text)) = last.as_ref()
            && *known == changes
            && Arc::ptr_eq(of, config)
        {
            return Ok(Arc::clone(text));
        }
        let text = write()?;
        *last = Some((changes, Arc::clone(config), Arc::clone(&text)));
        Ok(text)
    }
}

/// What the backup service calls an outcome; what is missing something failed for it.
fn outcome_of(outcome: &str) -> &str {
    match outcome {
        "incomplete" => "failure",
        "skipped" => "skip",
        other => other,
    }
}

const KINDS: [&str; 2] = ["full", "incremental"];

impl Settled {
    fn backups(&self) -> impl Iterator<Item = &Tally> {
        self.tallies.iter().filter(|tally| tally.verb == "backup")
    }

    /// Adds up numbers by labels.
    fn sum<'t>(
        tallies: impl Iterator<Item = &'t Tally>,
        labels: impl Fn(&Tally) -> Labels,
        number: impl Fn(&Tally) -> u64,
    ) -> BTreeMap<Labels, u64> {
        let mut sums = BTreeMap::new();
        for tally in tallies {
            *sums.entry(labels(tally)).or_insert(0) += number(tally);
        }
        sums
    }

    /// Of the ends of each routine and kind that left a backup, the newest.
    fn last_backups(&self) -> BTreeMap<(String, String), &Tally> {
        let mut last: BTreeMap<(String, String), &Tally> = BTreeMap::new();
        for tally in self.backups().filter(|tally| tally.has_backup()) {
            let key = (tally.routine.clone(), tally.kind.clone());
            let newest = last.entry(key).or_insert(tally);
            if newest.last_finished < tally.last_finished {
                *newest = tally;
            }
        }
        last
    }
}

struct Writer<'e> {
    encoder: DescriptorEncoder<'e>,
}

impl Writer<'_> {
    fn counters(&mut self, name: &str, help: &str, values: &BTreeMap<Labels, u64>) -> fmt::Result {
        let mut family = self.encoder.encode_descriptor(name, help, None, MetricType::Counter)?;
        for (labels, value) in values {
            ConstCounter::new(*value).encode(family.encode_family(labels)?)?;
        }
        Ok(())
    }

    fn gauges(&mut self, name: &str, help: &str, values: &BTreeMap<Labels, f64>) -> fmt::Result {
        let mut family = self.encoder.encode_descriptor(name, help, None, MetricType::Gauge)?;
        for (labels, value) in values {
            ConstGauge::new(*value).encode(family.encode_family(labels)?)?;
        }
        Ok(())
    }

    fn histogram(&mut self, name: &str, help: &str, values: &BTreeMap<Labels, (f64, u64, Vec<u64>)>) -> fmt::Result {
        let mut family = self.encoder.encode_descriptor(name, help, None, MetricType::Histogram)?;
        for (labels, (seconds, count, buckets)) in values {
            let mut bounds: Vec<(f64, u64)> = BUCKETS.iter().copied().zip(buckets.iter().copied()).collect();
            let rest = count - buckets.iter().sum::<u64>().min(*count);
            // Written as `+Inf`, without which no quantile can be asked for.
            bounds.push((f64::INFINITY, rest));
            family.encode_family(labels)?.encode_histogram::<NoLabelSet>(*seconds, *count, &bounds, None)?;
        }
        Ok(())
    }
}

fn pairs<const N: usize>(labels: [(&'static str, &str); N]) -> Labels {
    labels.into_iter().map(|(name, value)| (name, value.to_owned())).collect()
}

fn histogram_of<'t>(
    tallies: impl Iterator<Item = &'t Tally>,
    labels: impl Fn(&Tally) -> Labels,
) -> BTreeMap<Labels, (f64, u64, Vec<u64>)> {
    let mut all: BTreeMap<Labels, (f64, u64, Vec<u64>)> = BTreeMap::new();
    for tally in tallies {
        let sum = all.entry(labels(tally)).or_insert_with(|| (0.0, 0, vec![0; BUCKETS.len()]));
        sum.0 += tally.seconds;
        sum.1 += tally.count;
        sum.2.iter_mut().zip(&tally.buckets).for_each(|(sum, bucket)| *sum += bucket);
    }
    all
}

impl Collector for Settled {
    fn encode(&self, encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let mut out = Writer { encoder };
        self.of_first_version(&mut out)?;
        self.of_backup_service(&mut out)?;
        self.of_disaster_recovery(&mut out)?;
        self.of_proofs(&mut out)
    }
}

impl Collector for Moment {
    fn encode(&self, encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let mut out = Writer { encoder };
        self.at_work(&mut out)?;
        self.of_streams(&mut out)?;
        self.of_certificates(&mut out)?;
        let up = (self.now.as_millis() - self.began.as_millis()).max(0) as f64 / 1000.0;
        let up = BTreeMap::from([(Vec::new(), up)]);
        out.gauges("rekeep_service_up_seconds", "How long the service has run", &up)
    }
}

impl Settled {
    /// The eight names that the backup service had first.
    fn of_first_version(&self, out: &mut Writer<'_>) -> fmt::Result {
        for (kind, infix) in [("full", ""), ("incremental", "incremental_")] {
            let of = |outcomes: &[&str]| {
                let its =
                    self.backups().filter(|tally| tally.kind == kind && outcomes.contains(&tally.outcome.as_str()));
                let mut sums = BTreeMap::from([(Vec::new(), 0)]);
                sums.extend(Self::sum(its, |_| Vec::new(), |tally| tally.count));
                sums
            };
            let last = self
                .last_backups()
                .into_values()
                .filter(|tally| tally.kind == kind)
                .max_by_key(|tally| tally.last_finished);
            let millis = BTreeMap::from([(Vec::new(), last.map_or(0.0, |tally| tally.last_seconds * 1000.0))]);
            for prefix in ["backup_", ABS] {
                let name = |rest: &str| format!("{prefix}{infix}{rest}");
                let words = |what: &str| format!("{kind} backups {what}");
                out.counters(&name("runs"), &words("that are there"), &of(&["success", "incomplete"]))?;
                out.counters(&name("skip"), &words("that were skipped"), &of(&["skipped"]))?;
                out.counters(&name("failure"), &words("that failed"), &of(&["failure"]))?;
                out.gauges(&name("duration_millis"), &words("took so long, the last one"), &millis)?;
            }
        }
        Ok(())
    }

    fn of_backup_service(&self, out: &mut Writer<'_>) -> fmt::Result {
        let name = |rest: &str| format!("{ABS}{rest}");
        let by_kind = |tally: &Tally| pairs([("routine", &tally.routine), ("type", &tally.kind)]);
        let done = self.backups().filter(|tally| tally.has_backup());
        out.histogram(&name("backup_duration_seconds"), "How long backups took", &histogram_of(done, by_kind))?;
        let mut events = BTreeMap::new();
        for routine in &self.routines {
            for kind in KINDS {
                for outcome in ["success", "failure"] {
                    events.insert(pairs([("routine", routine), ("type", kind), ("outcome", outcome)]), 0);
                }
            }
        }
        let labels = |tally: &Tally| {
            pairs([("routine", &tally.routine), ("type", &tally.kind), ("outcome", outcome_of(&tally.outcome))])
        };
        events.extend(Self::sum(self.backups(), labels, |tally| tally.count));
        out.counters(&name("backup_events"), "Ends of backups", &events)?;
        let restores = |tally: &&Tally| tally.verb == "restore";
        let labels = |tally: &Tally| pairs([("outcome", outcome_of(&tally.outcome))]);
        let mut events: BTreeMap<Labels, u64> =
            ["success", "failure"].into_iter().map(|outcome| (pairs([("outcome", outcome)]), 0)).collect();
        events.extend(Self::sum(self.tallies.iter().filter(restores), labels, |tally| tally.count));
        out.counters(&name("restore_events"), "Ends of restores", &events)?;
        let seconds = histogram_of(self.tallies.iter().filter(restores), |_| Vec::new());
        out.histogram(&name("restore_duration_seconds"), "How long restores took", &seconds)?;
        let last = self.last_backups();
        let of_last = |number: fn(&Tally) -> f64| -> BTreeMap<Labels, f64> {
            last.values().map(|tally| (by_kind(tally), number(tally))).collect()
        };
        let seconds = of_last(|tally| tally.last_finished.as_millis() as f64 / 1000.0);
        out.gauges(&name("last_successful_backup_timestamp"), "When the last backup ended that is there", &seconds)?;
        out.gauges(
            &name("last_backup_size_bytes"),
            "Bytes of what the last backup restores",
            &of_last(|it| it.last_bytes as f64),
        )?;
        out.gauges(
            &name("last_backup_size_records"),
            "Records that the last backup restores",
            &of_last(|it| it.last_records as f64),
        )
    }

    /// How old the last proofs are.
    fn of_proofs(&self, out: &mut Writer<'_>) -> fmt::Result {
        let drills = || self.tallies.iter().filter(|tally| tally.verb == "drill");
        let mut events: BTreeMap<Labels, u64> = BTreeMap::new();
        for routine in &self.routines {
            for outcome in ["success", "failure"] {
                events.insert(pairs([("routine", routine), ("outcome", outcome)]), 0);
            }
        }
        let labels = |tally: &Tally| pairs([("routine", &tally.routine), ("outcome", outcome_of(&tally.outcome))]);
        events.extend(Self::sum(drills(), labels, |tally| tally.count));
        out.counters("rekeep_drill_events", "Ends of drills", &events)?;
        let of_proofs = |number: fn(&Proof) -> f64| -> BTreeMap<Labels, f64> {
            self.proofs.iter().map(|(routine, proof)| (pairs([("routine", routine)]), number(proof))).collect()
        };
        let seconds = of_proofs(|proof| proof.finished.as_millis() as f64 / 1000.0);
        let help =
            "When everything was last restored and compared: by a drill, or by a restore or verification of all of it";
        out.gauges("rekeep_last_proof_timestamp_seconds", help, &seconds)?;
        out.gauges("rekeep_last_proof_duration_seconds", "How long it took", &of_proofs(|proof| proof.seconds))
    }

    /// The seven names of the disaster recovery guide.
    fn of_disaster_recovery(&self, out: &mut Writer<'_>) -> fmt::Result {
        let status = |outcome: &str| match outcome {
            "success" => "success",
            "skipped" => "skipped",
            "canceled" => "canceled",
            "retry" => "retried",
            _ => "failed",
        };
        let mut operations = BTreeMap::new();
        for kind in KINDS {
            for status in ["success", "failed"] {
                operations.insert(pairs([("type", kind), ("status", status)]), 0);
            }
        }
        let labels = |tally: &Tally| pairs([("type", &tally.kind), ("status", status(&tally.outcome))]);
        for (labels, count) in Self::sum(self.backups(), labels, |tally| tally.count) {
            *operations.entry(labels).or_insert(0) += count;
        }
        let by_kind = |tally: &Tally| pairs([("type", &tally.kind)]);
        let done = || self.backups().filter(|tally| tally.has_backup());
        let ended = || self.backups().filter(|tally| tally.has_backup() || tally.outcome == "failure");
        let (all, good) = (
            Self::sum(ended(), by_kind, |tally| tally.count),
            Self::sum(ended().filter(|tally| tally.outcome == "success"), by_kind, |tally| tally.count),
        );
        let rates = all.iter().filter(|(_, all)| **all > 0).map(|(labels, all)| {
            let good = good.get(labels).copied().unwrap_or(0);
            (labels.clone(), good as f64 / *all as f64)
        });
        let mut last: BTreeMap<Labels, &Tally> = BTreeMap::new();
        for tally in done() {
            let newest = last.entry(by_kind(tally)).or_insert(tally);
            if newest.last_finished < tally.last_finished {
                *newest = tally;
            }
        }
        let of_last = |number: fn(&Tally) -> f64| -> BTreeMap<Labels, f64> {
            last.iter().map(|(labels, tally)| (labels.clone(), number(tally))).collect()
        };
        out.counters("backup_operations", "Ends of backups", &operations)?;
        out.histogram("backup_duration_seconds", "How long backups took", &histogram_of(done(), by_kind))?;
        out.gauges("backup_size_bytes", "Bytes of what the last backup restores", &of_last(|it| it.last_bytes as f64))?;
        out.gauges("backup_success_rate", "Share of all backups that nothing is missing in", &rates.collect())?;
        let seconds = of_last(|tally| tally.last_finished.as_millis() as f64 / 1000.0);
        out.gauges("backup_last_success_timestamp", "When the last backup ended that is there", &seconds)?;
        let restores = || self.tallies.iter().filter(|tally| tally.verb == "restore");
        let labels = |tally: &Tally| pairs([("status", status(&tally.outcome))]);
        let mut operations: BTreeMap<Labels, u64> =
            ["success", "failed"].into_iter().map(|status| (pairs([("status", status)]), 0)).collect();
        for (labels, count) in Self::sum(restores(), labels, |tally| tally.count) {
            *operations.entry(labels).or_insert(0) += count;
        }
        out.counters("restore_operations", "Ends of restores", &operations)?;
        out.histogram("restore_duration_seconds", "How long restores took", &histogram_of(restores(), |_| Vec::new()))
    }
}

impl Moment {
    /// How old the newest snapshots of streams are that others commit to the same repositories.
    fn of_streams(&self, out: &mut Writer<'_>) -> fmt::Result {
        let ends = self.streams.iter().map(|it| {
            let labels = pairs([("repository", &it.repository), ("source", &it.source)]);
            (labels, it.end.as_millis() as f64 / 1000.0)
        });
        let help = "The end of the newest snapshot that a stream committed";
        out.gauges("rekeep_stream_last_commit_timestamp_seconds", help, &ends.collect())
    }

    /// When the service's own certificates end.
    fn of_certificates(&self, out: &mut Writer<'_>) -> fmt::Result {
        let ends = self.certificates.iter().map(|end| {
            let labels = pairs([("use", end.of.as_str()), ("file", &end.file)]);
            (labels, end.at.as_millis() as f64 / 1000.0)
        });
        let help = "When what TLS is spoken with ends: the first of a file that nothing in it follows";
        out.gauges("rekeep_certificate_expiry_timestamp_seconds", help, &ends.collect())
    }

    fn at_work(&self, out: &mut Writer<'_>) -> fmt::Result {
        let name = |rest: &str| format!("{ABS}{rest}");
        let backups: Vec<_> = self.running.iter().filter(|(work, _)| matches!(work, Work::Backup { .. })).collect();
        let restores: Vec<_> = self.running.iter().filter(|(work, _)| matches!(work, Work::Restore { .. })).collect();
        let count = |number: usize| BTreeMap::from([(Vec::new(), number as f64)]);
        out.gauges(&name("backup_in_progress"), "Backups at work", &count(backups.len()))?;
        out.gauges(&name("restore_in_progress"), "Restores at work", &count(restores.len()))?;
        let of_backup = |number: fn(&RunningJob) -> f64| -> BTreeMap<Labels, f64> {
            let labels = |work: &Work| pairs([("routine", work.routine().unwrap_or_default()), ("type", work.kind())]);
            backups.iter().map(|(work, running)| (labels(work), number(running))).collect()
        };
        let of_restore = |number: fn(&RunningJob) -> f64| -> BTreeMap<Labels, f64> {
            let labels = |running: &RunningJob| vec![("job", running.job.to_string())];
            restores.iter().map(|(_, running)| (labels(running), number(running))).collect()
        };
        out.gauges(
            &name("backup_progress_pct"),
            "How much of a backup is done",
            &of_backup(|it| f64::from(it.percentage_done)),
        )?;
        out.gauges(&name("backup_running_seconds"), "How long a backup has run", &of_backup(|it| it.duration as f64))?;
        out.gauges(
            &name("backup_stuck_seconds"),
            "How long a backup has done nothing that is counted",
            &of_backup(|it| it.still),
        )?;
        out.gauges(
            &name("restore_stuck_seconds"),
            "How long a restore has done nothing that is counted",
            &of_restore(|it| it.still),
        )?;
        out.gauges(
            &name("restore_progress_pct"),
            "How much of a restore is done",
            &of_restore(|it| f64::from(it.percentage_done)),
        )?;
        out.gauges(&name("restore_running_seconds"), "How long a restore has run", &of_restore(|it| it.duration as f64))
    }
}
