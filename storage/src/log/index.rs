//! Which zxids the log holds, and where. In memory, rebuilt from frames, never authoritative.

use ironkeeper_proto::Zxid;

use super::Located;
use super::segment::Frame;

/// A frame that holds records, sparsely kept: about one for each 64 KiB.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Span {
    pub(crate) first: Zxid,
    pub(crate) block: u32,
    pub(crate) sequence: u64,
    /// Live zxid before the frame.
    pub(crate) before: Zxid,
}

/// Blocks between two kept spans.
const SPARSE_BLOCKS: u32 = 16;

/// Keeps the frame if the last one kept is far enough away.
pub(crate) fn sparse_push(spans: &mut Vec<Span>, frame: &Frame) {
    if spans
        .last()
        .is_none_or(|last| frame.block >= last.block.saturating_add(SPARSE_BLOCKS))
    {
        spans.push(Span {
            first: frame.header.first_zxid,
            block: frame.block,
            sequence: frame.header.sequence,
            before: Zxid(frame.header.first_zxid.0 - 1),
        });
    }
}

/// A frame that declares records dead: those of earlier frames above `keep_to`, or all.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Control {
    pub(crate) sequence: u64,
    pub(crate) keep_to: Option<Zxid>,
}

/// The highest zxid that is alive in a frame, given the control frames behind it; `None` if none.
pub(crate) fn live_to(controls: &[Control], sequence: u64) -> Option<Zxid> {
    let mut limit = Zxid(i64::MAX);
    for control in controls
        .iter()
        .filter(|control| control.sequence > sequence)
    {
        limit = limit.min(control.keep_to?);
    }
    Some(limit)
}

/// The live zxids as ranges without a hole, ascending.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Runs {
    ranges: Vec<(Zxid, Zxid)>,
    /// Set by a TRUNCATE that reaches below what this value knows: to be applied to what precedes.
    cut_below: Option<Zxid>,
    /// Set by a BASE: nothing that precedes is alive.
    base: Option<Zxid>,
}

impl Runs {
    /// Appends `first..=last`, without a hole inside.
    pub(crate) fn push(&mut self, first: Zxid, last: Zxid) {
        match self.ranges.last_mut() {
            Some((_, end)) if end.next() == first => *end = last,
            _ => self.ranges.push((first, last)),
        }
    }

    /// Everything above `to` is dead.
    pub(crate) fn truncate(&mut self, to: Zxid) {
        while self.ranges.last().is_some_and(|(first, _)| *first > to) {
            self.ranges.pop();
        }
        if let Some((_, last)) = self.ranges.last_mut() {
            *last = (*last).min(to);
        }
        if self.base.is_none() {
            self.cut_below = Some(self.cut_below.map_or(to, |cut| cut.min(to)));
        }
    }

    /// Everything so far is dead, and the log goes on above `base`.
    pub(crate) fn restart(&mut self, base: Zxid) {
        self.ranges.clear();
        self.cut_below = None;
        self.base = Some(base);
    }

    /// Adds what follows.
    pub(crate) fn extend(&mut self, later: &Runs) {
        if let Some(base) = later.base {
            self.restart(base);
        } else if let Some(cut) = later.cut_below {
            self.truncate(cut);
        }
        for (first, last) in &later.ranges {
            self.push(*first, *last);
        }
    }

    /// Forgets what is at or below `zxid` (retired).
    pub(crate) fn retire(&mut self, zxid: Zxid) {
        self.ranges.retain(|(_, last)| *last > zxid);
        if let Some((first, _)) = self.ranges.first_mut().filter(|(first, _)| *first <= zxid) {
            *first = zxid.next();
        }
    }

    /// The zxid above which the log was restarted, if it was.
    pub(crate) fn base(&self) -> Option<Zxid> {
        self.base
    }

    pub(crate) fn locate(&self, zxid: Zxid) -> Located {
        let above = self.ranges.partition_point(|(first, _)| *first <= zxid);
        let below = above
            .checked_sub(1)
            .and_then(|index| self.ranges.get(index));
        let successor = self.ranges.get(above).map(|(first, _)| *first);
        match below {
            Some((_, last)) if zxid <= *last => Located::Here,
            Some((_, last)) => Located::Between(Some(*last), successor),
            None => Located::Between(None, successor),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn z(epoch: u32, counter: u32) -> Zxid {
        Zxid::new(epoch, counter)
    }

    #[test]
    fn ranges_grow_truncate_and_locate() {
        let mut runs = Runs::default();
        runs.push(z(1, 1), z(1, 4));
        runs.push(z(1, 5), z(1, 9));
        runs.push(z(3, 1), z(3, 2));
        assert_eq!(runs.locate(z(1, 1)), Located::Here);
        assert_eq!(runs.locate(z(1, 9)), Located::Here);
        assert_eq!(
            runs.locate(z(2, 5)),
            Located::Between(Some(z(1, 9)), Some(z(3, 1)))
        );
        assert_eq!(runs.locate(z(0, 9)), Located::Between(None, Some(z(1, 1))));
        assert_eq!(runs.locate(z(3, 3)), Located::Between(Some(z(3, 2)), None));
        runs.truncate(z(1, 7));
        assert_eq!(runs.locate(z(1, 8)), Located::Between(Some(z(1, 7)), None));
        runs.push(z(4, 1), z(4, 1));
        runs.retire(z(1, 3));
        assert_eq!(runs.locate(z(1, 3)), Located::Between(None, Some(z(1, 4))));
        assert_eq!(runs.locate(z(1, 4)), Located::Here);
        assert_eq!(runs.locate(z(4, 1)), Located::Here);
    }

    #[test]
    fn a_later_segment_cuts_and_restarts_an_earlier_one() {
        let mut runs = Runs::default();
        runs.push(z(1, 1), z(1, 9));
        let mut later = Runs::default();
        later.push(z(1, 10), z(1, 12));
        later.truncate(z(1, 5));
        later.push(z(2, 1), z(2, 3));
        runs.extend(&later);
        assert_eq!(
            runs.locate(z(1, 6)),
            Located::Between(Some(z(1, 5)), Some(z(2, 1)))
        );
        assert_eq!(
            runs.locate(z(1, 11)),
            Located::Between(Some(z(1, 5)), Some(z(2, 1)))
        );
        let mut based = Runs::default();
        based.restart(z(5, 100));
        based.push(z(5, 101), z(5, 101));
        runs.extend(&based);
        assert_eq!(
            runs.locate(z(2, 1)),
            Located::Between(None, Some(z(5, 101)))
        );
        assert_eq!(runs.base(), Some(z(5, 100)));
    }

    #[test]
    fn the_live_limit_is_the_lowest_later_cut() {
        let controls = [
            Control {
                sequence: 5,
                keep_to: Some(z(1, 7)),
            },
            Control {
                sequence: 9,
                keep_to: Some(z(1, 3)),
            },
        ];
        assert_eq!(live_to(&controls, 4), Some(z(1, 3)));
        assert_eq!(live_to(&controls, 6), Some(z(1, 3)));
        assert_eq!(live_to(&controls, 9), Some(Zxid(i64::MAX)));
        assert_eq!(
            live_to(
                &[Control {
                    sequence: 2,
                    keep_to: None
                }],
                1
            ),
            None
        );
    }
}
