//! The rules of the house, as a test: who may import whom, what a room may not name, how large a
//! file and a function may grow. A rule that no test checks is forgotten.
//!
//! The sources are read as text, after rustfmt has laid them out: a function ends at the brace
//! that has its indentation. ARCHITECTURE.md says why the rooms are as they are.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// The most lines of code in a file, without blank lines, comments and its tests.
const MAX_FILE_LINES: usize = 500;
/// The most lines a function may have, its signature included.
const MAX_FUNCTION_LINES: usize = 70;

/// Which rooms of the crate the files below a path may import. Imports point down only.
const LAYERS: &[(&str, &[&str])] = &[
    ("src/types", &["types"]),
    ("src/prng.rs", &[]),
    ("src/raft", &["raft", "types", "prng"]),
    ("src/gossip", &["gossip", "types", "prng"]),
    ("src/storage", &["storage", "types", "prng"]),
    ("src/node", &["node", "raft", "gossip", "types", "prng"]),
    ("src/lane", &["lane", "node", "storage", "raft", "types"]),
    ("src/sim", &["sim", "lane", "node", "storage", "raft", "gossip", "types", "prng"]),
    ("src/planted", &["planted"]),
    ("src/rpc", &["rpc", "raft", "gossip", "types", "prng"]),
    (
        "src/server",
        &["server", "rpc", "lane", "node", "storage", "raft", "gossip", "types", "prng"],
    ),
    ("src/cli", &["cli", "server"]),
    ("src/bin", &["sim", "planted"]),
];

/// The rooms that decide: bytes and `now` in, effects out.
const PURE: &[&str] = &[
    "src/types",
    "src/prng.rs",
    "src/raft",
    "src/gossip",
    "src/storage",
    "src/node",
    "src/lane",
    "src/sim",
];

/// Names that may not stand in the code of some paths. Comments and tests may name them.
struct Ban {
    names: &'static [&'static str],
    /// Where the ban holds.
    within: &'static [&'static str],
    /// Where it does not, although the path lies within.
    except: &'static [&'static str],
    why: &'static str,
}

const BANS: &[Ban] = &[
    Ban {
        names: &["std::time", "Instant", "SystemTime"],
        within: PURE,
        except: &[],
        why: "a pure room has no clock; time comes in as `now_ms`",
    },
    Ban {
        names: &["rand", "getrandom", "RandomState"],
        within: PURE,
        except: &[],
        why: "a pure room is repeatable; take numbers from the seeded `Prng`",
    },
    Ban {
        names: &["HashMap", "HashSet"],
        within: PURE,
        except: &[],
        why: "hash order differs from run to run; use BTreeMap or a sorted Vec",
    },
    Ban {
        names: &["std::fs", "File", "TcpStream", "TcpListener", "UdpSocket", "ToSocketAddrs"],
        within: PURE,
        except: &[],
        why: "a pure room does no I/O; effects go out as values",
    },
    Ban {
        names: &["std::thread", "Mutex", "RwLock", "Condvar", "thread_local", "std::process"],
        within: PURE,
        except: &[],
        why: "a pure room is one machine driven by one caller",
    },
    Ban {
        names: &["std::env", "println", "eprintln", "async", "await"],
        within: PURE,
        except: &[],
        why: "a pure room neither reads its surroundings nor waits",
    },
    Ban {
        names: &["glommio"],
        within: &["src", "client/src"],
        except: &["src/server", "src/rpc"],
        why: "the runtime is named only by what acts: server and rpc",
    },
    Ban {
        names: &["tokio"],
        within: &["src"],
        except: &["src/rpc/grpc", "src/rpc/lookup.rs", "src/cli"],
        why: "the server runs on glommio; only h2's traits, a channel and the command line use tokio",
    },
    Ban {
        names: &["prost", "h2"],
        within: &["src"],
        except: &["src/rpc/grpc", "src/cli/kubernetes.rs"],
        why: "wire types stay at the edge; convert to the domain in rpc/grpc",
    },
    Ban {
        names: &["mokv_client", "clap"],
        within: &["src"],
        except: &["src/cli", "src/main.rs", "src/bin"],
        why: "only a command line is a client or reads arguments",
    },
];

#[test]
fn imports_point_down() {
    let mut faults = Vec::new();
    for source in Source::all() {
        let Some((_, allowed)) = LAYERS.iter().find(|(path, _)| source.is_within(path)) else {
            continue;
        };
        let code = source.code();
        for (number, room) in rooms_named("crate::", &code).chain(rooms_named("mokv::", &code)) {
            let is_room = LAYERS.iter().any(|(path, _)| room_of(path) == room);
            if is_room && !allowed.contains(&room) {
                let may = allowed.join(", ");
                let what = format!("imports `{room}`; this room may import only: {may}");
                faults.push(source.fault(number, &what));
            }
        }
    }
    assert_none(&faults);
}

#[test]
fn no_room_names_what_it_must_not_know() {
    let mut faults = Vec::new();
    for source in Source::all() {
        for ban in BANS {
            let held = ban.within.iter().any(|path| source.is_within(path))
                && !ban.except.iter().any(|path| source.is_within(path));
            if !held {
                continue;
            }
            for (number, line) in source.code_lines() {
                for name in ban.names.iter().filter(|name| names(line, name)) {
                    faults.push(source.fault(number, &format!("names `{name}`: {}", ban.why)));
                }
            }
        }
    }
    assert_none(&faults);
}

/// The rooms that may hold planted bugs, and the file that lists them all (src/planted.rs says why).
const PLANTED_WITHIN: &[&str] = &["src/raft", "src/gossip", "src/storage", "src/node", "src/lane"];
const PLANTED_TABLE: &str = "src/planted/table.rs";
/// What the simulator is promised to be tried on, at least.
const MIN_PLANTED: usize = 55;

#[test]
fn planted_bugs_are_where_they_may_be_and_all_are_used() {
    let mut faults = Vec::new();
    let mut used = BTreeSet::new();
    for source in Source::all().iter().filter(|source| !source.is_within("src/planted")) {
        for (number, line) in source.code_lines() {
            for bug in planted_in(line) {
                used.insert(bug.to_owned());
                if !PLANTED_WITHIN.iter().any(|path| source.is_within(path)) {
                    faults.push(source.fault(number, "plants a bug; only rooms that decide may"));
                }
            }
        }
    }
    let table = Source::read(root(), &root().join(PLANTED_TABLE));
    let listed: BTreeSet<String> = planted_bugs_listed(&table.code()).map(str::to_owned).collect();
    for bug in listed.difference(&used) {
        faults.push(table.fault(1, &format!("lists `{bug}`, which is planted nowhere")));
    }
    for bug in used.difference(&listed) {
        faults.push(table.fault(1, &format!("does not list `{bug}`, which is planted")));
    }
    assert_none(&faults);
    assert!(listed.len() >= MIN_PLANTED, "only {} bugs are planted", listed.len());
}

#[test]
fn nothing_is_left_half_done() {
    // In two parts, so that this file does not find itself.
    let marks = [
        concat!("TO", "DO"),
        concat!("FIX", "ME"),
        concat!("XX", "X"),
        concat!("todo", "!("),
        concat!("unimple", "mented!("),
        concat!("db", "g!("),
    ];
    let mut faults = Vec::new();
    for source in Source::all() {
        for (number, line) in source.lines() {
            for mark in marks.iter().filter(|mark| line.contains(**mark)) {
                faults.push(
                    source.fault(number, &format!("has `{mark}`: finish it, or open an issue")),
                );
            }
        }
    }
    assert_none(&faults);
}

#[test]
fn no_file_names_a_path_of_one_machine() {
    let checkout = concat!(env!("CARGO_MANIFEST_DIR"), "/");
    let homes = [concat!("/ho", "me/"), concat!("/ro", "ot/"), concat!("/Us", "ers/"), checkout];
    let mut faults = Vec::new();
    for source in Source::all() {
        for (number, line) in source.lines() {
            for home in homes.iter().filter(|home| line.contains(**home)) {
                faults.push(
                    source.fault(number, &format!("names `{home}`, which is not everywhere")),
                );
            }
        }
    }
    assert_none(&faults);
}

#[test]
fn every_file_says_what_it_is() {
    let silent = Source::all().into_iter().filter(|source| !source.text.starts_with("//!"));
    let faults: Vec<_> =
        silent.map(|source| source.fault(1, "does not begin with a module doc (`//!`)")).collect();
    assert_none(&faults);
}

#[test]
fn files_have_one_purpose() {
    let mut faults = Vec::new();
    for source in Source::all() {
        let lines = source.code_lines().filter(|(_, line)| !line.trim().is_empty()).count();
        if lines > MAX_FILE_LINES {
            faults.push(source.fault(
                1,
                &format!(
                    "has {lines} lines of code, more than {MAX_FILE_LINES}: split it by purpose"
                ),
            ));
        }
    }
    assert_none(&faults);
}

#[test]
fn functions_do_one_thing() {
    let mut faults = Vec::new();
    for source in Source::all() {
        for function in functions(&source.text) {
            if function.lines > MAX_FUNCTION_LINES {
                faults.push(source.fault(
                    function.line,
                    &format!(
                        "`{}` has {} lines, more than {MAX_FUNCTION_LINES}: name its parts",
                        function.name, function.lines
                    ),
                ));
            }
        }
    }
    assert_none(&faults);
}

#[test]
fn the_rules_cover_every_room() {
    let covered: BTreeSet<&str> = LAYERS.iter().map(|(path, _)| room_of(path)).collect();
    for entry in fs::read_dir(root().join("src")).expect("src/ can be listed") {
        let path = entry.expect("src/ can be listed").path();
        let name = path.file_stem().expect("an entry has a name").to_string_lossy().into_owned();
        let is_room = name != "lib" && name != "main";
        assert!(!is_room || covered.contains(&*name), "add src/{name} to LAYERS in tests/tidy.rs");
    }
}

/// Where the checkout is.
fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn assert_none(faults: &[String]) {
    assert!(faults.is_empty(), "\n{}\n{} faults\n", faults.join("\n"), faults.len());
}

/// One Rust file of the project.
struct Source {
    /// From the root of the checkout, with forward slashes.
    path: String,
    text: String,
    /// Whether it is compiled for tests only.
    is_test: bool,
}

impl Source {
    /// Every Rust file of the project, sorted by path.
    fn all() -> Vec<Source> {
        let root = root();
        let mut paths = Vec::new();
        for top in ["src", "client", "tests", "benches", "build.rs"] {
            collect_rust_files(&root.join(top), &mut paths);
        }
        paths.sort();
        let mut sources: Vec<_> = paths.iter().map(|path| Source::read(root, path)).collect();
        let test_modules: Vec<_> = sources.iter().flat_map(Source::test_modules).collect();
        for source in &mut sources {
            source.is_test = test_modules.iter().any(|module| source.is_within(module));
        }
        sources
    }

    fn read(root: &Path, path: &Path) -> Source {
        let text = fs::read_to_string(path)
            .unwrap_or_else(|error| panic!("cannot read {}: {error}", path.display()));
        let path = path.strip_prefix(root).expect("it was found below the root");
        Source { path: path.to_string_lossy().replace('\\', "/"), text, is_test: false }
    }

    /// Whether it is `path`, or lies below it as a file of the module `path`.
    fn is_within(&self, path: &str) -> bool {
        match self.path.strip_prefix(path) {
            Some(rest) => rest.is_empty() || rest == ".rs" || rest.starts_with('/'),
            None => false,
        }
    }

    fn lines(&self) -> impl Iterator<Item = (usize, &str)> {
        (1..).zip(self.text.lines())
    }

    /// Its numbered lines with comments blanked out, up to its tests.
    fn code_lines(&self) -> impl Iterator<Item = (usize, &str)> {
        let end = if self.is_test { 0 } else { first_test_line(&self.text) };
        self.lines().take(end).map(|(number, line)| (number, without_comment(line)))
    }

    /// What [`Self::code_lines`] gives, as one text with the same line numbers.
    fn code(&self) -> String {
        self.code_lines().flat_map(|(_, line)| [line, "\n"]).collect()
    }

    /// The paths of the modules that it declares for tests only.
    fn test_modules(&self) -> Vec<String> {
        let stem = self.path.trim_end_matches(".rs");
        let is_root = ["mod", "lib", "main"].iter().any(|name| stem.ends_with(&format!("/{name}")));
        let directory = if is_root { stem.rsplit_once('/').map_or("", |(up, _)| up) } else { stem };
        let lines: Vec<&str> = self.text.lines().collect();
        let declared = lines.windows(2).filter(|pair| pair[0].trim() == "#[cfg(test)]");
        let names = declared.filter_map(|pair| {
            pair[1].trim().strip_suffix(';')?.split_once("mod ").map(|(_, name)| name)
        });
        names.map(|name| format!("{directory}/{name}")).collect()
    }

    fn fault(&self, line: usize, what: &str) -> String {
        format!("{}:{line}: {what}", self.path)
    }
}

fn collect_rust_files(path: &Path, found: &mut Vec<PathBuf>) {
    if path.is_file() {
        if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path.to_owned());
        }
        return;
    }
    let Ok(entries) = fs::read_dir(path) else { return };
    for entry in entries {
        let path = entry.expect("a directory of the checkout can be listed").path();
        if path.file_name().is_some_and(|name| name != "target") {
            collect_rust_files(&path, found);
        }
    }
}

/// How many lines stand before the `mod tests` of a file.
fn first_test_line(text: &str) -> usize {
    let lines: Vec<&str> = text.lines().collect();
    let starts = |pair: &[&str]| pair[0] == "#[cfg(test)]" && pair[1].ends_with("{");
    lines.windows(2).position(starts).unwrap_or(lines.len())
}

/// The line before its `//`, where that is not within a string.
fn without_comment(line: &str) -> &str {
    let comment = line.match_indices("//").map(|(at, _)| at);
    let outside = comment.into_iter().find(|at| line[..*at].matches('"').count().is_multiple_of(2));
    outside.map_or(line, |at| &line[..at])
}

/// The bugs whose `planted!` stands in a line.
fn planted_in(line: &str) -> impl Iterator<Item = &str> {
    line.split(concat!("planted", "!(")).skip(1).map(first_word)
}

/// The bugs that the table declares, each as `Name: "class" => "catcher",`.
fn planted_bugs_listed(table: &str) -> impl Iterator<Item = &str> {
    let declarations = table.lines().filter(|line| line.contains("\" => \""));
    declarations.map(|line| first_word(line.trim_start()))
}

/// Whether `line` has `name` as a whole word, or as a whole path of words.
fn names(line: &str, name: &str) -> bool {
    let is_word = |c: char| c.is_alphanumeric() || c == '_';
    line.match_indices(name).any(|(at, _)| {
        let before = line[..at].chars().next_back();
        let after = line[at + name.len()..].chars().next();
        !before.is_some_and(is_word) && !after.is_some_and(is_word)
    })
}

/// The rooms that follow `start`, the name of the crate, in some code, of a group in braces each of
/// its members, and the numbers of their lines.
fn rooms_named<'a>(start: &'a str, code: &'a str) -> impl Iterator<Item = (usize, &'a str)> {
    code.match_indices(start).flat_map(move |(at, _)| {
        let line = code[..at].matches('\n').count() + 1;
        let rest = &code[at + start.len()..];
        let rooms = match rest.strip_prefix('{') {
            Some(group) => group_members(group),
            None => vec![first_word(rest)],
        };
        rooms.into_iter().map(move |room| (line, room))
    })
}

/// The first words of the members of `a, b::c, d::{e, f}}`.
fn group_members(group: &str) -> Vec<&str> {
    let (mut members, mut depth, mut start) = (Vec::new(), 0, 0);
    for (at, c) in group.char_indices() {
        match c {
            '{' => depth += 1,
            '}' => depth -= 1,
            _ => {}
        }
        if (c == ',' && depth == 0) || depth < 0 {
            members.push(first_word(group[start..at].trim_start()));
            start = at + 1;
        }
        if depth < 0 {
            break;
        }
    }
    members
}

fn first_word(text: &str) -> &str {
    text.split(|c: char| !c.is_alphanumeric() && c != '_').next().unwrap_or("")
}

/// The module that a path of [`LAYERS`] holds.
fn room_of(path: &str) -> &str {
    path.trim_start_matches("src/").trim_end_matches(".rs")
}

/// Where a function stands and how long it is.
#[derive(Debug, PartialEq, Eq)]
struct Function<'a> {
    name: &'a str,
    line: usize,
    lines: usize,
}

/// The functions of a file that rustfmt has laid out.
fn functions(text: &str) -> Vec<Function<'_>> {
    let lines: Vec<&str> = text.lines().collect();
    let mut found = Vec::new();
    for (at, line) in lines.iter().enumerate() {
        let Some(name) = function_name(line) else { continue };
        let indentation = &line[..line.len() - line.trim_start().len()];
        let ends = |line: &str| {
            line.strip_prefix(indentation)
                .is_some_and(|rest| rest == "}" || (rest.starts_with(')') && rest.ends_with(';')))
        };
        let on_one_line = line.ends_with('}') || line.ends_with(';');
        let length = if on_one_line {
            1
        } else {
            lines[at..].iter().position(|line| ends(line)).map_or(1, |n| n + 1)
        };
        found.push(Function { name, line: at + 1, lines: length });
    }
    found
}

/// The name of the function whose signature begins on this line.
fn function_name(line: &str) -> Option<&str> {
    let (before, after) = line.split_once("fn ")?;
    let modifier = |word: &str| {
        word.starts_with("pub") || ["const", "async", "unsafe", "crate)", "super)"].contains(&word)
    };
    before
        .split_whitespace()
        .all(modifier)
        .then(|| first_word(after))
        .filter(|name| !name.is_empty())
}

#[test]
fn a_name_is_found_only_as_a_whole_word() {
    assert!(names("use std::time::Duration;", "std::time"));
    assert!(names("let t = Instant::now();", "Instant"));
    assert!(!names("let operand = 1;", "rand"));
    assert!(!names("InstantaneousRate", "Instant"));
}

#[test]
fn comments_are_not_code_but_addresses_are() {
    assert_eq!(without_comment("let a = 1; // std::time"), "let a = 1; ");
    assert_eq!(without_comment("let a = \"http://b\";"), "let a = \"http://b\";");
    assert_eq!(without_comment("/// glommio"), "");
}

#[test]
fn grouped_imports_are_taken_apart() {
    let rooms = |code| rooms_named("crate::", code).collect::<Vec<_>>();
    assert_eq!(rooms("use crate::raft::{Log, Term};"), [(1, "raft")]);
    let group = "\nuse crate::{\n    raft::{Log, Term}, types, prng\n};";
    assert_eq!(rooms(group), [(2, "raft"), (2, "types"), (2, "prng")]);
}

#[test]
fn functions_are_measured_from_signature_to_brace() {
    let text = "impl A {\n    pub(super) fn long(\n        a: u8,\n    ) -> u8 {\n        f(a);\n        a\n    }\n}\nfn short() {}\n";
    let found = functions(text);
    assert_eq!(found[0], Function { name: "long", line: 2, lines: 6 });
    assert_eq!(found[1], Function { name: "short", line: 9, lines: 1 });
}
