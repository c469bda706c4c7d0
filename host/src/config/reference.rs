//! `docs/reference/configuration.md`, made from the knob table.
//! Does not write the file; `host generate reference` does.

use super::{
    faults::CODES,
    kind::Kind,
    knobs::{KNOBS, Knob},
    presets::PRESETS,
    variables::{COMPILERS, TAGS},
};

/// The page.
pub fn page() -> String {
    let mut page = String::from(INTRODUCTION);
    page.push_str("\n## Knobs with a flag or a variable\n\n");
    page.push_str("| flag | key | variables | value | default | meaning |\n|---|---|---|---|---|---|\n");
    for knob in KNOBS.iter().filter(|knob| knob.flag.is_some()) {
        let flag = knob.flag.map(|flag| format!("`--{flag}`")).unwrap_or_default();
        let key = if knob.key == "config" { String::new() } else { format!("`{}`", knob.key) };
        let row = [flag, key, variables(knob), value(knob), default(knob), knob.meaning.to_owned()];
        page.push_str(&format!("| {} |\n", row.join(" | ")));
    }
    page.push_str(VARIABLES);
    page.push_str(&format!(
        "{} are left alone: cross compilers use them.\n\n| variable | recorded as |\n|---|---|\n",
        COMPILERS.map(|name| format!("`{name}`")).join(" and ")
    ));
    for (name, key) in TAGS {
        page.push_str(&format!("| `{name}` | `{key}` |\n"));
    }
    page.push_str("\n## Keys of a configuration file\n");
    let mut section = None;
    for knob in KNOBS.iter().filter(|knob| knob.key != "config") {
        let (head, name) = knob.key.split_once('.').unwrap_or(("", knob.key));
        if section != Some(head) {
            section = Some(head);
            let title = if head.is_empty() { "At the top".to_owned() } else { format!("`[{head}]`") };
            page.push_str(&format!("\n### {title}\n\n| key | value | default | meaning |\n|---|---|---|---|\n"));
        }
        page.push_str(&format!("| `{name}` | {} | {} | {} |\n", value(knob), default(knob), knob.meaning));
    }
    page.push_str(ARRAYS);
    page.push_str("\n## Presets\n\n`--preset NAME`, or `preset = \"NAME\"` at the top of a file.\n\n");
    page.push_str("| preset | what it is |\n|---|---|\n");
    for preset in PRESETS {
        page.push_str(&format!("| [`{0}`](../../configs/{0}.toml) | {1} |\n", preset.name, preset.summary()));
    }
    page.push_str(PRESET_RULE);
    page.push_str(
        "\n## Faults\n\nAll faults are shown together; the exit code is 3 (4 with a fault of the registry).\n\n",
    );
    page.push_str("| code | what it says |\n|---|---|\n");
    for (code, words) in CODES {
        page.push_str(&format!("| {code} | {words} |\n"));
    }
    page
}

fn variables(knob: &Knob) -> String {
    let names: Vec<String> = knob.ranked_variables().concat().iter().map(|name| format!("`{name}`")).collect();
    names.join(" ")
}

fn value(knob: &Knob) -> String {
    match knob.kind {
        Kind::Text if knob.key == "optimizer.label" => "a label of the registry".into(),
        kind => kind.expected(),
    }
}

fn default(knob: &Knob) -> String {
    knob.default_value().map_or(String::new(), |value| format!("`{}`", value.to_toml()))
}

const INTRODUCTION: &str = "# Configuration

Every value of a run has a source, and every run begins with a line on stderr that names it:

```
[entrypoint-trace] seed=(123, src=alias:SEED) steps=(100, src=flag, overrides 50 from HOST_*:HOST_STEPS) … opt=(muon, src=alias:OPTIMIZER)
```

`host config show --origin` prints the same without training. In the run directory `config.toml` holds every value
(training from it reproduces the run) and `config.origin.json` where each came from.

## Precedence

Highest first; a higher source wins, and the line says what it overrode.

| source | written as |
|---|---|
| flag | `flag` |
| `--set KEY=VALUE` | `set` |
| variable `HOST_<KNOB>` | `HOST_*:NAME` |
| variable `TRIOS_<KNOB>` | `TRIOS_*:NAME` |
| bare variable | `alias:NAME` |
| configuration file | `file:PATH:LINE` |
| preset | `preset:NAME` |
| entry of the registry | `registry` |
| default of the plugin | `plugin` |
| built-in default; the registry's `default-optimizer` | `default` |

Relative paths in a file are relative to that file; those of flags and variables to the working directory.
";

const VARIABLES: &str = "
Variables are read exactly or refused. Each of these is an error, never a default: a variable of a knob that is set but
empty; a value that cannot be read; two variables of the same rank that disagree about one knob (`FORMAT` and `DTYPE`);
a `TRIOS_*` variable that is not listed here; a variable one typing mistake away from a listed one (`OPTIMISER`,
`HOST_SEDE`), if it has six letters or more. Other `HOST_*` variables are other programs'.

`CONFIG` and `FORMAT` are words that other programs use too. They are read all the same, because a variable that is
set and not read is how a run becomes another run than was meant: a foreign value does not pass, and the message says to
`unset` it. `HOST_CONFIG` and `HOST_FORMAT` outrank them but do not hide a value that cannot be read.

";

const ARRAYS: &str = "
`[optimizer]` also takes the hyper-parameters of its label, by name (`beta2 = 0.95`); `host describe LABEL` lists them.
A name that the optimizer does not have is an error.

### `[[group]]`

Parameter groups, in order; the first that takes a parameter has it, and a parameter that none takes is an error.
Without any group the optimizer takes all but what its entry in the registry gives to a companion, and vectors (biases,
gains) are a group without weight decay. Hyper-parameters by name differ from those of `[optimizer]`. With `pattern` and
`roles` both must fit.

| key | value | meaning |
|---|---|---|
| `pattern` | text, `*` for any characters | takes parameters whose name matches |
| `roles` | a list of `matrix`, `embedding`, `head`, `vector`, `adapter` | takes parameters of these roles |
| `optimizer` | a label of the registry | another optimizer than the main one |
| `state_format` | `f32` or `bf16` | element type of the group's optimizer state, where it is not the run's |

With `state_format = \"bf16\"` the slots that their rule declares fit for it are kept in bf16, rounded to nearest even at every
store, and computed with in f32; all others stay in f32, and the table of groups names both. Fit are averages that forget more than
1/256 in a step (with `beta2 = 0.999` a second moment is not: rounded so, it would never fall). A run, or a group that asks
for itself, without such a slot is refused.

### `[[projection]]`

What happens to gradients before the optimizer, in order. Hyper-parameters by name.

| key | value | meaning |
|---|---|---|
| `label` | a label of the registry | needed |
| `pattern` | text, `*` for any characters | whose gradients; without it all |
| `inputs.NAME` | a path | safetensors file of an input, tensors keyed by parameter name |

### `[[schedule]]`

Operations while the run goes, first in, first out: [schedules.md](../schedules.md). Hyper-parameters of an arch-op by name.

| key | value | meaning |
|---|---|---|
| `name` | an operation of the host, or a label of the registry | needed |
| `value` | a number | its factor or new value; of an arch-op, its first hyper-parameter |
| `trigger_loss` | a number, above 0 | fires after an evaluation below it; this or `max_wait_steps` is needed |
| `max_wait_steps` | a whole number | fires at the latest after this many steps since the operation before it |
| `reevaluate` | true or false | whether the network is evaluated after it |
| `on_error` | one of `stop`, `skip` | what becomes of the run where it fails |
| `note` | text | kept in the event log |

### `[tags]`

Any names with text; recorded with the run.

The entries of a file replace those of its preset as a whole; `--set group.0.lr=0.01` changes an entry, counted from 0.
";

const PRESET_RULE: &str = "
A preset's `[optimizer]` and `[[group]]` are tuned for the label it names. Where another label is chosen they are set aside
as a whole and the trace line says so; the rest of the preset holds. A file of your own is taken at its word.
";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_knob_and_code_is_on_the_page() {
        let page = page();
        for knob in KNOBS {
            assert!(page.contains(knob.meaning), "{}", knob.key);
            for name in knob.ranked_variables().concat() {
                assert!(page.contains(&format!("`{name}`")), "{name}");
            }
        }
        for (code, _) in CODES {
            assert!(page.contains(code), "{code}");
        }
    }
}
