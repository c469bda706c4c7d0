//! Curves as SVG, to stand in a page: colours are the page's, so that they change with its light.
//! Does not compute what it draws.

use std::fmt::Write;

use super::curves::{Curve, Point};
use crate::metrics::report::escaped;

/// Colours that the page has; arms beyond them are told apart by dashes.
pub const COLOURS: usize = 8;

const DASHES: [&str; 4] = ["none", "7 4", "2 3", "9 3 2 3"];

const WIDTH: f64 = 880.0;
const HEIGHT: f64 = 400.0;
/// Left, top, right, bottom.
const MARGINS: [f64; 4] = [64.0, 14.0, 18.0, 46.0];

/// Share of the steps, from the first, that may leave the picture at the top: what is untrained would flatten the rest.
const BEGINNING: f64 = 0.05;

/// A picture of curves over steps.
pub struct Chart<'a> {
    /// Names its parts within the page.
    pub id: &'a str,
    /// What it shows, for those who cannot see it.
    pub title: &'a str,
    /// Stands at the upright axis.
    pub unit: &'a str,
    /// One per arm; their places decide colours.
    pub curves: &'a [Curve],
}

/// Colour class and dashes of an arm.
pub fn stroke(place: usize) -> (usize, &'static str) {
    (place % COLOURS, DASHES[place / COLOURS % DASHES.len()])
}

/// What of the plane is drawn, and where.
struct Frame {
    steps: (f64, f64),
    values: (f64, f64),
}

impl Frame {
    fn x(&self, step: f64) -> f64 {
        let inner = WIDTH - MARGINS[0] - MARGINS[2];
        MARGINS[0] + (step - self.steps.0) / (self.steps.1 - self.steps.0) * inner
    }

    fn y(&self, value: f64) -> f64 {
        let inner = HEIGHT - MARGINS[1] - MARGINS[3];
        // Far outside of the picture is as good as anywhere outside of it.
        let share = (value - self.values.0) / (self.values.1 - self.values.0);
        MARGINS[1] + (1.0 - share.clamp(-10.0, 10.0)) * inner
    }

    fn at(&self, step: f64, value: f64) -> String {
        format!("{:.1},{:.1}", self.x(step), self.y(value))
    }
}

impl Chart<'_> {
    /// The picture; none where there is nothing to draw.
    pub fn svg(&self) -> Option<String> {
        let frame = self.frame()?;
        let mut svg = format!(
            "<svg id=\"{id}\" class=\"chart\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" role=\"img\" aria-label=\"{title}\">\n\
             <clipPath id=\"{id}-inside\"><rect x=\"{x}\" y=\"{y}\" width=\"{width}\" height=\"{height}\"/></clipPath>\n",
            id = self.id,
            title = escaped(self.title),
            x = MARGINS[0],
            y = MARGINS[1],
            width = WIDTH - MARGINS[0] - MARGINS[2],
            height = HEIGHT - MARGINS[1] - MARGINS[3],
        );
        self.axes(&frame, &mut svg);
        let _ = writeln!(svg, "<g clip-path=\"url(#{}-inside)\">", self.id);
        // Bands first, so that no band hides a curve.
        for (place, curve) in self.curves.iter().enumerate() {
            band(&frame, place, curve, &mut svg);
        }
        for (place, curve) in self.curves.iter().enumerate().rev() {
            lines(&frame, place, curve, &mut svg);
        }
        svg.push_str("</g>\n</svg>");
        Some(svg)
    }

    /// Curves decide what is shown. Runs that have not finished may leave the picture: what diverges would flatten the rest.
    fn frame(&self) -> Option<Frame> {
        let edges = |point: &Point| {
            let (low, high) = point.band.unwrap_or((point.mean, point.mean));
            (point.step, low, high)
        };
        let finished = self.curves.iter().flat_map(|curve| curve.points.iter().map(edges));
        let unfinished = self.curves.iter().flat_map(|curve| curve.unfinished.iter().flatten());
        let unfinished: Vec<_> = unfinished.map(|&(step, value)| (step, value, value)).collect();
        let finished: Vec<_> = finished.collect();
        let steps = bounds(finished.iter().chain(&unfinished).map(|point| point.0))?;
        let deciding = if finished.is_empty() { &unfinished } else { &finished };
        let late = steps.0 + (steps.1 - steps.0) * BEGINNING;
        let low = bounds(deciding.iter().map(|point| point.1))?.0;
        let after = bounds(deciding.iter().filter(|point| point.0 >= late).map(|point| point.2));
        // Where all is beginning, all is shown.
        let high = after.or_else(|| bounds(deciding.iter().map(|point| point.2)))?.1.max(low);
        let margin = (high - low).max(1e-6) * 0.06;
        let steps = if steps.1 > steps.0 { steps } else { (steps.0 - 1.0, steps.1 + 1.0) };
        Some(Frame { steps, values: (low - margin, high + margin) })
    }

    fn axes(&self, frame: &Frame, svg: &mut String) {
        let (left, right) = (MARGINS[0], WIDTH - MARGINS[2]);
        let (top, bottom) = (MARGINS[1], HEIGHT - MARGINS[3]);
        let (values, decimals) = ticks(frame.values, 6);
        for value in values {
            let y = frame.y(value);
            let _ = writeln!(svg, "<line class=\"grid\" x1=\"{left}\" x2=\"{right}\" y1=\"{y:.1}\" y2=\"{y:.1}\"/>");
            let (x, y, value) = (left - 8.0, y + 4.0, tick(value, decimals));
            let _ = writeln!(svg, "<text class=\"tick\" x=\"{x}\" y=\"{y:.1}\" text-anchor=\"end\">{value}</text>");
        }
        let (steps, decimals) = ticks(frame.steps, 8);
        for step in steps {
            let (x, y, step) = (frame.x(step), bottom + 18.0, tick(step, decimals));
            let _ = writeln!(svg, "<line class=\"grid\" x1=\"{x:.1}\" x2=\"{x:.1}\" y1=\"{top}\" y2=\"{bottom}\"/>");
            let _ = writeln!(svg, "<text class=\"tick\" x=\"{x:.1}\" y=\"{y}\" text-anchor=\"middle\">{step}</text>");
        }
        let _ = writeln!(svg, "<path class=\"axis\" d=\"M{left},{top}V{bottom}H{right}\"/>");
        let (x, y) = ((left + right) / 2.0, HEIGHT - 8.0);
        let _ = writeln!(svg, "<text class=\"name\" x=\"{x}\" y=\"{y}\" text-anchor=\"middle\">step</text>");
        let y = (top + bottom) / 2.0;
        let unit = escaped(self.unit);
        let _ = writeln!(
            svg,
            "<text class=\"name\" x=\"16\" y=\"{y}\" text-anchor=\"middle\" transform=\"rotate(-90 16 {y})\">{unit}</text>"
        );
    }
}

fn band(frame: &Frame, place: usize, curve: &Curve, svg: &mut String) {
    let edges: Vec<(f64, (f64, f64))> =
        curve.points.iter().filter_map(|point| Some((point.step, point.band?))).collect();
    if edges.len() > 1 {
        let above = edges.iter().map(|(step, band)| frame.at(*step, band.1));
        let below = edges.iter().rev().map(|(step, band)| frame.at(*step, band.0));
        let outline: Vec<String> = above.chain(below).collect();
        let _ = writeln!(svg, "<polygon class=\"band c{}\" points=\"{}\"/>", stroke(place).0, outline.join(" "));
    }
}

fn lines(frame: &Frame, place: usize, curve: &Curve, svg: &mut String) {
    let (colour, dash) = stroke(place);
    let name = escaped(&curve.name);
    for run in curve.unfinished.iter().filter(|run| !run.is_empty()) {
        let points: Vec<String> = run.iter().map(|&(step, value)| frame.at(step, value)).collect();
        let _ = writeln!(
            svg,
            "<polyline class=\"unfinished c{colour}\" points=\"{}\"><title>{name}, not finished</title></polyline>",
            points.join(" ")
        );
        let (step, value) = run[run.len() - 1];
        // A run that left the picture ends at its edge.
        let (x, y) = (frame.x(step), frame.y(value).clamp(MARGINS[1] + 6.0, HEIGHT - MARGINS[3] - 6.0));
        let _ = writeln!(svg, "<path class=\"end c{colour}\" d=\"M{x:.1},{y:.1}m-4,-4l8,8m0,-8l-8,8\"/>");
    }
    if let [point] = curve.points.as_slice() {
        let (x, y) = (frame.x(point.step), frame.y(point.mean));
        let _ = writeln!(
            svg,
            "<circle class=\"dot c{colour}\" cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"3.5\"><title>{name}</title></circle>"
        );
    } else if !curve.points.is_empty() {
        let points: Vec<String> = curve.points.iter().map(|point| frame.at(point.step, point.mean)).collect();
        let _ = writeln!(
            svg,
            "<polyline class=\"curve c{colour}\" stroke-dasharray=\"{dash}\" points=\"{}\"><title>{name}</title></polyline>",
            points.join(" ")
        );
    }
}

fn bounds(values: impl Iterator<Item = f64>) -> Option<(f64, f64)> {
    let (low, high) =
        values.fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), value| (low.min(value), high.max(value)));
    (low <= high).then_some((low, high))
}

/// `0.05`, `2000`, `3e7`.
fn tick(value: f64, decimals: usize) -> String {
    if value.abs() >= 1e6 { format!("{value:e}") } else { format!("{value:.decimals$}") }
}

/// At most about `count` round numbers within a range, and the decimals they need.
fn ticks((low, high): (f64, f64), count: usize) -> (Vec<f64>, usize) {
    let rough = (high - low) / count as f64;
    let power = 10.0_f64.powf(rough.log10().floor());
    let step = [1.0, 2.0, 5.0, 10.0].map(|round| round * power).into_iter().find(|step| *step >= rough * 0.999);
    let step = step.unwrap_or(10.0 * power);
    let decimals = (-step.log10().floor()).clamp(0.0, 12.0) as usize;
    let (first, last) = ((low / step).ceil() as i64, (high / step).floor() as i64);
    // Adding 0 turns −0 into 0.
    ((first..=last).map(|number| number as f64 * step + 0.0).collect(), decimals)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn curve(name: &str, values: &[f64]) -> Curve {
        let point = |(step, &mean): (usize, &f64)| Point {
            step: step as f64 + 1.0,
            mean,
            band: Some((mean - 0.1, mean + 0.1)),
        };
        Curve { name: name.into(), points: values.iter().enumerate().map(point).collect(), unfinished: Vec::new() }
    }

    #[test]
    fn ticks_are_round_and_inside() {
        for (range, count, expected, decimals) in [
            ((0.0, 100.0), 5, vec![0.0, 20.0, 40.0, 60.0, 80.0, 100.0], 0),
            ((1.93, 2.11), 4, vec![1.95, 2.0, 2.05, 2.1], 2),
            ((-0.5, 0.5), 2, vec![-0.5, 0.0, 0.5], 1),
        ] {
            let (found, places) = ticks(range, count);
            assert_eq!(places, decimals, "{range:?}");
            assert!(
                found.len() == expected.len() && found.iter().zip(&expected).all(|(a, b)| (a - b).abs() < 1e-9),
                "{found:?}"
            );
        }
    }

    #[test]
    fn every_arm_has_a_curve_and_a_band_and_the_unfinished_end_in_a_cross() {
        let mut failed = curve("b & co", &[]);
        failed.unfinished.push(vec![(1.0, 5.0), (2.0, 9.0)]);
        let curves = [curve("a", &[5.0, 3.0, 2.0]), failed];
        let svg = Chart { id: "loss", title: "loss", unit: "nats", curves: &curves }.svg().unwrap();
        assert_eq!(svg.matches("class=\"curve c0\"").count(), 1, "{svg}");
        assert_eq!(svg.matches("class=\"band c0\"").count(), 1);
        assert_eq!(svg.matches("class=\"unfinished c1\"").count(), 1);
        assert_eq!(svg.matches("class=\"end c1\"").count(), 1);
        assert!(!svg.contains(">9.0<") && !svg.contains(">8.0<"), "what diverged does not decide the scale: {svg}");
        assert!(
            svg.contains("<title>b &amp; co, not finished</title>") && !svg.contains("NaN") && !svg.contains("inf")
        );
    }

    #[test]
    fn little_data() {
        let svg = |curves: &[Curve]| Chart { id: "i", title: "t", unit: "u", curves }.svg();
        assert_eq!(svg(&[]), None);
        assert_eq!(svg(&[curve("a", &[])]), None);
        let one = svg(&[curve("a", &[2.0])]).unwrap();
        assert!(one.contains("class=\"dot c0\"") && !one.contains("NaN"), "{one}");
    }

    #[test]
    fn more_arms_than_colours_differ_in_dashes() {
        let strokes: std::collections::BTreeSet<_> = (0..COLOURS * DASHES.len()).map(stroke).collect();
        assert_eq!(strokes.len(), COLOURS * DASHES.len());
    }
}
