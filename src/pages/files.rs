//! The files that are built in, and how an address and the version get into them.
//!
//! The Lua files run as they stand in the repository, with the address of a hub on the same machine;
//! the lines that are replaced occur once in them.

use crate::config::PublicUrl;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use headers::ETag;
use poem::http::HeaderValue;
use sha2::{Digest, Sha256};
use std::fmt::Write;

const PAGE: &str = include_str!("page.html");
const LIBRARY: &str = include_str!("../../lua/skynet.lua");
const INSTALLER: &str = include_str!("../../lua/install.lua");

const VERSION_LINE: &str = concat!("local VERSION = \"", env!("CARGO_PKG_VERSION"), "\"\n");
const SERVER_LINE: &str = "local SERVER = \"ws://127.0.0.1:4567/connect/\"\n";
const BASE_LINE: &str = "local BASE = \"http://127.0.0.1:4567\"\n";

/// What is served is that of this program.
const VERSION: &str = env!("CARGO_PKG_VERSION");

pub(super) const LARGEST_BYTES: usize =
    if LIBRARY.len() > INSTALLER.len() { LIBRARY.len() } else { INSTALLER.len() };

/// What a page may do in a browser: nothing but look as its own style says.
const NOTHING: &str =
    "default-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

/// A file as it is served.
pub(super) struct Served {
    pub text: String,
    pub content_type: &'static str,
    pub policy: HeaderValue,
    pub tag: ETag,
}

/// A file that is built in.
pub(super) struct File {
    kind: Kind,
    /// Of the file as it is built in.
    digest: [u8; 32],
    policy: HeaderValue,
}

#[derive(Debug, Clone, Copy)]
enum Kind {
    Page,
    Library,
    Installer,
}

/// The paths of the files.
pub const PATHS: [&str; 3] = ["/", "/install.lua", "/skynet.lua"];

/// The files by their paths.
pub(super) fn all() -> impl Iterator<Item = (&'static str, File)> {
    let kinds = [Kind::Page, Kind::Installer, Kind::Library];
    PATHS.into_iter().zip(kinds.map(File::new))
}

impl File {
    fn new(kind: Kind) -> Self {
        let digest = Sha256::digest(kind.source()).into();
        Self { kind, digest, policy: kind.policy() }
    }

    /// The file for a hub at `address`.
    pub fn serve(&self, address: &PublicUrl) -> Served {
        Served {
            text: self.kind.text(address),
            content_type: match self.kind {
                Kind::Page => "text/html; charset=utf-8",
                Kind::Library | Kind::Installer => "text/plain; charset=utf-8",
            },
            policy: self.policy.clone(),
            tag: self.tag(address),
        }
    }

    /// Another file, version or address has another tag.
    fn tag(&self, address: &PublicUrl) -> ETag {
        let digest = Sha256::new()
            .chain_update(self.digest)
            .chain_update(VERSION)
            .chain_update([0])
            .chain_update(address.to_string())
            .finalize();
        let mut tag = String::from("\"");
        for byte in &digest[..16] {
            // A text can always be written to.
            let _ = write!(tag, "{byte:02x}");
        }
        tag.push('"');
        tag.parse().expect("hexadecimal digits in quotes are a tag")
    }
}

impl Kind {
    fn source(self) -> &'static str {
        match self {
            Self::Page => PAGE,
            Self::Library => LIBRARY,
            Self::Installer => INSTALLER,
        }
    }

    fn text(self, address: &PublicUrl) -> String {
        let source = self.source();
        match self {
            Self::Page => source
                .replace("{{BASE}}", &html(&address.to_string()))
                .replace("{{WEBSOCKET}}", &html(&address.websocket()))
                .replace("{{VERSION}}", &html(VERSION)),
            Self::Library => {
                let text = source.replacen(VERSION_LINE, &local("VERSION", VERSION), 1).replacen(
                    SERVER_LINE,
                    &local("SERVER", &address.websocket()),
                    1,
                );
                // By this line the installer sees that nothing is missing.
                format!("{text}-- end of skynet.lua {VERSION}\n")
            }
            Self::Installer => source.replacen(BASE_LINE, &local("BASE", &address.to_string()), 1),
        }
    }

    fn policy(self) -> HeaderValue {
        let policy = match self {
            Self::Page => format!("{NOTHING}; style-src 'sha256-{}'", style_hash(PAGE)),
            Self::Library | Self::Installer => NOTHING.to_owned(),
        };
        policy.parse().expect("a policy is made of words and base64")
    }
}

/// The hash by which a browser knows the page's own style.
fn style_hash(page: &str) -> String {
    let rest = page.split_once("<style>").map_or("", |(_, rest)| rest);
    let style = rest.split_once("</style>").map_or("", |(style, _)| style);
    STANDARD.encode(Sha256::digest(style))
}

/// A line of Lua that gives a text to a variable.
fn local(name: &str, text: &str) -> String {
    let mut line = format!("local {name} = \"");
    for byte in text.bytes() {
        match byte {
            b'"' | b'\\' => {
                line.push('\\');
                line.push(byte.into());
            }
            b' '..=b'~' => line.push(byte.into()),
            // Three digits, so that one that follows is none of it.
            _ => {
                let _ = write!(line, "\\{byte:03}");
            }
        }
    }
    line.push_str("\"\n");
    line
}

fn html(text: &str) -> String {
    let mut escaped = String::new();
    for c in text.chars() {
        match c {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&#39;"),
            _ => escaped.push(c),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;

    fn url(text: &str) -> PublicUrl {
        text.parse().unwrap()
    }

    fn served(path: &str, address: &str) -> Served {
        let (_, file) = all().into_iter().find(|(at, _)| *at == path).unwrap();
        file.serve(&url(address))
    }

    #[test]
    fn every_line_that_is_replaced_occurs_once() {
        for (source, line) in
            [(LIBRARY, VERSION_LINE), (LIBRARY, SERVER_LINE), (INSTALLER, BASE_LINE)]
        {
            assert_eq!(source.matches(&format!("\n{line}")).count(), 1, "{line}");
            assert_eq!(source.matches(line.trim_end()).count(), 1, "{line}");
        }
    }

    #[test]
    fn the_lua_files_are_plain_ascii_which_every_version_of_the_game_reads_alike() {
        for source in [LIBRARY, INSTALLER] {
            assert!(source.is_ascii() && !source.contains('\r'));
            assert!(source.ends_with('\n') && !source.ends_with("\n\n"));
        }
    }

    #[test]
    fn the_library_names_the_hub_it_came_from_and_its_version_and_ends_with_a_mark() {
        let text = served("/skynet.lua", "https://a.org:8443").text;
        assert!(text.contains("\nlocal SERVER = \"wss://a.org:8443/connect/\"\n"), "{text}");
        assert!(text.contains(&format!("\nlocal VERSION = \"{VERSION}\"\n")), "{text}");
        assert!(text.ends_with(&format!("\n-- end of skynet.lua {VERSION}\n")), "{text}");
        let text = served("/skynet.lua", "http://[::1]").text;
        assert!(text.contains("\nlocal SERVER = \"ws://[::1]/connect/\"\n"), "{text}");
        assert!(!text.contains("127.0.0.1:4567/connect"), "{text}");
    }

    #[test]
    fn the_installer_and_the_page_name_the_hub_they_came_from() {
        let text = served("/install.lua", "https://a.org").text;
        assert!(text.contains("\nlocal BASE = \"https://a.org\"\n"), "{text}");
        let text = served("/", "https://a.org").text;
        assert!(text.contains("wget run https://a.org/install.lua<"), "{text}");
        assert!(text.contains(">wss://a.org/connect/<"), "{text}");
        assert!(!text.contains("{{"), "{text}");
    }

    #[test]
    fn the_page_loads_nothing_and_runs_nothing() {
        for wrong in ["<script", "javascript:", "src=", "http-equiv", " on", "url("] {
            let wrong_attribute = PAGE.split('<').any(|tag| {
                tag.split('>').next().is_some_and(|tag| tag.to_lowercase().contains(wrong))
            });
            assert!(!wrong_attribute && !PAGE.contains("@import"), "{wrong}");
        }
        let policy = Kind::Page.policy();
        let policy = policy.to_str().unwrap();
        assert!(policy.starts_with("default-src 'none'; "), "{policy}");
        assert!(!policy.contains("unsafe"), "{policy}");
    }

    #[test]
    fn what_would_end_a_text_is_escaped() {
        let wild = "a\"..x..\"\\\n\u{e9}1";
        assert_eq!(local("X", wild), "local X = \"a\\\"..x..\\\"\\\\\\010\\195\\1691\"\n");
        assert_eq!(html("<a b='c' d=\"&\">"), "&lt;a b=&#39;c&#39; d=&quot;&amp;&quot;&gt;");
    }

    #[test]
    fn another_address_or_file_has_another_tag() {
        let tags: Vec<ETag> = [("/", "http://a"), ("/", "https://a"), ("/", "http://a:80")]
            .into_iter()
            .chain([("/skynet.lua", "http://a"), ("/install.lua", "http://a")])
            .map(|(path, address)| served(path, address).tag)
            .collect();
        for (index, tag) in tags.iter().enumerate() {
            assert!(!tags[..index].contains(tag), "{tag:?}");
        }
        assert_eq!(served("/", "http://a").tag, tags[0]);
    }
}
