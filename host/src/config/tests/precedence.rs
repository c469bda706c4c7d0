//! Which source wins, for every knob and every pair of sources, made from the knob table.

use super::*;
use crate::config::{KNOBS, Knob, Source, kind::Kind, knobs::builtin};

/// Distinct valid values of a knob, as text, as many as there are.
fn texts(knob: &Knob) -> Vec<String> {
    match knob.kind {
        // multiples of the default head count keep the width divisible; small enough for every range
        Kind::Integer { .. } => (1..=6).map(|i| (i * 4).to_string()).collect(),
        // a rank is at most the width
        Kind::Number(_) if knob.key.ends_with("_divisor") => (1..=6).map(|i| format!("1.{i}25")).collect(),
        Kind::Number(_) => (1..=6).map(|i| format!("0.{i}25")).collect(),
        Kind::Flag => vec!["true".into(), "false".into()],
        Kind::Word(words) => words.iter().map(|word| word.to_string()).collect(),
        Kind::Text | Kind::Path => (1..=6).map(|i| format!("name{i}")).collect(),
    }
}

/// Makes the knob's other conditions hold, so that it is neither idle nor contradictory.
fn company(knob: &Knob, setup: Setup) -> Setup {
    match knob.key {
        "model.lora_alpha" => setup.set("model.lora_rank=2"),
        "growth.state" => {
            setup.file("s.toml", "[[schedule]]\nname = \"widen-mlp\"\nmax_wait_steps = 1\n").flag("schedule", "s.toml")
        }
        "lr_schedule.decay_fraction" => setup.set("lr_schedule.kind=wsd"),
        "lr_schedule.decay_steps" => setup.set("lr_schedule.warmup_steps=0"),
        "data.val" => setup.set("data.train=text.txt"),
        "model.n_head" => setup.set("model.n_embd=960"),
        "model.n_embd" => setup.set("model.n_head=1"),
        _ => setup,
    }
}

/// Sources of a knob, highest first: what each is called in a trace, and how to use it.
fn sources(knob: &'static Knob) -> Vec<(String, Box<dyn Fn(Setup, &str) -> Setup>)> {
    let mut sources: Vec<(String, Box<dyn Fn(Setup, &str) -> Setup>)> = Vec::new();
    if let Some(flag) = knob.flag {
        sources.push(("flag".into(), Box::new(move |setup, text| setup.flag(flag, text))));
    }
    sources.push(("set".into(), Box::new(move |setup, text| setup.set(&format!("{}={text}", knob.key)))));
    let [host, trios, alias] = knob.ranked_variables();
    for (prefix, names) in [("HOST_*", host), ("TRIOS_*", trios), ("alias", alias)] {
        if let Some(name) = names.into_iter().next() {
            sources.push((format!("{prefix}:{name}"), Box::new(move |setup, text| setup.variable(&name, text))));
        }
    }
    sources.push((
        "file:my.toml:".into(),
        Box::new(move |setup, text| {
            let text = match knob.kind {
                Kind::Word(_) | Kind::Text | Kind::Path => format!("{text:?}"),
                _ => text.to_owned(),
            };
            let line = match knob.key.split_once('.') {
                Some((section, name)) => format!("[{section}]\n{name} = {text}\n"),
                None => format!("{} = {text}\n", knob.key),
            };
            setup.config(&line)
        }),
    ));
    sources
}

#[test]
fn the_higher_source_wins_for_every_knob_and_pair_and_the_trace_says_so() {
    let mut pairs = 0;
    for knob in KNOBS {
        let Some(field) = &knob.field else { continue };
        let texts = texts(knob);
        let sources = sources(knob);
        for (high, (high_name, say_high)) in sources.iter().enumerate() {
            for (low_name, say_low) in &sources[high + 1..] {
                let setup = company(knob, Setup::new());
                let setup = say_high(say_low(setup, &texts[0]), &texts[1]);
                let resolved = setup.good();
                let expected = |text: &str| match knob.kind.read(text).unwrap() {
                    Value::Path(path) => Value::Path(setup.cwd().join(path)),
                    value => value,
                };
                assert_eq!((field.get)(&resolved.settings), Some(expected(&texts[1])), "{} {high_name}", knob.key);
                let origin = resolved.origins.get(knob.key).unwrap();
                assert!(origin.source.to_string().starts_with(high_name), "{}: {}", knob.key, origin.source);
                assert_eq!(origin.overrides.len(), 1, "{}: {high_name} over {low_name}", knob.key);
                let trace = crate::config::trace::line(&resolved, &[]);
                let said = format!("{}=({}, src={high_name}", knob.name, expected(&texts[1]),);
                assert!(trace.contains(&said), "{said} in {trace}");
                let over = format!(", overrides {} from {low_name}", expected(&texts[0]));
                assert!(trace.contains(&over), "{over} in {trace}");
                pairs += 1;
            }
        }
        // nobody says anything
        let resolved = Setup::new().good();
        assert_eq!((field.get)(&resolved.settings), (field.get)(&builtin()), "{}", knob.key);
    }
    assert!(pairs > 100, "{pairs} pairs");
}

#[test]
fn every_variable_of_every_knob_is_read() {
    let mut seen = 0;
    for knob in KNOBS {
        let Some(field) = &knob.field else { continue };
        for name in knob.ranked_variables().concat() {
            let text = &texts(knob)[1];
            let setup = company(knob, Setup::new()).variable(&name, text);
            let resolved = setup.good();
            let expected = match knob.kind.read(text).unwrap() {
                Value::Path(path) => Value::Path(setup.cwd().join(path)),
                value => value,
            };
            assert_eq!((field.get)(&resolved.settings), Some(expected), "{name}");
            assert!(resolved.origins.source(knob.key).unwrap().to_string().ends_with(&name), "{name}");
            seen += 1;
        }
    }
    assert!(seen >= 30, "{seen} variables");
}

#[test]
fn sources_that_agree_are_not_called_a_disagreement() {
    let setup = Setup::new().flag("seed", "5").variable("SEED", "5").variable("HOST_SEED", "5").config("seed = 5\n");
    let origin = setup.good().origins.get("seed").unwrap().clone();
    assert_eq!(origin.source, Source::Flag);
    assert!(origin.overrides.is_empty());
}

#[test]
fn all_seven_sources_at_once() {
    let setup = Setup::new()
        .config("preset = \"nanogpt-cpu\"\n[train]\nsteps = 7\n")
        .flag("steps", "1")
        .set("train.steps=2")
        .variable("HOST_STEPS", "3")
        .variable("TRIOS_STEPS", "4")
        .variable("STEPS", "5");
    let trace = crate::config::trace::line(&setup.good(), &[]);
    let said = "steps=(1, src=flag, overrides 2 from set, overrides 3 from HOST_*:HOST_STEPS, \
                overrides 4 from TRIOS_*:TRIOS_STEPS, overrides 5 from alias:STEPS, overrides 7 from file:my.toml:3, \
                overrides 2000 from preset:nanogpt-cpu)";
    assert!(trace.contains(said), "{trace}");
}

#[test]
fn the_config_file_is_chosen_by_the_same_precedence() {
    for (flag, host, trios, alias, expected) in [
        (Some("a.toml"), Some("b.toml"), Some("c.toml"), Some("d.toml"), 1),
        (None, Some("b.toml"), Some("c.toml"), Some("d.toml"), 2),
        (None, None, Some("c.toml"), Some("d.toml"), 3),
        (None, None, None, Some("d.toml"), 4),
    ] {
        let mut setup = Setup::new();
        for (i, name) in ["a.toml", "b.toml", "c.toml", "d.toml"].into_iter().enumerate() {
            setup = setup.file(name, &format!("seed = {}\n", i + 1));
        }
        setup = flag.into_iter().fold(setup, |setup, file| setup.flag("config", file));
        for (name, file) in [("HOST_CONFIG", host), ("TRIOS_CONFIG", trios), ("CONFIG", alias)] {
            setup = file.into_iter().fold(setup, |setup, file| setup.variable(name, file));
        }
        assert_eq!(setup.good().settings.seed, expected);
    }
}
