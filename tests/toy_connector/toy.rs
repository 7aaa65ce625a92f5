//! `toy:FILE`: one record a line, `key=value`. All of a connector: a source, a target, and what opens them by URL. It is
//! walked through in `docs/architecture.md`.

use rekeep::{connector::*, record::*};
use serde::Deserialize;
use std::{collections::BTreeMap, fs, io, path::PathBuf, sync::Arc};

pub struct ToyConnector;

impl Connector for ToyConnector {
    fn form(&self) -> &'static str {
        "toy:FILE"
    }
    fn options(&self, role: Role) -> Vec<OptionDescription> {
        if role == Role::Source { options_of::<Toy>() } else { Vec::new() }
    }
    fn source(&self, url: &SourceUrl, options: &Options) -> Result<Box<dyn Source>, ConnectorError> {
        Ok(Box::new(Toy { path: PathBuf::from(&url.place), ..options.read()? }))
    }
    fn target(&self, url: &SourceUrl, _: &Options) -> Result<Box<dyn Target>, ConnectorError> {
        Ok(Box::new(Toy { path: PathBuf::from(&url.place), ..Toy::default() }))
    }
}

type Lines = BTreeMap<Vec<u8>, Vec<u8>>;

#[derive(Clone, Default, Deserialize, schemars::JsonSchema)]
#[serde(default, deny_unknown_fields)]
struct Toy {
    #[serde(skip)]
    path: PathBuf,
    /// Only keys that begin with this.
    prefix: String,
}

impl Toy {
    fn failed(&self, operation: &'static str, source: io::Error) -> ConnectorError {
        ConnectorError::Io { operation, object: self.path.display().to_string(), source }
    }
    fn read(&self) -> Result<Lines, ConnectorError> {
        let text = fs::read_to_string(&self.path).map_err(|error| self.failed("read", error))?;
        let pairs = text.lines().filter_map(|line| line.split_once('='));
        let pairs = pairs.filter(|(key, _)| key.starts_with(&self.prefix));
        Ok(pairs.map(|(key, value)| (key.into(), value.into())).collect())
    }
}

impl Source for Toy {
    fn identity(&self) -> Identity {
        Identity { connector: "toy", name: self.path.display().to_string(), local: true }
    }
    fn scope(&self) -> Scope {
        Scope { canonical: self.prefix.clone(), note: self.prefix.clone(), ..Scope::default() }
    }
    fn begin(&self, _: &SessionOptions) -> Result<Box<dyn SourceSession>, ConnectorError> {
        let lines = self.read()?;
        let found =
            SourceCollection { estimated_records: lines.len() as u64, ..SourceCollection::new("lines", KeyCodec::Raw) };
        Ok(Box::new(Reading(lines, vec![found], SystemClock.now())))
    }
}

struct Reading(Lines, Vec<SourceCollection>, Timestamp);

impl SourceSession for Reading {
    fn start(&self) -> Timestamp {
        self.2
    }
    fn collections(&self) -> &[SourceCollection] {
        &self.1
    }
    fn read(&self, _: usize, range: &KeyRange) -> Result<Box<dyn RecordStream + '_>, ConnectorError> {
        Ok(Box::new(stream(&self.0, range)))
    }
    fn finish(&self) -> Result<SessionEnd, ConnectorError> {
        Ok(SessionEnd { end: self.2, ..SessionEnd::default() })
    }
}

struct Stream(Lines);

fn stream(lines: &Lines, range: &KeyRange) -> Stream {
    let inside = lines.iter().filter(|(key, _)| range.contains(key));
    Stream(inside.map(|(key, value)| (key.clone(), value.clone())).collect())
}

impl RecordStream for Stream {
    fn next_batch(&mut self, batch: &mut RecordBatch) -> Result<bool, StreamError> {
        batch.clear();
        let shape = Arc::new(Shape::new(vec![b"value".to_vec()]));
        for (key, value) in std::mem::take(&mut self.0) {
            batch.push(RowHead { key: &key, meta: Meta::default() }, &shape, |out| out.cell(Tag::STRING, &value));
        }
        Ok(!batch.is_empty())
    }
}

impl Target for Toy {
    fn connector(&self) -> &'static str {
        "toy"
    }
    fn occupied(&self, _: &[String]) -> Result<Vec<(String, u64)>, ConnectorError> {
        Ok(if self.path.exists() { vec![("lines".to_owned(), self.read()?.len() as u64)] } else { Vec::new() })
    }
    fn begin(&self, plan: &TargetPlan) -> Result<Box<dyn TargetSession>, ConnectorError> {
        let held = if self.path.exists() { self.read()? } else { Lines::new() };
        Ok(Box::new(Writing(self.clone(), held, plan.overwrite)))
    }
    fn read_back(&self) -> Result<Option<Box<dyn Source>>, ConnectorError> {
        Ok(Some(Box::new(self.clone())))
    }
}

struct Writing(Toy, Lines, Overwrite);

impl TargetSession for Writing {
    fn open(&mut self, _: usize) -> Result<Box<dyn CollectionTarget + '_>, ConnectorError> {
        Ok(Box::new(self))
    }
    fn finish(&mut self) -> Result<TargetEnd, ConnectorError> {
        let lines = self.1.iter().flat_map(|(key, value)| [key.as_slice(), b"=", value, b"\n"].concat());
        fs::write(&self.0.path, lines.collect::<Vec<u8>>()).map_err(|error| self.0.failed("write", error))?;
        Ok(TargetEnd::default())
    }
}

impl CollectionTarget for &mut Writing {
    fn existing(&mut self, range: &KeyRange) -> Result<Option<Box<dyn RecordStream + Send + '_>>, ConnectorError> {
        Ok(Some(Box::new(stream(&self.1, range))))
    }
    fn write(&mut self, batch: &mut RecordBatch, outcomes: &mut Outcomes) -> Result<(), ConnectorError> {
        for row in batch.rows() {
            match (row.shape.cells(row.value).next(), self.1.contains_key(row.key)) {
                (_, true) if self.2 == Overwrite::Never => outcomes.existed += 1,
                (Some(Ok(cell)), held) => {
                    self.1.insert(row.key.to_vec(), cell.bytes.to_vec());
                    *(if held { &mut outcomes.replaced } else { &mut outcomes.inserted }) += 1;
                }
                _ => outcomes.fail(|| KeyCodec::Raw.show(row.key), "it has no value".to_owned()),
            }
        }
        Ok(())
    }
    fn remove(&mut self, rows: &[Removal], outcomes: &mut Outcomes) -> Result<(), ConnectorError> {
        let held = &mut self.1;
        outcomes.removed += rows.iter().filter(|row| held.remove(&row.key).is_some()).count() as u64;
        Ok(())
    }
}
