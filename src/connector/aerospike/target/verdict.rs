//! What an answer means for a row.

use super::{answers::Answer, rows};
use crate::connector::aerospike::wire::result_name;

/// What rows of a group do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Work {
    /// They write, with this info2.
    Write(u8),
    /// They set expiries.
    Touch,
    /// They delete.
    Delete,
}

/// What becomes of a row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    /// It was written where there was none.
    Inserted,
    /// It was written over another one.
    Replaced,
    /// There is one, and it stays.
    Existed,
    /// There is a newer one, and it stays.
    Fresher,
    /// It was deleted.
    Removed,
    /// There was nothing to delete.
    Gone,
    /// Somebody wrote it since.
    Changed,
    /// It is to be sent again.
    Again,
    /// It is to be sent again so many times at most.
    AgainAtMost(u8),
    /// It cannot be done.
    Failed,
    /// Nothing of the kind can be done.
    Hopeless,
}

pub(super) fn judge(work: Work, answer: &Answer) -> Verdict {
    match (work, answer.code) {
        (Work::Write(_), 0) if answer.generation == 1 => Verdict::Inserted,
        (Work::Write(_) | Work::Touch, 0) => Verdict::Replaced,
        (Work::Write(info2), 5) if info2 & rows::CREATE_ONLY != 0 => Verdict::Existed,
        (Work::Write(info2), 3) if info2 & rows::OVER_GENERATION != 0 => Verdict::Fresher,
        // Somebody else's record is none of ours.
        (Work::Touch, 2 | 3) => Verdict::Existed,
        (Work::Delete, 0) => Verdict::Removed,
        (Work::Delete, 2) => Verdict::Gone,
        (Work::Delete, 3 | 27) => Verdict::Changed,
        (_, code) => judge_failure(code),
    }
}

pub(super) const fn judge_failure(code: u8) -> Verdict {
    match code {
        8 | 9 | 11 | 14 | 15 | 18 | 152 => Verdict::Again,
        1 => Verdict::AgainAtMost(1),
        4 | 10 | 12 | 13 | 16 | 17 | 19 | 21 | 22 | 26 | 160 => Verdict::Failed,
        20 | 25 | 80 | 81 | 150 | 151 => Verdict::Hopeless,
        _ => Verdict::AgainAtMost(3),
    }
}

/// A result of a write, for people.
pub(super) fn reason(code: u8) -> String {
    let text = match code {
        1 => "the server cannot store it (result 1): a map or list that is not valid, perhaps",
        3 => "its generation changed (result 3)",
        4 => {
            "a parameter that the server does not take (result 4): the record may stand in another set, or a value is not \
             valid"
        }
        8 => {
            "out of space, or writes are stopped (result 8): make room there (delete, evict, add storage or nodes) or raise \
             its stop-writes limits"
        }
        10 => "a bin is there already (result 10)",
        12 => "a bin of another type (result 12)",
        13 => "the record is too big for this namespace (result 13)",
        19 => "another key is stored for this digest (result 19)",
        21 => "a bin's name is too long (result 21)",
        22 => "the server forbids it (result 22): an expiry where nothing expires, or a set or namespace that is full",
        150 => "batches are switched off (result 150): write records one by one",
        151 => "the batch has too many records (result 151): make batches smaller",
        160 => "GeoJSON that the server does not understand (result 160)",
        _ => return result_name(code),
    };
    text.to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_stands_in_the_way_depends_on_what_was_asked() {
        let answer = |code| Answer { code, generation: 2, void_time: 0 };
        let create = Work::Write(rows::WRITE | rows::CREATE_ONLY);
        let newer = Work::Write(rows::WRITE | rows::OVER_GENERATION);
        assert_eq!(judge(create, &answer(5)), Verdict::Existed);
        assert_eq!(judge(newer, &answer(3)), Verdict::Fresher);
        assert_eq!(judge(newer, &answer(5)), Verdict::AgainAtMost(3));
        assert_eq!(judge(Work::Delete, &answer(27)), Verdict::Changed);
        assert_eq!(judge(newer, &answer(0)), Verdict::Replaced);
        assert_eq!(judge(newer, &Answer { generation: 1, ..answer(0) }), Verdict::Inserted);
        assert_eq!(judge(create, &answer(18)), Verdict::Again);
        assert_eq!(judge(create, &answer(13)), Verdict::Failed);
    }
}
