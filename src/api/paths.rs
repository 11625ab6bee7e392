//! The API's paths and methods, as its documentation has them, for answers that name them.

use poem_openapi::OpenApi;
use std::collections::BTreeSet;

/// All paths.
#[derive(Debug)]
pub(super) struct Paths(Vec<Path>);

#[derive(Debug)]
struct Path {
    /// The parts between slashes; those that are parameters as `{name}`.
    parts: Vec<String>,
    methods: BTreeSet<String>,
}

impl Paths {
    /// The paths of `T`, below `prefix`.
    pub fn of<T: OpenApi>(prefix: &str) -> Self {
        let paths = T::meta().into_iter().flat_map(|api| api.paths);
        let paths = paths.map(|path| {
            let methods = path.operations.iter().map(|operation| operation.method.to_string());
            let mut methods: BTreeSet<String> = methods.collect();
            if methods.contains("GET") {
                methods.insert("HEAD".to_owned());
            }
            let parts = format!("{prefix}{}", path.path).split('/').map(str::to_owned).collect();
            Path { parts, methods }
        });
        Self(paths.collect())
    }

    /// The methods that a path allows, as the header `Allow` lists them.
    pub fn allowed(&self, path: &str) -> String {
        // A path of words before one that takes any word there.
        let matching = self.0.iter().filter(|known| known.matches(path));
        let path = matching.min_by_key(|known| known.parameters().count());
        let methods = path.map(|path| path.methods.iter().map(String::as_str).collect::<Vec<_>>());
        // The pages are not in the documentation.
        methods.map_or_else(|| "GET, HEAD".to_owned(), |methods| methods.join(", "))
    }

    /// The name of a path's parameter, which the framework calls `param0` and so on.
    pub fn parameter(&self, path: &str, numbered: &str) -> Option<&str> {
        let number: usize = numbered.strip_prefix("param")?.parse().ok()?;
        let matching = self.0.iter().filter(|known| known.matches(path));
        matching.filter_map(|known| known.parameters().nth(number)).next()
    }
}

impl Path {
    fn matches(&self, path: &str) -> bool {
        let mut given = path.split('/');
        let fits = |part: &String| {
            given.next().is_some_and(|given| part == given || part.starts_with('{'))
        };
        self.parts.iter().all(fits) && given.next().is_none()
    }

    fn parameters(&self) -> impl Iterator<Item = &str> {
        self.parts.iter().filter_map(|part| part.strip_prefix('{')?.strip_suffix('}'))
    }
}
