//! Skeleton: replaced by the composition root.
#![allow(missing_docs)]
use crate::config::Config;
use std::net::SocketAddr;
pub struct App;
#[derive(Debug)]
pub struct StartError;
impl App {
    /// Binds both listeners (port 0 allowed). Must be called within a tokio runtime.
    pub async fn build(_config: Config) -> Result<App, StartError> { todo!() }
    pub fn hub_address(&self) -> SocketAddr { todo!() }
    pub fn admin_address(&self) -> SocketAddr { todo!() }
    /// Serves until `shutdown` resolves, then drains and closes every client with 1001.
    pub async fn run(self, _shutdown: impl std::future::Future<Output = ()>) { todo!() }
}
