//! `evaluation.svg`: size against quality, one point a method.
//!
//! In: the outputs of a repository or a run. Out: an SVG that needs no script, font or network, with the colours of a
//! light page and, where the reader prefers it, of a dark one. All names are by people unknown: they are escaped, and
//! cut where they are long. The same outputs give the same bytes.

use std::fmt::Write as _;

use super::labels::{self, Area, Point};
use super::metadata::{Evaluation, Output};
use super::{evaluation, text};
use crate::base::units;

/// The file's name in a repository.
pub const FILE_NAME: &str = "evaluation.svg";

const WIDTH: f64 = 800.0;
const HEIGHT: f64 = 460.0;
/// Where points may be.
const PLOT: Area = Area { left: 72.0, top: 84.0, width: 700.0, height: 316.0 };
/// Room between the outermost points and the frame, for their labels.
const INSET: f64 = 26.0;
const LABEL_HEIGHT: f64 = 15.0;
/// A divergence that llama-perplexity's 16 bits for a probability cannot tell from nothing.
const NOTHING: f64 = 1e-5;
/// Most letters of a name.
const LONGEST: usize = 28;

const STYLE: &str = "\
  .ground { fill: #ffffff; stroke: #d0d7de } .grid { stroke: #d8dee4; stroke-width: 1 }
  text { fill: #1f2328; font-size: 12px; font-family: -apple-system, \"Segoe UI\", Helvetica, Arial, sans-serif }
  .title { font-size: 16px; font-weight: 600 } .small { fill: #59636e }
  .front { fill: none; stroke: #0969da; stroke-width: 1.5; stroke-opacity: 0.45 }
  .best { fill: #0969da } .other { fill: #ffffff; stroke: #59636e; stroke-width: 1.5 } .leader { stroke: #8c959f }
  @media (prefers-color-scheme: dark) {
    .ground { fill: #0d1117; stroke: #30363d } .grid { stroke: #21262d }
    text { fill: #e6edf3 } .small { fill: #9198a1 } .front { stroke: #4493f8 }
    .best { fill: #4493f8 } .other { fill: #0d1117; stroke: #9198a1 } .leader { stroke: #6e7681 }
  }
";

/// A method in the picture.
struct Dot<'a> {
    output: &'a Output,
    evaluation: &'a Evaluation,
    size: f64,
    /// What is on the other axis; less is better.
    figure: f64,
}

/// The picture of the outputs that were measured alike; none where there are fewer than two of them. `title` is the
/// name that the outputs share.
pub fn picture(title: &str, outputs: &[Output]) -> Option<String> {
    let group = evaluation::groups(outputs).into_iter().next().filter(|group| group.len() > 1)?;
    let compared = group[0].1.divergence.is_some();
    // What is as good as the base would leave no room for the others.
    let seen = group.iter().map(|(_, e)| figure(e)).filter(|figure| *figure > NOTHING);
    let floor = seen.reduce(f64::min).filter(|_| compared).map_or(0.0, |least| least / 10.0);
    let dots: Vec<Dot<'_>> = group
        .into_iter()
        .map(|(output, evaluation)| {
            let (size, figure) = (output.size as f64, figure(evaluation).max(floor));
            Dot { output, evaluation, size, figure }
        })
        .collect();
    let sizes = Scale::of_sizes(dots.iter().map(|d| d.size));
    let figures = Scale::of_figures(dots.iter().map(|d| d.figure), compared);
    let at = |dot: &Dot<'_>| -> Point {
        let (width, height) = (PLOT.width - 2.0 * INSET, PLOT.height - 2.0 * INSET);
        let x = PLOT.left + INSET + width * sizes.part(dot.size);
        (x, PLOT.top + INSET + height * (1.0 - figures.part(dot.figure)))
    };
    let mut out = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{WIDTH}\" height=\"{HEIGHT}\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" role=\"img\">\n"
    );
    let measure = if compared { "mean KL divergence from the unquantized model" } else { "perplexity" };
    let name = short(title, 60);
    let mut put = |text: std::fmt::Arguments<'_>| {
        out.write_fmt(text).expect("writing to a string");
        out.push('\n');
    };
    let heading = if name.is_empty() {
        "Size against quality".to_owned()
    } else {
        format!("{name}: size against quality")
    };
    put(format_args!("<title>{heading}</title>"));
    put(format_args!("<desc>{}</desc>", described(&dots)));
    put(format_args!("<style>\n{STYLE}</style>"));
    put(format_args!(
        "<rect x=\"0.5\" y=\"0.5\" width=\"{}\" height=\"{}\" rx=\"6\" class=\"ground\"/>",
        WIDTH - 1.0,
        HEIGHT - 1.0
    ));
    put(format_args!("<text x=\"24\" y=\"34\" class=\"title\">{heading}</text>"));
    let scale = if figures.logarithmic { ", on a logarithmic scale" } else { "" };
    put(format_args!("<text x=\"24\" y=\"56\" class=\"small\">{measure}{scale}; lower is better</text>"));
    grid(&mut put, &sizes, &figures);

    let best = front(&dots);
    let line: Vec<Point> =
        dots.iter().zip(&best).filter(|(_, best)| **best).map(|(dot, _)| at(dot)).collect();
    if line.len() > 1 {
        let points: Vec<String> = line.iter().map(|(x, y)| format!("{x:.1},{y:.1}")).collect();
        put(format_args!("<polyline points=\"{}\" class=\"front\"/>", points.join(" ")));
    }
    if best.contains(&false) {
        let y = PLOT.top + PLOT.height + 42.0;
        for (x, radius, class, text) in [
            (PLOT.left + 5.0, 4.5, "best", "nothing smaller is as good"),
            (PLOT.left + 195.0, 4.0, "other", "something smaller is at least as good"),
        ] {
            let (circle, words) = (y - 4.0, x + 11.0);
            put(format_args!(
                "<circle cx=\"{x}\" cy=\"{circle}\" r=\"{radius}\" class=\"{class}\"/><text x=\"{words}\" y=\"{y}\" class=\"small\">{text}</text>"
            ));
        }
    }
    let points: Vec<Point> = dots.iter().map(at).collect();
    let names: Vec<String> = dots.iter().map(|dot| cut(&dot.output.recipe.method, LONGEST)).collect();
    let widths: Vec<f64> = names.iter().map(|name| width(name)).collect();
    let lines: Vec<(Point, Point)> = line.windows(2).map(|pair| (pair[0], pair[1])).collect();
    let placed = labels::place(&points, &widths, LABEL_HEIGHT, &PLOT, &lines);
    for ((x, y), (x2, y2)) in placed.iter().flatten().filter_map(|label| label.leader) {
        put(format_args!(
            "<line x1=\"{x:.1}\" y1=\"{y:.1}\" x2=\"{x2:.1}\" y2=\"{y2:.1}\" class=\"leader\"/>"
        ));
    }
    for (((dot, (x, y)), best), (label, name)) in
        dots.iter().zip(&points).zip(&best).zip(placed.iter().zip(&names))
    {
        let (radius, class) = if *best { (4.5, "best") } else { (4.0, "other") };
        put(format_args!(
            "<circle cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"{radius}\" class=\"{class}\"><title>{}</title></circle>",
            told(dot)
        ));
        if let Some(label) = label {
            let Area { left, top, width, height } = label.area;
            put(format_args!(
                "<text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{}</text>",
                left + width / 2.0,
                top + height - 3.5,
                escape(name)
            ));
        }
    }
    out.push_str("</svg>\n");
    Some(out)
}

/// What is on the picture's other axis.
fn figure(evaluation: &Evaluation) -> f64 {
    match &evaluation.divergence {
        Some(d) => d.mean_kld.value.clamp(NOTHING, 1e5),
        None => evaluation.perplexity.value.clamp(0.0, 1e9),
    }
}

/// Of dots by size, those than which nothing smaller is as good.
fn front(dots: &[Dot<'_>]) -> Vec<bool> {
    let mut least = f64::INFINITY;
    dots.iter()
        .map(|dot| {
            let better = dot.figure < least;
            least = least.min(dot.figure);
            better
        })
        .collect()
}

fn told(dot: &Dot<'_>) -> String {
    let method = short(&dot.output.recipe.method, LONGEST);
    format!("{method}: {}, {}", units::decimal(dot.output.size), dot.evaluation.summary())
}

fn described(dots: &[Dot<'_>]) -> String {
    dots.iter().take(60).map(told).collect::<Vec<_>>().join("; ")
}

fn grid(put: &mut impl FnMut(std::fmt::Arguments<'_>), sizes: &Scale, figures: &Scale) {
    let (right, bottom) = (PLOT.left + PLOT.width, PLOT.top + PLOT.height);
    for tick in &figures.ticks {
        let y = PLOT.top + INSET + (PLOT.height - 2.0 * INSET) * (1.0 - figures.part(*tick));
        put(format_args!(
            "<line x1=\"{}\" y1=\"{y:.1}\" x2=\"{right}\" y2=\"{y:.1}\" class=\"grid\"/><text x=\"{}\" y=\"{:.1}\" class=\"small\" text-anchor=\"end\">{tick}</text>",
            PLOT.left,
            PLOT.left - 8.0,
            y + 4.0
        ));
    }
    for tick in &sizes.ticks {
        let x = PLOT.left + INSET + (PLOT.width - 2.0 * INSET) * sizes.part(*tick);
        put(format_args!(
            "<line x1=\"{x:.1}\" y1=\"{}\" x2=\"{x:.1}\" y2=\"{bottom}\" class=\"grid\"/><text x=\"{x:.1}\" y=\"{}\" class=\"small\" text-anchor=\"middle\">{}</text>",
            PLOT.top,
            bottom + 18.0,
            size(*tick)
        ));
    }
    put(format_args!(
        "<text x=\"{right}\" y=\"{}\" class=\"small\" text-anchor=\"end\">size of the files</text>",
        bottom + 42.0
    ));
}

/// A size at an axis: without zeros that say nothing.
fn size(bytes: f64) -> String {
    let text = units::decimal(bytes as u64);
    match text.split_once(' ') {
        Some((number, unit)) if number.contains('.') => {
            format!("{} {unit}", number.trim_end_matches('0').trim_end_matches('.'))
        }
        _ => text,
    }
}

/// An axis: which values it shows, and where it has lines.
#[derive(Debug)]
struct Scale {
    logarithmic: bool,
    least: f64,
    most: f64,
    ticks: Vec<f64>,
}

impl Scale {
    fn of_sizes(sizes: impl Iterator<Item = f64>) -> Self {
        let (least, most) = range(sizes);
        let (least, most) = (least.max(1.0), most.max(1.0));
        if most / least > 5.0 { Scale::logarithmic(least, most) } else { Scale::linear(least, most) }
    }

    /// Divergences span powers of ten; perplexities do not.
    fn of_figures(figures: impl Iterator<Item = f64>, compared: bool) -> Self {
        let (least, most) = range(figures);
        if compared { Scale::logarithmic(least, most) } else { Scale::linear(least, most) }
    }

    /// The values from end to end, and round ones among them.
    fn linear(least: f64, most: f64) -> Self {
        let span = if most > least { most - least } else { most.abs().max(1.0) * 0.1 };
        let (least, most) =
            if most > least { (least, most) } else { (least - span / 2.0, most + span / 2.0) };
        let power = 10f64.powf((span / 5.0).log10().floor());
        let steps = [1.0, 2.0, 2.5, 5.0, 10.0].map(|m| m * power);
        let step = steps.into_iter().find(|step| span / step <= 5.5).unwrap_or(power * 10.0);
        let first = (least / step).ceil();
        let ticks = (0..8).map(|i| rounded((first + f64::from(i)) * step)).filter(|tick| *tick <= most);
        Scale { logarithmic: false, least, most, ticks: ticks.collect() }
    }

    fn logarithmic(least: f64, most: f64) -> Self {
        let steps = |power: i32| [1.0, 2.0, 5.0].map(|m| rounded(m * 10f64.powi(power)));
        let powers = (least.log10().floor() as i32)..=(most.log10().floor() as i32 + 1);
        let all: Vec<f64> = powers.flat_map(steps).collect();
        let first = all.iter().rposition(|tick| *tick <= least).unwrap_or(0);
        let last = all.iter().position(|tick| *tick >= most).unwrap_or(all.len() - 1).max(first + 1);
        let mut ticks = all[first..=last.min(all.len() - 1)].to_vec();
        let (least, most) = (ticks[0], ticks[ticks.len() - 1]);
        if ticks.len() > 9 {
            ticks.retain(|tick| (tick.log10() - tick.log10().round()).abs() < 1e-9);
        }
        Scale { logarithmic: true, least, most, ticks }
    }

    /// Where a value is: 0 at the axis's beginning, 1 at its end.
    fn part(&self, value: f64) -> f64 {
        let part = match self.logarithmic {
            true => (value.max(self.least) / self.least).ln() / (self.most / self.least).ln(),
            false => (value - self.least) / (self.most - self.least),
        };
        if part.is_finite() { part.clamp(0.0, 1.0) } else { 0.0 }
    }
}

fn range(values: impl Iterator<Item = f64>) -> (f64, f64) {
    values
        .fold((f64::INFINITY, f64::NEG_INFINITY), |(least, most), value| (least.min(value), most.max(value)))
}

/// Without what binary fractions add to decimal ones.
fn rounded(value: f64) -> f64 {
    format!("{value:.10e}").parse().unwrap_or(value)
}

/// Text by others, cut and escaped.
fn short(name: &str, most: usize) -> String {
    escape(&cut(name, most))
}

fn cut(name: &str, most: usize) -> String {
    let name = text::code(name);
    match name.char_indices().nth(most) {
        Some((end, _)) => format!("{}…", &name[..end]),
        None => name,
    }
}

/// Text inside an element of XML 1.0.
fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            // No characters of XML.
            '\u{fffe}' | '\u{ffff}' => {}
            c if c.is_control() => out.push(' '),
            c => out.push(c),
        }
    }
    out
}

/// How wide a text is at 12 pixels, at most, in the fonts that the style names.
fn width(text: &str) -> f64 {
    let letter = |c: char| match c {
        'i' | 'l' | 'I' | 'j' | '.' | ',' | ' ' | '-' => 4.5,
        'm' | 'w' | 'M' | 'W' | '…' => 11.5,
        '0'..='9' | 'a'..='z' | '_' => 7.3,
        'A'..='Z' => 9.2,
        _ => 12.5,
    };
    text.chars().map(letter).sum::<f64>() + 4.0
}
