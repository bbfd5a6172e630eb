//! The plots: latency by operation, growth, memory, throughput by callers.

use std::error::Error;
use std::path::Path;

use clawdb_session_bench_protocol::target::{Metric, Operation};
use plotters::coord::Shift;
use plotters::prelude::*;

use super::parameters::CALLER_COUNTS;
use super::results::{Quantity, Results, short_count};
use super::table::three_digits;
use super::targets::{BASELINE, COMPONENT, COMPONENT_SYNC, LOCAL_SESSIONS, SESSION_HOST};

type PlotResult = Result<(), Box<dyn Error>>;
type Area<'a> = DrawingArea<SVGBackend<'a>, Shift>;

const SIZE: (u32, u32) = (960, 540);
const FONT: &str = "sans-serif";
/// Paul Tol's palette "bright", which is suitable for colour-blind people, with five more colours.
const COLOURS: [RGBColor; 12] = [
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
    RGBColor(0x00, 0x99, 0x88),
    RGBColor(0x55, 0x55, 0xcc),
];

/// Writes `latency.svg`, `growth.svg`, `memory.svg` and `throughput.svg` into a folder.
pub fn write(folder: &Path, results: &Results) -> PlotResult {
    latency(&folder.join("latency.svg"), results)?;
    growth(&folder.join("growth.svg"), results)?;
    memory(&folder.join("memory.svg"), results)?;
    throughput(&folder.join("throughput.svg"), results)
}

/// Returns the colour of a target, which is the same in all plots.
fn colour(results: &Results, name: &str) -> RGBColor {
    let index = results.targets.iter().position(|other| other == name);
    COLOURS[index.unwrap_or(COLOURS.len() - 1) % COLOURS.len()]
}

/// Returns whether a target is a component behind a handle. The plots of a lone caller show the
/// component itself.
fn is_handle(name: &str) -> bool {
    matches!(name, SESSION_HOST | LOCAL_SESSIONS)
}

/// Draws bars in groups, one group for each operation.
fn latency(file: &Path, results: &Results) -> PlotResult {
    const OPERATIONS: [Operation; 6] = [
        Operation::Validate,
        Operation::Create,
        Operation::Refresh,
        Operation::Revoke,
        Operation::RevokeAllForAgent,
        Operation::Prune,
    ];
    // The plot shows the highest number of sessions with values of every target.
    let time = |name: &str, sessions, operation| {
        let nanoseconds = results.median(name, sessions, Quantity::Time(operation));
        nanoseconds.map(|time| time / 1e3)
    };
    let names: Vec<&String> = results
        .targets
        .iter()
        .filter(|name| *name != BASELINE && !is_handle(name))
        .collect();
    let all_have = |&&sessions: &&u32| {
        let (fewest, _) = results.session_range();
        names.iter().all(|name| {
            let has = |sessions| time(name, sessions, Operation::Validate).is_some();
            has(sessions) || !has(fewest)
        })
    };
    let sessions = results.session_counts.iter().rev().find(all_have);
    let sessions = sessions.copied().unwrap_or(results.session_range().0);
    let times = OPERATIONS.iter().flat_map(|&operation| {
        names
            .iter()
            .filter_map(move |name| time(name, sessions, operation))
    });
    let range = decade_range(times);
    let root = SVGBackend::new(file, SIZE).into_drawing_area();
    root.fill(&WHITE)?;
    let (plot, legend) = split_for_legend(&root);
    let mut chart = ChartBuilder::on(&plot)
        .caption(
            format!("Time of a call, {} sessions", short_count(sessions)),
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
        .y_label_formatter(&|value| format_plain(*value))
        .label_style((FONT, 14))
        .light_line_style(BLACK.mix(0.06))
        .draw()?;
    #[expect(clippy::cast_precision_loss, reason = "a few bars")]
    let (width, groups) = (
        0.86 / names.len().max(1) as f64,
        OPERATIONS.iter().zip(0_i32..),
    );
    for (&operation, group) in groups {
        for (name, index) in names.iter().zip(0_i32..) {
            let Some(value) = time(name, sessions, operation) else {
                continue;
            };
            let left = f64::from(group) + 0.07 + f64::from(index) * width;
            let bar = [(left, range.0), (left + width * 0.92, value.max(range.0))];
            chart.draw_series([Rectangle::new(bar, colour(results, name).filled())])?;
        }
        let middle = chart.backend_coord(&(f64::from(group) + 0.5, range.0));
        let style = TextStyle::from((FONT, 15)).pos(centred());
        // The plot and the root have the same origin.
        root.draw(&Text::new(
            operation.to_string(),
            (middle.0, middle.1 + 14),
            style,
        ))?;
    }
    draw_legend(
        &legend,
        names
            .iter()
            .map(|name| (name.as_str().to_owned(), colour(results, name))),
    )?;
    Ok(root.present()?)
}

/// Draws the time of a `validate` by the number of sessions, a line for each target.
fn growth(file: &Path, results: &Results) -> PlotResult {
    let mut lines = Vec::new();
    for name in &results.targets {
        let points: Vec<_> = results
            .session_counts
            .iter()
            .filter_map(|&sessions| {
                let time = Quantity::Time(Operation::Validate);
                let time = results.median(name, sessions, time)?;
                Some((f64::from(sessions).log10(), time / 1e3))
            })
            .collect();
        if points.len() > 1 && !is_handle(name) {
            lines.push((name.clone(), colour(results, name), points));
        }
    }
    let (fewest, most) = results.session_range();
    let title = format!(
        "validate, from {} to {} sessions",
        short_count(fewest),
        short_count(most)
    );
    let range = (
        f64::from(fewest).log10() - 0.1,
        f64::from(most).log10() + 0.1,
    );
    let axes = Axes {
        title: &title,
        x: ("sessions (log scale)", range, &|value| {
            format_short(10_f64.powf(*value))
        }),
        ticks: 6,
        y: ("microseconds (log scale)", &format_three_digits),
    };
    line_chart(file, &axes, &lines)
}

/// Draws the calls per second by the number of concurrent callers, a line for each target.
fn throughput(file: &Path, results: &Results) -> PlotResult {
    let (_, sessions) = results.session_range();
    let milliseconds = results.caller_milliseconds;
    let mut lines = Vec::new();
    for name in &results.targets {
        let rates = |metric: &dyn Fn(u32) -> Metric| -> Vec<(f64, f64)> {
            let rate = |&callers: &u32| {
                let rate = results.median(name, sessions, Quantity::Metric(metric(callers)))?;
                Some((f64::from(callers).log2(), rate))
            };
            CALLER_COUNTS.iter().filter_map(rate).collect()
        };
        let validates = rates(&|callers| Metric::ValidateRate {
            callers,
            milliseconds,
        });
        if !validates.is_empty() {
            let label = match name.as_str() {
                SESSION_HOST => COMPONENT.into(),
                LOCAL_SESSIONS => COMPONENT_SYNC.into(),
                _ => name.clone(),
            };
            let colour = colour(results, &label);
            lines.push((label, colour, validates));
        }
        let no_op = rates(&|callers| Metric::NoOpRate {
            callers,
            milliseconds,
        });
        if !no_op.is_empty() {
            lines.push(("no-op calls".into(), RGBColor(0x99, 0x99, 0x99), no_op));
        }
    }
    let axes = Axes {
        title: "validates per second, by concurrent callers",
        x: ("callers (log scale)", (-0.15, 6.15), &|value| {
            format!("{:.0}", value.exp2())
        }),
        ticks: CALLER_COUNTS.len(),
        y: ("calls per second (log scale)", &|value| {
            format_short(*value)
        }),
    };
    line_chart(file, &axes, &lines)
}

/// Draws the bytes of memory of a session, a bar for each target.
fn memory(file: &Path, results: &Results) -> PlotResult {
    let (_, largest) = results.session_range();
    let bytes = |name: &String| {
        let of = |&sessions: &u32| {
            let memory = results.median(name, sessions, Quantity::Metric(Metric::Memory))?;
            Some((name.clone(), sessions, memory / f64::from(sessions)))
        };
        let is_handle = is_handle(name);
        results
            .session_counts
            .iter()
            .rev()
            .filter(|_| !is_handle)
            .find_map(of)
    };
    let bars: Vec<_> = results.targets.iter().filter_map(bytes).collect();
    let widest = bars.iter().map(|bar| bar.2).fold(1.0, f64::max);
    let root =
        SVGBackend::new(file, (SIZE.0, 110 + 44 * u32::try_from(bars.len())?)).into_drawing_area();
    root.fill(&WHITE)?;
    let title = format!("Memory of a session, {} sessions", short_count(largest));
    let rows = i32::try_from(bars.len())?;
    let mut chart = ChartBuilder::on(&root)
        .caption(title, (FONT, 20))
        .margin(12)
        .margin_right(130)
        .x_label_area_size(46)
        .y_label_area_size(130)
        .build_cartesian_2d(0.0..widest * 1.05, 0.0..f64::from(rows))?;
    chart
        .configure_mesh()
        .disable_y_mesh()
        .disable_y_axis()
        .x_max_light_lines(0)
        .x_desc("bytes (of the process; for redis, as the server reports)")
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
        let of = if *sessions == largest {
            String::new()
        } else {
            format!(" (of {})", short_count(*sessions))
        };
        let label = format!("{value:.0}{of}");
        root.draw(&Text::new(label, (right + 8, middle - 8), style))?;
    }
    Ok(root.present()?)
}

/// Formats a number, which `plotters` passes by reference.
type Format<'a> = &'a dyn Fn(&f64) -> String;
/// A line's name, its colour and its points.
type Line = (String, RGBColor, Vec<(f64, f64)>);

/// The axes of a plot and its title.
struct Axes<'a> {
    title: &'a str,
    /// The label of the x axis, the range of the values' logarithms, and the format of a logarithm.
    x: (&'a str, (f64, f64), Format<'a>),
    /// The maximum number of ticks of the x axis.
    ticks: usize,
    /// The label of the y axis, and the format of a value.
    y: (&'a str, Format<'a>),
}

/// Draws lines with points. The x coordinate of a point is the logarithm of the value.
fn line_chart(file: &Path, axes: &Axes, lines: &[Line]) -> PlotResult {
    let values = lines
        .iter()
        .flat_map(|(_, _, points)| points.iter().map(|point| point.1));
    let range = decade_range(values);
    let root = SVGBackend::new(file, SIZE).into_drawing_area();
    root.fill(&WHITE)?;
    let (plot, legend) = split_for_legend(&root);
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
    let legend_entries = lines.iter().map(|(name, colour, points)| {
        let last = points.last().map_or(0.0, |point| point.1);
        (format!("{name} ({})", axes.y.1(&last)), *colour, last)
    });
    // The legend has the order of the lines' last points.
    let mut legend_entries: Vec<_> = legend_entries.collect();
    legend_entries.sort_by(|one, other| other.2.total_cmp(&one.2));
    draw_legend(
        &legend,
        legend_entries
            .into_iter()
            .map(|(name, colour, _)| (name, colour)),
    )?;
    Ok(root.present()?)
}

/// Returns the area of the plot, and the area of the legend to its right.
fn split_for_legend<'a>(root: &Area<'a>) -> (Area<'a>, Area<'a>) {
    root.split_horizontally(SIZE.0 - 220)
}

fn draw_legend(area: &Area, entries: impl Iterator<Item = (String, RGBColor)>) -> PlotResult {
    for ((name, colour), row) in entries.zip(0_i32..) {
        let top = 56 + row * 26;
        area.draw(&Rectangle::new([(4, top), (20, top + 14)], colour.filled()))?;
        area.draw(&Text::new(name, (28, top - 1), (FONT, 15)))?;
    }
    Ok(())
}

fn centred() -> plotters::style::text_anchor::Pos {
    use plotters::style::text_anchor::{HPos, Pos, VPos};
    Pos::new(HPos::Center, VPos::Center)
}

/// Returns the power of ten below all positive values, and the one above.
fn decade_range(values: impl Iterator<Item = f64>) -> (f64, f64) {
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

fn format_plain(value: f64) -> String {
    if value < 1.0 {
        format!("{value}")
    } else {
        format!("{value:.0}")
    }
}

#[expect(
    clippy::trivially_copy_pass_by_ref,
    reason = "`plotters` passes a reference"
)]
fn format_three_digits(value: &f64) -> String {
    three_digits(*value)
}

fn format_short(value: f64) -> String {
    match value {
        1e6.. => format!("{} M", format_trimmed(value / 1e6)),
        1e3.. => format!("{} k", format_trimmed(value / 1e3)),
        _ => format_trimmed(value),
    }
}

fn format_trimmed(value: f64) -> String {
    if value >= 10.0 || (value - value.round()).abs() < 1e-9 {
        format!("{value:.0}")
    } else {
        format!("{value:.1}")
    }
}
