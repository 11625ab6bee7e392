//! Lays the sources over each other: embedded file < `--config` file < environment < flags.
//!
//! Each setting that a source gives becomes one figment provider of its own, so that figment carries
//! the place of every value through the merge: the line of a file, the variable, the flag. Names are
//! checked before the merge (a wrong name in one source must not hide behind a right one in
//! another), values after it, and a value that cannot be read is put aside so that the rest is
//! still checked: the owner sees every problem at once.

use std::{
    ffi::OsString,
    fmt,
    path::{Path, PathBuf},
    sync::Arc,
};

use figment::{Figment, error::Kind, value::Value};

use super::{
    AdminConfig, Config, ConfigError, DEFAULT_FILE, Effective, Origin, Problem, file,
    given::{Given, VARIABLE_PREFIX},
    settings::{self, Settings},
    state_dir,
};

/// What the owner gave, beside the defaults. It may hold secrets, so little of it is ever printed.
#[derive(Clone, Default)]
pub struct Sources {
    /// The file of `--config`. It must exist.
    pub file: Option<PathBuf>,
    /// Environment variables. Those that begin with `SKYNET_` are settings; of the others, those
    /// that name the system's folder for the state of programs count.
    pub variables: Vec<(OsString, OsString)>,
    /// Settings given on the command line.
    pub flags: Vec<Flag>,
}

impl fmt::Debug for Sources {
    /// Says where from, and nothing of what was given.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sources").field("file", &self.file).finish_non_exhaustive()
    }
}

/// A setting given on the command line.
#[derive(Clone)]
pub struct Flag {
    /// The flag as it is typed, such as `--listen`; errors and the report show it.
    pub name: &'static str,
    /// The setting, such as `hub.listen`.
    pub key: String,
    /// Its value as it was typed.
    pub value: String,
}

/// A usable configuration, and where each of its values came from.
#[derive(Debug, Clone)]
pub struct Loaded {
    /// What applies.
    pub config: Config,
    /// The same for people to read.
    pub effective: Effective,
    /// Where it can be read again; none for a configuration made in code.
    pub sources: Option<Arc<Sources>>,
}

/// A configuration made in code: nobody can say where its values came from.
impl From<Config> for Loaded {
    fn from(config: Config) -> Self {
        let effective = Effective::new(&config, &Settings::new(), |_| None);
        Self { config, effective, sources: None }
    }
}

/// Loads and validates the configuration. Reads the file, and the files of tokens that are set.
///
/// # Errors
///
/// A file that cannot be read or is not TOML ends it at once; otherwise every problem with any
/// setting is reported together.
pub fn load(sources: &Sources) -> Result<Loaded, ConfigError> {
    let file = sources.file.as_deref().map_or(Ok(Vec::new()), file::read)?;
    lay(file, sources)
}

/// Loads the configuration from where `before` came from, while that is in force.
///
/// # Errors
///
/// As those of [`load`]; or the file is a pipe or the like, or has lost all its settings.
pub(super) fn load_again(sources: &Sources, before: &Effective) -> Result<Loaded, ConfigError> {
    let again = |path: &Path| file::read_again(path, before.has_settings_of(path));
    lay(sources.file.as_deref().map_or(Ok(Vec::new()), again)?, sources)
}

/// Lays the sources over the defaults, of the file what it gives.
pub(super) fn lay(file: Vec<Given>, sources: &Sources) -> Result<Loaded, ConfigError> {
    let settings = Settings::new();
    let mut problems = Vec::new();
    let mut given = file::parse(DEFAULT_FILE, Path::new("config.toml"), |_| Origin::Default)?;
    given.extend(file);
    given.extend(variables(&sources.variables, &mut problems));
    given.extend(flags(&sources.flags, &mut problems));
    given.retain(|given| {
        let found = settings.check(given);
        let known = found.is_empty();
        problems.extend(found);
        known
    });
    let (mut config, figment) = extract(given, &settings, &mut problems)?;

    let mut semantic = Vec::new();
    config.hub.read_token_files(&mut semantic);
    config.admin.read_token_files(&mut semantic);
    config.admin.usual_state_folder = state_dir::usual(&sources.variables);
    if let Err(ConfigError::Invalid(found)) = config.validate() {
        semantic.extend(found);
    }
    // A default stands in for a value that could not be read; what does not fit that is no news.
    let unreadable: Vec<_> = problems.iter().map(|problem| problem.key.clone()).collect();
    semantic.retain(|problem| {
        !unreadable.iter().any(|key| *key == problem.key || Some(key.as_str()) == problem.beside)
    });
    problems.extend(semantic.into_iter().map(|problem| locate(problem, &figment)));

    ConfigError::unless_empty(problems)?;
    let effective = Effective::new(&config, &settings, |key| origin_of(key, &figment));
    Ok(Loaded { config, effective, sources: Some(Arc::new(sources.clone())) })
}

/// The settings that the environment gives: text with its exact spelling, so that a token of digits
/// stays what it is.
fn variables(variables: &[(OsString, OsString)], problems: &mut Vec<Problem>) -> Vec<Given> {
    let mut given = Vec::new();
    for (name, value) in variables {
        let name = name.to_string_lossy();
        // Windows does not tell case apart in the names of variables.
        let name = if cfg!(windows) { name.to_uppercase() } else { name.into_owned() };
        let Some(rest) = name.strip_prefix(VARIABLE_PREFIX) else {
            continue;
        };
        let key = if rest.is_empty() {
            vec![name.clone()]
        } else if rest.contains(|c: char| c.is_lowercase()) {
            vec![rest.to_owned()]
        } else {
            rest.split("__").map(str::to_lowercase).collect()
        };
        let origin = Origin::Variable(name);
        match value.to_str() {
            Some(value) => given.push(Given { key, value: Value::from(value), origin }),
            None => problems.push(
                Problem::new(key.join("."), "is not valid UTF-8 text; write it again").at(origin),
            ),
        }
    }
    // The order of the environment is nobody's choice; errors come in that of names.
    given.sort_by(|a, b| a.key.cmp(&b.key));
    given
}

/// The settings that the command line gives. Secrets are refused there.
fn flags(flags: &[Flag], problems: &mut Vec<Problem>) -> Vec<Given> {
    let mut given: Vec<Given> = Vec::new();
    for flag in flags {
        let origin = Origin::Flag(flag.name.to_owned());
        let key: Vec<_> = flag.key.split('.').map(str::to_owned).collect();
        let mut refuse = |text: String| {
            problems.push(Problem::new(flag.key.clone(), text).at(origin.clone()));
        };
        if AdminConfig::SECRETS.contains(&flag.key.as_str()) {
            refuse(format!(
                "cannot be given by a flag, because every program on this machine can read the \
                 arguments of another; use {} or {}_file",
                settings::variable(&key[0], &key[1]),
                flag.key
            ));
        } else if let Some(earlier) = given.iter().find(|earlier| earlier.key == key) {
            refuse(format!("is given twice, by {} before; give it once", earlier.origin));
        } else {
            given.push(Given { key, value: Value::from(flag.value.as_str()), origin });
        }
    }
    given
}

/// Merges and reads the values. What cannot be read is reported and put aside.
fn extract(
    mut given: Vec<Given>,
    settings: &Settings,
    problems: &mut Vec<Problem>,
) -> Result<(Config, Figment), ConfigError> {
    loop {
        let figment = given.iter().fold(Figment::new(), Figment::merge);
        let error = match figment.extract::<Config>() {
            Ok(config) => return Ok((config, figment)),
            Err(error) => error,
        };
        // Section and name; what may follow is a place within the value.
        let length = settings.length_of_setting(&error.path).unwrap_or(error.path.len());
        let key = error.path[..length].join(".");
        let text = match &error.kind {
            Kind::Message(text) => text.clone(),
            kind => format!("cannot be used: {kind}"),
        };
        problems.push(locate(Problem::new(key.clone(), text), &figment));
        let before = given.len();
        given.retain(|given| given.origin == Origin::Default || given.key.join(".") != key);
        if given.len() == before {
            return Err(ConfigError::Invalid(std::mem::take(problems)));
        }
    }
}

/// Adds to a problem the places of the values that it is about.
fn locate(mut problem: Problem, figment: &Figment) -> Problem {
    if let Some(beside) = problem.beside {
        match origin_of(beside, figment) {
            None | Some(Origin::Default) => {}
            Some(origin) => {
                problem.text.push_str(&format!("; {beside} is set by {}", origin.place()));
            }
        }
    }
    problem.origin = origin_of(&problem.key, figment);
    problem
}

/// Where the value of a setting came from; `None` for an optional setting that nobody gave.
fn origin_of(key: &str, figment: &Figment) -> Option<Origin> {
    figment.find_metadata(key).map(Origin::from_metadata)
}
