//! Writing settings and reading them again gives the same settings.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;
use crate::config::{
    KNOBS,
    choice::Choice,
    knobs::builtin,
    settings::*,
    write::{annotated, config_toml},
};

fn hyper() -> impl Strategy<Value = BTreeMap<String, HyperValue>> {
    let number = prop_oneof![any::<f64>().prop_filter("finite", |x| x.is_finite()), Just(1e-8), Just(3.0), Just(-0.0)];
    let value = prop_oneof![
        number.prop_map(HyperValue::Number),
        any::<bool>().prop_map(HyperValue::Flag),
        "\\PC{1,12}".prop_map(HyperValue::Choice),
        Just(HyperValue::Choice("two\nlines \"quoted\" 'both' \\ # \t".into())),
    ];
    proptest::collection::btree_map("x_[a-z0-9_]{0,6}", value, 0..4)
}

fn named<T: Choice + std::fmt::Debug>() -> impl Strategy<Value = T> {
    proptest::sample::select(T::ALL)
}

fn path() -> impl Strategy<Value = PathBuf> {
    "/[a-zA-Z0-9 _\"'#é-]{1,12}".prop_map(PathBuf::from)
}

prop_compose! {
    fn model()(
        n_layer in 1usize..40, n_head in 1usize..9, width in 1usize..40, block_size in 1usize..5000, bias: bool,
        dropout in 0.0f64..1.0, tie_head: bool, rank in 0usize..2, alpha in 0.001f64..100.0,
        mlp_width in proptest::option::of(1usize..500),
        attn_lora in proptest::option::of(0.01f64..=1.0), vocab_lora in proptest::option::of(0.01f64..=1.0),
    ) -> ModelSettings {
        let n_embd = n_head * width;
        // from 1 to the width, so that there is a rank
        let divisor = |share: Option<f64>| share.map(|share| (n_embd as f64 * share).max(1.0));
        let (attn_lora_divisor, vocab_lora_divisor) = (divisor(attn_lora), divisor(vocab_lora));
        let has_adapter = rank > 0 || attn_lora.is_some() || vocab_lora.is_some();
        let lora_alpha = if has_adapter { alpha } else { builtin().model.lora_alpha };
        ModelSettings {
            n_layer, n_head, n_embd, mlp_width, block_size, bias, dropout, tie_head, lora_rank: rank, attn_lora_divisor,
            vocab_lora_divisor, lora_alpha,
        }
    }
}

prop_compose! {
    fn train()(
        steps in 1u64..4_000_000_000, batch_size in 1usize..5000, grad_accum in 1usize..500, grad_clip in 0.0f64..1e9,
        eval_every in 0u64..1000, eval_steps in 1usize..1000, non_finite in named::<NonFinite>(),
    ) -> TrainSettings {
        TrainSettings { steps, batch_size, grad_accum, grad_clip, eval_every, eval_steps, non_finite }
    }
}

prop_compose! {
    fn lr_schedule()(
        kind in named::<LrScheduleKind>(), warmup_steps in 0u64..1000,
        decay in proptest::option::of(1000u64..9000), min_ratio in 0.0f64..=1.0, fraction in 0.001f64..0.999,
    ) -> LrScheduleSettings {
        let default = builtin().lr_schedule;
        let constant = kind == LrScheduleKind::Constant;
        LrScheduleSettings {
            kind,
            warmup_steps,
            decay_steps: if constant { None } else { decay },
            min_ratio: if constant { default.min_ratio } else { min_ratio },
            decay_fraction: if kind == LrScheduleKind::Wsd { fraction } else { default.decay_fraction },
        }
    }
}

prop_compose! {
    fn data()(
        train in proptest::option::of(path()), val in proptest::option::of(path()), tokens in named::<Tokens>(),
        fraction in 0.001f64..0.999,
    ) -> DataSettings {
        let val = val.filter(|_| train.is_some());
        let val_fraction = if val.is_some() { builtin().data.val_fraction } else { fraction };
        DataSettings { train, val, tokens, val_fraction }
    }
}

fn text() -> impl Strategy<Value = String> {
    prop_oneof!["\\PC{1,12}", Just("a\n\"\"\"b'''".to_owned())]
}

fn group() -> impl Strategy<Value = GroupSettings> {
    let roles = proptest::sample::subsequence(vec!["matrix", "embedding", "head", "vector", "adapter"], 0..5);
    let state_format = proptest::option::of(named::<StateFormat>());
    (proptest::option::of(text()), roles, proptest::option::of(text()), state_format, hyper()).prop_map(
        |(pattern, roles, optimizer, state_format, hyper)| {
            let roles: Vec<String> = roles.into_iter().map(str::to_owned).collect();
            let pattern = if roles.is_empty() { pattern.or(Some("*".into())) } else { pattern };
            GroupSettings { pattern, roles, optimizer, state_format, hyper }
        },
    )
}

fn projection() -> impl Strategy<Value = ProjectionSettings> {
    let inputs = proptest::collection::btree_map(text(), path(), 0..3);
    (text(), text(), inputs, hyper()).prop_map(|(label, pattern, inputs, hyper)| ProjectionSettings {
        label,
        pattern,
        inputs,
        hyper,
    })
}

fn operation() -> impl Strategy<Value = OperationSettings> {
    let number = || proptest::option::of(any::<f64>().prop_filter("finite", |x| x.is_finite()));
    let when = (proptest::option::of(1e-9f64..1e9), proptest::option::of(any::<u64>()));
    (text(), number(), when, any::<bool>(), named::<OnError>(), proptest::option::of(text()), hyper()).prop_map(
        |(name, value, (trigger_loss, wait), reevaluate, on_error, note, hyper)| {
            let max_wait_steps = if trigger_loss.is_none() { wait.or(Some(0)) } else { wait };
            OperationSettings { name, value, trigger_loss, max_wait_steps, reevaluate, on_error, note, hyper }
        },
    )
}

prop_compose! {
    fn settings()(
        seed: u64, device in proptest::sample::select(&[Device::Auto, Device::Cpu][..]), format in named::<Format>(),
        state_format in named::<StateFormat>(),
        (data, model, train, lr_schedule) in (data(), model(), train(), lr_schedule()),
        (label, mut hyper, lr) in (text(), hyper(), proptest::option::of(0.0f64..10.0)),
        mut group in proptest::collection::vec(group(), 0..13),
        projection in proptest::collection::vec(projection(), 0..3),
        schedule in proptest::collection::vec(operation(), 0..3),
        (checkpoint_every, keep_last, sample_tokens) in (0u64..1000, 1usize..9, 0usize..999),
        state in named::<GrownState>(),
        tags in proptest::collection::btree_map(text(), text(), 0..3),
    ) -> Settings {
        // The state of f64 parameters is f64, whatever is said.
        let state_format = if format == Format::F64 { builtin().state_format } else { state_format };
        if format == Format::F64 {
            group.iter_mut().for_each(|group| group.state_format = None);
        }
        hyper.extend(lr.map(|lr| ("lr".to_owned(), HyperValue::Number(lr))));
        Settings {
            seed, device, format, state_format, data, model, train, lr_schedule, optimizer: OptimizerSettings { label, hyper },
            // without an operation on the network it says nothing
            growth: GrowthSettings { state: if schedule.is_empty() { builtin().growth.state } else { state } },
            group, projection, schedule,
            run: RunSettings { dir: None, checkpoint_every, keep_last, sample_tokens }, tags,
        }
    }
}

fn read_back(text: &str) -> Settings {
    let setup = Setup::new().config(text);
    match setup.resolve() {
        Ok(resolved) => resolved.settings,
        Err(faults) => panic!("{faults}\n{text}"),
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn written_settings_read_back(settings in settings()) {
        prop_assert_eq!(&read_back(&config_toml(&settings)), &settings);
    }

    #[test]
    fn comments_change_nothing(settings in settings()) {
        let text = annotated(&settings, |key| Some(format!("{key} = \"not this\"").replace('\n', " ")));
        prop_assert_eq!(&read_back(&text), &settings);
    }
}

#[test]
fn presets_and_defaults_read_back() {
    let mut all = vec![Setup::new().flag("optimizer", "x").flag("run-dir", "r").good().settings];
    all.extend(crate::config::presets::PRESETS.iter().map(|p| Setup::new().flag("preset", p.name).good().settings));
    for mut settings in all {
        let text = config_toml(&settings);
        settings.run.dir = None;
        assert_eq!(read_back(&text), settings);
    }
}

/// Every knob that says something but the run directory is in the file, so that a later change of a default changes no old run.
#[test]
fn the_written_file_holds_every_knob() {
    let setup = Setup::new()
        .flag("data", "t")
        .flag("lr", "1")
        .flag("optimizer", "x")
        .set("model.lora_rank=1")
        .set("model.mlp_width=8")
        .set("model.attn_lora_divisor=16")
        .set("model.vocab_lora_divisor=32")
        .set("lr_schedule.kind=wsd")
        .set("lr_schedule.decay_steps=500");
    let text = config_toml(&setup.good().settings);
    let table: toml::Table = text.parse().unwrap();
    for knob in
        KNOBS.iter().filter(|knob| knob.field.is_some() && !["run.dir", "data.val", "growth.state"].contains(&knob.key))
    {
        let found = knob.key.split('.').try_fold(&toml::Value::Table(table.clone()), |at, part| at.get(part)).is_some();
        assert!(found, "{} is not in\n{text}", knob.key);
    }
}

#[test]
fn origins_as_json_name_value_source_and_what_was_overridden() {
    let resolved = Setup::new().flag("seed", "1").variable("SEED", "2").good();
    let json = resolved.origins.to_json();
    let expected = serde_json::json!({
        "value": 1, "source": "flag", "overrides": [{ "value": 2, "source": "alias:SEED" }]
    });
    assert_eq!(json["seed"], expected);
    assert_eq!(json["data.train"], serde_json::json!({ "value": null, "source": "default" }));
}
