//! The page of `host compare`, looked at in a browser.

mod support;

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use support::Workshop;

/// Names that Chromium goes by.
const BROWSERS: [&str; 4] = ["chromium", "chromium-browser", "google-chrome", "google-chrome-stable"];

fn browser() -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    let folders: Vec<PathBuf> = std::env::split_paths(&path).collect();
    BROWSERS.iter().flat_map(|name| folders.iter().map(move |folder| folder.join(name))).find(|path| path.is_file())
}

/// Three arms over three seeds, one run of them for a second time, and one that failed.
fn trained() -> Workshop {
    let shop = Workshop::new();
    shop.tiny_with(
        "tiny.toml",
        &[
            ("steps = 12", "steps = 60\ngrad_clip = 0"),
            ("eval_every = 4", "eval_every = 5"),
            ("checkpoint_every = 4", "checkpoint_every = 0"),
            ("[optimizer]", "[lr_schedule]\nwarmup_steps = 5\n\n[optimizer]"),
        ],
    );
    for (label, lr) in [("adamw", "1e-2"), ("lion", "2e-3"), ("sgdm", "0.3")] {
        for seed in ["1", "2", "3"] {
            shop.train(&format!("runs/{label}-s{seed}"), &["--optimizer", label, "--lr", lr, "--seed", seed]).expect(0);
        }
    }
    shop.train("runs/again", &["--seed", "1", "--optimizer", "adamw"]).expect(0);
    shop.train("runs/wild", &["--optimizer", "sgdm", "--lr", "100", "--seed", "4"]).expect(7);
    shop
}

fn run(browser: &Path, shop: &Workshop, more: &[&str]) -> (String, String) {
    let page = format!("file://{}", shop.path().join("page.html").display());
    let profile = format!("--user-data-dir={}", shop.path().join("profile").display());
    let mut command = Command::new(browser);
    command.args([
        "--headless",
        "--no-sandbox",
        "--disable-gpu",
        "--hide-scrollbars",
        "--enable-logging=stderr",
        &profile,
    ]);
    let output = command.args(more).arg(page).output().expect("the browser starts");
    let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
    assert!(output.status.success(), "{}", text(output.stderr));
    (text(output.stdout), text(output.stderr))
}

/// What stands between two marks.
fn part<'a>(text: &'a str, begin: &str, end: &str) -> &'a str {
    let (_, rest) = text.split_once(begin).unwrap_or_else(|| panic!("no `{begin}`"));
    rest.split_once(end).unwrap_or_else(|| panic!("no `{end}` after `{begin}`")).0
}

#[test]
fn the_page_shows_what_was_compared() {
    let Some(browser) = browser() else {
        println!("skipped: none of {} is in PATH", BROWSERS.join(", "));
        return;
    };
    let shop = trained();
    let table = shop.run(&["compare", "runs", "--html", "page.html"], &[]).expect(0).stdout;
    let source = fs::read_to_string(shop.path().join("page.html")).unwrap();
    for foreign in ["<script", "http:", "https:", "src=", "href=", "@import", "url("] {
        let allowed = if foreign == "url(" { source.matches("url(#").count() } else { 0 };
        assert_eq!(source.matches(foreign).count(), allowed, "{foreign}");
    }

    let (dom, log) = run(&browser, &shop, &["--dump-dom"]);
    assert!(!log.contains("CONSOLE"), "the console is silent: {log}");
    // What the browser repaired would differ from what was written.
    for element in ["<table", "<tr", "<td", "<figure", "<polyline", "<polygon", "<section", "<li"] {
        assert_eq!(dom.matches(element).count(), source.matches(element).count(), "{element}");
    }
    let arms = part(&dom, "<table id=\"arms\">", "</table>");
    let place = |name: &str| arms.find(&format!("</svg>{name}")).unwrap_or_else(|| panic!("no row of {name}: {arms}"));
    let mut ordered: Vec<(usize, &str)> =
        ["adamw", "lion", "sgdm lr=0.3"].iter().map(|name| (place(name), *name)).collect();
    ordered.sort();
    let in_table: Vec<usize> = ordered.iter().map(|(_, name)| table.find(&format!("\n {name} ")).unwrap()).collect();
    assert!(in_table.is_sorted(), "rows stand as in the table: {ordered:?}\n{table}");
    for chart in ["validation", "training"] {
        let svg = part(&dom, &format!("<svg id=\"{chart}\""), "\n</svg>");
        assert_eq!(svg.matches("class=\"curve ").count(), 3, "{chart}: a curve per arm with results");
        assert_eq!(svg.matches("class=\"band ").count(), 3, "{chart}: a band per arm with seeds");
        assert!(svg.matches("class=\"tick\"").count() > 6 && svg.contains(">step</text>"), "{chart} has axes");
    }
    let legend = part(&dom, "<ul class=\"legend\">", "</ul>");
    assert_eq!(legend.matches("<li>").count(), 4, "{legend}");
    let warnings = part(&dom, "<section class=\"remarks warning\" role=\"alert\">", "</section>");
    assert!(warnings.contains("runs/wild failed"), "{warnings}");
    assert!(dom.find("role=\"alert\"") < dom.find("id=\"arms\""), "warnings stand above the numbers");
    assert_eq!(part(&dom, "<table id=\"tests\">", "</table>").matches("<tr>").count(), 1 + 6);
    for (id, rows) in [("runs", 11), ("groups", 8)] {
        let found = part(&dom, &format!("<table id=\"{id}\">"), "</table>").matches("<tr>").count();
        assert_eq!(found, 1 + rows, "{id}");
    }
    assert!(part(&dom, "<table id=\"differing\">", "</table>").contains("<td class=\"long\">flag</td>"));

    let picture = shop.path().join("page.png");
    run(&browser, &shop, &["--window-size=1280,2600", &format!("--screenshot={}", picture.display())]);
    let png = fs::read(&picture).unwrap();
    assert_eq!(&png[1..4], b"PNG");
    let size = |at: usize| u32::from_be_bytes(png[at..at + 4].try_into().unwrap());
    assert_eq!((size(16), size(20)), (1280, 2600));
    assert!(png.len() > 60_000, "an empty page is smaller: {} bytes", png.len());
    if let Some(keep) = std::env::var_os("PAGE_DIR") {
        fs::create_dir_all(&keep).unwrap();
        for name in ["page.html", "page.png"] {
            fs::copy(shop.path().join(name), Path::new(&keep).join(name)).unwrap();
        }
    }
}
