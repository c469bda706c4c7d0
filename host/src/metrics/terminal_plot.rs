//! A curve drawn in text, for the end of a run in a terminal.
//! Does not colour and does not print.

use super::plot::smoothed;

/// Dots of a braille character by column and row, as offsets from U+2800.
const DOTS: [[u32; 4]; 2] = [[0x01, 0x02, 0x04, 0x40], [0x08, 0x10, 0x20, 0x80]];

/// Characters of the scale at the left.
const SCALE: usize = 9;

/// Draws step and value, steps ascending, in `height` lines of `width` characters and one line of steps below; the
/// curve is smoothed as in the picture. Empty where there is no finite value or no room.
pub fn terminal_plot(series: &[(u64, f64)], width: usize, height: usize) -> String {
    let points: Vec<(f64, f64)> =
        series.iter().filter(|point| point.1.is_finite()).map(|&(step, value)| (step as f64, value)).collect();
    let points = smoothed(&points);
    let (Some(first), Some(last)) = (points.first(), points.last()) else { return String::new() };
    if width < SCALE + 2 || height == 0 {
        return String::new();
    }
    let low = points.iter().map(|point| point.1).fold(f64::INFINITY, f64::min);
    let high = points.iter().map(|point| point.1).fold(f64::NEG_INFINITY, f64::max);
    let columns = width - SCALE;
    let mut canvas = Canvas { columns, cells: vec![0; columns * height], height };
    let (steps, span) = ((last.0 - first.0).max(1.0), (high - low).max(f64::MIN_POSITIVE));
    let at = |&(step, value): &(f64, f64)| {
        let x = (step - first.0) / steps * (2 * columns - 1) as f64;
        let y = if high > low { (high - value) / span * (4 * height - 1) as f64 } else { (2 * height) as f64 };
        (x.round() as i64, y.round() as i64)
    };
    let mut before = at(first);
    for point in &points {
        let here = at(point);
        canvas.line(before, here);
        before = here;
    }
    canvas.text(low, high, first.0, last.0)
}

struct Canvas {
    columns: usize,
    height: usize,
    cells: Vec<u32>,
}

impl Canvas {
    fn dot(&mut self, x: i64, y: i64) {
        let (x, y) =
            (x.clamp(0, 2 * self.columns as i64 - 1) as usize, y.clamp(0, 4 * self.height as i64 - 1) as usize);
        self.cells[y / 4 * self.columns + x / 2] |= DOTS[x % 2][y % 4];
    }

    fn line(&mut self, from: (i64, i64), to: (i64, i64)) {
        let (dx, dy) = (to.0 - from.0, to.1 - from.1);
        let length = dx.abs().max(dy.abs()).max(1);
        for i in 0..=length {
            let along = |d: i64| (d as f64 * i as f64 / length as f64).round() as i64;
            self.dot(from.0 + along(dx), from.1 + along(dy));
        }
    }

    fn text(&self, low: f64, high: f64, first: f64, last: f64) -> String {
        let mut text = String::new();
        for (row, cells) in self.cells.chunks(self.columns).enumerate() {
            let scale = match row {
                0 => format!("{high:.4}"),
                row if row + 1 == self.height => format!("{low:.4}"),
                _ => String::new(),
            };
            let curve: String = cells.iter().filter_map(|&dots| char::from_u32(0x2800 + dots)).collect();
            text.push_str(&format!("{scale:>width$} ┤{curve}", width = SCALE - 2));
            text.push('\n');
        }
        let (first, last) = (format!("{first:.0}"), format!("step {last:.0}"));
        let gap = self.columns.saturating_sub(first.len());
        text.push_str(&format!("{:SCALE$}{first}{last:>gap$}\n", ""));
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_straight_line_falls_from_corner_to_corner() {
        let series: Vec<(u64, f64)> = (0..8).map(|step| (step, 7.0 - step as f64)).collect();
        let expected = " 7.0000 ┤⠑⢄⠀⠀\n 0.0000 ┤⠀⠀⠑⢄\n         0step 7\n";
        assert_eq!(terminal_plot(&series, 13, 2), expected);
    }

    #[test]
    fn lines_are_as_wide_and_as_many_as_asked() {
        let series: Vec<(u64, f64)> = (1..3000).map(|step| (step, 4.0 / (step as f64).sqrt())).collect();
        for (width, height) in [(11, 1), (40, 5), (100, 12)] {
            let text = terminal_plot(&series, width, height);
            let lines: Vec<&str> = text.lines().collect();
            assert_eq!(lines.len(), height + 1);
            assert!(lines[..height].iter().all(|line| line.chars().count() == width), "{text}");
            let drawn = |line: &str| line.chars().filter(|c| ('\u{2801}'..='\u{28ff}').contains(c)).count();
            let columns_drawn: usize = lines[..height].iter().map(|line| drawn(line)).sum();
            assert!(columns_drawn >= width - SCALE, "every column has a dot:\n{text}");
        }
    }

    #[test]
    fn little_and_odd_data() {
        assert_eq!(terminal_plot(&[], 40, 5), "");
        assert_eq!(terminal_plot(&[(1, f64::NAN)], 40, 5), "");
        assert_eq!(terminal_plot(&[(1, 1.0)], 5, 5), "");
        assert_eq!(terminal_plot(&[(1, 1.0)], 40, 0), "");
        for series in [&[(1, 2.0)][..], &[(1, 2.0), (2, 2.0)], &[(1, 2.0), (2, f64::INFINITY), (3, 1.0)]] {
            let text = terminal_plot(series, 40, 5);
            assert_eq!(text.lines().count(), 6, "{text}");
            assert!(text.contains("2.0000"));
        }
    }
}
