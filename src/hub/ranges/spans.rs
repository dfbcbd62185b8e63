//! Reads that are announced, put together to spans that are worth a request each.

use std::collections::{HashMap, VecDeque};
use std::ops::Range;

/// Bytes between two reads that are fetched along with them, rather than by two requests.
const GAP: u64 = 256 << 10;

/// Bytes of a file that one request brings.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Span {
    pub(super) file: usize,
    pub(super) range: Range<u64>,
    /// Reads that are still to be served from it.
    pub(super) readers: u32,
}

impl Span {
    pub(super) fn len(&self) -> u64 {
        self.range.end - self.range.start
    }
}

/// What will be fetched, in the order in which it is needed first.
#[derive(Debug)]
pub(super) struct Spans {
    pub(super) list: Vec<Span>,
    /// For a read's file, start and end: its span. The same bytes may be read more than once.
    reads: HashMap<(usize, u64, u64), VecDeque<usize>>,
}

/// A span that is being put together.
struct Open {
    span: Span,
    /// When its first read comes, and when its last one is over, in bytes read by then.
    used: Range<u64>,
    reads: Vec<usize>,
}

impl Open {
    /// Takes a read that is a neighbour in the file and comes at about the same time.
    fn take(&mut self, i: usize, file: usize, read: &Range<u64>, time: &Range<u64>, limits: Limits) -> bool {
        let range = &mut self.span.range;
        let end = range.end.max(read.end);
        let used = self.used.start.min(time.start)..self.used.end.max(time.end);
        let near = self.span.file == file && read.start <= range.end.saturating_add(GAP);
        let fits = end - range.start <= limits.span && used.end - used.start <= limits.reach;
        if near && fits {
            (range.end, self.used) = (end, used);
            self.span.readers += 1;
            self.reads.push(i);
        }
        near && fits
    }
}

#[derive(Clone, Copy)]
struct Limits {
    span: u64,
    reach: u64,
}

impl Spans {
    /// Puts neighbours together to spans of at most `span` bytes, but for reads that are longer. All reads of a span come
    /// within `reach` bytes: it has not to be held for long.
    pub(super) fn new(reads: &[(usize, Range<u64>)], span: u64, reach: u64) -> Self {
        let mut time = 0;
        let mut coming: Vec<_> = Vec::with_capacity(reads.len());
        for (i, (file, read)) in reads.iter().enumerate().filter(|(_, (_, read))| !read.is_empty()) {
            let start = time;
            time += read.end - read.start;
            coming.push((*file, read, i, start..time));
        }
        coming.sort_by_key(|(file, read, i, _)| (*file, read.start, *i));
        let mut open: Vec<Open> = Vec::new();
        for (file, read, i, time) in coming {
            let taken = open.last_mut().is_some_and(|o| o.take(i, file, read, &time, Limits { span, reach }));
            if !taken {
                let span = Span { file, range: read.clone(), readers: 1 };
                open.push(Open { span, used: time, reads: vec![i] });
            }
        }
        open.sort_by_key(|o| o.used.start);
        let mut of = vec![0; reads.len()];
        for (number, o) in open.iter().enumerate() {
            o.reads.iter().for_each(|i| of[*i] = number);
        }
        let mut by_read: HashMap<_, VecDeque<usize>> = HashMap::with_capacity(reads.len());
        for ((file, read), number) in reads.iter().zip(of).filter(|((_, read), _)| !read.is_empty()) {
            by_read.entry((*file, read.start, read.end)).or_default().push_back(number);
        }
        Spans { list: open.into_iter().map(|o| o.span).collect(), reads: by_read }
    }

    /// The span of a read, each time that it was announced; `None` for any other.
    pub(super) fn take(&mut self, file: usize, read: &Range<u64>) -> Option<usize> {
        self.reads.get_mut(&(file, read.start, read.end))?.pop_front()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Spans as `file:start..end*reads`.
    #[track_caller]
    fn check(reads: &[(usize, Range<u64>)], size: u64, reach: u64, expected: &str) {
        let mut spans = Spans::new(reads, size, reach);
        let shown = |s: &Span| format!("{}:{}..{}*{}", s.file, s.range.start, s.range.end, s.readers);
        assert_eq!(spans.list.iter().map(shown).collect::<Vec<_>>().join(" "), expected);
        for (file, read) in reads {
            let found = spans.take(*file, read).unwrap();
            let span = &spans.list[found];
            assert!(span.file == *file && span.range.start <= read.start && span.range.end >= read.end);
        }
        let (file, read) = &reads[0];
        assert_eq!(spans.take(*file, read), None, "each read is served as often as it was announced");
    }

    #[test]
    fn neighbours_share_spans() {
        check(&[(0, 10..40), (0, 40..60), (0, 70..95)], 50, 1000, "0:10..60*2 0:70..95*1");
        check(&[(0, 10..40), (1, 40..60), (0, 40..60)], 50, 1000, "0:10..60*2 1:40..60*1");
        // A read may be longer than a span should be.
        check(&[(0, 0..100), (0, 100..101)], 50, 1000, "0:0..100*1 0:100..101*1");
        let far = GAP + 11;
        check(&[(0, 0..10), (0, far..far + 5)], 1 << 30, 1000, &format!("0:0..10*1 0:{far}..{}*1", far + 5));
    }

    #[test]
    fn the_order_in_the_file_need_not_be_that_of_the_reads() {
        check(&[(0, 40..60), (0, 60..90), (0, 10..40)], 100, 1000, "0:10..90*3");
        check(&[(0, 40..60), (0, 60..90), (0, 10..40)], 50, 1000, "0:10..60*2 0:60..90*1");
        check(&[(0, 60..90), (0, 10..40), (0, 40..60)], 50, 1000, "0:60..90*1 0:10..60*2");
        // Neighbours that are read at quite another time are fetched then.
        check(&[(0, 0..10), (0, 50..90), (0, 10..20)], 20, 30, "0:0..10*1 0:50..90*1 0:10..20*1");
    }

    #[test]
    fn bytes_may_be_read_twice() {
        check(&[(0, 0..10), (0, 0..10)], 50, 1000, "0:0..10*2");
        check(&[(0, 0..10), (0, 30..60), (0, 0..10)], 50, 20, "0:0..10*1 0:30..60*1 0:0..10*1");
    }
}
