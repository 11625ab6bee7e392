//! The commands by name.

/// The commands by name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum CommandKind {
    /// `open`
    Open,
    /// `close`
    Close,
    /// `message`
    Message,
    /// `log`
    Log,
}

impl CommandKind {
    /// Every command.
    pub const ALL: [Self; 4] = [Self::Open, Self::Close, Self::Message, Self::Log];

    /// The command's name in `type`.
    pub fn label(self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::Close => "close",
            Self::Message => "message",
            Self::Log => "log",
        }
    }
}
