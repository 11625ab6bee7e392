//! What a presented token opens, and which name it proves.
//!
//! Every comparison takes the same time whatever matches: both sides are hashed first, so that
//! lengths do not show, and all tokens are compared, so that the place of a match does not either.
//! The tokens themselves are not held.

use std::collections::HashMap;

use sha2::{Digest, Sha256};
use subtle::{Choice, ConditionallySelectable, ConstantTimeEq};

use crate::config::{HubToken, Secret};

/// What a token of the admin API allows. `Admin` includes `Read`, and is the greater one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Scope {
    /// To look at everything.
    Read,
    /// To look and to act.
    Admin,
}

impl Scope {
    /// Whether who has this scope may do what needs `needed`.
    pub fn includes(self, needed: Self) -> bool {
        self >= needed
    }
}

/// The tokens of the admin API.
#[derive(Clone)]
pub struct AdminTokens {
    admin: Hashed,
    read: Option<Hashed>,
}

impl AdminTokens {
    /// The owner's token, and the one for looking if there is one.
    pub fn new(admin: &Secret, read: Option<&Secret>) -> Self {
        Self { admin: Hashed::new(admin.expose()), read: read.map(|s| Hashed::new(s.expose())) }
    }

    /// Whether the owner's token is this one.
    pub fn is_admin(&self, token: &Secret) -> bool {
        self.scope_of(token.expose()) == Some(Scope::Admin)
    }

    /// What the presented token allows; `None` when it is none of them.
    pub fn scope_of(&self, presented: &str) -> Option<Scope> {
        let presented = Hashed::new(presented);
        let admin = self.admin.ct_eq(&presented);
        let read = self.read.as_ref().map_or(Choice::from(0), |read| read.ct_eq(&presented));
        // Which scope it is will be seen by the answer.
        if admin.into() { Some(Scope::Admin) } else { bool::from(read).then_some(Scope::Read) }
    }
}

/// The names that a token proves.
#[derive(Clone, Default)]
pub struct HubTokens {
    entries: Vec<Entry>,
}

#[derive(Clone)]
struct Entry {
    name: String,
    /// Absent when the configuration was made in code and its token file never read: the name is
    /// taken and cannot be proven.
    token: Option<Hashed>,
}

impl Entry {
    /// Whether its token opens nothing any more where its name has `newer`.
    fn is_withdrawn_by(&self, newer: Option<&Hashed>) -> bool {
        match (&self.token, newer) {
            (Some(old), Some(new)) => !bool::from(old.ct_eq(new)),
            (Some(_), None) => true,
            (None, _) => false,
        }
    }
}

impl HubTokens {
    /// The configured names.
    pub fn new(tokens: &[HubToken]) -> Self {
        let entry = |token: &HubToken| Entry {
            name: token.name.clone(),
            token: token.secret().map(|secret| Hashed::new(secret.expose())),
        };
        Self { entries: tokens.iter().map(entry).collect() }
    }

    /// The entry whose token is presented: its place in the configuration, and the name that the
    /// token proves; `None` when it is none of them.
    pub fn find(&self, presented: &str) -> Option<(usize, &str)> {
        let presented = Hashed::new(presented);
        // Counted from 1; 0 is no entry.
        let mut found = 0_u64;
        for (number, entry) in (1..).zip(&self.entries) {
            if let Some(token) = &entry.token {
                found.conditional_assign(&number, token.ct_eq(&presented));
            }
        }
        let index = usize::try_from(found).ok()?.checked_sub(1)?;
        Some((index, self.entries[index].name.as_str()))
    }

    /// The names whose token is not that of the same name in `newer`.
    pub fn withdrawn(&self, newer: &Self) -> Vec<String> {
        let newer: HashMap<_, _> =
            newer.entries.iter().map(|new| (new.name.as_str(), new.token.as_ref())).collect();
        let gone = self
            .entries
            .iter()
            .filter(|old| old.is_withdrawn_by(newer.get(old.name.as_str()).copied().flatten()));
        gone.map(|old| old.name.clone()).collect()
    }

    /// Whether the token of `name` is not that of the same name in `newer`.
    pub fn has_withdrawn(&self, name: &str, newer: &Self) -> bool {
        let token = newer.entry(name).and_then(|new| new.token.as_ref());
        self.entry(name).is_some_and(|old| old.is_withdrawn_by(token))
    }

    fn entry(&self, name: &str) -> Option<&Entry> {
        self.entries.iter().find(|entry| entry.name == name)
    }

    /// Whether the name is configured, so that only its token gives it.
    pub fn has_name(&self, name: &str) -> bool {
        self.entry(name).is_some()
    }

    /// Whether there are no names at all, so that no token proves anything.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }
}

/// A token in a form of fixed length.
#[derive(Clone)]
struct Hashed([u8; 32]);

impl Hashed {
    fn new(token: &str) -> Self {
        Self(Sha256::digest(token).into())
    }
}

impl ConstantTimeEq for Hashed {
    fn ct_eq(&self, other: &Self) -> Choice {
        self.0.ct_eq(&other.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_token_opens_its_scope_and_nothing_else_opens_any() {
        let (admin, read) = (Secret::new("of-the-owner"), Secret::new("for-looking"));
        let both = AdminTokens::new(&admin, Some(&read));
        assert_eq!(both.scope_of("of-the-owner"), Some(Scope::Admin));
        assert_eq!(both.scope_of("for-looking"), Some(Scope::Read));
        for wrong in ["", "of-the-owne", "of-the-owner ", "Of-the-owner", "for-LOOKING"] {
            assert_eq!(both.scope_of(wrong), None, "{wrong:?}");
        }
        let one = AdminTokens::new(&admin, None);
        assert_eq!(one.scope_of("of-the-owner"), Some(Scope::Admin));
        assert_eq!(one.scope_of("for-looking"), None);
        assert_eq!(one.scope_of(""), None);
    }

    #[test]
    fn the_owner_may_do_what_a_reader_may_and_not_the_other_way_round() {
        assert!(Scope::Admin.includes(Scope::Read) && Scope::Admin.includes(Scope::Admin));
        assert!(Scope::Read.includes(Scope::Read) && !Scope::Read.includes(Scope::Admin));
    }

    #[test]
    fn a_token_proves_the_name_it_stands_beside() {
        let tokens = [("a", "first"), ("b", "second"), ("c", "third")];
        let tokens = tokens.map(|(name, token)| HubToken::new(name, Secret::new(token)));
        let known = HubTokens::new(&tokens);
        assert_eq!(known.find("first"), Some((0, "a")));
        assert_eq!(known.find("second"), Some((1, "b")));
        assert_eq!(known.find("third"), Some((2, "c")));
        for wrong in ["", "firs", "First", "first ", "a"] {
            assert_eq!(known.find(wrong), None, "{wrong:?}");
        }
        assert!(known.has_name("b") && !known.has_name("B") && !known.has_name("second"));
        assert!(!known.is_empty());
    }

    #[test]
    fn a_token_is_withdrawn_when_its_name_has_none_or_another() {
        let known = |tokens: &[(&str, &str)]| {
            let of = |(name, token): &(&str, &str)| HubToken::new(*name, Secret::new(*token));
            HubTokens::new(&tokens.iter().map(of).collect::<Vec<_>>())
        };
        let before = known(&[("a", "1"), ("b", "2"), ("c", "3"), ("d", "4")]);
        let after = known(&[("d", "4"), ("b", "other"), ("e", "3")]);
        assert_eq!(before.withdrawn(&after), ["a", "b", "c"]);
        assert!(before.withdrawn(&before).is_empty());
        for name in ["a", "b", "c", "d", "nobody"] {
            let is_gone = before.withdrawn(&after).iter().any(|gone| gone == name);
            assert_eq!(before.has_withdrawn(name, &after), is_gone, "{name}");
        }
    }

    #[test]
    fn a_name_without_its_token_is_taken_and_proven_by_nothing() {
        let mut token = HubToken::new("a", Secret::new("x"));
        token.token = None;
        let known = HubTokens::new(&[token]);
        assert!(known.has_name("a"));
        assert_eq!(known.find(""), None);
        assert_eq!(known.find("x"), None);
        let none = HubTokens::default();
        assert!(none.is_empty());
        assert_eq!(none.find("x"), None);
    }
}
