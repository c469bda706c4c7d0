//! The text of the impls. Decides nothing.

use crate::parse::Record;

/// `Copy`, `Clone` and `Record` for a struct.
pub fn record(record: &Record) -> String {
    let Record { name, fields, sdk } = record;
    let each = |f: &dyn Fn(usize, &str) -> String| -> String {
        fields.iter().enumerate().map(|(index, field)| f(index, field)).collect()
    };
    let names = each(&|_, field| format!("{:?},", field.trim_start_matches("r#")));
    let build = each(&|index, field| format!("{field}: f({index}),"));
    let visit = each(&|index, field| format!("f({index}, self.{field});"));
    format!(
        "impl<T: ::core::marker::Copy> ::core::marker::Copy for {name}<T> {{}}
         impl<T: ::core::marker::Copy> ::core::clone::Clone for {name}<T> {{
             #[inline(always)]
             fn clone(&self) -> Self {{ *self }}
         }}
         impl<T: ::core::marker::Copy> {sdk}::Record<T> for {name}<T> {{
             const NAMES: &'static [&'static str] = &[{names}];
             #[inline(always)]
             fn build(mut f: impl ::core::ops::FnMut(usize) -> T) -> Self {{ Self {{ {build} }} }}
             #[inline(always)]
             fn visit(&self, mut f: impl ::core::ops::FnMut(usize, T)) {{ {visit} }}
         }}"
    )
}
