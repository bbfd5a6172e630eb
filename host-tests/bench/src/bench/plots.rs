//! The plots: latency by operation, growth, memory, throughput by callers.

use std::error::Error;
use std::path::Path;

use clawdb_session_bench_protocol::target::{Figure, Operation};
use plotters::coord::Shift;
use plotters::prelude::*;

use super::parameters::CALLERS;
use super::results::{Quantity, Results, short};
use super::table::digits;

type Plot = Result<(), Box<dyn Error>>;
type Area<'a> = DrawingArea<SVGBackend<'a>, Shift>;

const SIZE: (u32, u32) = (960, 540);
const FONT: &str = "sans-serif";
/// Paul Tol's "bright", for people who see colours differently, and black.
const COLOURS: [RGBColor; 10] = [
    RGBColor(0x44, 0x77, 0xaa),
    RGBColor(0xee, 0x66, 0x77),
    RGBColor(0xbb, 0xbb, 0xbb),
    RGBColor(0xaa, 0x33, 0x77),
    RGBColor(0xcc, 0xbb, 0x44),
    RGBColor(0x22, 0x88, 0x33),
    RGBColor(0x66, 0xcc, 0xee),
    RGBColor(0xee, 0x99, 0x33),
    RGBColor(0x88, 0x66, 0x44),
    RGBColor(0x22, 0x22, 0x22),
];

/// Writes `latency.svg`, `growth.svg`, `memory.svg` and `throughput.svg` into a folder.
pub fn write(folder: &Path, results: &Results) -> Plot {
    latency(&folder.join("latency.svg"), results)?;
    growth(&folder.join("growth.svg"), results)?;
    memory(&folder.join("memory.svg"), results)?;
    throughput(&folder.join("throughput.svg"), results)
}

/// A contestant has the same colour in all plots.
fn colour(results: &Results, name: &str) -> RGBColor {
    let place = results.contestants.iter().position(|other| other == name);
    COLOURS[place.unwrap_or(COLOURS.len() - 1) % COLOURS.len()]
}

/// Bars in groups, one for each operation.
fn latency(file: &Path, results: &Results) -> Plot {
    const OPERATIONS: [Operation; 6] = [
        Operation::Validate,
        Operation::Create,
        Operation::Refresh,
        Operation::Revoke,
        Operation::RevokeAgent,
        Operation::Prune,
    ];
    // The most sessions that everybody has.
    let time = |name: &str, sessions, operation| {
        let nanoseconds = results.median(name, sessions, Quantity::Time(operation));
        nanoseconds.map(|time| time / 1e3)
    };
    let names: Vec<&String> = results
        .contestants
        .iter()
        .filter(|name| !matches!(name.as_str(), "floor" | "channel"))
        .collect();
    let everybody = |&&sessions: &&u32| {
        let (few, _) = results.ends();
        names.iter().all(|name| {
            let has = |sessions| time(name, sessions, Operation::Validate).is_some();
            has(sessions) || !has(few)
        })
    };
    let sessions = results.sessions.iter().rev().find(everybody);
    let sessions = sessions.copied().unwrap_or(results.ends().0);
    let times = OPERATIONS.iter().flat_map(|&operation| {
        names
            .iter()
            .filter_map(move |name| time(name, sessions, operation))
    });
    let range = decades(times);
    let root = SVGBackend::new(file, SIZE).into_drawing_area();
    root.fill(&WHITE)?;
    let (plot, legend) = with_legend(&root);
    let mut chart = ChartBuilder::on(&plot)
        .caption(
            format!("Time of a call, {} sessions", short(sessions)),
            (FONT, 20),
        )
        .margin(12)
        .x_label_area_size(40)
        .y_label_area_size(64)
        .build_cartesian_2d(0.0..6.0, (range.0..range.1).log_scale())?;
    chart
        .configure_mesh()
        .disable_x_mesh()
        .disable_x_axis()
        .y_desc("microseconds (log scale)")
        .y_label_formatter(&|value| plain(*value))
        .label_style((FONT, 14))
        .light_line_style(BLACK.mix(0.06))
        .draw()?;
    #[expect(clippy::cast_precision_loss, reason = "a few bars")]
    let (width, groups) = (
        0.86 / names.len().max(1) as f64,
        OPERATIONS.iter().zip(0_i32..),
    );
    for (&operation, group) in groups {
        for (name, place) in names.iter().zip(0_i32..) {
            let Some(value) = time(name, sessions, operation) else {
                continue;
            };
            let left = f64::from(group) + 0.07 + f64::from(place) * width;
            let bar = [(left, range.0), (left + width * 0.92, value.max(range.0))];
            chart.draw_series([Rectangle::new(bar, colour(results, name).filled())])?;
        }
        let at = chart.backend_coord(&(f64::from(group) + 0.5, range.0));
        let style = TextStyle::from((FONT, 15)).pos(centred());
        // The plot's own corner is the root's.
        root.draw(&Text::new(operation.to_string(), (at.0, at.1 + 14), style))?;
    }
    keys(
        &legend,
        names
            .iter()
            .map(|name| (name.as_str().to_owned(), colour(results, name))),
    )?;
    Ok(root.present()?)
}

/// A line for each contestant, by the number of sessions.
fn growth(file: &Path, results: &Results) -> Plot {
    let mut lines = Vec::new();
    for name in &results.contestants {
        let points: Vec<_> = results
            .sessions
            .iter()
            .filter_map(|&sessions| {
                let time = Quantity::Time(Operation::Validate);
                let time = results.median(name, sessions, time)?;
                Some((f64::from(sessions).log10(), time / 1e3))
            })
            .collect();
        if points.len() > 1 && name != "channel" {
            lines.push((name.clone(), colour(results, name), points));
        }
    }
    let (few, many) = results.ends();
    let title = format!("validate, from {} to {} sessions", short(few), short(many));
    let range = (f64::from(few).log10() - 0.1, f64::from(many).log10() + 0.1);
    let axes = Axes {
        title: &title,
        x: ("sessions (log scale)", range, &|value| {
            short_number(10_f64.powf(*value))
        }),
        ticks: 6,
        y: ("microseconds (log scale)", &plain_number),
    };
    curves(file, &axes, &lines)
}

/// How many calls are done in a second, by how many call.
fn throughput(file: &Path, results: &Results) -> Plot {
    let (_, sessions) = results.ends();
    let milliseconds = results.calling;
    let mut lines = Vec::new();
    for name in &results.contestants {
        let rates = |figure: &dyn Fn(u32) -> Figure| -> Vec<(f64, f64)> {
            let rate = |&callers: &u32| {
                let rate = results.median(name, sessions, Quantity::Figure(figure(callers)))?;
                Some((f64::from(callers).log2(), rate))
            };
            CALLERS.iter().filter_map(rate).collect()
        };
        let validates = rates(&|callers| Figure::ValidateRate {
            callers,
            milliseconds,
        });
        if !validates.is_empty() {
            let label = match name.as_str() {
                "channel" => "component".into(),
                _ => name.clone(),
            };
            let colour = colour(results, &label);
            lines.push((label, colour, validates));
        }
        let nothing = rates(&|callers| Figure::NothingRate {
            callers,
            milliseconds,
        });
        if !nothing.is_empty() {
            lines.push(("no-op calls".into(), RGBColor(0x99, 0x99, 0x99), nothing));
        }
    }
    let axes = Axes {
        title: "validates a second, by callers at a time",
        x: ("callers (log scale)", (-0.15, 6.15), &|value| {
            format!("{:.0}", value.exp2())
        }),
        ticks: CALLERS.len(),
        y: ("calls a second (log scale)", &|value| short_number(*value)),
    };
    curves(file, &axes, &lines)
}

/// Bytes for a session, a bar for each contestant.
fn memory(file: &Path, results: &Results) -> Plot {
    let (_, many) = results.ends();
    let bytes = |name: &String| {
        let of = |&sessions: &u32| {
            let memory = results.median(name, sessions, Quantity::Figure(Figure::Memory))?;
            Some((name.clone(), sessions, memory / f64::from(sessions)))
        };
        let channel = name == "channel";
        results
            .sessions
            .iter()
            .rev()
            .filter(|_| !channel)
            .find_map(of)
    };
    let bars: Vec<_> = results.contestants.iter().filter_map(bytes).collect();
    let most = bars.iter().map(|bar| bar.2).fold(1.0, f64::max);
    let root =
        SVGBackend::new(file, (SIZE.0, 110 + 44 * u32::try_from(bars.len())?)).into_drawing_area();
    root.fill(&WHITE)?;
    let title = format!("Memory of a session, {} sessions", short(many));
    let rows = i32::try_from(bars.len())?;
    let mut chart = ChartBuilder::on(&root)
        .caption(title, (FONT, 20))
        .margin(12)
        .margin_right(130)
        .x_label_area_size(46)
        .y_label_area_size(130)
        .build_cartesian_2d(0.0..most * 1.05, 0.0..f64::from(rows))?;
    chart
        .configure_mesh()
        .disable_y_mesh()
        .disable_y_axis()
        .x_max_light_lines(0)
        .x_desc("bytes (of the process; for redis, what the server says)")
        .x_label_formatter(&|value| format!("{value:.0}"))
        .label_style((FONT, 14))
        .draw()?;
    for ((name, sessions, value), row) in bars.iter().zip(0_i32..) {
        let bottom = f64::from(rows - row - 1);
        let bar = [(0.0, bottom + 0.15), (*value, bottom + 0.85)];
        chart.draw_series([Rectangle::new(bar, colour(results, name).filled())])?;
        let (left, middle) = chart.backend_coord(&(0.0, bottom + 0.5));
        let (right, _) = chart.backend_coord(&(*value, bottom + 0.5));
        let style = TextStyle::from((FONT, 15));
        root.draw(&Text::new(
            name.clone(),
            (left - 122, middle - 8),
            style.clone(),
        ))?;
        let of = if *sessions == many {
            String::new()
        } else {
            format!(" (of {})", short(*sessions))
        };
        let label = format!("{value:.0}{of}");
        root.draw(&Text::new(label, (right + 8, middle - 8), style))?;
    }
    Ok(root.present()?)
}

/// How a number is written; `plotters` hands it over by reference.
type Words<'a> = &'a dyn Fn(&f64) -> String;
/// A curve's name, its colour and its points.
type Curve = (String, RGBColor, Vec<(f64, f64)>);

/// What stands at a plot's sides.
struct Axes<'a> {
    title: &'a str,
    /// Its name, the range of the numbers' logarithms, and how the number of one is written.
    x: (&'a str, (f64, f64), Words<'a>),
    /// How many marks it has at most.
    ticks: usize,
    /// Its name, and how a number is written.
    y: (&'a str, Words<'a>),
}

/// Curves with points. The points have the logarithm of what is on the x axis.
fn curves(file: &Path, axes: &Axes, lines: &[Curve]) -> Plot {
    let values = lines
        .iter()
        .flat_map(|(_, _, points)| points.iter().map(|point| point.1));
    let range = decades(values);
    let root = SVGBackend::new(file, SIZE).into_drawing_area();
    root.fill(&WHITE)?;
    let (plot, legend) = with_legend(&root);
    let (x, y) = (axes.x.1, range);
    let mut chart = ChartBuilder::on(&plot)
        .caption(axes.title, (FONT, 20))
        .margin(12)
        .x_label_area_size(50)
        .y_label_area_size(64)
        .build_cartesian_2d(x.0..x.1, (y.0..y.1).log_scale())?;
    chart
        .configure_mesh()
        .x_desc(axes.x.0)
        .y_desc(axes.y.0)
        .x_labels(axes.ticks)
        .x_max_light_lines(0)
        .x_label_formatter(&axes.x.2)
        .y_label_formatter(&axes.y.1)
        .label_style((FONT, 14))
        .light_line_style(BLACK.mix(0.06))
        .draw()?;
    for (_, colour, points) in lines {
        chart.draw_series(LineSeries::new(
            points.iter().copied(),
            colour.stroke_width(2),
        ))?;
        let dots = points
            .iter()
            .map(|&point| Circle::new(point, 4, colour.filled()));
        chart.draw_series(dots)?;
    }
    let keyed = lines.iter().map(|(name, colour, points)| {
        let last = points.last().map_or(0.0, |point| point.1);
        (format!("{name} ({})", axes.y.1(&last)), *colour, last)
    });
    // In the order in which the curves end.
    let mut keyed: Vec<_> = keyed.collect();
    keyed.sort_by(|one, other| other.2.total_cmp(&one.2));
    keys(
        &legend,
        keyed.into_iter().map(|(name, colour, _)| (name, colour)),
    )?;
    Ok(root.present()?)
}

/// Room for a plot, and for a legend at its right.
fn with_legend<'a>(root: &Area<'a>) -> (Area<'a>, Area<'a>) {
    root.split_horizontally(SIZE.0 - 220)
}

fn keys(area: &Area, keys: impl Iterator<Item = (String, RGBColor)>) -> Plot {
    for ((name, colour), place) in keys.zip(0_i32..) {
        let top = 56 + place * 26;
        area.draw(&Rectangle::new([(4, top), (20, top + 14)], colour.filled()))?;
        area.draw(&Text::new(name, (28, top - 1), (FONT, 15)))?;
    }
    Ok(())
}

fn centred() -> plotters::style::text_anchor::Pos {
    use plotters::style::text_anchor::{HPos, Pos, VPos};
    Pos::new(HPos::Center, VPos::Center)
}

/// From the power of ten below all values to the one above.
fn decades(values: impl Iterator<Item = f64>) -> (f64, f64) {
    let mut range = (f64::MAX, f64::MIN_POSITIVE);
    for value in values.filter(|value| *value > 0.0) {
        range = (range.0.min(value), range.1.max(value));
    }
    if range.0 > range.1 {
        return (1.0, 10.0);
    }
    let decade = |value: f64| 10_f64.powf(value);
    (
        decade((range.0 * 0.9).log10().floor()),
        decade((range.1 * 1.1).log10().ceil()),
    )
}

fn plain(value: f64) -> String {
    if value < 1.0 {
        format!("{value}")
    } else {
        format!("{value:.0}")
    }
}

#[expect(
    clippy::trivially_copy_pass_by_ref,
    reason = "as `plotters` hands it over"
)]
fn plain_number(value: &f64) -> String {
    digits(*value)
}

fn short_number(value: f64) -> String {
    match value {
        1e6.. => format!("{} M", trimmed(value / 1e6)),
        1e3.. => format!("{} k", trimmed(value / 1e3)),
        _ => trimmed(value),
    }
}

fn trimmed(value: f64) -> String {
    if value >= 10.0 || (value - value.round()).abs() < 1e-9 {
        format!("{value:.0}")
    } else {
        format!("{value:.1}")
    }
}
