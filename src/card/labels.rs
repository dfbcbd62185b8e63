//! Where the labels of a picture's points go: each beside its point, on no other label and on no point.
//!
//! Greedy: the points from left to right, each label at the nearest free place, the sides before the corners. A label
//! that had to go further away is tied to its point by a leader, which crosses other labels only where there is no
//! other way. Pure geometry; the y axis points down.

/// A point.
pub(super) type Point = (f64, f64);

/// A rectangle with sides along the axes.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Area {
    pub left: f64,
    pub top: f64,
    pub width: f64,
    pub height: f64,
}

/// Where a label goes.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Label {
    /// What it covers.
    pub area: Area,
    /// The line to its point, where it is not right beside it.
    pub leader: Option<(Point, Point)>,
}

/// Half of the square around a point that labels keep off.
const MARK: f64 = 6.0;

/// Distances from the point at which a label is tried.
const DISTANCES: [f64; 16] =
    [8.0, 11.0, 16.0, 22.0, 29.0, 37.0, 46.0, 56.0, 68.0, 82.0, 100.0, 125.0, 160.0, 210.0, 280.0, 380.0];

/// A label this far from its point needs no leader.
const BESIDE: f64 = 12.0;

/// Directions in which it is tried: sideways first, since text is wide.
const DIRECTIONS: [Point; 16] = [
    (1.0, 0.0),
    (0.8, -0.6),
    (0.8, 0.6),
    (-1.0, 0.0),
    (-0.8, -0.6),
    (-0.8, 0.6),
    (0.0, -1.0),
    (0.0, 1.0),
    (0.95, -0.3),
    (0.95, 0.3),
    (-0.95, -0.3),
    (-0.95, 0.3),
    (0.4, -0.9),
    (0.4, 0.9),
    (-0.4, -0.9),
    (-0.4, 0.9),
];

impl Area {
    fn right(&self) -> f64 {
        self.left + self.width
    }

    fn bottom(&self) -> f64 {
        self.top + self.height
    }

    /// Whether two areas have more than an edge in common.
    pub(super) fn overlaps(&self, other: &Area) -> bool {
        self.left < other.right()
            && other.left < self.right()
            && self.top < other.bottom()
            && other.top < self.bottom()
    }

    /// Whether another area lies in this one.
    pub(super) fn holds(&self, other: &Area) -> bool {
        self.left <= other.left
            && other.right() <= self.right()
            && self.top <= other.top
            && other.bottom() <= self.bottom()
    }

    /// The square around a point.
    pub(super) fn around((x, y): Point, half: f64) -> Area {
        Area { left: x - half, top: y - half, width: 2.0 * half, height: 2.0 * half }
    }

    /// Whether a line between two points passes through it (Liang and Barsky's clipping).
    pub(super) fn is_crossed(&self, (from, to): (Point, Point)) -> bool {
        let (dx, dy) = (to.0 - from.0, to.1 - from.1);
        let (mut enters, mut leaves) = (0.0_f64, 1.0_f64);
        for (delta, room) in [
            (-dx, from.0 - self.left),
            (dx, self.right() - from.0),
            (-dy, from.1 - self.top),
            (dy, self.bottom() - from.1),
        ] {
            if delta == 0.0 {
                if room <= 0.0 {
                    return false;
                }
            } else if delta < 0.0 {
                enters = enters.max(room / delta);
            } else {
                leaves = leaves.min(room / delta);
            }
        }
        enters < leaves
    }

    /// The point of it that is nearest to another.
    fn nearest(&self, (x, y): Point) -> Point {
        (x.clamp(self.left, self.right()), y.clamp(self.top, self.bottom()))
    }
}

/// Places labels of these widths and one height beside their points, inside a frame and, where that can be, off these
/// lines. `None` for a label that has no room anywhere near.
pub(super) fn place(
    points: &[Point],
    widths: &[f64],
    height: f64,
    frame: &Area,
    lines: &[(Point, Point)],
) -> Vec<Option<Label>> {
    let marks: Vec<Area> = points.iter().map(|point| Area::around(*point, MARK)).collect();
    let mut order: Vec<usize> = (0..points.len()).collect();
    order.sort_by(|a, b| points[*a].0.total_cmp(&points[*b].0).then(points[*b].1.total_cmp(&points[*a].1)));
    let mut placed: Vec<Option<Label>> = vec![None; points.len()];
    for i in order {
        let tries = candidates(points[i], widths[i], height);
        let others = || placed.iter().flatten();
        let free = |label: &Label| {
            frame.holds(&label.area)
                && !marks.iter().any(|mark| mark.overlaps(&label.area))
                && !others().any(|other| other.area.overlaps(&label.area))
        };
        let through = |leader: &(Point, Point)| {
            let far = marks.iter().filter(|mark| !mark.overlaps(&marks[i]));
            others().any(|other| other.area.is_crossed(*leader))
                || far.into_iter().any(|mark| mark.is_crossed(*leader))
        };
        let untied = |label: &Label| {
            !others().filter_map(|other| other.leader).any(|leader| label.area.is_crossed(leader))
                && !label.leader.as_ref().is_some_and(through)
        };
        let clear = |label: &Label| !lines.iter().any(|line| label.area.is_crossed(*line));
        let free: Vec<Label> = tries.filter(free).collect();
        let best = free.iter().find(|label| untied(label) && clear(label));
        let good = || free.iter().find(|label| untied(label));
        placed[i] = best.or_else(good).or(free.first()).copied();
    }
    placed
}

/// Where a label may go, the best place first.
fn candidates(point: Point, width: f64, height: f64) -> impl Iterator<Item = Label> {
    DISTANCES.iter().flat_map(move |distance| {
        DIRECTIONS.iter().map(move |(dx, dy)| {
            let middle = (point.0 + dx * (distance + width / 2.0), point.1 + dy * (distance + height / 2.0));
            let area = Area { left: middle.0 - width / 2.0, top: middle.1 - height / 2.0, width, height };
            let leader = (*distance > BESIDE).then(|| (point, area.nearest(point)));
            Label { area, leader }
        })
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const FRAME: Area = Area { left: 60.0, top: 80.0, width: 680.0, height: 300.0 };

    #[track_caller]
    fn check(points: &[Point], widths: &[f64]) -> Vec<Label> {
        let placed = place(points, widths, 15.0, &FRAME, &[]);
        let labels: Vec<Label> = placed.into_iter().map(|label| label.expect("there is room")).collect();
        for (i, label) in labels.iter().enumerate() {
            assert!(FRAME.holds(&label.area), "{label:?} leaves the frame");
            for (j, point) in points.iter().enumerate() {
                assert!(!label.area.overlaps(&Area::around(*point, MARK)), "{label:?} covers point {j}");
            }
            for other in &labels[..i] {
                assert!(!label.area.overlaps(&other.area), "{label:?} overlaps {other:?}");
            }
        }
        labels
    }

    #[test]
    fn a_label_with_room_is_right_beside_its_point() {
        let labels = check(&[(100.0, 200.0), (300.0, 200.0)], &[50.0, 50.0]);
        assert_eq!(labels[0].area, Area { left: 108.0, top: 192.5, width: 50.0, height: 15.0 });
        assert_eq!(labels[0].leader, None);
        // At the right edge it goes to another side.
        let labels = check(&[(735.0, 200.0)], &[50.0]);
        assert!(labels[0].area.right() < 735.0 && labels[0].leader.is_none());
        let labels = check(&[(735.0, 376.0)], &[60.0]);
        assert!(labels[0].area.right() < 735.0);
    }

    #[test]
    fn methods_of_one_size_and_quality_all_get_their_labels() {
        let labels = check(&[(400.0, 200.0); 24], &[58.0; 24]);
        assert!(labels.iter().filter(|label| label.leader.is_none()).count() >= 4);
        let near = [(400.0, 200.0), (404.0, 198.0), (409.0, 203.0), (402.0, 205.0)];
        let few = check(&near, &[58.0; 4]);
        let crosses =
            |a: &Label| few.iter().any(|b| b != a && a.leader.is_some_and(|l| b.area.is_crossed(l)));
        assert!(!few.iter().any(crosses), "{few:?}");
    }

    #[test]
    fn labels_keep_off_the_line_where_they_can() {
        let line = ((100.0, 200.0), (300.0, 200.0));
        let placed = place(&[(100.0, 200.0)], &[50.0], 15.0, &FRAME, &[line]);
        assert!(!placed[0].unwrap().area.is_crossed(line));
    }

    #[test]
    fn a_frame_without_room_leaves_labels_out() {
        let tight = Area { left: 0.0, top: 0.0, width: 40.0, height: 20.0 };
        assert_eq!(place(&[(20.0, 10.0)], &[50.0], 15.0, &tight, &[]), [None]);
    }

    #[test]
    fn lines_cross_areas_or_do_not() {
        let area = Area { left: 10.0, top: 10.0, width: 10.0, height: 10.0 };
        for (line, crosses) in [
            (((0.0, 15.0), (30.0, 15.0)), true),
            (((0.0, 0.0), (30.0, 30.0)), true),
            (((12.0, 12.0), (13.0, 13.0)), true),
            (((0.0, 5.0), (30.0, 5.0)), false),
            (((0.0, 15.0), (9.0, 15.0)), false),
            (((0.0, 20.0), (20.0, 40.0)), false),
            (((15.0, 0.0), (15.0, 30.0)), true),
            (((5.0, 0.0), (5.0, 30.0)), false),
        ] {
            assert_eq!(area.is_crossed(line), crosses, "{line:?}");
        }
    }

    proptest! {
        #[test]
        fn labels_never_overlap(
            points in proptest::collection::vec((70.0..730.0, 90.0..370.0, 30.0..70.0), 1..28)
        ) {
            let widths: Vec<f64> = points.iter().map(|p| p.2).collect();
            let points: Vec<Point> = points.iter().map(|p| (p.0, p.1)).collect();
            check(&points, &widths);
        }
    }
}
