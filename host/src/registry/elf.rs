//! Reads a library's ELF structure before anything of it runs: whole, for this machine, and needing nothing forbidden.
//! Does not open the library, and does not know what it exports beyond the name of its root module.

use abi_stable::library::ROOT_MODULE_LOADER_NAME;
use object::{
    Endianness, SymbolIndex, elf,
    read::elf::{Dyn, FileHeader, ProgramHeader, SectionHeader, SectionTable, Sym},
};

type Header = elf::FileHeader64<Endianness>;

/// Libraries a plugin may need: the C runtime and nothing else.
const ALLOWED: [&str; 7] =
    ["libc.so.6", "libm.so.6", "libgcc_s.so.1", "libpthread.so.0", "libdl.so.2", "librt.so.1", "ld-linux*"];

/// Names that only libtorch or CUDA define, by how their mangled form begins, and whose they are.
const FORBIDDEN: [(&str, &str); 19] = [
    ("_ZN2at", "libtorch"),
    ("_ZNK2at", "libtorch"),
    ("_ZTIN2at", "libtorch"),
    ("_ZTVN2at", "libtorch"),
    ("_ZN3c10", "libtorch"),
    ("_ZNK3c10", "libtorch"),
    ("_ZTIN3c10", "libtorch"),
    ("_ZTVN3c10", "libtorch"),
    ("_ZN5torch", "libtorch"),
    ("_ZNK5torch", "libtorch"),
    ("_ZTIN5torch", "libtorch"),
    ("_ZTVN5torch", "libtorch"),
    ("atg_", "libtorch"),
    ("at_", "libtorch"),
    ("cuda", "CUDA"),
    ("cublas", "CUDA"),
    ("cudnn", "CUDA"),
    ("nvrtc", "CUDA"),
    ("nccl", "CUDA"),
];

/// Why a file is not opened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Misfit {
    /// Not an ELF file at all.
    NotElf,
    /// An ELF file whose contents end before its own tables say so, or contradict them.
    Broken(String),
    /// A whole ELF file that this machine cannot run, or no shared library.
    OtherMachine(String),
    /// A shared library without a plugin's root module.
    NotAPlugin,
    /// Needs libraries that plugins may not need.
    Needs {
        /// Their names.
        libraries: Vec<String>,
        /// libtorch or CUDA where one of them is.
        whose: Option<&'static str>,
    },
    /// Needs symbols that none of the allowed libraries defines.
    Undefined {
        /// The first few.
        symbols: Vec<String>,
        /// libtorch or CUDA where one of them is.
        whose: Option<&'static str>,
    },
}

/// Looks for every reason not to open a library with these contents.
///
/// # Errors
/// All misfits; only one where the file is too broken to look further.
pub fn inspect(bytes: &[u8]) -> Result<(), Vec<Misfit>> {
    if !bytes.starts_with(&elf::ELFMAG) {
        return Err(vec![Misfit::NotElf]);
    }
    let misfits = read(bytes).unwrap_or_else(|error| vec![Misfit::Broken(error.to_string())]);
    if misfits.is_empty() { Ok(()) } else { Err(misfits) }
}

fn read(bytes: &[u8]) -> object::read::Result<Vec<Misfit>> {
    if let Some(misfit) = other_machine(bytes) {
        return Ok(vec![misfit]);
    }
    let header = Header::parse(bytes)?;
    let endian = header.endian()?;
    if header.e_type(endian) != elf::ET_DYN {
        return Ok(vec![Misfit::OtherMachine("is no shared library".to_string())]);
    }
    let sections = header.sections(endian, bytes)?;
    if let Some(reason) = cut_off(header, endian, bytes, &sections)? {
        return Ok(vec![Misfit::Broken(reason)]);
    }
    let mut misfits = Vec::new();
    let libraries = needed(endian, bytes, &sections)?;
    let symbols = symbols(endian, bytes, &sections)?;
    if !libraries.is_empty() {
        // What is undefined then is what those libraries define.
        let whose = libraries.iter().find_map(|name| owner_of_library(name));
        misfits.push(Misfit::Needs { libraries, whose });
    } else if !symbols.undefined.is_empty() {
        let whose = symbols.undefined.iter().find_map(|name| owner_of_symbol(name));
        let first = symbols.undefined.into_iter().take(5).collect();
        misfits.push(Misfit::Undefined { symbols: first, whose });
    }
    if misfits.is_empty() && !symbols.has_root {
        misfits.push(Misfit::NotAPlugin);
    }
    Ok(misfits)
}

/// Class, byte order and machine stand at fixed offsets of every ELF file.
fn other_machine(bytes: &[u8]) -> Option<Misfit> {
    let (class, order) = (*bytes.get(4)?, *bytes.get(5)?);
    let machine = u16::from_le_bytes([*bytes.get(18)?, *bytes.get(19)?]);
    let here = match std::env::consts::ARCH {
        "x86_64" => elf::EM_X86_64,
        "aarch64" => elf::EM_AARCH64,
        "riscv64" => elf::EM_RISCV,
        _ => return None,
    };
    let fits = class == elf::ELFCLASS64 && order == elf::ELFDATA2LSB && machine == here;
    let reason = format!("is built for another machine than {}", std::env::consts::ARCH);
    (!fits).then_some(Misfit::OtherMachine(reason))
}

/// A mapped page beyond the end of the file would kill the process, so every table must end inside it.
fn cut_off(
    header: &Header,
    endian: Endianness,
    bytes: &[u8],
    sections: &SectionTable<'_, Header>,
) -> object::read::Result<Option<String>> {
    let len = bytes.len() as u64;
    let mut end = 0u64;
    for segment in header.program_headers(endian, bytes)? {
        end = end.max(segment.p_offset(endian).saturating_add(segment.p_filesz(endian)));
    }
    for section in sections.iter().filter(|section| section.sh_type(endian) != elf::SHT_NOBITS) {
        end = end.max(section.sh_offset(endian).saturating_add(section.sh_size(endian)));
    }
    if end > len {
        return Ok(Some(format!("is cut off: {len} bytes of at least {end}")));
    }
    Ok(sections.is_empty().then(|| "has no section table".to_string()))
}

/// Libraries named by `DT_NEEDED` that are not allowed.
fn needed(endian: Endianness, bytes: &[u8], sections: &SectionTable<'_, Header>) -> object::read::Result<Vec<String>> {
    let Some((entries, strings)) = sections.dynamic(endian, bytes)? else { return Ok(Vec::new()) };
    let strings = sections.strings(endian, bytes, strings)?;
    let mut names = Vec::new();
    for entry in entries.iter().filter(|entry| entry.tag(endian) == elf::DT_NEEDED) {
        let name = String::from_utf8_lossy(entry.string(endian, strings)?).into_owned();
        if !allowed(&name) {
            names.push(name);
        }
    }
    Ok(names)
}

struct Symbols {
    undefined: Vec<String>,
    has_root: bool,
}

/// Undefined symbols that no allowed library answers for. The dynamic linker binds lazily, so such a symbol would end
/// the process in the middle of a step. Symbols of the C runtime carry the version of the library that defines them;
/// weak ones may stay undefined.
fn symbols(endian: Endianness, bytes: &[u8], sections: &SectionTable<'_, Header>) -> object::read::Result<Symbols> {
    let table = sections.symbols(endian, bytes, elf::SHT_DYNSYM)?;
    let versions = sections.versions(endian, bytes)?;
    let mut found = Symbols { undefined: Vec::new(), has_root: false };
    for (index, symbol) in table.iter().enumerate().skip(1) {
        let name = String::from_utf8_lossy(symbol.name(endian, table.strings())?).into_owned();
        if !symbol.is_undefined(endian) {
            found.has_root |= name == ROOT_MODULE_LOADER_NAME;
            continue;
        }
        let answered = match &versions {
            Some(versions) => {
                let version = versions.version(versions.version_index(endian, SymbolIndex(index)))?;
                version.and_then(|version| version.file()).is_some_and(|file| allowed(&String::from_utf8_lossy(file)))
            }
            // With glibc every answer has a version; elsewhere the names alone must do.
            None => cfg!(not(target_env = "gnu")),
        };
        let weak = symbol.st_bind() == elf::STB_WEAK;
        if owner_of_symbol(&name).is_some() || !(answered || weak) {
            found.undefined.push(name);
        }
    }
    Ok(found)
}

fn allowed(library: &str) -> bool {
    ALLOWED.iter().any(|allowed| match allowed.strip_suffix('*') {
        Some(beginning) => library.starts_with(beginning),
        None => library == *allowed,
    })
}

fn owner_of_library(name: &str) -> Option<&'static str> {
    let begins = |beginnings: &[&str]| beginnings.iter().any(|beginning| name.starts_with(beginning));
    if begins(&["libtorch", "libc10"]) {
        Some("libtorch")
    } else if begins(&["libcu", "libnv", "libnccl"]) {
        Some("CUDA")
    } else {
        None
    }
}

fn owner_of_symbol(name: &str) -> Option<&'static str> {
    let driver = name.strip_prefix("cu").is_some_and(|rest| rest.starts_with(|c: char| c.is_ascii_uppercase()));
    let named = FORBIDDEN.iter().find(|(beginning, _)| name.starts_with(beginning)).map(|(_, owner)| *owner);
    if driver { Some("CUDA") } else { named }
}

/// An ELF file that names libtorch where it named the compiler's runtime, whose name is as long.
#[cfg(test)]
pub(super) fn linking_torch(mut program: Vec<u8>) -> Vec<u8> {
    let (old, new) = (b"libgcc_s.so.1\0", b"libtorch.so.1\0");
    let places: Vec<usize> = (0..program.len() - old.len()).filter(|at| program[*at..].starts_with(old)).collect();
    for at in places {
        program[at..at + new.len()].copy_from_slice(new);
    }
    program
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_c_runtime_is_allowed_and_torch_is_named() {
        for name in ["libc.so.6", "libm.so.6", "ld-linux-x86-64.so.2", "ld-linux-aarch64.so.1"] {
            assert!(allowed(name), "{name}");
        }
        let table =
            [("libtorch_cpu.so", Some("libtorch")), ("libc10.so", Some("libtorch")), ("libcudart.so.13", Some("CUDA"))];
        for (name, owner) in table.into_iter().chain([("libstdc++.so.6", None)]) {
            assert!(!allowed(name), "{name}");
            assert_eq!(owner_of_library(name), owner, "{name}");
        }
    }

    #[test]
    fn symbols_of_torch_and_cuda_are_known_by_their_beginning() {
        let table = [
            ("_ZN2at4_ops3add4callERKNS_6TensorES4_RKN3c106ScalarE", Some("libtorch")),
            ("_ZNK3c104Type3strEv", Some("libtorch")),
            ("_ZN5torch8autograd", Some("libtorch")),
            ("atg_add", Some("libtorch")),
            ("cuLaunchKernel", Some("CUDA")),
            ("cudaMalloc", Some("CUDA")),
            ("curl_easy_init", None),
            ("memcpy", None),
            ("_ZN3std2io", None),
        ];
        for (name, owner) in table {
            assert_eq!(owner_of_symbol(name), owner, "{name}");
        }
    }

    #[test]
    fn a_text_file_is_no_library() {
        assert_eq!(inspect(b"#!/bin/sh\n"), Err(vec![Misfit::NotElf]));
        assert_eq!(inspect(b""), Err(vec![Misfit::NotElf]));
    }

    /// The test's own program is an ELF file for this machine.
    fn this_program() -> Vec<u8> {
        std::fs::read(std::env::current_exe().unwrap()).unwrap()
    }

    #[test]
    fn a_file_cut_off_anywhere_is_broken_and_nothing_panics() {
        let whole = this_program();
        let mut lengths: Vec<usize> = (4..200).collect();
        lengths.extend((1..40).map(|part| whole.len() * part / 40));
        lengths.push(whole.len() - 1);
        for len in lengths {
            let misfits = inspect(&whole[..len]).expect_err(&len.to_string());
            assert!(matches!(misfits[..], [Misfit::Broken(_)]), "{len} bytes: {misfits:?}");
        }
    }

    #[test]
    fn a_library_linked_against_libtorch_is_named_as_such() {
        let misfits = inspect(&linking_torch(this_program())).expect_err("it links libtorch");
        assert!(matches!(misfits[..], [Misfit::Needs { whose: Some("libtorch"), .. }]), "{misfits:?}");
    }

    /// The compiler's runtime, which this process has open: a whole library that needs the C library alone.
    fn runtime() -> Vec<u8> {
        let maps = std::fs::read_to_string("/proc/self/maps").unwrap();
        let path =
            maps.lines().find_map(|line| line.find('/').map(|at| &line[at..]).filter(|p| p.contains("libgcc_s")));
        std::fs::read(path.expect("every Rust program unwinds with it")).unwrap()
    }

    #[test]
    fn a_library_of_another_family_is_no_plugin() {
        assert_eq!(inspect(&runtime()), Err(vec![Misfit::NotAPlugin]));
    }

    #[test]
    fn a_symbol_that_no_allowed_library_answers_for_is_named() {
        let mut bytes = runtime();
        let range = {
            let header = Header::parse(&*bytes).unwrap();
            let endian = header.endian().unwrap();
            let sections = header.sections(endian, &*bytes).unwrap();
            let versions = sections.iter().find(|section| section.sh_type(endian) == elf::SHT_GNU_VERSYM).unwrap();
            let start = versions.sh_offset(endian) as usize;
            start..start + versions.sh_size(endian) as usize
        };
        // 1 is "global, of no version".
        for version in bytes[range].chunks_exact_mut(2) {
            version.copy_from_slice(&1u16.to_le_bytes());
        }
        let misfits = inspect(&bytes).unwrap_err();
        let [Misfit::Undefined { symbols, whose: None }] = &misfits[..] else { panic!("{misfits:?}") };
        assert!(!symbols.is_empty());
    }

    #[test]
    fn another_machine_is_told_from_this_one() {
        let mut bytes = this_program();
        bytes[18] ^= 0x40;
        assert!(matches!(inspect(&bytes).unwrap_err()[..], [Misfit::OtherMachine(_)]));
    }
}
