//! Data on stdout. A reader who leaves early, such as `head`, is no error.

use std::io::{self, ErrorKind, Write};

use comfy_table::{ContentArrangement, Table, presets};

/// Writes text that ends with a line break.
pub fn print(text: &str) -> anyhow::Result<()> {
    write(io::stdout().lock(), text)
}

/// As [`print`], for text with styles: they are shown where the terminal has them and `NO_COLOR` is not set.
pub fn print_styled(text: &str) -> anyhow::Result<()> {
    write(anstream::AutoStream::auto(io::stdout()), text)
}

fn write(mut stdout: impl Write, text: &str) -> anyhow::Result<()> {
    match stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()) {
        Err(error) if error.kind() != ErrorKind::BrokenPipe => Err(error.into()),
        _ => Ok(()),
    }
}

/// Writes JSON for machines.
pub fn print_json(value: &serde_json::Value) -> anyhow::Result<()> {
    print(&format!("{value:#}\n"))
}

/// Rows under headings as text: as wide as the terminal, or one line per row where there is none.
pub fn table(head: &[&str], rows: Vec<Vec<String>>) -> String {
    let mut table = Table::new();
    table.load_style(presets::NOTHING).set_header(head).add_rows(rows);
    if let Some((terminal_size::Width(width), _)) = terminal_size::terminal_size_of(io::stdout()) {
        table.set_content_arrangement(ContentArrangement::Dynamic).set_width(width);
    }
    let lines: Vec<String> = table.lines().map(|line| line.trim_end().to_string()).collect();
    lines.join("\n") + "\n"
}
