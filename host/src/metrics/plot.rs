//! The loss over the steps as SVG.
//! Does not read metrics and does not write files.

use plotters::{coord::types::RangedCoordf64, prelude::*};

const SIZE: (u32, u32) = (960, 540);
const TRAIN: RGBColor = RGBColor(150, 180, 215);
const SMOOTH: RGBColor = RGBColor(31, 97, 165);
const VAL: RGBColor = RGBColor(200, 80, 30);
const MARK: RGBColor = RGBColor(110, 110, 110);
const FLOOR: RGBColor = RGBColor(60, 130, 70);

/// More points than this in a curve are not seen, only stored.
const POINTS: usize = 1200;

/// What is drawn. Losses are in one unit, steps ascend; what is not finite is left out.
#[derive(Clone, Debug)]
pub struct LossPlot<'a> {
    /// Stands above.
    pub title: &'a str,
    /// Step and loss of training.
    pub train: &'a [(u64, f64)],
    /// Step and loss of the evaluations.
    pub val: &'a [(u64, f64)],
    /// The loss that no model can beat, where it is known.
    pub floor: Option<f64>,
    /// Step and name of what happened on the way: a line across, with its name.
    pub marks: &'a [(u64, String)],
}

impl LossPlot<'_> {
    /// The picture as a whole SVG document; none where there is no finite point to draw.
    pub fn svg(&self) -> Option<String> {
        let (train, val) = (finite(self.train), finite(self.val));
        let floor = self.floor.filter(|floor| floor.is_finite());
        let smooth = smoothed(&train);
        let mut text = String::new();
        let losses = || train.iter().chain(&val).map(|point| point.1).chain(floor);
        let steps = || train.iter().chain(&val).map(|point| point.0);
        steps().next()?;
        let (first, last) = bounds(steps());
        let (low, high) = bounds(losses());
        let margin = (high - low).max(1e-6) * 0.05;
        let area = SVGBackend::with_string(&mut text, SIZE).into_drawing_area();
        let drawn = draw(&area, self.title, (first, last.max(first + 1.0)), (low - margin, high + margin), |chart| {
            curve(chart, thinned(&train), TRAIN, 1, "train")?;
            curve(chart, thinned(&smooth), SMOOTH, 2, "train, smoothed")?;
            if !val.is_empty() {
                curve(chart, val.clone(), VAL, 1, "validation")?;
                chart.draw_series(val.iter().map(|&point| Circle::new(point, 3, VAL.filled())))?;
            }
            for (step, name) in self.marks {
                let at = (*step as f64).clamp(first, last.max(first + 1.0));
                let line = DashedLineSeries::new([(at, low), (at, high)], 3, 3, MARK.stroke_width(1));
                chart.draw_series(line)?;
                let style = ("sans-serif", 12).into_font().transform(FontTransform::Rotate90).color(&MARK);
                chart.draw_series([Text::new(name.clone(), (at, high), style)])?;
            }
            if let Some(floor) = floor {
                let line = DashedLineSeries::new([(first, floor), (last, floor)], 6, 4, FLOOR.stroke_width(1));
                let label = format!("floor {floor:.4}");
                chart.draw_series(line)?.label(label).legend(|(x, y)| key(x, y, FLOOR, 1));
            }
            Ok(())
        });
        // Drawing into a string cannot fail; were it to, a missing picture is better than half of one.
        drawn.and_then(|()| area.present()).ok()?;
        drop(area);
        Some(text)
    }
}

type Area<'a> = DrawingArea<SVGBackend<'a>, plotters::coord::Shift>;
type Chart<'a, 'b> = ChartContext<'a, SVGBackend<'b>, Cartesian2d<RangedCoordf64, RangedCoordf64>>;
type Drawn = Result<(), DrawingAreaErrorKind<std::io::Error>>;

fn draw<'b>(
    area: &Area<'b>,
    title: &str,
    steps: (f64, f64),
    losses: (f64, f64),
    curves: impl FnOnce(&mut Chart<'_, 'b>) -> Drawn,
) -> Drawn {
    area.fill(&WHITE)?;
    let mut chart = ChartBuilder::on(area)
        .caption(title, ("sans-serif", 20))
        .margin(12)
        .x_label_area_size(44)
        .y_label_area_size(64)
        .build_cartesian_2d(steps.0..steps.1, losses.0..losses.1)?;
    chart
        .configure_mesh()
        .light_line_style(TRANSPARENT)
        .bold_line_style(BLACK.mix(0.1))
        .x_desc("step")
        .y_desc("loss (nats per token)")
        .label_style(("sans-serif", 15))
        .axis_desc_style(("sans-serif", 17))
        .x_label_formatter(&|step| format!("{step:.0}"))
        .y_label_formatter(&|loss| format!("{loss:.3}"))
        .draw()?;
    curves(&mut chart)?;
    let labels = &mut chart.configure_series_labels();
    labels
        .label_font(("sans-serif", 15))
        .position(SeriesLabelPosition::UpperRight)
        .background_style(WHITE.mix(0.8))
        .border_style(BLACK.mix(0.3))
        .draw()
}

fn curve(chart: &mut Chart, points: Vec<(f64, f64)>, color: RGBColor, width: u32, label: &str) -> Drawn {
    if !points.is_empty() {
        let line = LineSeries::new(points, color.stroke_width(width));
        chart.draw_series(line)?.label(label).legend(move |(x, y)| key(x, y, color, width));
    }
    Ok(())
}

fn key(x: i32, y: i32, color: RGBColor, width: u32) -> PathElement<(i32, i32)> {
    PathElement::new([(x, y), (x + 18, y)], color.stroke_width(width))
}

fn finite(points: &[(u64, f64)]) -> Vec<(f64, f64)> {
    points.iter().filter(|point| point.1.is_finite()).map(|&(step, loss)| (step as f64, loss)).collect()
}

fn bounds(values: impl Iterator<Item = f64>) -> (f64, f64) {
    values.fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), value| (low.min(value), high.max(value)))
}

/// Exponential average over about a fiftieth of the curve, corrected for its beginning.
pub(crate) fn smoothed(points: &[(f64, f64)]) -> Vec<(f64, f64)> {
    let keep = 1.0 - 2.0 / (points.len() as f64 / 50.0 + 1.0).max(2.0);
    let (mut average, mut weight) = (0.0, 0.0);
    let smooth = points.iter().map(|&(step, loss)| {
        average = keep * average + (1.0 - keep) * loss;
        weight = keep * weight + (1.0 - keep);
        (step, average / weight)
    });
    smooth.collect()
}

/// At most about [`POINTS`] points: of each stretch its lowest and its highest, so that no spike is lost.
fn thinned(points: &[(f64, f64)]) -> Vec<(f64, f64)> {
    if points.len() <= POINTS {
        return points.to_vec();
    }
    let mut thin = Vec::with_capacity(POINTS + 2);
    for stretch in points.chunks(points.len().div_ceil(POINTS / 2)) {
        let by_loss = |a: &&(f64, f64), b: &&(f64, f64)| a.1.total_cmp(&b.1);
        if let (Some(&low), Some(&high)) = (stretch.iter().min_by(by_loss), stretch.iter().max_by(by_loss)) {
            thin.extend(if low.0 <= high.0 { [low, high] } else { [high, low] });
        }
    }
    thin
}

#[cfg(test)]
mod tests {
    use super::*;

    fn falling(steps: u64) -> Vec<(u64, f64)> {
        (1..=steps).map(|step| (step, 4.0 / (step as f64).sqrt())).collect()
    }

    /// Every element that is opened is closed, in order.
    fn assert_well_formed(svg: &str) {
        let mut open: Vec<&str> = Vec::new();
        for tag in svg.split('<').skip(1) {
            let (tag, _) = tag.split_once('>').unwrap_or_else(|| panic!("`<{tag}` has no end"));
            assert_eq!(tag.matches('"').count() % 2, 0, "{tag}");
            if let Some(name) = tag.strip_prefix('/') {
                assert_eq!(open.pop(), Some(name));
            } else if !tag.ends_with('/') && !tag.starts_with(['?', '!']) {
                open.push(tag.split_whitespace().next().unwrap());
            }
        }
        assert!(open.is_empty(), "{open:?}");
    }

    #[test]
    fn all_curves_are_drawn() {
        let (train, val) = (falling(5000), falling(5));
        let plot = LossPlot {
            title: "lion <7> & \"co\"",
            train: &train,
            val: &val,
            floor: Some(0.05),
            marks: &[(7, "change_lr".into())],
        };
        let svg = plot.svg().unwrap();
        assert_well_formed(&svg);
        for color in ["#96B4D7", "#1F61A5", "#C8501E", "#3C8246"] {
            assert!(svg.contains(&format!("stroke=\"{color}\"")), "{color}");
        }
        assert_eq!(svg.matches("<circle").count(), 5);
        assert!(svg.contains("change_lr") && svg.contains("rotate(90"), "what happened is marked");
        assert!(svg.contains("floor 0.0500") && svg.contains("validation") && svg.contains("lion &lt;7&gt;"));
        assert!(svg.len() < 200_000, "{} bytes", svg.len());
    }

    #[test]
    fn little_and_odd_data() {
        let plot = |train, val, floor| LossPlot { title: "t", train, val, floor, marks: &[] }.svg();
        assert_eq!(plot(&[], &[], Some(1.0)), None);
        assert_eq!(plot(&[(1, f64::NAN)], &[(1, f64::INFINITY)], None), None);
        for svg in [
            plot(&[(1, 2.0)], &[], None),
            plot(&[], &[(10, 2.0)], Some(f64::NAN)),
            plot(&[(1, 2.0), (2, f64::NAN), (3, 2.0)], &[], None),
        ] {
            let svg = svg.unwrap();
            assert_well_formed(&svg);
            assert!(!svg.contains("NaN") && !svg.contains("inf"));
        }
    }

    #[test]
    fn thinning_keeps_spikes_and_smoothing_keeps_constants() {
        let mut points: Vec<(f64, f64)> = (0..100_000).map(|step| (step as f64, 1.0)).collect();
        points[77_777].1 = 9.0;
        let thin = thinned(&points);
        assert!(thin.len() <= POINTS + 2);
        assert!(thin.contains(&(77_777.0, 9.0)));
        assert!(thin.windows(2).all(|pair| pair[0].0 <= pair[1].0));
        let constant: Vec<(f64, f64)> = (0..500).map(|step| (step as f64, 3.0)).collect();
        assert!(smoothed(&constant).iter().all(|point| (point.1 - 3.0).abs() < 1e-12));
        assert_eq!(smoothed(&[(1.0, 7.0)]), [(1.0, 7.0)]);
    }
}
