//! Whether a parameter's name matches a pattern in which `*` stands for any characters.
//! Knows no other signs.

/// Whether the whole of `name` matches `pattern`.
pub fn matches(pattern: &str, name: &str) -> bool {
    let mut parts = pattern.split('*');
    let first = parts.next().unwrap_or_default();
    let Some(mut rest) = name.strip_prefix(first) else { return false };
    let mut middle: Vec<&str> = parts.collect();
    // Without a star the pattern is the name; with one, its last part must end the name.
    let Some(last) = middle.pop() else { return rest.is_empty() };
    for part in middle {
        match rest.find(part) {
            Some(at) => rest = &rest[at + part.len()..],
            None => return false,
        }
    }
    rest.ends_with(last)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stars_stand_for_any_characters() {
        let table = [
            ("transformer.h.0.attn.c_attn.weight", "transformer.h.0.attn.c_attn.weight", true),
            ("transformer.h.0", "transformer.h.0.attn", false),
            ("*", "anything", true),
            ("*", "", true),
            ("*.weight", "ln_f.weight", true),
            ("*.weight", "ln_f.bias", false),
            ("transformer.h.*.weight", "transformer.h.3.mlp.c_fc.weight", true),
            ("*.h.*.c_fc.*", "transformer.h.3.mlp.c_fc.weight", true),
            ("*.h.*.c_fc.*", "transformer.h.3.mlp.c_proj.weight", false),
            ("a*a", "a", false),
            ("a*a", "aa", true),
            ("ab*ba", "aba", false),
            ("**x", "x", true),
            ("", "", true),
            ("", "x", false),
        ];
        for (pattern, name, expected) in table {
            assert_eq!(matches(pattern, name), expected, "{pattern} {name}");
        }
    }
}
