//! Skeleton: replaced by the configuration work.
#![allow(missing_docs)]
use std::{net::SocketAddr, path::PathBuf, time::Duration};

#[derive(Debug, Clone, Default)]
pub struct Config {
    pub hub: HubConfig,
    pub admin: AdminConfig,
    pub limits: LimitsConfig,
    pub message_log: MessageLogConfig,
    pub telemetry: TelemetryConfig,
}
#[derive(Debug, Clone)]
pub struct HubConfig {
    pub listen: SocketAddr,
}
impl Default for HubConfig {
    fn default() -> Self {
        Self { listen: "127.0.0.1:4567".parse().unwrap() }
    }
}
#[derive(Debug, Clone)]
pub struct AdminConfig {
    pub listen: SocketAddr,
    pub token: Option<Secret>,
    pub token_file: Option<PathBuf>,
}
impl Default for AdminConfig {
    fn default() -> Self {
        Self { listen: "127.0.0.1:4568".parse().unwrap(), token: None, token_file: None }
    }
}
#[derive(Clone)]
pub struct Secret(pub String);
impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Secret")
    }
}
#[derive(Debug, Clone)]
pub struct LimitsConfig {
    pub max_clients: usize,
    pub max_channels_per_client: usize,
    pub max_channel_name_bytes: usize,
    pub max_message_bytes: usize,
    pub max_frame_bytes: usize,
    pub max_queue_bytes: usize,
    pub total_queue_bytes: usize,
    pub total_partial_bytes: usize,
    pub messages_per_second: u32,
    pub message_burst: u32,
    pub handshake_timeout: Duration,
    pub ping_interval: Duration,
}
impl Default for LimitsConfig {
    fn default() -> Self {
        Self {
            max_clients: 10_000,
            max_channels_per_client: 1024,
            max_channel_name_bytes: 255,
            max_message_bytes: 131_072,
            max_frame_bytes: 397_312,
            max_queue_bytes: 1 << 20,
            total_queue_bytes: 256 << 20,
            total_partial_bytes: 64 << 20,
            messages_per_second: 500,
            message_burst: 1000,
            handshake_timeout: Duration::from_secs(10),
            ping_interval: Duration::from_secs(25),
        }
    }
}
#[derive(Debug, Clone)]
pub struct MessageLogConfig {
    pub max_messages: usize,
    pub max_bytes: usize,
}
impl Default for MessageLogConfig {
    fn default() -> Self {
        Self { max_messages: 10_000, max_bytes: 64 << 20 }
    }
}
#[derive(Debug, Clone)]
pub struct TelemetryConfig {
    pub log: String,
    pub format: LogFormat,
}
impl Default for TelemetryConfig {
    fn default() -> Self {
        Self { log: "info".into(), format: LogFormat::Auto }
    }
}
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogFormat {
    Auto,
    Human,
    Json,
}
