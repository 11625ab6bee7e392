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
    /// `ping`
    Ping,
}

impl CommandKind {
    /// Every command.
    pub const ALL: [Self; 5] = [Self::Open, Self::Close, Self::Message, Self::Log, Self::Ping];

    /// The command's name in `type`.
    pub fn label(self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::Close => "close",
            Self::Message => "message",
            Self::Log => "log",
            Self::Ping => "ping",
        }
    }
}
